/* kern.h - the kernels' contracts: what each computes, in which order, over which memory layout.
 *
 * Every kernel is written once (kern_body.h) over a small vector vocabulary (ref/vec_ref.h, x86/vec_*.h) and compiled per
 * instruction set.  Each output element is a fixed sequence of IEEE operations that no vector width, row count or thread
 * count changes, and every fused multiply-add is written as one, so all variants give the same bits (tests/unit/test_kern.c).
 *
 * Packed weights: sharding/pack/pack.h.  The outputs of a panel sit in vector lanes and each accumulates alone along k, k ascending:
 *     f32, f16, bf16:  acc = fma(w, x, acc) from 0
 *     int8, int4:      per group: sum = fma(q, x, sum) from 0; then acc = fma(scale, sum, acc) from 0
 *     the same with 8-bit activations: per group: sum of q times the row's codes, an exact integer; then
 *                      acc = fma((float)sum, scale * row_scale, acc) from 0, the product of the scales rounded to f32
 *                      (in fixed point the product and acc are 2^KERN_FIXED_BITS times as large throughout)
 *
 * Fixed point.  A contraction that tensor parallelism splits is a sum over canonical units of k (one head, or
 * SHARD_MLP_GROUP columns).  A unit's f32 partial is rounded once (to nearest, ties to even) to int64 with
 * KERN_FIXED_BITS fractional bits and added as an integer, so the sum depends on no order and no split.  A partial of 2^26 or more, or a
 * NaN, sets the row's overflow flag and leaves the row's sum without meaning: the request has to fail (real activations are below 2^20;
 * sums of many units that come near the end of int64 cannot arise from partials of that size).
 *
 * Calls and cost: linear m x n x k does 2mnk flops and reads n*k weights once per tile of rows. */
#ifndef PALMGROVE_KERN_H
#define PALMGROVE_KERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "sharding/pack/pack.h"

#define KERN_PANEL PACK_PANEL /* outputs of a panel; also positions of a KV block */
#define KERN_FIXED_BITS 36 /* step 1.5e-11, range 1.3e8 */
#define KERN_ALIGN 64u     /* bytes: weights, KV blocks, workspace rows start on a cache line */

/* How the rows of one attention call see the cache.  A block is K [dh][32] then V [32][dh_padded], f32, dh_padded a multiple of
 * 16; block b of a row's sequence is base + blocks[b] * block_floats. */
typedef struct kern_attention {
    const float *base;
    const uint32_t *blocks;
    size_t block_floats;
    uint32_t dh, dh_padded;
    float scale;
    const float *q;           /* row r at q + r * ldq, [dh] */
    float *out;               /* row r at out + r * ldo, [dh] */
    size_t ldq, ldo;
    const uint32_t *n_visible; /* row r sees positions [first[r], n_visible[r]), at least one */
    uint32_t n_rows;           /* at most KERN_ATTENTION_ROWS */
    const uint32_t *first;     /* NULL: all 0 */
} kern_attention;

#define KERN_ATTENTION_ROWS 8u
#define KERN_HEAD_DIM_MAX 256u

/* Rows of activations rounded to 8 bits, in the groups of the weights they meet: a row of k columns in units of `unit` columns (pack.h) is cut
 * into n_groups = units * ceil(unit / PACK_GROUP) groups.  Group g of row r: x is about scales[r][g] * codes[r][g][i]; the codes
 * of a short group end in zeros; sums are of the codes.  Rows lie densely, [m]. */
typedef struct kern_codes {
    int8_t *codes;  /* [m][n_groups][PACK_GROUP], on a cache line */
    float *scales;  /* [m][n_groups] */
    int32_t *sums;  /* [m][n_groups] */
    size_t n_groups;
} kern_codes;

/* Groups of a row. */
static inline size_t kern_n_groups(size_t k, size_t unit)
{
    size_t whole = k / unit, rest = k % unit;
    return whole * ((unit + PACK_GROUP - 1) / PACK_GROUP) + (rest + PACK_GROUP - 1) / PACK_GROUP;
}

/* Bytes of working memory that a thread gives panel_codes for rows of n_groups groups, on a cache line. */
static inline size_t kern_scratch_bytes(size_t n_groups)
{
    return n_groups * PACK_GROUP * KERN_PANEL;
}

