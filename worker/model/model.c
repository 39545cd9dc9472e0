/* model.c - one rank's part of a model put together: memory, loading, and the step.
 *
 * The step's way: images -> embedding (stage 0) or receive -> layers -> send, or norm, logits, gather, sample (last stage). */
#include "worker/model/model.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/size.h"
#include "worker/kernels/linear.h"
#include "worker/model/sample.h"
#include "worker/model/stack.h"
#include "worker/model/tower.h"
#include "worker/model/weights.h"

struct model {
    arch a;
    par_place place;
    par_grid *grid; /* borrowed */
    link_limits limits;
    shard_split split;
    bool has_tower; /* on this rank */
    bool has_head;  /* embedding as output: last stage */

    shard_rank_file *file; /* mapped weights, with shards; NULL otherwise */
    model_arena weights_arena, kv_arena, workspace_arena;
    model_memory memory;

    model_weights weights;
    model_stack decoder;
    model_tower tower;

    int32_t *feedback;      /* [max_seqs] stage 0: last sampled token of each sequence slot */
    uint32_t *vocab_widths; /* [tp] vocabulary rows of each tensor rank */
    uint32_t *sampled;      /* [max_seqs] slices of the plan that sample */
    float *local_logits;    /* [max_seqs][this rank's vocabulary rows] */
    float *logits;          /* [max_seqs][V], tensor rank 0 */
    model_candidate *candidates; /* [V], tensor rank 0 */

    model_probe *probe;
    void *probe_context;
};

/* --- memory --- */

/* Fill in what the architecture decides, and cap what the request may not exceed. */
static link_limits complete_limits(const arch *a, const link_limits *asked)
{
    link_limits limits = *asked;
    if (limits.max_positions == 0 || limits.max_positions > a->decoder.max_positions)
        limits.max_positions = a->decoder.max_positions;
    limits.vocab_size = a->decoder.vocab_size;
    limits.rows_per_image = a->has_tower ? a->tower.n_patches : 0;
    limits.image_size = a->has_tower ? a->tower.image_size : 0;
    if (!a->has_tower)
        limits.n_image_slots = 0;
    return limits;
}

static void layout_workspace(model *m, model_arena *arena)
{
    model_stack_layout_workspace(&m->decoder, m->limits.max_step_tokens, m->limits.max_positions, arena);
    if (m->has_tower)
        model_tower_layout(&m->tower, arena);
    m->feedback = model_arena_take(arena, m->limits.max_seqs, sizeof *m->feedback);
    m->vocab_widths = model_arena_take(arena, m->place.tp, sizeof *m->vocab_widths);
    if (!m->has_head)
        return;
    size_t n = m->limits.max_seqs, vocab = m->a.decoder.vocab_size;
    m->sampled = model_arena_take(arena, n, sizeof *m->sampled);
    m->local_logits = model_arena_take(arena, n, shard_range_width(m->split.vocab) * sizeof *m->local_logits);
    if (m->place.tp_rank == 0) {
        m->logits = model_arena_take(arena, n, vocab * sizeof *m->logits);
        m->candidates = model_arena_take(arena, vocab, sizeof *m->candidates);
    }
}

static model_origin origin_of(const model *m, const shard_checkpoint *checkpoint, const shard_recipe *recipe)
{
    return (model_origin){.checkpoint = checkpoint, .recipe = recipe, .split = &m->split, .file = m->file};
}

/* Lay the whole model out over its three arenas (counting while they have no base). */
static base_status layout(model *m, const model_origin *origin, base_error *error)
{
    base_status status = model_weights_layout(&m->weights, origin, &m->weights_arena, error);
    if (status != BASE_OK)
        return status;
    model_stack_layout_kv(&m->decoder, shard_range_width(m->split.layers), m->limits.n_kv_blocks, &m->kv_arena);
    layout_workspace(m, &m->workspace_arena);
    if (m->weights_arena.too_big || m->kv_arena.too_big || m->workspace_arena.too_big)
        return base_fail(error, BASE_ETOOBIG, "the model's memory does not fit this machine's addresses; lower --kv-tokens");
    return BASE_OK;
}

