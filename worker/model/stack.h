/* stack.h - a stack of transformer layers on one rank: the one layer loop of decoder and tower.
 *
 * Blocks (arch_block_kind):
 *     parallel   y = norm(x);  x += attention(y) Wo + mlp(y) Wdown         PaLM arXiv 2204.02311 section 2, ViT-22B arXiv 2302.05442
 *     serial     x += attention(norm(x)) Wo;  x += mlp(mlp_norm(x)) Wdown  Llama arXiv 2302.13971
 *     post-norm  each branch goes through a norm of its own before it is added   Gemma 3 arXiv 2503.19786
 * The rank computes its query heads and its MLP columns; what they add goes into a fixed-point accumulator, and an exact integer sum over
 * the tensor group finishes each branch (both at once in a parallel block).
 *
 * Workspace of one stack (floats unless noted), n rows at most max_rows, h' kv' f' the rank's part:
 *     x   [n][d] then [n] overflow marks     the residual stream; the marks travel with it between stages
 *     y   [n][d]                             normalised x
 *     q   [n][h' dh]   k, v [n][kv' dh]      projections; q is rotated in place
 *     o   [n][h' dh]                         attention output
 *     gate, up [n][f']                       MLP; the activation lands in gate (swiglu) or up (gelu)
 *     acc [n][d] then [n] overflow counts    int64 fixed point; summed over the tensor group in one call */
#ifndef PALMGROVE_MODEL_STACK_H
#define PALMGROVE_MODEL_STACK_H

#include "worker/model/batch.h"
#include "worker/model/kv.h"
#include "worker/model/rope.h"
#include "worker/model/weights.h"
#include "worker/par/par.h"

typedef struct model_stack {
    const arch_stack *arch;
    shard_stack_split split;
    model_heads heads;
    par_grid *grid;
    model_kv kv;
    model_rope rope_global, rope_local; /* empty where no layer uses them */
    model_batch batch;
    float *x, *y, *q, *k, *v, *o, *gate, *up;
    int64_t *acc;
    model_probe *probe; /* sees what meets the matrices (model.h); NULL in service, and for a tower */
    void *probe_context;
    uint32_t first_layer; /* of this rank, in the whole model; for the probe */
} model_stack;

/* Describe a stack: what it is and what of it this rank has.  No memory yet. */
void model_stack_init(model_stack *s, const arch_stack *a, const shard_stack_split *split, par_grid *grid);

/* Lay out the cache (n_layers local layers of n_blocks blocks) and the workspace (with the RoPE table of n_positions). */
void model_stack_layout_kv(model_stack *s, uint32_t n_layers, uint32_t n_blocks, model_arena *arena);
void model_stack_layout_workspace(model_stack *s, uint32_t max_rows, uint32_t n_positions, model_arena *arena);

/* After the workspace has memory: fill the RoPE tables; `divisors` as in model_rope_fill. */
void model_stack_start(model_stack *s, const float *divisors);

/* The overflow marks behind the batch's rows of x: 0.0f or 1.0f each. */
float *model_stack_overflow(model_stack *s);

/* Run one layer over the batch, in place on x; its keys and values go to the cache's layer `kv_layer`.  Collective over the tensor
 * group. */
void model_stack_layer(model_stack *s, const model_layer *layer, uint32_t kv_layer);

/* One row through the stack's norm: y = norm(x). */
void model_stack_norm(const model_stack *s, const float *x, const float *gain, float *y);

#endif