typedef void kern_panel(const void *panel, size_t k, const float *x, size_t ldx, size_t m, float *y, size_t ldy, size_t n_cols);
typedef void kern_panel_fixed(const void *panel, size_t k, size_t unit, const float *x, size_t ldx, size_t m, int64_t *acc,
                              size_t ldacc, size_t n_cols, int64_t *overflow);

typedef void kern_panel_codes(const void *panel, size_t k, size_t unit, const kern_codes *x, size_t row, size_t m, float *y, size_t ldy,
                              size_t n_cols, void *scratch);
typedef void kern_panel_codes_fixed(const void *panel, size_t k, size_t unit, const kern_codes *x, size_t row, size_t m, int64_t *acc,
                                    size_t ldacc, size_t n_cols, int64_t *overflow, void *scratch);

typedef struct kern_table {
    const char *name;

    /* y[r][0..n_cols) = sum over k of one panel x x[r], m rows; n_cols <= 32.  The whole row is one unit. */
    kern_panel *panel[PACK_N_TYPES];

    /* acc[r][0..n_cols) += the same sum in fixed point, a partial for each `unit` of k; overflow[r] is set to 1 where a partial
     * leaves the range (left alone otherwise; safe from several threads). */
    kern_panel_fixed *panel_fixed[PACK_N_TYPES];

    /* The same with 8-bit activations: rows [row, row + m) of x; y, acc and overflow begin at the first of them.  PACK_INT8 and PACK_INT4
     * only, the others are NULL. */
    kern_panel_codes *panel_codes[PACK_N_TYPES];
    kern_panel_codes_fixed *panel_codes_fixed[PACK_N_TYPES];

    /* One row x [k] to codes, scales and sums of its groups: scale = max |x| / 127, code = x * (127 / max |x|), rounded, to the nearest
     * integer, ties to even.  A group whose max is below 2^-100 has scale and codes 0.  A NaN or an infinity in a group makes its scale a NaN
     * and its codes 0, so that the products' overflow is seen. */
    void (*quantise)(const float *x, size_t k, size_t unit, int8_t *codes, float *scales, int32_t *sums);

    /* y = x * gain / sqrt(mean(x^2) + eps), one row of d.  Sums run in 32 strided lanes, then a binary tree.  y may be x. */
    void (*norm_rms)(const float *x, const float *gain, float eps, size_t d, float *y);
    /* y = (x - mean) * gain / sqrt(var + eps). */
    void (*norm_layer)(const float *x, const float *gain, float eps, size_t d, float *y);

    /* x[d] += acc * 2^-KERN_FIXED_BITS + bias (bias [d] or NULL); one rounding of the sum to f32, one for the bias, one for x. */
    void (*add_fixed)(float *x, size_t d, const int64_t *acc, const float *bias);

    /* gate = silu(gate) * up, n elements; silu(x) = x / (1 + exp(-x)). */
    void (*swiglu)(float *gate, const float *up, size_t n);
    /* gate = gelu_tanh(gate) * up. */
    void (*geglu_tanh)(float *gate, const float *up, size_t n);
    /* x = gelu_tanh(x + bias) = v * sigmoid(2 sqrt(2/pi) (v + 0.044715 v^3)), v = x + bias; bias may be NULL. */
    void (*gelu_tanh)(float *x, const float *bias, size_t n);

    /* softmax(q K^T * scale) V with a running maximum; KV blocks in order, lanes past n_visible left out. */
    void (*attention)(const kern_attention *a);

    /* sum of exp(x - max) in 32 strided lanes, then a tree. */
    float (*sum_exp)(const float *x, size_t n, float max);
    /* y = exp(x - max). */
    void (*exp_shifted)(const float *x, size_t n, float max, float *y);
} kern_table;

/* The variants, portable reference first; each NULL where this build or this machine (CPU and OS) lacks it. */
const kern_table *kern_ref(void);
const kern_table *kern_avx2(void);
const kern_table *kern_avx512(void);

/* Choose the variant for the process: "auto" (the widest the machine has), "ref", "avx2", "avx512".  Once, before any other call.
 * BASE_EINVAL unknown name; BASE_EUNSUPPORTED the machine lacks it. */
base_status kern_select(const char *name, base_error *error);
/* The variant in use ("ref" before kern_select). */
const kern_table *kern_active(void);

#endif