/* Everything that needs no memory of the arenas: who this rank is and what it will hold. */
static base_status describe(model *m, const shard_checkpoint *checkpoint, const shard_recipe *recipe, par_grid *grid,
                            const par_place *place, const link_limits *limits, base_error *error)
{
    *m = (model){.a = checkpoint->a, .place = *place, .grid = grid, .limits = complete_limits(&checkpoint->a, limits)};
    base_status status = shard_split_of(&m->a, place->tp, place->pp, place->tp_rank, place->stage, &m->split, error);
    if (status == BASE_OK && checkpoint->shards != NULL)
        status = shard_rank_file_open(checkpoint->shards, place->tp, place->pp, place->tp_rank, place->stage, &m->file, error);
    if (status != BASE_OK)
        return status;
    m->has_tower = m->a.has_tower && place->stage == 0;
    m->has_head = place->stage + 1 == place->pp;
    status = model_weights_init(&m->weights, &m->a, &m->split, error);
    if (status != BASE_OK)
        return status;
    model_stack_init(&m->decoder, &m->a.decoder.stack, &m->split.decoder, grid);
    if (m->a.has_tower)
        model_tower_init(&m->tower, &m->a, &m->split, &m->weights, m->limits.n_image_slots, grid);
    model_origin origin = origin_of(m, checkpoint, recipe);
    status = layout(m, &origin, error);
    m->memory = (model_memory){m->weights_arena.used, m->kv_arena.used, m->workspace_arena.used};
    return status;
}

