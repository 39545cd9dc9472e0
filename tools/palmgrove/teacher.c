#include "tools/palmgrove/teacher.h"

#include <stdlib.h>
#include <string.h>

#include "coordinator/text/text.h"
#include "proto/base/log.h"
#include "sharding/checkpoint.h"
#include "sharding/mapped_file.h"
#include "sharding/shards/shard_set.h"
#include "tools/palmgrove/command.h"
#include "worker/kernels/kern.h"
#include "worker/par/channels.h"
#include "worker/topo/topo.h"

#define CONTEXT_MAX (1u << 20)
#define STEP_MAX    4096u /* the logits of every row of a step are kept at once */

struct teacher {
    par_world *world; /* borrowed */
    shard_checkpoint *checkpoint;
    shard_importance *importance;
    shard_recipe recipe;
    model_numerics numerics;
    text_tokenizer *tokenizer;
    text_ids ids; /* of the whole text, without starts */
    uint32_t tp, pp, context, step_tokens;
    topo_machine *machine;
    topo_plan *threads;
    par_grid *grid;
    model *m;
    uint64_t weights_bytes;

    int32_t *window;  /* [context]: the start, if any, and tokens of the text */
    uint32_t *blocks; /* KV blocks of the one sequence, in order */
    link_slice *slices;
    link_token *results;
    teacher_step at;
    uint64_t n_steps;
};

/* --- opening --- */

static base_status check_options(const teacher_options *options, base_error *error)
{
    if (options->context < 2 || options->context > CONTEXT_MAX)
        return base_fail(error, BASE_EINVAL, "--context %u: 2 to %u tokens are possible", options->context,
                         CONTEXT_MAX);
    if (options->step_tokens < 1 || options->step_tokens > STEP_MAX)
        return base_fail(error, BASE_EINVAL, "--step-tokens %u: 1 to %u are possible", options->step_tokens, STEP_MAX);
    return BASE_OK;
}

static base_status read_text(teacher *t, const teacher_options *options, base_error *error)
{
    mapped_file file = {0};
    base_status status = text_tokenizer_open(options->model, &t->tokenizer, error);
    if (status == BASE_OK)
        status = mapped_file_open(options->text, &file, error);
    if (status != BASE_OK)
        return status;
    status = text_encode(t->tokenizer, file.map, file.bytes, SIZE_MAX, &t->ids, error);
    mapped_file_close(&file);
    if (status != BASE_OK)
        return status;
    if (options->max_tokens != 0 && t->ids.n > options->max_tokens)
        t->ids.n = (size_t)options->max_tokens;
    return t->ids.n >= 2 ? BASE_OK : base_fail(error, BASE_EINVAL, "'%s' has fewer than two tokens", options->text);
}

static base_status read_recipe(teacher *t, const teacher_options *options, base_error *error)
{
    recipe_kind kind = RECIPE_AUTO;
    if (options->weights != NULL && !recipe_kind_find(options->weights, &kind))
        return base_fail(error, BASE_EINVAL, "unknown weights '%s'; known are auto, f32, f16, bf16, int8, int4",
                         options->weights);
    if (t->checkpoint->shards != NULL && kind != RECIPE_AUTO)
        return base_fail(error, BASE_EINVAL, "'%s' is packed already; --weights is for `palmgrove shard` then",
                         options->model);
    t->recipe.kind = kind;
    if (options->activations != NULL && !model_activations_find(options->activations, &t->numerics.activations))
        return base_fail(error, BASE_EINVAL, "unknown activations '%s'; known are f32, int8", options->activations);
    par_wire wire = PAR_WIRE_EXACT;
    if (options->wire != NULL && !par_wire_find(options->wire, &wire))
        return base_fail(error, BASE_EINVAL, "unknown wire '%.40s'; known are exact, bf16", options->wire);
    par_world_set_wire(t->world, wire);
    if (options->kv_type != NULL && !model_kv_type_find(options->kv_type, &t->numerics.kv))
        return base_fail(error, BASE_EINVAL, "unknown kv-type '%s'; known are f32, bf16, int8", options->kv_type);
    if (options->importance == NULL)
        return BASE_OK;
    base_status status = shard_importance_open(options->importance, &t->checkpoint->a, &t->importance, error);
    t->recipe.importance = t->importance;
    return status;
}

