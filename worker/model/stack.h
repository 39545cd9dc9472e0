/* stack.h - a stack of transformer layers on one rank: the one layer loop of decoder and vision tower.
 *
 * Blocks (arch_block_kind):
 *     parallel   y = norm(x);  x += attention(y) Wo + mlp(y) Wdown
 *                PaLM (arXiv 2204.02311 section 2), ViT-22B (arXiv 2302.05442)
 *     serial     x += attention(norm(x)) Wo;  x += mlp(mlp_norm(x)) Wdown
 *                Llama (arXiv 2302.13971)
 *     post-norm  serial, but each branch goes through a norm of its own before it is added
 *                Gemma 3 (arXiv 2503.19786)
 * The rank computes its query heads and its MLP columns; their contributions go into a fixed-point accumulator, and an
 * exact integer sum over the tensor group finishes each branch (both at once in a parallel block).
 *
 * Batches of MODEL_ROWS_DIVIDED rows a rank and more are sequence-parallel (stack_exchange.c): x and its overflow flags
 * are then valid only on the row's owner until model_stack_all_gather.  Results do not depend on it.
 *
 * Every member of the rank's team walks through the same functions (worker/team); what one pass writes the next reads
 * after a barrier.
 *
 * Workspace of one stack (floats unless noted), n rows at most max_rows, h' kv' f' the rank's part:
 *     x   [n][d] then [n] overflow flags     the residual stream; the flags travel with it between stages
 *     y   [n][d]                             normalised x
 *     q   [n][h' dh]   k, v [n][kv' dh]      projections; q is rotated in place
 *     o   [n][h' dh]                         attention output
 *     gate, up [n][f']                       MLP; the activation is written to gate (swiglu) or up (gelu)
 *     acc [n][d] then [n] overflow counts    int64 fixed point; reduced over the tensor group in one call
 *     y_quantised, o_quantised, hidden_quantised
 *                                            y, o and the MLP's activations in int8 and bf16, as the numerics ask */
#ifndef PALMGROVE_MODEL_STACK_H
#define PALMGROVE_MODEL_STACK_H

#include "worker/model/attend.h"
#include "worker/model/batch.h"
#include "worker/kernels/linear.h"
#include "worker/model/kv_cache.h"
#include "worker/model/numerics.h"
#include "worker/model/rope.h"
#include "worker/model/weights.h"
#include "worker/par/grid.h"
#include "worker/team/team.h"

/* Working memory of the team's integer kernels; one for all stacks of a model. */
typedef struct model_scratch {
    char *bytes;   /* [team size][stride] */
    size_t stride; /* kern_scratch_bytes of the longest rows */
} model_scratch;

typedef struct model_stack {
    const arch_stack *arch;
    shard_stack_split split;
    model_heads heads;
    model_numerics numerics;
    par_grid *grid;
    model_scratch scratch;
    model_kv kv;
    model_attention attention;
    model_rope rope_global, rope_local; /* empty where no layer uses them */
    model_batch batch;
    float *x, *y, *q, *k, *v, *o, *gate, *up;
    int64_t *acc;
    kern_activations y_quantised, o_quantised, hidden_quantised;
    model_probe *probe; /* sees the inputs of projections (model.h); NULL in service, and for a tower */
    void *probe_context;
    uint32_t first_layer;       /* of this rank, in the whole model; for the probe */
    uint32_t seq_parallel_from; /* rows; batches of at least this many are sequence-parallel; UINT32_MAX: none */
} model_stack;

/* Batches of this many rows a rank and more are sequence-parallel.  Fewer are not worth a second wait for the others.
 */
#define MODEL_ROWS_DIVIDED 8u

/* Describe a stack: what it is and what of it this rank has.  No memory yet. */
void model_stack_init(model_stack *s, const arch_stack *a, const shard_stack_split *split,
                      const model_numerics *numerics, par_grid *grid);

/* Bytes of scratch that each member of the team needs for this stack's matrices. */
size_t model_stack_scratch_bytes(const model_stack *s);

/* Lay out the cache (n_layers local layers of n_blocks blocks) and the workspace (with the RoPE table of n_positions).
 */
void model_stack_layout_kv(model_stack *s, uint32_t n_layers, uint32_t n_blocks, model_arena *arena);
void model_stack_layout_workspace(model_stack *s, uint32_t max_rows, uint32_t n_positions, model_arena *arena);

/* After the workspace has memory: fill the RoPE tables; `divisors` as in model_rope_fill. */
void model_stack_start(model_stack *s, const float *divisors);

/* The overflow flags of the batch's rows, which follow them in x: 0.0f or 1.0f each. */
static inline float *model_stack_overflow_flags(model_stack *s)
{
    return s->x + (size_t)s->batch.n_rows * s->arch->d;
}

/* Run layers [0, n) over the batch, in place on x; keys and values of layer i go to the cache's layer i, or all to
 * layer 0 when the cache has one only.  Collective over the tensor group and over the team; what this rank has of x is
 * visible to all members afterwards.  `done`, for probes: called by member 0 after each layer; may be NULL. */
void model_stack_run(team_member *me, model_stack *s, const model_layer *layers, uint32_t n,
                     void (*done)(void *context, uint32_t layer), void *done_context);

/* From now on batches that are large enough are sequence-parallel over the `tp` ranks of the tensor group; without this
 * call none is. After model_stack_init, before the first run; the same on all ranks. */
void model_stack_enable_seq_parallel(model_stack *s, uint32_t tp);

/* Before a run, collective like it: x = the bitwise or of the ranks' x, in all rows or, in a sequence-parallel batch,
 * in the rank's own. */
void model_stack_or_reduce(team_member *me, model_stack *s);

/* After a run, collective like it: bring all rows of x and all flags to every rank; or all flags and only these n rows,
 * which must differ.  Nothing to do in a replicated batch. */
void model_stack_all_gather(team_member *me, model_stack *s);
void model_stack_all_gather_rows(team_member *me, model_stack *s, const uint32_t *rows, size_t n);

/* The batch's rows of x and their flags to the next stage, after a run, and from the one before: the rank's own in a
 * sequence-parallel batch if all stages divide rows alike, else all.  Collective like a run; between stages too. */
void model_stack_send(team_member *me, model_stack *s);
void model_stack_receive(team_member *me, model_stack *s);

/* x += y, n elements; nothing when y is NULL. */
void model_stack_add(float *x, const float *y, size_t n);

/* One row through the stack's norm: y = norm(x).  y may be x. */
void model_stack_norm(const model_stack *s, const float *x, const model_norm *norm, float *y);

/* The same into row r of the stack's y, quantised as `w` takes it; and the first n rows of y as inputs of kern_linear,
 * none of them OpenBLAS's. */
void model_stack_norm_quantised(model_stack *s, const float *x, const model_norm *norm, const pack_matrix *w, size_t r);
kern_rows model_stack_rows(const model_stack *s, size_t n);

#endif