base_status model_memory_of(const shard_checkpoint *checkpoint, const shard_recipe *recipe, const par_place *place,
                            const link_limits *limits, model_memory *out, base_error *error)
{
    model *m = calloc(1, sizeof *m);
    if (m == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory for a model's description");
    base_status status = describe(m, checkpoint, recipe, NULL, place, limits, error);
    if (status == BASE_OK) {
        *out = m->memory;
        if (m->file != NULL)
            out->weights_bytes = shard_rank_file_bytes(m->file); /* mapped, but needed in memory all the same */
    }
    model_destroy(&m);
    return status;
}

static base_status map_arenas(model *m, base_error *error)
{
    struct {
        model_arena *arena;
        uint64_t bytes;
        const char *what;
    } parts[] = {{&m->weights_arena, m->memory.weights_bytes, "weights"},
                 {&m->kv_arena, m->memory.kv_bytes, "the KV cache; lower --kv-tokens"},
                 {&m->workspace_arena, m->memory.workspace_bytes, "the workspace; lower --step-tokens"}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!model_arena_map(parts[i].arena, parts[i].bytes))
            return base_fail(error, BASE_ENOMEM, "cannot take %llu bytes for %s", (unsigned long long)parts[i].bytes,
                             parts[i].what);
    return BASE_OK;
}

/* Tables that are computed once. */
static void start(model *m)
{
    model_stack_start(&m->decoder, m->weights.rope_divisors);
    if (m->has_tower)
        model_tower_start(&m->tower);
    for (uint32_t t = 0; t < m->place.tp; t++) {
        shard_split other; /* the layout was accepted for this rank, so it is for every rank */
        if (shard_split_of(&m->a, m->place.tp, m->place.pp, t, m->place.stage, &other, NULL) == BASE_OK)
            m->vocab_widths[t] = shard_range_width(other.vocab);
    }
}

base_status model_create(const shard_checkpoint *checkpoint, const shard_recipe *recipe, par_grid *grid,
                         const model_options *options, model **out, base_error *error)
{
    par_place place = par_grid_place(grid);
    model *m = calloc(1, sizeof *m);
    if (m == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory for a model's description");
    base_status status = describe(m, checkpoint, recipe, grid, &place, &options->limits, error);
    model_origin origin = origin_of(m, checkpoint, recipe);
    if (status == BASE_OK)
        status = map_arenas(m, error);
    if (status == BASE_OK)
        status = layout(m, &origin, error);
    if (status == BASE_OK)
        status = model_weights_load(&m->weights, &origin, options->progress, options->progress_context, error);
    if (status != BASE_OK) {
        model_destroy(&m);
        return status;
    }
    m->probe = m->decoder.probe = options->probe;
    m->probe_context = m->decoder.probe_context = options->probe_context;
    m->decoder.first_layer = m->split.layers.begin;
    start(m);
    *out = m;
    return BASE_OK;
}

void model_destroy(model **m)
{
    if (*m == NULL)
        return;
    model_arena_unmap(&(*m)->weights_arena, (*m)->memory.weights_bytes);
    model_arena_unmap(&(*m)->kv_arena, (*m)->memory.kv_bytes);
    model_arena_unmap(&(*m)->workspace_arena, (*m)->memory.workspace_bytes);
    model_weights_release(&(*m)->weights);
    shard_rank_file_close(&(*m)->file);
    free(*m);
    *m = NULL;
}

const link_limits *model_limits(const model *m)
{
    return &m->limits;
}

void model_set_feedback(model *m, uint32_t seq, int32_t token)
{
    m->feedback[seq] = token;
}

static void show(const model *m, const char *what, uint32_t layer, const float *values, size_t n_rows, size_t n_columns)
{
    if (m->probe != NULL)
        m->probe(m->probe_context, what, layer, values, n_rows, n_columns);
}

/* --- the step --- */

/* Token ids to vectors.  The owner of a vocabulary row fills it in, the others leave zeros; or-ing the bits moves it to all.
 * Image rows are on every rank already. */
static void embed(model *m, const link_plan *plan)
{
    size_t d = m->a.decoder.stack.d;
    float *x = m->decoder.x, *marks = model_stack_overflow(&m->decoder);
    shard_range mine = m->split.vocab;

    memset(x, 0, plan->n_tokens * d * sizeof *x);
    for (uint32_t r = 0; r < plan->n_tokens; r++) {
        int32_t id = plan->tokens[r];
        if (id >= 0 && (uint32_t)id >= mine.begin && (uint32_t)id < mine.end) {
            pack_row_get(&m->weights.embedding, (uint32_t)id - mine.begin, x + r * d);
            for (size_t i = 0; i < d; i++)
                x[r * d + i] *= m->a.decoder.embedding_scale;
        }
    }
    if (m->place.tp > 1)
        par_or_u32(m->grid, (uint32_t *)(void *)x, plan->n_tokens * d);
    for (uint32_t r = 0; r < plan->n_tokens; r++) {
        int32_t id = plan->tokens[r];
        marks[r] = 0.0f;
        if (id < 0) {
            uint32_t row = (uint32_t)(-1 - id);
            memcpy(x + r * d, model_tower_row(&m->tower, row), d * sizeof *x);
            marks[r] = model_tower_row_overflow(&m->tower, row) ? 1.0f : 0.0f;
        }
    }
    show(m, "embedding", 0, x, plan->n_tokens, d);
}

/* Put the tokens that the last stage sampled where the plan left placeholders. */
static void fill_feedback(const model *m, const link_plan *plan)
{
    for (uint32_t is = 0; is < plan->n_slices; is++) {
        const link_slice *slice = &plan->slices[is];
        if (slice->flags & LINK_SLICE_FEEDBACK)
            plan->tokens[slice->first_token] = m->feedback[slice->seq];
    }
}

static void enter_stage(model *m, const link_plan *plan)
{
    size_t floats = plan->n_tokens * ((size_t)m->a.decoder.stack.d + 1);
    if (m->place.stage > 0) {
        par_stage_receive(m->grid, m->decoder.x, floats);
        return;
    }
    for (uint32_t i = 0; i < plan->n_images; i++)
        model_tower_encode(&m->tower, plan->images[i].slot, plan->images[i].pixels, m->probe, m->probe_context);
    fill_feedback(m, plan);
    embed(m, plan);
}

/* Logits of the last row of every slice that samples: norm, this rank's vocabulary rows, gather. */
static void compute_logits(model *m, const link_plan *plan)
{
    size_t d = m->a.decoder.stack.d, local = shard_range_width(m->split.vocab);
    uint32_t n = 0, end = 0;
    for (uint32_t is = 0; is < plan->n_slices; is++) {
        end += plan->slices[is].n_tokens;
        if (!(plan->slices[is].flags & LINK_SLICE_SAMPLE))
            continue;
        m->sampled[n] = is;
        model_stack_norm(&m->decoder, m->decoder.x + (end - 1) * d, m->weights.final_norm, m->decoder.y + n * d);
        n++;
    }
    if (n == 0)
        return;
    const pack_matrix *output = m->a.decoder.tied_embeddings ? &m->weights.embedding : &m->weights.output;
    kern_linear(output, m->decoder.y, d, n, m->local_logits, local);
    for (size_t i = 0; i < n * local; i++)
        m->local_logits[i] *= m->a.decoder.logit_scale;
    par_gather_columns(m->grid, m->local_logits, m->vocab_widths, n, m->logits);
    if (m->place.tp_rank == 0)
        show(m, "logits", 0, m->logits, n, m->a.decoder.vocab_size);
}

static link_token sample_slice(model *m, const link_slice *slice, const float *logits)
{
    uint32_t last = slice->pos + slice->n_tokens - 1;
    size_t vocab = m->a.decoder.vocab_size;
    link_token token = {.seq = slice->seq, .pos = last};
    token.token = model_sample(logits, vocab, &slice->sampling, last + 1, m->candidates, &token.logprob);
    if (slice->flags & LINK_SLICE_DIGEST)
        token.logits_digest = model_logits_digest(logits, vocab);
    return token;
}

/* Rows [row, row + n) of x hold a mark of overflow. */
static bool rows_overflowed(model *m, uint32_t row, uint32_t n)
{
    const float *marks = model_stack_overflow(&m->decoder);
    for (uint32_t r = row; r < row + n; r++)
        if (marks[r] != 0.0f)
            return true;
    return false;
}

/* One entry per slice that sampled, and one with LINK_TOKEN_OVERFLOW per slice that left the fixed-point range. */
static void collect_tokens(model *m, const link_plan *plan, link_result *result)
{
    uint32_t row = 0, next_logits = 0;
    for (uint32_t is = 0; is < plan->n_slices; is++) {
        const link_slice *slice = &plan->slices[is];
        const float *logits = m->logits + (size_t)next_logits * m->a.decoder.vocab_size;
        bool samples = (slice->flags & LINK_SLICE_SAMPLE) != 0;
        if (rows_overflowed(m, row, slice->n_tokens))
            result->tokens[result->n_tokens++] = (link_token){
                .seq = slice->seq, .pos = slice->pos + slice->n_tokens - 1, .token = LINK_TOKEN_OVERFLOW};
        else if (samples)
            result->tokens[result->n_tokens++] = sample_slice(m, slice, logits);
        next_logits += samples;
        row += slice->n_tokens;
    }
}

void model_step(model *m, const link_plan *plan, link_result *result)
{
    size_t d = m->a.decoder.stack.d;
    result->step = plan->step;
    result->n_tokens = 0;

    model_batch_from_plan(&m->decoder.batch, plan, &m->decoder.heads);
    enter_stage(m, plan);
    for (uint32_t il = 0; il < shard_range_width(m->split.layers); il++) {
        model_stack_layer(&m->decoder, &m->weights.layers[il], il);
        show(m, "decoder", m->split.layers.begin + il, m->decoder.x, plan->n_tokens, d);
    }
    if (!m->has_head) {
        par_stage_send(m->grid, m->decoder.x, plan->n_tokens * (d + 1));
        return;
    }
    compute_logits(m, plan);
    if (m->place.tp_rank == 0)
        collect_tokens(m, plan, result);
}