static base_status read_model(teacher *t, const teacher_options *options, base_error *error)
{
    base_status status = check_options(options, error);
    if (status == BASE_OK)
        status = kern_select(options->isa, error);
    if (status == BASE_OK && options->products != NULL)
        status = model_products_choose(options->products, &t->numerics.products, error);
    if (status == BASE_OK)
        status = shard_checkpoint_open(options->model, &t->checkpoint, error);
    if (status != BASE_OK)
        return status;
    t->tp = options->tp;
    t->pp = options->pp;
    if (t->checkpoint->shards != NULL && t->tp == 0 && t->pp == 0)
        shard_set_layout(t->checkpoint->shards, &t->tp, &t->pp);
    status = shard_layout_choose(&t->checkpoint->a, (uint32_t)par_world_size(t->world), &t->tp, &t->pp, error);
    if (status == BASE_OK)
        status = read_recipe(t, options, error);
    if (status == BASE_OK)
        status = read_text(t, options, error);
    uint32_t positions = t->checkpoint->a.decoder.max_positions;
    t->context = options->context < positions ? options->context : positions;
    t->step_tokens = options->step_tokens < t->context ? options->step_tokens : t->context;
    return status;
}

/* The rank's share of the cores, nothing bound. */
static base_status set_threads(teacher *t, uint32_t n_threads, base_error *error)
{
    topo_request request = {.index = (uint32_t)par_world_local_rank(t->world),
                            .count = (uint32_t)par_world_local_size(t->world),
                            .n_threads = n_threads,
                            .smt = TOPO_SMT_CORES};
    char remark[TOPO_TEXT_MAX];
    base_status status = topo_machine_open(NULL, &t->machine, error);
    if (status == BASE_OK)
        status = topo_plan_create(t->machine, &request, &t->threads, error);
    if (status == BASE_OK)
        topo_plan_apply(t->threads, false, remark);
    return status;
}

