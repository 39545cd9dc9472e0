/* batch.h - the rows of one pass through a stack, and how their attention is divided into tiles.
 *
 * A row is one position of one sequence (or one patch of an image).  A tile is some neighbouring rows of one sequence
 * and the query heads that read one KV head, at most KERN_ATTENTION_ROWS queries: the keys and values they see are read
 * once for all.  How rows are tiled changes nothing in the result (each query is computed as if alone), only the speed.
 */
#ifndef PALMGROVE_MODEL_BATCH_H
#define PALMGROVE_MODEL_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/link/plan.h"
#include "sharding/split.h"
#include "worker/kernels/linear.h"
#include "worker/model/arena.h"

typedef struct model_tile {
    uint32_t row, n_rows;
    uint32_t head, n_heads; /* local query heads */
    uint32_t kv_head;       /* local */
} model_tile;

typedef struct model_batch {
    uint32_t n_rows, max_rows;
    uint32_t window;
    uint32_t *pos;           /* [n_rows] position in its sequence */
    uint32_t *n_visible;     /* [n_rows] the row attends to positions before this */
    uint32_t *first;         /* [n_rows] in local layers, to positions from this on; NULL without a window */
    const uint32_t **blocks; /* [n_rows] KV blocks of its sequence */
    model_tile *tiles;
    uint32_t n_tiles, max_tiles;
    bool has_spans;   /* rows for OpenBLAS are listed (MODEL_PRODUCTS_OPENBLAS); set before model_batch_layout */
    bool all_prompts; /* every row is a prompt's: teacher forcing */
    uint32_t n_spans;
    kern_span *spans;      /* [n_spans] rows of prompts, a span for each slice, or of an image */
    uint32_t tiles_wanted; /* with few queries tiles are lower, so that every member of a team has some */
} model_batch;

/* The query heads of a rank and the KV heads they read: query head ih (global) reads KV head ih / heads_per_kv. */
typedef struct model_heads {
    shard_range heads, kv_heads;
    uint32_t heads_per_kv;
} model_heads;

model_heads model_heads_of(const arch_stack *stack, const shard_stack_split *split);

/* `window`: positions that local layers see (arch_stack), 0 for none. */
void model_batch_layout(model_batch *batch, uint32_t max_rows, uint32_t n_local_heads, uint32_t window,
                        model_arena *arena);

/* The rows of a plan, causal; with limits->whole_images the rows of an image see it to its end, which lies in the same
 * slice.  Windows begin where they would without. */
void model_batch_from_plan(model_batch *batch, const link_plan *plan, const link_limits *limits,
                           const model_heads *heads);

/* One image: n_patches rows that all see each other; `blocks` names its ceil(n_patches / 32) blocks. */
void model_batch_from_image(model_batch *batch, uint32_t n_patches, const uint32_t *blocks, const model_heads *heads);

#endif
