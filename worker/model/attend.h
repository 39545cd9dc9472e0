/* attend.h - the attention of one layer over a batch, divided among a team.
 *
 * A task is a tile (batch.h) with all positions it sees; when single tiles see so much that they would hold the team
 * up, they are cut, and each split of KERN_SPLIT positions is a task of its own whose part is kept until all are there.
 * Parts are joined in the order of splits, by whoever (kern.h), so cutting changes no bit.
 *
 * Memory, one piece for all stacks of a model:
 *     [team size][model_attention_stride]   the kernel's scratch, sums and one part of a tile
 *     [max_part_rows][kern_partial_floats]     parts of cut tiles
 *     [4 * team size] model_cut, whole layers; again for layers with a window */
#ifndef PALMGROVE_MODEL_ATTEND_H
#define PALMGROVE_MODEL_ATTEND_H

#include "worker/model/batch.h"
#include "worker/model/kv_cache.h"
#include "worker/team/team.h"

/* A tile whose splits are tasks of their own. */
typedef struct model_cut {
    uint32_t tile, split, n_splits; /* splits [split, split + n_splits) */
    uint32_t first_task;            /* its first split's, among the tasks of cut tiles */
    uint32_t first_part;            /* row of parts where those of its first split begin */
    uint32_t first_query;           /* its first query's number among those of cut tiles */
} model_cut;

/* How a batch is divided in one kind of layer. */
typedef struct model_division {
    model_cut *cuts; /* tiles ascending */
    uint32_t n_cuts;
    uint32_t n_tasks, n_queries; /* of cut tiles */
} model_division;

typedef struct model_attention {
    uint32_t n_members;
    char *scratch; /* [n_members][stride] */
    size_t stride;
    float *parts;
    uint32_t max_part_rows;
    model_division whole, windowed; /* of the present batch */
} model_attention;

/* Bytes for a team, for heads of up to `dh`. */
size_t model_attention_bytes(uint32_t dh, uint32_t n_members);

/* Take `memory`, model_attention_bytes of it on a cache line. */
void model_attention_init(model_attention *at, uint32_t dh, uint32_t n_members, char *memory);

/* Decide how the batch is divided.  By one member, before the others attend. */
void model_attention_divide(model_attention *at, const model_batch *batch);

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
