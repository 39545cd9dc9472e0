/* kv_budget.c - KV cache sizing: weights and workspace are fixed, the KV cache gets what is asked for, or what is left.
 *
 * A rank's need grows linearly with the number of KV blocks, need(b) = fixed + b * block; two probes of model_memory_of
 * give both.  The ranks of a node share its memory, so their needs are added up and compared with what the node has
 * available; the number of blocks is that of the node with room for the fewest, because every rank uses the same block
 * numbers. */
#include "worker/kv_budget.h"

#include <stdio.h>
#include <stdlib.h>

#include "worker/topo/topo.h"

/* One part in this many of the available memory stays free: MPI's buffers, the coordinator, images in flight. */
#define MARGIN_PART 20u

/* A cache's pages are touched at once if it is at most one part in this many of the available memory. */
#define CACHE_PART 16u

typedef struct node_needs {
    uint64_t fixed, block, available;
} node_needs;

const char *worker_size_text(uint64_t bytes, char *text)
{
    static const char units[] = "kMGTP";
    double value = (double)bytes / 1000.0;
    size_t unit = 0;
    while (value >= 999.5 && unit + 2 < sizeof units) {
        value /= 1000.0;
        unit++;
    }
    snprintf(text, WORKER_SIZE_TEXT, value < 9.95 ? "%.1f %cB" : "%.0f %cB", value, units[unit]);
    return text;
}

static uint64_t total_of(const model_memory *memory)
{
    return memory->weights_bytes + memory->kv_bytes + memory->workspace_bytes;
}

static uint32_t blocks_of(uint64_t tokens)
{
    uint64_t blocks = (tokens + LINK_KV_BLOCK_TOKENS - 1) / LINK_KV_BLOCK_TOKENS;
    return blocks < UINT32_MAX / LINK_KV_BLOCK_TOKENS ? (uint32_t)blocks : UINT32_MAX / LINK_KV_BLOCK_TOKENS;
}

static base_status check_options(const worker_options *options, const arch *a, base_error *error)
{
    if (options->max_seqs == 0 || options->max_seqs > WORKER_SEQS_MAX)
        return base_fail(error, BASE_EINVAL, "sequences in flight must be 1 to %u, not %u", WORKER_SEQS_MAX,
                         options->max_seqs);
    if (options->max_step_tokens == 0 || options->max_step_tokens > WORKER_STEP_TOKENS_MAX)
        return base_fail(error, BASE_EINVAL, "tokens of a step must be 1 to %u, not %u", WORKER_STEP_TOKENS_MAX,
                         options->max_step_tokens);
    if (options->n_image_slots > WORKER_IMAGE_SLOTS_MAX)
        return base_fail(error, BASE_EINVAL, "image slots must be at most %u, not %u", WORKER_IMAGE_SLOTS_MAX,
                         options->n_image_slots);
    if (a->has_tower && a->tower.images_see_all && options->n_image_slots > 0 &&
        options->max_step_tokens < arch_tower_vectors(&a->tower))
        return base_fail(error, BASE_EINVAL,
                         "--step-tokens %u is too few: the %u rows of one of this model's images are computed together",
                         options->max_step_tokens, arch_tower_vectors(&a->tower));
    return BASE_OK;
}

/* What memory_with needs besides the limits. */
typedef struct asked {
    const shard_checkpoint *checkpoint;
    const shard_recipe *recipe;
    const draft_model *draft;
    const par_place *place;
    const model_numerics *numerics;
    uint32_t n_threads;
} asked;

static base_status memory_with(const asked *what, link_limits limits, uint32_t n_blocks, model_memory *out,
                               base_error *error)
{
    limits.n_kv_blocks = n_blocks;
    limits.n_draft_blocks = limits.draft_positions > 0 ? n_blocks : 0;
    const model_options options = {.limits = limits, .numerics = *what->numerics, .n_threads = what->n_threads};
    base_status status = model_memory_of(what->checkpoint, what->recipe, what->place, &options, out, error);
    return status == BASE_OK ? draft_model_memory(what->draft, &limits, what->numerics, out, error) : status;
}

static base_status probe_needs(const asked *what, const link_limits *limits, node_needs *out, base_error *error)
{
    model_memory one, two;
    base_status status = memory_with(what, *limits, 1, &one, error);
    if (status == BASE_OK)
        status = memory_with(what, *limits, 2, &two, error);
    if (status != BASE_OK)
        return status;
    uint64_t block = total_of(&two) - total_of(&one);
    *out = (node_needs){.fixed = total_of(&one) - block, .block = block, .available = topo_memory_available()};
    return BASE_OK;
}