static base_status take_memory(teacher *t, base_error *error)
{
    uint32_t n_blocks = (t->context + LINK_KV_BLOCK_TOKENS - 1) / LINK_KV_BLOCK_TOKENS;
    t->window = calloc(t->context + 1u, sizeof *t->window);
    t->blocks = calloc(n_blocks, sizeof *t->blocks);
    t->slices = calloc(t->step_tokens, sizeof *t->slices);
    t->results = calloc(t->step_tokens, sizeof *t->results);
    if (t->window == NULL || t->blocks == NULL || t->slices == NULL || t->results == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a window of %u tokens", t->context);
    for (uint32_t i = 0; i < n_blocks; i++)
        t->blocks[i] = i;
    return BASE_OK;
}

static base_status load_model(teacher *t, model_probe *probe, void *context, base_error *error)
{
    model_options options = {.limits = {.max_seqs = t->step_tokens,
                                        .max_positions = t->context,
                                        .max_step_tokens = t->step_tokens,
                                        .n_kv_blocks = (t->context + LINK_KV_BLOCK_TOKENS - 1) / LINK_KV_BLOCK_TOKENS,
                                        .n_image_slots = 1},
                             .numerics = t->numerics,
                             .all_prompts = true,
                             .probe = probe,
                             .probe_context = context};
    par_place place = par_grid_place(t->grid);
    model_memory memory;
    base_status status = model_memory_of(t->checkpoint, &t->recipe, &place, &options, &memory, error);
    if (status == BASE_OK)
        status = model_create(t->checkpoint, &t->recipe, t->grid, &options, &t->m, error);
    if (status == BASE_OK)
        t->weights_bytes = memory.weights_bytes;
    return status;
}

static base_status start(teacher *t, const teacher_options *options, model_probe *probe, void *context,
                         base_error *error)
{
    base_status status = par_world_agree(t->world, read_model(t, options, error), error);
    if (status == BASE_OK)
        status = par_grid_create(t->world, t->tp, t->pp, &t->grid, error);
    if (status != BASE_OK)
        return status;
    status = set_threads(t, options->threads, error);
    if (status == BASE_OK)
        status = take_memory(t, error);
    if (status == BASE_OK)
        status = load_model(t, probe, context, error);
    status = par_world_agree(t->world, status, error);
    if (status != BASE_OK)
        return status;
    size_t stage_floats =
        (size_t)t->step_tokens * ((size_t)t->checkpoint->a.decoder.stack.d + 1); /* rows and overflow flags */
    return par_grid_reserve(t->grid, stage_floats, 1, 1, error);
}

base_status teacher_open(par_world *world, const teacher_options *options, model_probe *probe, void *context,
                         teacher **out, base_error *error)
{
    teacher *t = calloc(1, sizeof *t);
    base_status status = t != NULL ? BASE_OK : base_fail(error, BASE_ENOMEM, "out of memory");
    status = par_world_agree(world, status, error);
    if (status == BASE_OK) {
        t->world = world;
        status = start(t, options, probe, context, error);
    }
    if (status != BASE_OK) {
        teacher_close(&t);
        return status;
    }
    *out = t;
    return BASE_OK;
}

/* In reverse order of start; every part may be missing. */
void teacher_close(teacher **t)
{
    if (*t == NULL)
        return;
    model_destroy(&(*t)->m);
    free((*t)->results);
    free((*t)->slices);
    free((*t)->blocks);
    free((*t)->window);
    topo_plan_destroy(&(*t)->threads);
    topo_machine_close(&(*t)->machine);
    par_grid_destroy(&(*t)->grid);
    text_ids_release(&(*t)->ids);
    text_tokenizer_close(&(*t)->tokenizer);
    shard_importance_close(&(*t)->importance);
    shard_checkpoint_close(&(*t)->checkpoint);
    free(*t);
    *t = NULL;
}

/* --- running --- */

static uint32_t start_tokens(const teacher *t)
{
    return text_start_id(t->tokenizer) >= 0;
}

/* Fill the window with what begins at token `from` of the text; returns its length. */
static uint32_t fill_window(teacher *t, size_t from)
{
    uint32_t n = start_tokens(t);
    if (n > 0)
        t->window[0] = text_start_id(t->tokenizer);
    for (; n < t->context && from < t->ids.n; n++)
        t->window[n] = t->ids.ids[from++];
    return n;
}

/* Positions [begin, begin + n) of the window: one slice each, so that each has logits. */
static base_status run_step(teacher *t, uint32_t begin, uint32_t n, uint32_t n_window, base_error *error)
{
    uint32_t n_blocks = (begin + n + LINK_KV_BLOCK_TOKENS - 1) / LINK_KV_BLOCK_TOKENS;
    for (uint32_t i = 0; i < n; i++)
        t->slices[i] = (link_slice){
            .seq = i, .pos = begin + i, .n_tokens = 1, .first_token = i, .n_sampled = 1, .sampling = {.top_p = 1.0f}};
    link_plan plan = {.step = ++t->n_steps,
                      .n_slices = n,
                      .n_tokens = n,
                      .n_blocks = n_blocks,
                      .slices = t->slices,
                      .tokens = t->window + begin,
                      .blocks = t->blocks};
    link_result result = {.tokens = t->results};
    t->at = (teacher_step){t->window + begin, n, begin + n < n_window ? n : n - 1};
    model_step(t->m, &plan, &result);
    for (uint32_t i = 0; i < result.n_tokens; i++)
        if (result.tokens[i].token == LINK_TOKEN_OVERFLOW)
            return base_fail(error, BASE_ENUMERIC, "an activation left the fixed-point range in step %llu",
                             (unsigned long long)t->n_steps);
    return BASE_OK;
}

/* A failure is kept until the end: every rank walks all plans, or some would wait forever. */
base_status teacher_run(teacher *t, base_error *error)
{
    base_status status = BASE_OK;
    for (size_t from = 0; from < t->ids.n;) {
        uint32_t n = fill_window(t, from);
        from += n - start_tokens(t);
        for (uint32_t begin = 0; begin < n; begin += t->step_tokens) {
            uint32_t left = n - begin;
            base_status step =
                run_step(t, begin, left < t->step_tokens ? left : t->step_tokens, n, status == BASE_OK ? error : NULL);
            status = status != BASE_OK ? status : step;
        }
    }
    return par_world_agree(t->world, status, error);
}

/* --- questions --- */

bool teacher_has_logits(const teacher *t)
{
    par_place place = par_grid_place(t->grid);
    return place.stage + 1 == place.pp && place.tp_rank == 0;
}

const teacher_step *teacher_at(const teacher *t)
{
    return &t->at;
}

uint64_t teacher_n_targets(const teacher *t)
{
    uint64_t per_window = t->context - start_tokens(t), n_windows = (t->ids.n + per_window - 1) / per_window;
    return start_tokens(t) ? t->ids.n : t->ids.n - n_windows;
}

size_t teacher_token_bytes(const teacher *t, int32_t id)
{
    size_t size = 0;
    text_piece_bytes(t->tokenizer, id, &size);
    return size;
}

const arch *teacher_arch(const teacher *t)
{
    return &t->checkpoint->a;
}

uint64_t teacher_weights_bytes(const teacher *t)
{
    return t->weights_bytes;
}

/* --- a command --- */

int teacher_main(base_status (*work)(par_world *world, void *values, base_error *error), void *values)
{
    par_world *world = NULL;
    int argc = 0;
    char **argv = NULL;
    base_error error = {0};
    base_status status = par_world_open(&argc, &argv, &world, &error);
    if (status != BASE_OK) {
        command_complain(error.text);
        return EXIT_FAILED;
    }
    status = work(world, values, &error);
    if (status != BASE_OK && par_world_rank(world) == 0)
        command_complain(error.text);
    par_world_close(&world);
    return status == BASE_OK ? EXIT_DONE : EXIT_FAILED;
}
