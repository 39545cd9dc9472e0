/* batch.c - rows of a plan or an image, and the tiles of their attention. */
#include "worker/model/batch.h"

#include "proto/link/position.h"
#include "worker/kernels/kern.h"
#include "worker/model/numerics.h"

model_heads model_heads_of(const arch_stack *stack, const shard_stack_split *split)
{
    return (model_heads){.heads = split->heads, .kv_heads = split->kv_heads, .heads_per_kv = stack->h / stack->kv};
}

void model_batch_layout(model_batch *batch, uint32_t max_rows, uint32_t n_local_heads, uint32_t window,
                        model_arena *arena)
{
    batch->window = window;
    batch->max_rows = max_rows;
    batch->max_tiles = max_rows * n_local_heads; /* the worst: every row and head alone */
    batch->pos = model_arena_alloc(arena, max_rows, sizeof *batch->pos);
    batch->n_visible = model_arena_alloc(arena, max_rows, sizeof *batch->n_visible);
    batch->first = window != 0 ? model_arena_alloc(arena, max_rows, sizeof *batch->first) : NULL;
    batch->blocks = model_arena_alloc(arena, max_rows, sizeof *batch->blocks);
    batch->spans = batch->has_spans ? model_arena_alloc(arena, max_rows, sizeof *batch->spans) : NULL;
    batch->tiles = model_arena_alloc(arena, batch->max_tiles, sizeof *batch->tiles);
}

/* Queries of a tile: as many as the kernel takes, fewer (but not below LOW_TILE) when the batch has few. */
#define LOW_TILE 8u

static uint32_t tile_queries(const model_batch *batch, uint64_t n_queries)
{
    uint64_t share = n_queries / (batch->tiles_wanted > 0 ? batch->tiles_wanted : 1);
    if (share >= KERN_ATTENTION_ROWS)
        return KERN_ATTENTION_ROWS;
    return share < LOW_TILE ? LOW_TILE : (uint32_t)share / LOW_TILE * LOW_TILE;
}

static uint32_t at_most(uint32_t n, uint32_t limit)
{
    return n < limit ? n : limit;
}

/* Tile the query heads [begin, end) that read one KV head over rows [row, row + n). */
static void add_tiles(model_batch *batch, uint32_t row, uint32_t n, shard_range group, uint32_t first_head,
                      uint32_t kv_head, uint32_t n_queries)
{
    uint32_t n_heads = shard_range_width(group), n_together = at_most(n_heads, KERN_ATTENTION_ROWS);
    uint32_t n_tokens = n_queries > n_together ? n_queries / n_together : 1;
    for (uint32_t head = 0; head < n_heads; head += n_together)
        for (uint32_t it = 0; it < n; it += n_tokens)
            batch->tiles[batch->n_tiles++] = (model_tile){
                .row = row + it,
                .n_rows = at_most(n - it, n_tokens),
                .head = group.begin - first_head + head,
                .n_heads = at_most(n_heads - head, n_together),
                .kv_head = kv_head,
            };
}

/* Tile all local heads over rows [row, row + n) of one sequence. */
static void tile_rows(model_batch *batch, uint32_t row, uint32_t n, const model_heads *heads, uint32_t n_queries)
{
    for (uint32_t kv = heads->kv_heads.begin; kv < heads->kv_heads.end; kv++) {
        shard_range group = {kv * heads->heads_per_kv, (kv + 1) * heads->heads_per_kv};
        if (group.begin < heads->heads.begin)
            group.begin = heads->heads.begin;
        if (group.end > heads->heads.end)
            group.end = heads->heads.end;
        add_tiles(batch, row, n, group, heads->heads.begin, kv - heads->kv_heads.begin, n_queries);
    }
}

/* How many positions after its own a plan's token sees: none, or those to the end of the image that it is a row of. */
static uint32_t n_ahead(const link_plan *plan, uint32_t it, const link_limits *limits)
{
    if (limits->whole_images == 0)
        return 0;
    link_position position = link_position_in_plan(plan->tokens[it], link_store_rows(limits));
    if (position.kind != LINK_POSITION_IMAGE_ROW)
        return 0;
    return limits->rows_per_image - 1 - position.index % limits->rows_per_image;
}

/* A slice that decodes, or verifies drafts, samples after each of its positions. */
static bool is_prompt(const link_slice *slice)
{
    return slice->n_sampled < slice->n_tokens;
}

static void add_span(model_batch *batch, size_t row, size_t n)
{
    if (batch->has_spans)
        batch->spans[batch->n_spans++] = (kern_span){row, n};
}

void model_batch_from_plan(model_batch *batch, const link_plan *plan, const link_limits *limits,
                           const model_heads *heads)
{
    batch->n_rows = 0;
    batch->n_tiles = 0;
    batch->n_spans = 0;
    uint32_t n_queries = tile_queries(batch, (uint64_t)plan->n_tokens * shard_range_width(heads->heads));
    for (uint32_t is = 0; is < plan->n_slices; is++) {
        const link_slice *slice = &plan->slices[is];
        tile_rows(batch, batch->n_rows, slice->n_tokens, heads, n_queries);
        if (is_prompt(slice))
            add_span(batch, batch->n_rows, slice->n_tokens);
        for (uint32_t it = 0; it < slice->n_tokens; it++) {
            uint32_t row = batch->n_rows++;
            batch->pos[row] = slice->pos + it;
            uint32_t end = slice->pos + it + 1;
            batch->n_visible[row] = end + n_ahead(plan, slice->first_token + it, limits);
            if (batch->window != 0)
                batch->first[row] = end > batch->window ? end - batch->window : 0;
            batch->blocks[row] = plan->blocks + slice->first_block;
        }
    }
    if (batch->all_prompts) {
        batch->n_spans = 0;
        add_span(batch, 0, batch->n_rows);
    }
}

void model_batch_from_image(model_batch *batch, uint32_t n_patches, const uint32_t *blocks, const model_heads *heads)
{
    batch->n_rows = n_patches;
    batch->n_tiles = 0;
    batch->n_spans = 0;
    if (n_patches >= MODEL_OPENBLAS_ROWS)
        add_span(batch, 0, n_patches);
    tile_rows(batch, 0, n_patches, heads, tile_queries(batch, (uint64_t)n_patches * shard_range_width(heads->heads)));
    for (uint32_t row = 0; row < n_patches; row++) {
        batch->pos[row] = row;
        batch->n_visible[row] = n_patches;
        batch->blocks[row] = blocks;
    }
}
