/* attend.h - the attention of one layer over a batch, divided among a team.
 *
 * A task is a tile (batch.h) with all positions it sees; if single tiles see so much that they would hold the team up,
 * they are split along the keys (flash-decoding, Dao et al. 2023): each split of KERN_SPLIT positions is then a task of
 * its own, whose partial result is kept until all are there.  Partials are merged in split order, whichever thread does
 * it (kern.h), so splitting changes no bit.
 *
 * Memory, one piece for all stacks of a model:
 *     [team size][stride]                      the kernel's scratch, and two tiles of partials
 *     [max_partial_rows][kern_partial_floats]  partials of split tiles
 *     [4 * team size] model_split_tile, full layers; again for layers with a window */
#ifndef PALMGROVE_MODEL_ATTEND_H
#define PALMGROVE_MODEL_ATTEND_H

#include "worker/model/batch.h"
#include "worker/model/kv_cache.h"
#include "worker/team/team.h"

/* A tile whose splits are tasks of their own. */
typedef struct model_split_tile {
    uint32_t tile, first_split, n_splits;
    uint32_t first_task;    /* its first split's, among the tasks of split tiles */
    uint32_t first_partial; /* row of partials where those of its first split begin */
    uint32_t first_query;   /* its first query's number among those of split tiles */
} model_split_tile;

/* Which tiles of a batch are split, in one kind of layer. */
typedef struct model_attention_schedule {
    model_split_tile *split_tiles; /* by tile, ascending */
    uint32_t n_split_tiles;
    uint32_t n_tasks, n_queries; /* of split tiles */
} model_attention_schedule;

typedef struct model_attention {
    uint32_t n_members;
    char *scratch; /* [n_members][stride] */
    size_t stride;
    float *partials;
    uint32_t max_partial_rows;
    model_attention_schedule full, windowed; /* of the present batch */
} model_attention;

/* Bytes for a team, for heads of up to `dh`. */
size_t model_attention_bytes(uint32_t dh, uint32_t n_members);

/* `memory`: model_attention_bytes on a cache line, borrowed for the life of *at. */
void model_attention_init(model_attention *at, uint32_t dh, uint32_t n_members, char *memory);

/* Decide which tiles of the batch are split.  By one member, before the others attend. */
void model_attention_prepare(model_attention *at, const model_batch *batch);

/* Queries and answers of one layer, rows [n_rows][ld], head h of a row at h * dh. */
typedef struct model_attend_rows {
    const float *q;
    float *o;
    size_t ld;
    float scale;
} model_attend_rows;

/* Every query of the batch over layer `layer` of the cache; `windowed`: positions before the batch's `first` are not
 * seen.  Collective over the team; the caller's barrier ends it. */
void model_attend(team_member *me, const model_attention *at, const model_batch *batch, const model_kv *kv,
                  uint32_t layer, bool windowed, const model_attend_rows *rows);

#endif
