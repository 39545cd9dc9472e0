/* model.c - one rank's part of a model put together: memory, loading, and the step.
 *
 * A step: images -> embedding (stage 0) or receive -> layers -> send, or lm_head.h (last stage).  All of it is one walk
 * of the rank's team; member 0 alone exchanges messages with other ranks. */
#include "worker/model/model.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/size.h"
#include "proto/link/position.h"
#include "worker/kernels/blas/openblas.h"
#include "worker/model/vector_encoders.h"
#include "worker/model/lm_head.h"
#include "worker/model/stack.h"
#include "worker/model/vision_tower.h"
#include "worker/model/weights.h"
#include "worker/team/team.h"
#include "worker/trace/trace.h"

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
    model_encoders encoders;
    model_head head;

    team *team;
    model_scratch scratch;
    char *attention; /* memory of model_attention_init, for both stacks */
    size_t attention_bytes;
    int32_t *feedback; /* [max_seqs] stage 0: last sampled token of each sequence slot */

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
    limits.rows_per_image = a->has_tower ? arch_tower_vectors(&a->tower) : 0;
    limits.image_size = a->has_tower ? a->tower.image_size : 0;
    limits.whole_images = a->has_tower && a->tower.images_see_all;
    if (!a->has_tower)
        limits.n_image_slots = 0;
    limits.vector_widths[LINK_VECTOR_EMBEDDING] = a->decoder.stack.d;
    for (uint32_t e = 0; e < a->n_encoders; e++)
        limits.vector_widths[LINK_VECTOR_ENCODERS + e] = a->encoders[e].width;
    return limits;
}

static void layout_workspace(model *m, model_arena *arena)
{
    model_stack_layout_workspace(&m->decoder, m->limits.max_step_tokens, m->limits.max_positions, arena);
    if (m->has_tower)
        model_tower_layout(&m->tower, arena);
    if (m->place.stage == 0)
        model_encoders_layout(&m->encoders, arena);
    m->feedback = model_arena_alloc(arena, m->limits.max_seqs, sizeof *m->feedback);
    if (m->has_head)
        model_head_layout(&m->head, m->place.tp, arena);
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
        return base_fail(error, BASE_ETOOBIG,
                         "the model's memory does not fit this machine's addresses; lower --kv-tokens");
    return BASE_OK;
}

static void init_head(model *m, const model_options *options)
{
    m->head = (model_head){.arch = &m->a.decoder,
                           .output = m->a.decoder.tied_embeddings ? &m->weights.embedding : &m->weights.output,
                           .decoder = &m->decoder,
                           .max_seqs = m->limits.max_seqs,
                           .vocab = m->split.vocab,
                           .is_root = m->place.tp_rank == 0,
                           .probe = options->probe,
                           .probe_context = options->probe_context};
}

/* Everything that needs no memory of the arenas: this rank's place and what it will hold. */
static base_status describe(model *m, const shard_checkpoint *checkpoint, const shard_recipe *recipe, par_grid *grid,
                            const par_place *place, const model_options *options, base_error *error)
{
    *m = (model){
        .a = checkpoint->a, .place = *place, .grid = grid, .limits = complete_limits(&checkpoint->a, &options->limits)};
    base_status status = shard_split_of(&m->a, place->tp, place->pp, place->tp_rank, place->stage, &m->split, error);
    if (status == BASE_OK && checkpoint->shards != NULL)
        status = shard_rank_file_open(checkpoint->shards, place->tp, place->pp, place->tp_rank, place->stage, &m->file,
                                      error);
    if (status != BASE_OK)
        return status;
    m->has_tower = m->a.has_tower && place->stage == 0;
    m->has_head = place->stage + 1 == place->pp;
    status = model_weights_init(&m->weights, &m->a, &m->split, error);
    if (status != BASE_OK)
        return status;
    model_stack_init(&m->decoder, &m->a.decoder.stack, &m->split.decoder, &options->numerics, grid);
    m->decoder.batch.all_prompts = options->all_prompts;
    if (m->a.has_tower)
        model_tower_init(&m->tower, &m->a, &m->split, &options->numerics, &m->weights, m->limits.n_image_slots, grid);
    m->encoders = (model_encoders){.arch = &m->a, .weights = &m->weights};
    init_head(m, options);
    model_origin origin = origin_of(m, checkpoint, recipe);
    status = layout(m, &origin, error);
    m->memory = (model_memory){m->weights_arena.used, m->kv_arena.used, m->workspace_arena.used};
    return status;
}

