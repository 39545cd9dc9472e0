#include "worker/model/attend.h"

#include "proto/base/size.h"
#include "worker/kernels/kern.h"

/* A tile is cut when its splits are more than one part in this many of a member's fair share; so there are fewer cuts
 * than CUTS_PER_MEMBER for each member. */
#define CUTS_PER_MEMBER       4u
#define PART_TILES_PER_MEMBER 16u /* parts of full tiles that there is room for; tiles beyond it stay whole */

/* --- memory --- */

/* A member's: the kernel's scratch, then sums, then one part. */
static size_t scratch_bytes(uint32_t dh)
{
    return base_size_round_up(kern_attention_scratch(dh) * sizeof(float), KERN_ALIGN);
}

static size_t tile_bytes(uint32_t dh)
{
    return KERN_ATTENTION_ROWS * kern_partial_floats(dh) * sizeof(float);
}

static size_t stride_of(uint32_t dh)
{
    return scratch_bytes(dh) + 2 * tile_bytes(dh);
}

static size_t cuts_bytes(uint32_t n_members)
{
    return base_size_round_up(CUTS_PER_MEMBER * n_members * sizeof(model_cut), KERN_ALIGN);
}

size_t model_attention_bytes(uint32_t dh, uint32_t n_members)
{
    return n_members * (stride_of(dh) + PART_TILES_PER_MEMBER * tile_bytes(dh)) + 2 * cuts_bytes(n_members);
}

void model_attention_init(model_attention *at, uint32_t dh, uint32_t n_members, char *memory)
{
    *at = (model_attention){.n_members = n_members, .scratch = memory, .stride = stride_of(dh)};
    memory += n_members * at->stride;
    at->parts = (float *)(void *)memory;
    at->max_part_rows = n_members * PART_TILES_PER_MEMBER * KERN_ATTENTION_ROWS;
    memory += n_members * PART_TILES_PER_MEMBER * tile_bytes(dh);
    at->whole.cuts = (model_cut *)(void *)memory;
    at->windowed.cuts = (model_cut *)(void *)(memory + cuts_bytes(n_members));
}

/* --- who does what --- */

typedef struct split_range {
    uint32_t begin, end;
} split_range;

/* The splits of which some row of a tile sees something. */
static split_range splits_of(const model_batch *batch, const model_tile *tile, bool windowed)
{
    uint32_t first = windowed ? UINT32_MAX : 0, last = 0;
    for (uint32_t r = tile->row; r < tile->row + tile->n_rows; r++) {
        if (windowed && batch->first[r] < first)
            first = batch->first[r];
        if (batch->n_visible[r] > last)
            last = batch->n_visible[r];
    }
    return (split_range){first / KERN_SPLIT, (last - 1) / KERN_SPLIT + 1};
}

static void divide(const model_attention *at, const model_batch *batch, bool windowed, model_division *out)
{
    uint64_t n_splits = 0, n_part_rows = 0;
    for (uint32_t i = 0; i < batch->n_tiles; i++) {
        split_range splits = splits_of(batch, &batch->tiles[i], windowed);
        n_splits += splits.end - splits.begin;
    }
    uint64_t fair = n_splits / (CUTS_PER_MEMBER * at->n_members);
    out->n_cuts = out->n_tasks = out->n_queries = 0;
    for (uint32_t i = 0; i < batch->n_tiles && at->n_members > 1; i++) {
        const model_tile *tile = &batch->tiles[i];
        split_range splits = splits_of(batch, tile, windowed);
        uint32_t n = splits.end - splits.begin, n_queries = tile->n_rows * tile->n_heads;
        if (n < 2 || n <= fair || n_part_rows + (uint64_t)n * n_queries > at->max_part_rows)
            continue;
        out->cuts[out->n_cuts++] = (model_cut){i, splits.begin, n, out->n_tasks, (uint32_t)n_part_rows, out->n_queries};
        out->n_tasks += n;
        out->n_queries += n_queries;
        n_part_rows += (uint64_t)n * n_queries;
    }
}

void model_attention_divide(model_attention *at, const model_batch *batch)
{
    divide(at, batch, false, &at->whole);
    if (batch->first != NULL)
        divide(at, batch, true, &at->windowed);
}

/* --- the work --- */

/* One call of model_attend. */
typedef struct attend_work {
    const model_attention *at;
    const model_division *division;
    const model_batch *batch;
    const model_kv *kv;
    const model_attend_rows *rows;
    uint32_t layer;
    bool windowed;
} attend_work;

static char *scratch_of(const team_member *me, const attend_work *w)
{
    return w->at->scratch + me->index * w->at->stride;
}