/* Turn a rank's needs into its node's: sums, and the minimum that its ranks found available.  Collective. */
static void add_up_node(par_world *world, node_needs *needs, uint64_t *values)
{
    uint64_t *fields[] = {&needs->fixed, &needs->block, &needs->available};
    for (size_t i = 0; i < 3; i++) {
        par_world_local_gather(world, *fields[i], values);
        uint64_t sum = 0, least = UINT64_MAX;
        for (int r = 0; r < par_world_local_size(world); r++) {
            sum += values[r];
            least = values[r] < least ? values[r] : least;
        }
        *fields[i] = i < 2 ? sum : least;
    }
}

/* How many of the wanted blocks the node has room for; --kv-tokens is all or nothing, the default at least one whole
 * context. */
static base_status fit_blocks(const node_needs *node, const worker_options *options, const link_limits *limits,
                              uint32_t *n_blocks, base_error *error)
{
    char needed[WORKER_SIZE_TEXT], there[WORKER_SIZE_TEXT];
    if (node->available == 0 || node->block == 0) /* unknown: the allocation itself will succeed or fail */
        return BASE_OK;
    uint64_t usable = node->available - node->available / MARGIN_PART;
    worker_size_text(usable, there);
    if (node->fixed > usable)
        return base_fail(error, BASE_ENOMEM,
                         "weights and workspace of this node's ranks need %s, but %s can be used; use more nodes, "
                         "lower --step-tokens%s",
                         worker_size_text(node->fixed, needed), there,
                         options->draft != NULL ? " or serve without --draft" : "");
    uint64_t fits = (usable - node->fixed) / node->block;
    uint32_t least = options->kv_tokens > 0 ? *n_blocks : blocks_of(limits->max_positions);
    if (fits < least)
        return base_fail(error, BASE_ENOMEM,
                         "with %u KV tokens this node's ranks need %s, but %s can be used; lower %s",
                         least * LINK_KV_BLOCK_TOKENS, worker_size_text(node->fixed + least * node->block, needed),
                         there, options->kv_tokens > 0 ? "--kv-tokens" : "--context");
    if (fits < *n_blocks)
        *n_blocks = (uint32_t)fits;
    return BASE_OK;
}

base_status worker_budget_memory(par_world *world, const par_place *place, const shard_checkpoint *checkpoint,
                                 const shard_recipe *recipe, const draft_model *draft, const worker_options *options,
                                 uint32_t n_threads, link_limits *limits, model_memory *memory, base_error *error)
{
    asked what = {.checkpoint = checkpoint,
                  .recipe = recipe,
                  .draft = draft,
                  .place = place,
                  .numerics = &options->numerics,
                  .n_threads = n_threads};
    uint32_t context = checkpoint->a.decoder.max_positions;
    if (options->context > 0 && options->context < context)
        context = options->context;
    link_limits chosen = {.max_seqs = options->max_seqs,
                          .max_positions = context,
                          .max_step_tokens = options->max_step_tokens,
                          .n_image_slots = options->n_image_slots,
                          .draft_positions = draft_model_positions(draft, context)};
    uint32_t n_blocks =
        options->kv_tokens > 0
            ? blocks_of(options->kv_tokens)
            : blocks_of((uint64_t)blocks_of(chosen.max_positions) * LINK_KV_BLOCK_TOKENS * chosen.max_seqs);
    node_needs needs = {0};
    uint64_t *values = calloc((size_t)par_world_local_size(world), sizeof *values);
    base_status status = values != NULL ? check_options(options, &checkpoint->a, error)
                                        : base_fail(error, BASE_ENOMEM, "no memory to count memory");
    if (status == BASE_OK)
        status = probe_needs(&what, &chosen, &needs, error);
    status = par_world_agree(world, status, error);
    if (status == BASE_OK) {
        add_up_node(world, &needs, values);
        status = par_world_agree(world, fit_blocks(&needs, options, &chosen, &n_blocks, error), error);
    }
    free(values);
    if (status != BASE_OK)
        return status;

    chosen.n_kv_blocks = UINT32_MAX - (uint32_t)par_world_max(world, UINT32_MAX - n_blocks); /* the minimum */
    chosen.n_draft_blocks = chosen.draft_positions > 0 ? chosen.n_kv_blocks : 0;
    status = par_world_agree(world, memory_with(&what, chosen, chosen.n_kv_blocks, memory, error), error);
    if (status == BASE_OK)
        *limits = chosen;
    return status;
}

bool worker_touches_cache(par_world *world, const worker_options *options, const model_memory *memory)
{
    uint64_t sum = 0, *values = calloc((size_t)par_world_local_size(world), sizeof *values);
    bool counted = par_world_max(world, values == NULL) == 0;
    if (counted)
        par_world_local_gather(world, memory->kv_bytes, values);
    for (int r = 0; counted && r < par_world_local_size(world); r++)
        sum += values[r];
    free(values);
    return options->kv_tokens > 0 || (counted && sum <= topo_memory_available() / CACHE_PART);
}