base_status model_memory_of(const shard_checkpoint *checkpoint, const shard_recipe *recipe, const par_place *place,
                            const model_options *options, model_memory *out, base_error *error)
{
    model *m = calloc(1, sizeof *m);
    if (m == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory for a model's description");
    base_status status = describe(m, checkpoint, recipe, NULL, place, options, error);
    if (status == BASE_OK) {
        *out = m->memory;
        if (m->file != NULL)
            out->weights_bytes = shard_rank_file_bytes(m->file); /* mapped, but needed in memory all the same */
        if (options->numerics.products == MODEL_PRODUCTS_OPENBLAS)
            out->workspace_bytes +=
                options->n_threads * (KERN_OPENBLAS_LIBRARY_BYTES + (uint64_t)kern_openblas_scratch_bytes());
    }
    model_destroy(&m);
    return status;
}

static base_status map_arenas(model *m, model_huge_pages huge, base_error *error)
{
    struct {
        model_arena *arena;
        uint64_t bytes;
        const char *what;
    } parts[] = {{&m->weights_arena, m->memory.weights_bytes, "weights"},
                 {&m->kv_arena, m->memory.kv_bytes, "the KV cache; lower --kv-tokens"},
                 {&m->workspace_arena, m->memory.workspace_bytes, "the workspace; lower --step-tokens"}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!model_arena_map(parts[i].arena, parts[i].bytes, huge))
            return base_fail(error, BASE_ENOMEM, "cannot allocate %llu bytes for %s",
                             (unsigned long long)parts[i].bytes, parts[i].what);
    return BASE_OK;
}

/* Tables that are computed once. */
static void start(model *m)
{
    model_stack_start(&m->decoder, m->weights.rope_divisors);
    if (m->has_tower)
        model_tower_start(&m->tower);
    m->head.norm.gain = m->weights.final_norm;
    for (uint32_t t = 0; t < m->place.tp && m->has_head; t++) {
        shard_split other; /* the layout was accepted for this rank, so it is for every rank */
        if (shard_split_of(&m->a, m->place.tp, m->place.pp, t, m->place.stage, &other, NULL) == BASE_OK)
            m->head.widths[t] = shard_range_width(other.vocab);
    }
}

/* Working memory of the team's attention, used by decoder and tower in turn. */
static base_status allocate_attention(model *m, base_error *error)
{
    uint32_t n = team_size(m->team), dh = m->a.decoder.stack.dh;
    if (m->has_tower && m->a.tower.stack.dh > dh)
        dh = m->a.tower.stack.dh;
    m->attention_bytes = model_attention_bytes(dh, n);
    m->attention = aligned_alloc(KERN_ALIGN, m->attention_bytes);
    if (m->attention == NULL)
        return base_fail(error, BASE_ENOMEM, "cannot allocate %zu bytes for the threads' attention",
                         m->attention_bytes);
    model_attention_init(&m->decoder.attention, dh, n, m->attention);
    m->tower.stack.attention = m->decoder.attention;
    m->decoder.batch.tiles_wanted = m->tower.stack.batch.tiles_wanted = 4 * n;
    return BASE_OK;
}

/* The team and its working memory. */
static base_status create_team(model *m, const model_options *options, base_error *error)
{
    base_status status = team_create(options->n_threads, options->crowded, &m->team, error);
    if (status == BASE_OK)
        status = allocate_attention(m, error);
    size_t stride = 0, bytes;
    if (options->numerics.activations != MODEL_ACTIVATIONS_F32)
        stride = model_stack_scratch_bytes(&m->decoder);
    if (stride > 0 && m->has_tower && model_stack_scratch_bytes(&m->tower.stack) > stride)
        stride = model_stack_scratch_bytes(&m->tower.stack);
    if (options->numerics.products == MODEL_PRODUCTS_OPENBLAS && kern_openblas_scratch_bytes() > stride)
        stride = kern_openblas_scratch_bytes();
    if (status != BASE_OK || stride == 0)
        return status;
    m->scratch.stride = base_size_round_up(stride, KERN_ALIGN);
    if (!base_size_mul(m->scratch.stride, team_size(m->team), &bytes))
        return base_fail(error, BASE_ETOOBIG,
                         "the threads' working memory does not fit this machine's addresses; lower --threads");
    m->scratch.bytes = aligned_alloc(KERN_ALIGN, bytes);
    if (m->scratch.bytes == NULL)
        return base_fail(error, BASE_ENOMEM, "cannot allocate %zu bytes for the threads' working memory", bytes);
    m->decoder.scratch = m->tower.stack.scratch = m->scratch;
    return BASE_OK;
}

typedef struct page_ranges {
    struct {
        const char *begin; /* NULL: none */
        size_t bytes;
    } ranges[4];
} page_ranges;

/* A member's part of the memory that steps write, so that no step waits for the system to clear pages, and a rank on
 * several NUMA nodes spreads it over them. */
static void touch_pages(void *context, team_member *me)
{
    const page_ranges *all = context;
    for (size_t i = 0; i < sizeof all->ranges / sizeof *all->ranges; i++) {
        size_t begin, end;
        team_part(me, all->ranges[i].bytes, MODEL_PAGES_GRAIN, &begin, &end);
        if (all->ranges[i].begin != NULL)
            model_pages_touch(all->ranges[i].begin + begin, end - begin);
    }
}

static void touch_memory(model *m, bool touch_cache)
{
    page_ranges ranges = {{{m->workspace_arena.base, m->memory.workspace_bytes},
                           {m->scratch.bytes, m->scratch.stride * team_size(m->team)},
                           {m->attention, m->attention_bytes},
                           {touch_cache ? m->kv_arena.base : NULL, m->memory.kv_bytes}}};
    team_run(m->team, touch_pages, &ranges);
}

static void touch_weights_pages(void *context, team_member *me)
{
    const model *m = context;
    model_weights_touch_pages(me, &m->weights, &m->a, &m->split);
}

base_status model_create(const shard_checkpoint *checkpoint, const shard_recipe *recipe, par_grid *grid,
                         const model_options *options, model **out, base_error *error)
{
    par_place place = options->place != NULL ? *options->place : par_grid_place(grid);
    model *m = calloc(1, sizeof *m);
    if (m == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory for a model's description");
    base_status status = describe(m, checkpoint, recipe, grid, &place, options, error);
    model_origin origin = origin_of(m, checkpoint, recipe);
    if (status == BASE_OK)
        status = map_arenas(m, options->huge_pages, error);
    if (status == BASE_OK)
        status = create_team(m, options, error);
    if (status == BASE_OK)
        status = layout(m, &origin, error);
    if (status == BASE_OK && m->file == NULL)
        team_run(m->team, touch_weights_pages, m);
    if (status == BASE_OK)
        status = model_weights_load(&m->weights, &origin, options->progress, options->progress_context, error);
    if (status != BASE_OK) {
        model_destroy(&m);
        return status;
    }
    if (options->probe == NULL) { /* a probe sees whole rows */
        model_stack_enable_seq_parallel(&m->decoder, place.tp);
        model_stack_enable_seq_parallel(&m->tower.stack, place.tp);
    }
    m->probe = m->decoder.probe = options->probe;
    m->probe_context = m->decoder.probe_context = options->probe_context;
    m->decoder.first_layer = m->split.layers.begin;
    touch_memory(m, options->touch_cache);
    start(m);
    *out = m;
    return BASE_OK;
}

void model_destroy(model **m)
{
    if (*m == NULL)
        return;
    model_arena_unmap(&(*m)->weights_arena);
    model_arena_unmap(&(*m)->kv_arena);
    model_arena_unmap(&(*m)->workspace_arena);
    model_weights_release(&(*m)->weights);
    shard_rank_file_close(&(*m)->file);
    team_destroy(&(*m)->team);
    free((*m)->scratch.bytes);
    free((*m)->attention);
    free(*m);
    *m = NULL;
}

int model_huge_percent(const model *m)
{
    return model_arena_huge_percent(&m->weights_arena);
}

const link_limits *model_limits(const model *m)
{
    return &m->limits;
}

void model_set_feedback(model *m, uint32_t seq, int32_t token)
{
    m->feedback[seq] = token;
}

static void call_probe(const model *m, const char *what, uint32_t layer, const float *values, size_t n_rows,
                       size_t n_columns)
{
    if (m->probe != NULL)
        m->probe(m->probe_context, what, layer, values, n_rows, n_columns);
}

/* --- the step --- */

/* Token ids to vectors.  The owner of a vocabulary row fills it in, the others leave zeros; or-ing the bits moves it to
 * all. */
static void embed_row(model *m, int32_t id, float *x)
{
    size_t d = m->a.decoder.stack.d;
    shard_range mine = m->split.vocab;
    if (id < 0 || (uint32_t)id < mine.begin || (uint32_t)id >= mine.end) {
        memset(x, 0, d * sizeof *x);
        return;
    }
    pack_row_get(&m->weights.embedding, (uint32_t)id - mine.begin, x);
    for (size_t i = 0; i < d; i++)
        x[i] *= m->a.decoder.embedding_scale;
}

/* Image rows and embeddings that came with the plan are on every rank already. */
static void place_row(model *m, const link_plan *plan, uint32_t r)
{
    link_position position = link_position_in_plan(plan->tokens[r], link_store_rows(&m->limits));
    size_t d = m->a.decoder.stack.d;
    float *flag = model_stack_overflow_flags(&m->decoder) + r;
    *flag = 0.0f;
    if (position.kind == LINK_POSITION_TOKEN)
        return;
    if (position.kind == LINK_POSITION_VECTOR) {
        const link_vector *vector = &plan->vectors[position.index];
        if (vector->kind == LINK_VECTOR_EMBEDDING)
            memcpy(m->decoder.x + r * d, vector->values, d * sizeof(float));
        return;
    }
    memcpy(m->decoder.x + r * d, model_tower_row(&m->tower, position.index), d * sizeof(float));
    *flag = model_tower_row_overflow(&m->tower, position.index) ? 1.0f : 0.0f;
}

/* The vectors that go through an encoder, each by the whole team. */
static void encode_vectors(team_member *me, model *m, const link_plan *plan)
{
    size_t d = m->a.decoder.stack.d;
    for (uint32_t r = 0, left = plan->n_vectors; left > 0; r++) {
        link_position position = link_position_in_plan(plan->tokens[r], link_store_rows(&m->limits));
        if (position.kind != LINK_POSITION_VECTOR)
            continue;
        const link_vector *vector = &plan->vectors[position.index];
        if (vector->kind != LINK_VECTOR_EMBEDDING)
            model_encoders_run(me, &m->encoders, vector->kind - LINK_VECTOR_ENCODERS, vector->values,
                               m->decoder.x + r * d);
        left--;
    }
}

static void embed(team_member *me, model *m, const link_plan *plan)
{
    size_t d = m->a.decoder.stack.d;
    float *x = m->decoder.x;
    for (size_t r; team_take(me, plan->n_tokens, &r);)
        embed_row(m, plan->tokens[r], x + r * d);
    team_barrier(me);
    if (m->place.tp > 1)
        model_stack_or_reduce(me, &m->decoder);
    for (size_t r; team_take(me, plan->n_tokens, &r);)
        place_row(m, plan, (uint32_t)r);
    team_barrier(me);
    encode_vectors(me, m, plan);
    if (me->index == 0)
        call_probe(m, "embedding", 0, x, plan->n_tokens, d);
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

static void encode_image(team_member *me, model *m, const link_image *image)
{
    uint64_t begin_us = me->index == 0 ? trace_begin() : 0;
    model_tower_encode(me, &m->tower, image->slot, image->pixels, m->probe, m->probe_context);
    if (me->index == 0)
        trace_end(TRACE_TOWER, begin_us, image->slot);
}

static void enter_stage(team_member *me, model *m, const link_plan *plan)
{
    if (m->place.stage > 0) {
        model_stack_receive(me, &m->decoder);
        return;
    }
    for (uint32_t i = 0; i < plan->n_images; i++)
        encode_image(me, m, &plan->images[i]);
    embed(me, m, plan);
}

/* What a step is about, for every member of the team. */
typedef struct step {
    model *m;
    const link_plan *plan;
    link_result *result;
} step;

static void probe_layer(void *context, uint32_t il)
{
    const step *now = context;
    const model *m = now->m;
    call_probe(m, "decoder", m->split.layers.begin + il, m->decoder.x, now->plan->n_tokens, m->a.decoder.stack.d);
}

static void walk(void *context, team_member *me)
{
    step *now = context;
    model *m = now->m;
    enter_stage(me, m, now->plan);
    model_stack_run(me, &m->decoder, m->weights.layers, shard_range_width(m->split.layers), probe_layer, now);
    if (m->has_head) {
        model_head_run(me, &m->head, now->plan, now->result);
        return;
    }
    model_stack_send(me, &m->decoder);
}

void model_step(model *m, const link_plan *plan, link_result *result)
{
    uint64_t begin_us = trace_begin();
    result->step = plan->step;
    result->n_tokens = 0;
    model_batch_from_plan(&m->decoder.batch, plan, &m->limits, &m->decoder.heads);
    if (m->place.stage == 0)
        fill_feedback(m, plan);
    team_run(m->team, walk, &(step){m, plan, result});
    trace_end(TRACE_STEP, begin_us, plan->n_tokens);
}
