/* model.h - one rank's part of a model: weights, KV cache, workspace, and the step over them.
 *
 * Compute only: it reads a step plan and calls worker/par for what crosses ranks; it knows no requests.  Threads: the
 * main thread, which leads the rank's team through each step (worker/team).  After model_create nothing here allocates,
 * locks or logs. */
#ifndef PALMGROVE_MODEL_H
#define PALMGROVE_MODEL_H

#include "proto/base/status.h"
#include "proto/link/plan.h"
#include "sharding/checkpoint.h"
#include "sharding/recipe.h"
#include "sharding/split.h"
#include "worker/model/numerics.h"
#include "worker/model/arena.h"
#include "worker/par/grid.h"

typedef struct model model;

/* Called while weights are loaded, from model_create: done of all on this rank, in weights or bytes. */
typedef void model_progress(void *context, uint64_t done, uint64_t total);

/* Sees intermediate values, for tests and tools: `what` is one of "patches", "tower", "image", "embedding", "decoder",
 * "logits", or the inputs of a decoder layer's projections: "attn_in" (q, k, v), "attn_out" (o), "mlp_in" (gate, up),
 * "mlp_hidden" (down).  `layer` counts within the model; values [n_rows][n_columns], whole rows on every rank that has
 * them ("attn_out", "mlp_hidden": the rank's columns). */
typedef void model_probe(void *context, const char *what, uint32_t layer, const float *values, size_t n_rows,
                         size_t n_columns);

typedef struct model_options {
    link_limits limits; /* max_seqs, max_positions, max_step_tokens, n_kv_blocks, n_image_slots; the rest is filled by
                           the model */
    model_numerics numerics;
    bool all_prompts; /* every row of a plan counts as a prompt's (numerics.products): teacher forcing */
    const par_place
        *place; /* which part of the model this rank holds, when not that of its place in the grid: a draft model lies
                   whole on the tensor group of one stage.  Read during the call only; NULL: the grid's */
    uint32_t n_threads; /* of the team; 0: as many as OpenMP would start */
    bool crowded;       /* other ranks use the same cores (team.h) */
    model_huge_pages huge_pages;
    bool touch_cache;         /* allocate the KV cache's pages now, not when they are first used */
    model_progress *progress; /* may be NULL */
    void *progress_context;
    model_probe *probe; /* NULL in service */
    void *probe_context;
} model_options;

typedef struct model_memory {
    uint64_t weights_bytes, kv_bytes, workspace_bytes;
} model_memory;

/* What model_create will allocate on the rank at `place`, without allocating it (but for the team's scratch, 32 bytes
 * for each column of the widest matrix and thread; what OpenBLAS needs for options->n_threads is counted).  `recipe`
 * says how weights are packed; shards are packed already. BASE_EINVAL when the layout cannot hold the model, or is not
 * the shards' own. */
base_status model_memory_of(const shard_checkpoint *checkpoint, const shard_recipe *recipe, const par_place *place,
                            const model_options *options, model_memory *out, base_error *error);

/* Load this rank's weights from `checkpoint` (borrowed for the call) and allocate all memory.  Not collective.
 * `grid` is borrowed for the model's life.  Errors: BASE_ENOMEM (what and how many bytes), BASE_EINVAL layout; those of
 * the shard file. */
base_status model_create(const shard_checkpoint *checkpoint, const shard_recipe *recipe, par_grid *grid,
                         const model_options *options, model **out, base_error *error);
void model_destroy(model **m);

/* How much of the weights lies in huge pages, in percent; -1: unknown, or they are mapped from a shard file. */
int model_huge_percent(const model *m);

/* The limits in force, complete. */
const link_limits *model_limits(const model *m);

/* Run one plan on this rank: images (stage 0), embedding (stage 0), this stage's layers, and on the last stage logits
 * and sampling. Collective over the tensor group; exchanges activations with the neighbouring stages.  The plan was
 * checked by link_plan_decode. Feedback tokens must have been set before.  On the last stage's tensor rank 0 the
 * sampled tokens are written to result->tokens [>= n_slices] (borrowed memory of the caller), n_tokens and overflow are
 * set; elsewhere n_tokens is 0. */
void model_step(model *m, const link_plan *plan, link_result *result);

/* Stage 0: the token to put in place of LINK_SLICE_FEEDBACK for sequence slot `seq`. */
void model_set_feedback(model *m, uint32_t seq, int32_t token);

#endif
