/* attend.c - attention as tasks for a team: whole tiles, and splits of tiles that see many positions (flash-decoding).
 *
 *     positions   0 ........ KERN_SPLIT ........ 2 KERN_SPLIT ........ n_visible
 *     tile A      [ partial 0 ]---merge---[ partial 1 ]---merge---[ 2 ] -> normalise      one task, one thread
 *     tile B      [ partial 0 ]           [ partial 1 ]           [ 2 ]                   split: three tasks
 *                        ======== barrier: all partials of B are in memory ========
 *     query of B  partial 0 ---merge--- partial 1 ---merge--- 2 -> normalise              one task a query
 *
 * A partial is the output of a tile's queries over one split, not normalised, with the running maximum and sum of the
 * softmax. Merging is always in split order, so both ways give the same bits.  schedule_splits picks the tiles to
 * split: those with more splits than a quarter of a member's fair share, while there is room for their partials. */
#include "worker/model/attend.h"

#include "proto/base/size.h"
#include "worker/kernels/kern.h"

/* A tile is split if it has more splits than one part in this many of a member's fair share; so there are fewer split
 * tiles than SPLIT_TILES_PER_MEMBER for each member. */
#define SPLIT_TILES_PER_MEMBER   4u
#define PARTIAL_TILES_PER_MEMBER 16u /* room for partials of full-height tiles; tiles that find none stay whole */

/* --- memory --- */

/* A member's: the kernel's scratch, then two tiles of partials: what is merged so far, and the next. */
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

static size_t split_tiles_bytes(uint32_t n_members)
{
    return base_size_round_up(SPLIT_TILES_PER_MEMBER * n_members * sizeof(model_split_tile), KERN_ALIGN);
}

size_t model_attention_bytes(uint32_t dh, uint32_t n_members)
{
    return n_members * (stride_of(dh) + PARTIAL_TILES_PER_MEMBER * tile_bytes(dh)) + 2 * split_tiles_bytes(n_members);
}

void model_attention_init(model_attention *at, uint32_t dh, uint32_t n_members, char *memory)
{
    *at = (model_attention){.n_members = n_members, .scratch = memory, .stride = stride_of(dh)};
    memory += n_members * at->stride;
    at->partials = (float *)(void *)memory;
    at->max_partial_rows = n_members * PARTIAL_TILES_PER_MEMBER * KERN_ATTENTION_ROWS;
    memory += n_members * PARTIAL_TILES_PER_MEMBER * tile_bytes(dh);
    at->full.split_tiles = (model_split_tile *)(void *)memory;
    at->windowed.split_tiles = (model_split_tile *)(void *)(memory + split_tiles_bytes(n_members));
}

/* --- which tiles are split --- */

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

static void schedule_splits(const model_attention *at, const model_batch *batch, bool windowed,
                            model_attention_schedule *out)
{
    uint64_t n_splits = 0, n_partial_rows = 0;
    for (uint32_t i = 0; i < batch->n_tiles; i++) {
        split_range splits = splits_of(batch, &batch->tiles[i], windowed);
        n_splits += splits.end - splits.begin;
    }
    uint64_t fair = n_splits / (SPLIT_TILES_PER_MEMBER * at->n_members);
    out->n_split_tiles = out->n_tasks = out->n_queries = 0;
    for (uint32_t i = 0; i < batch->n_tiles && at->n_members > 1; i++) {
        const model_tile *tile = &batch->tiles[i];
        split_range splits = splits_of(batch, tile, windowed);
        uint32_t n = splits.end - splits.begin, n_queries = tile->n_rows * tile->n_heads;
        if (n < 2 || n <= fair || n_partial_rows + (uint64_t)n * n_queries > at->max_partial_rows)
            continue;
        out->split_tiles[out->n_split_tiles++] =
            (model_split_tile){i, splits.begin, n, out->n_tasks, (uint32_t)n_partial_rows, out->n_queries};
        out->n_tasks += n;
        out->n_queries += n_queries;
        n_partial_rows += (uint64_t)n * n_queries;
    }
}