static kern_attention call_of(const team_member *me, const attend_work *w, const model_tile *tile)
{
    size_t offset = tile->row * w->rows->ld + (size_t)tile->head * w->kv->dh;
    return (kern_attention){
        .type = w->kv->type,
        .base = model_kv_head(w->kv, w->layer, tile->kv_head),
        .blocks = w->batch->blocks[tile->row],
        .dh = w->kv->dh,
        .scale = w->rows->scale,
        .q = w->rows->q + offset,
        .out = w->rows->o + offset,
        .ldq = w->rows->ld,
        .ldo = w->rows->ld,
        .n_tokens = tile->n_rows,
        .n_heads = tile->n_heads,
        .n_visible = w->batch->n_visible + tile->row,
        .first = w->windowed ? w->batch->first + tile->row : NULL,
        .scratch = (float *)(void *)scratch_of(me, w),
    };
}

static void attend_whole(const team_member *me, const attend_work *w, const model_tile *tile)
{
    const kern_table *kern = kern_active();
    kern_attention call = call_of(me, w, tile);
    uint32_t dh = w->kv->dh;
    float *sums = (float *)(void *)(scratch_of(me, w) + scratch_bytes(dh));
    float *part = (float *)(void *)(scratch_of(me, w) + scratch_bytes(dh) + tile_bytes(dh));
    split_range splits = splits_of(w->batch, tile, w->windowed);
    kern->attention_partial(&call, splits.begin, sums);
    for (uint32_t split = splits.begin + 1; split < splits.end; split++) {
        kern->attention_partial(&call, split, part);
        kern->attention_merge(sums, part, tile->n_rows * tile->n_heads, dh);
    }
    kern->attention_normalise(&call, sums);
}

/* The cut that has task `task`. */
static const model_cut *cut_with_task(const model_division *division, uint32_t task)
{
    const model_cut *cut = division->cuts;
    while (task >= cut->first_task + cut->n_splits)
        cut++;
    return cut;
}

static uint32_t queries_of(const attend_work *w, const model_cut *cut)
{
    const model_tile *tile = &w->batch->tiles[cut->tile];
    return tile->n_rows * tile->n_heads;
}

/* A query's row of parts in the cut's first split; those of the following splits lie queries_of rows apart. */
static float *part_of(const attend_work *w, const model_cut *cut, uint32_t split, uint32_t query)
{
    size_t row = cut->first_part + (size_t)split * queries_of(w, cut) + query;
    return w->at->parts + row * kern_partial_floats(w->kv->dh);
}

static void attend_split(const team_member *me, const attend_work *w, uint32_t task)
{
    const model_cut *cut = cut_with_task(w->division, task);
    kern_attention call = call_of(me, w, &w->batch->tiles[cut->tile]);
    uint32_t split = task - cut->first_task;
    kern_active()->attention_partial(&call, cut->split + split, part_of(w, cut, split, 0));
}

/* Join the parts of one query of a cut tile, into that of its first split. */
static void finish_query(const team_member *me, const attend_work *w, uint32_t number)
{
    const model_cut *cut = w->division->cuts;
    while (number >= cut->first_query + queries_of(w, cut))
        cut++;
    const model_tile *tile = &w->batch->tiles[cut->tile];
    uint32_t query = number - cut->first_query, dh = w->kv->dh;
    float *sums = part_of(w, cut, 0, query);
    for (uint32_t split = 1; split < cut->n_splits; split++)
        kern_active()->attention_merge(sums, part_of(w, cut, split, query), 1, dh);
    kern_attention call = call_of(me, w, tile);
    call.out += query / tile->n_heads * w->rows->ld + (size_t)(query % tile->n_heads) * dh;
    call.n_tokens = call.n_heads = 1;
    kern_active()->attention_normalise(&call, sums);
}

static bool is_cut(const model_division *division, uint32_t tile)
{
    for (uint32_t i = 0; i < division->n_cuts; i++)
        if (division->cuts[i].tile == tile)
            return true;
    return false;
}

void model_attend(team_member *me, const model_attention *at, const model_batch *batch, const model_kv *kv,
                  uint32_t layer, bool windowed, const model_attend_rows *rows)
{
    const model_division *division = windowed ? &at->windowed : &at->whole;
    attend_work w = {at, division, batch, kv, rows, layer, windowed};
    for (size_t i; team_take(me, division->n_tasks + (size_t)batch->n_tiles, &i);) {
        if (i < division->n_tasks)
            attend_split(me, &w, (uint32_t)i);
        else if (!is_cut(division, (uint32_t)i - division->n_tasks))
            attend_whole(me, &w, &batch->tiles[i - division->n_tasks]);
    }
    if (division->n_cuts == 0)
        return;
    team_barrier(me);
    for (size_t i; team_take(me, division->n_queries, &i);)
        finish_query(me, &w, (uint32_t)i);
}