void model_attention_prepare(model_attention *at, const model_batch *batch)
{
    schedule_splits(at, batch, false, &at->full);
    if (batch->first != NULL)
        schedule_splits(at, batch, true, &at->windowed);
}

/* --- the work --- */

/* One call of model_attend. */
typedef struct attend_work {
    const model_attention *at;
    const model_attention_schedule *schedule;
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
    float *partial = (float *)(void *)(scratch_of(me, w) + scratch_bytes(dh) + tile_bytes(dh));
    split_range splits = splits_of(w->batch, tile, w->windowed);
    kern->attention_partial(&call, splits.begin, sums);
    for (uint32_t split = splits.begin + 1; split < splits.end; split++) {
        kern->attention_partial(&call, split, partial);
        kern->attention_merge(sums, partial, tile->n_rows * tile->n_heads, dh);
    }
    kern->attention_normalise(&call, sums);
}

/* The split tile that has task `task`. */
static const model_split_tile *tile_of_task(const model_attention_schedule *schedule, uint32_t task)
{
    const model_split_tile *s = schedule->split_tiles;
    while (task >= s->first_task + s->n_splits)
        s++;
    return s;
}

static uint32_t queries_of(const attend_work *w, const model_split_tile *s)
{
    const model_tile *tile = &w->batch->tiles[s->tile];
    return tile->n_rows * tile->n_heads;
}

/* The partial of a query in one of the tile's splits; those of following splits lie queries_of rows apart. */
static float *partial_of(const attend_work *w, const model_split_tile *s, uint32_t split, uint32_t query)
{
    size_t row = s->first_partial + (size_t)split * queries_of(w, s) + query;
    return w->at->partials + row * kern_partial_floats(w->kv->dh);
}

static void attend_split(const team_member *me, const attend_work *w, uint32_t task)
{
    const model_split_tile *s = tile_of_task(w->schedule, task);
    kern_attention call = call_of(me, w, &w->batch->tiles[s->tile]);
    uint32_t split = task - s->first_task;
    kern_active()->attention_partial(&call, s->first_split + split, partial_of(w, s, split, 0));
}

/* Merge the partials of one query of a split tile into that of its first split, and normalise. */
static void merge_query(const team_member *me, const attend_work *w, uint32_t number)
{
    const model_split_tile *s = w->schedule->split_tiles;
    while (number >= s->first_query + queries_of(w, s))
        s++;
    const model_tile *tile = &w->batch->tiles[s->tile];
    uint32_t query = number - s->first_query, dh = w->kv->dh;
    float *sums = partial_of(w, s, 0, query);
    for (uint32_t split = 1; split < s->n_splits; split++)
        kern_active()->attention_merge(sums, partial_of(w, s, split, query), 1, dh);
    kern_attention call = call_of(me, w, tile);
    call.out += query / tile->n_heads * w->rows->ld + (size_t)(query % tile->n_heads) * dh;
    call.n_tokens = call.n_heads = 1;
    kern_active()->attention_normalise(&call, sums);
}

static bool is_split(const model_attention_schedule *schedule, uint32_t tile)
{
    for (uint32_t i = 0; i < schedule->n_split_tiles; i++)
        if (schedule->split_tiles[i].tile == tile)
            return true;
    return false;
}

void model_attend(team_member *me, const model_attention *at, const model_batch *batch, const model_kv *kv,
                  uint32_t layer, bool windowed, const model_attend_rows *rows)
{
    const model_attention_schedule *schedule = windowed ? &at->windowed : &at->full;
    attend_work w = {at, schedule, batch, kv, rows, layer, windowed};
    for (size_t i; team_take(me, schedule->n_tasks + (size_t)batch->n_tiles, &i);) {
        if (i < schedule->n_tasks)
            attend_split(me, &w, (uint32_t)i);
        else if (!is_split(schedule, (uint32_t)i - schedule->n_tasks))
            attend_whole(me, &w, &batch->tiles[i - schedule->n_tasks]);
    }
    if (schedule->n_split_tiles == 0)
        return;
    team_barrier(me);
    for (size_t i; team_take(me, schedule->n_queries, &i);)
        merge_query(me, &w, (uint32_t)i);
}
