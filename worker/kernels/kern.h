/* kern.h - the kernels' contracts: what each computes, in which order, over which memory layout.
 *
 * Every kernel is written once (the *_tpl.h) over a small vector vocabulary (ref/vec_ref_tpl.h, x86/, arm/) and
 * compiled per instruction set.  Each output element is a fixed sequence of IEEE operations that no vector width, row
 * count or thread count changes, and every fused multiply-add is written as one, so all variants give the same bits
 * (tests/unit/worker/test_kern.c).
 *
 * Packed weights: sharding/pack/pack.h.  The outputs of a panel are in vector lanes and each accumulates alone along k,
 * k ascending:
 *
 *   - f32, f16, bf16 weights: acc = fma(w, x, acc), from 0
 *   - int8, int4 weights: per group, sum = fma(q, x, sum) from 0; then acc = fma(scale, sum, acc), from 0
 *   - the same with 8-bit activations: per group, sum of q times the row's q, an exact integer; then
 *     acc = fma((float)sum, scale * row_scale, acc), from 0, the product of the scales rounded to f32
 *     (in fixed point it and acc are 2^KERN_FIXED_BITS times as large throughout)
 *   - bf16 weights with bf16 activations: acc = fma(w, x, acc), from 0, where w, x and acc count as 0 (of their sign)
 *     when they are denormal: what vdpbf16ps does.  Tininess is judged after rounding, as x86 does; Arm judges before,
 *     so a partial sum there may be 0 where it is 2^-126 here: a row's sums differ by k * 2^-126 at most, and only near
 *     there
 *
 * Fixed point.  A contraction that tensor parallelism splits is a sum over canonical units of k (one head, or
 * SHARD_MLP_GROUP columns).  A unit's f32 partial is rounded once (to nearest, ties to even) to int64 with
 * KERN_FIXED_BITS fractional bits and added as an integer, so the sum depends on no order and no split.  A partial of
 * 2^26 or more, or a NaN, sets the row's overflow flag and leaves the row's sum without meaning: the request has to
 * fail (real activations are below 2^20; sums of many units that come near the end of int64 cannot arise from partials
 * of that size).
 *
 * Calls and cost: linear m x n x k does 2mnk flops and reads n*k weights once per tile of rows. */
#ifndef PALMGROVE_KERN_H
#define PALMGROVE_KERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "sharding/pack/pack.h"

#define KERN_PANEL      PACK_PANEL /* outputs of a panel; also positions of a KV block */
#define KERN_FIXED_BITS 36         /* step 1.5e-11, range 1.3e8 */
#define KERN_ALIGN      64u        /* bytes: weights, KV blocks, workspace rows start on a cache line */

/* Attention over the paged cache, softmax(q K^T * scale) V, for the query heads that read one KV head
 * (flash-decoding: Dao et al. 2023).
 *
 * A row is one query head of one token.  Positions are walked in splits of KERN_SPLIT that begin at multiples of it,
 * whatever a row sees of them, so that one long row can be divided over threads.  A row's partial of a split is over
 * the positions it sees there, ascending:
 *
 *   - s = (sum over i ascending of fma(K[i], q[i], sum) from 0) * scale; max = the largest s
 *   - p = exp(s - max); total = sum of p in 32 strided lanes, then a tree
 *   - out = fma(p, V, out), from 0
 *
 * A row's partials are merged in ascending order.  The first is taken as it is; then, with m the larger of max and
 * max', f = exp(max - m), f' = exp(max' - m): total = fma(total, f, total' * f'), out = fma(out, f, out' * f'), max =
 * m.  The answer is normalised at the end: out / total.  Splits of which a row sees nothing are left out.
 *
 * What a row does not see is never multiplied, so neither what lies there nor other rows of the call leave a trace.  A
 * score that is infinite or not a number makes the row's answer not a number, which sets the overflow flag of the next
 * product.
 *
 * A block of the cache holds 32 positions; dh_padded is dh rounded up to 16:
 *
 *   - f32, bf16: K [dh][32]; V in panels of 32 dimensions (the last may be 16), each [32 positions][dimensions]
 *   - int8: q + 128 in the same order but in quads (pack.h): K [dh / 4 rounded up][32][4 of dh], V panels
 *     [8][dimensions][4 positions]; then f16 scales of groups of PACK_GROUP dimensions, of K [groups][32 positions] and
 *     of V [groups][32 positions].  An element is q * scale, rounded to f32
 *
 * bf16 and int8 are unpacked to f32; from there on all types are one.  Cost: 4 dh flops for each row and position. */
typedef struct kern_attention {
    pack_type type;   /* PACK_F32, PACK_BF16, PACK_INT8 */
    const char *base; /* block b of the sequence is base + blocks[b] * kern_block_bytes, on a cache line */
    const uint32_t *blocks;
    uint32_t dh;
    float scale;
    const float *q; /* head h of token t at q + t * ldq + h * dh */
    float *out;     /* the same with ldo */
    size_t ldq, ldo;
    uint32_t n_tokens, n_heads; /* n_tokens * n_heads rows, KERN_ATTENTION_ROWS at most; row t * n_heads + h */
    const uint32_t *n_visible;  /* [n_tokens] token t sees positions [first[t], n_visible[t]), at least one */
    const uint32_t *first;      /* NULL: all 0 */
    float *scratch;             /* [kern_attention_scratch(dh)] on a cache line, the thread's own */
} kern_attention;

#define KERN_ATTENTION_ROWS 64u
#define KERN_HEAD_DIM_MAX   256u
#define KERN_SPLIT          256u /* positions; a multiple of KERN_PANEL */

static inline uint32_t kern_dh_padded(uint32_t dh)
{
    return (dh + 15u) / 16u * 16u;
}

/* Scales of the keys of an int8 block; the values have the same number. */
static inline size_t kern_scales(uint32_t dh)
{
    return (size_t)((dh + PACK_GROUP - 1) / PACK_GROUP) * KERN_PANEL;
}

/* Bytes of a block of one layer and head; a multiple of KERN_ALIGN. */
static inline size_t kern_block_bytes(pack_type type, uint32_t dh)
{
    size_t padded = kern_dh_padded(dh);
    if (type == PACK_INT8)
        return KERN_PANEL * ((dh + 3u) / 4u * 4u + padded) + 4 * kern_scales(dh);
    return KERN_PANEL * (dh + padded) * (type == PACK_BF16 ? 2u : 4u);
}

/* Floats of a row's partial, or of merged ones: out [dh_padded], max, total, up to a cache line.  total is 0 where the
 * row sees nothing. */
static inline size_t kern_partial_floats(uint32_t dh)
{
    return kern_dh_padded(dh) + 16u;
}

/* Floats of scratch: queries, scores and the keys or values of one block unpacked to f32. */
static inline size_t kern_attention_scratch(uint32_t dh)
{
    return (size_t)KERN_ATTENTION_ROWS * (kern_dh_padded(dh) + KERN_SPLIT) + (size_t)KERN_PANEL * kern_dh_padded(dh);
}

/* Quantised activations: rows in 8 bits, in the groups of the weights they are multiplied with, and in bf16.  A row of
 * k columns in units of `unit` columns (pack.h) is cut into n_groups = units * ceil(unit / PACK_GROUP) groups.  Group g
 * of row r: x is about scales[r][g] * q[r][g][i]; the q of a short group end in zeros.  Rows are dense, [m]. */
typedef struct kern_activations {
    int8_t *q;     /* [m][n_groups][PACK_GROUP], on a cache line */
    float *scales; /* [m][n_groups] */
    /* [m][n_groups] zero-point corrections: -8 times the sum of q, for weights are packed plus 8 (int8: plus 128) */
    int32_t *corrections;
    size_t n_groups;
    uint16_t *bf16; /* [m][n_bf16] the row for bf16 matrices, see round_bf16; NULL: they take f32 */
    size_t n_bf16;
} kern_activations;

/* Values of a row rounded to bf16: each unit rounded up to pairs of columns. */
static inline size_t kern_n_bf16(size_t k, size_t unit)
{
    size_t whole = k / unit, rest = k % unit;
    return whole * (unit + unit % 2) + rest + rest % 2;
}

/* Groups of a row. */
static inline size_t kern_n_groups(size_t k, size_t unit)
{
    size_t whole = k / unit, rest = k % unit;
    return whole * ((unit + PACK_GROUP - 1) / PACK_GROUP) + (rest + PACK_GROUP - 1) / PACK_GROUP;
}

/* Bytes of working memory that a thread gives panel_q8 for rows of n_groups groups, on a cache line. */
static inline size_t kern_scratch_bytes(size_t n_groups)
{
    return n_groups * PACK_GROUP * KERN_PANEL;
}

typedef void kern_panel(const void *panel, size_t k, const float *x, size_t ldx, size_t m, float *y, size_t ldy,
                        size_t n_cols);
typedef void kern_panel_fixed(const void *panel, size_t k, size_t unit, const float *x, size_t ldx, size_t m,
                              int64_t *acc, size_t ldacc, size_t n_cols, int64_t *overflow);

typedef void kern_panel_q8(const void *panel, size_t k, size_t unit, const kern_activations *x, size_t row, size_t m,
                           float *y, size_t ldy, size_t n_cols, void *scratch);
typedef void kern_panel_q8_fixed(const void *panel, size_t k, size_t unit, const kern_activations *x, size_t row,
                                 size_t m, int64_t *acc, size_t ldacc, size_t n_cols, int64_t *overflow, void *scratch);

typedef void kern_panel_bf16(const void *panel, size_t k, const uint16_t *x, size_t ldx, size_t m, float *y, size_t ldy,
                             size_t n_cols);
typedef void kern_panel_bf16_fixed(const void *panel, size_t k, size_t unit, const uint16_t *x, size_t ldx, size_t m,
                                   int64_t *acc, size_t ldacc, size_t n_cols, int64_t *overflow);

typedef void kern_unpack(const void *columns, size_t n, float *to, size_t ld);

typedef struct kern_table {
    const char *name;

    /* n columns of a panel to f32 [n][32], rows of it ld floats apart.  PACK_F32, PACK_F16 and PACK_BF16 only. */
    kern_unpack *unpack[PACK_N_TYPES];

    /* y[r][0..n_cols) = sum over k of one panel x x[r], m rows; n_cols <= 32.  The whole row is one unit. */
    kern_panel *panel[PACK_N_TYPES];

    /* acc[r][0..n_cols) += the same sum in fixed point, a partial for each `unit` of k; overflow[r] is set to 1 where a
     * partial leaves the range (left alone otherwise; safe from several threads). */
    kern_panel_fixed *panel_fixed[PACK_N_TYPES];

    /* The same with 8-bit activations: rows [row, row + m) of x; y, acc and overflow begin at the first of them.
     * PACK_INT8 and PACK_INT4 only, the others are NULL. */
    kern_panel_q8 *panel_q8[PACK_N_TYPES];
    kern_panel_q8_fixed *panel_q8_fixed[PACK_N_TYPES];

    /* PACK_BF16 with bf16 activations (kern_activations.bf16), ldx values apart; otherwise as panel and
     * panel_fixed. */
    kern_panel_bf16 *panel_bf16_bf16;
    kern_panel_bf16_fixed *panel_bf16_bf16_fixed;

    /* One row x [k] to bf16, to nearest, ties to even, denormals to 0 of their sign.  A unit begins at an even place;
     * column i of it is at i ^ 1, so that the first of a pair is the high half of a little-endian word.  An odd
     * unit ends in a -0. */
    void (*round_bf16)(const float *x, size_t k, size_t unit, uint16_t *bf16);

    /* One row x [k] to q, scales and corrections of its groups: scale = max |x| / 127, q = x * (127 / max |x|), rounded
     * to the nearest integer, ties to even.  A group whose max is below 2^-100 has scale and q 0.  A NaN or an infinity
     * in a group makes its scale a NaN and its q 0, so that the products' overflow is seen. */
    void (*quantise)(const float *x, size_t k, size_t unit, int8_t *q, float *scales, int32_t *corrections);

    /* y = x * gain / sqrt(mean(x^2) + eps), one row of d.  Sums run in 32 strided lanes, then a binary tree.  y may be
     * x. */
    void (*norm_rms)(const float *x, const float *gain, float eps, size_t d, float *y);
    /* y = (x - mean) * gain / sqrt(var + eps), plus bias [d] unless it is NULL. */
    void (*norm_layer)(const float *x, const float *gain, const float *bias, float eps, size_t d, float *y);

    /* x[d] += acc * 2^-KERN_FIXED_BITS + bias (bias [d] or NULL); one rounding of the sum to f32, one for the bias, one
     * for x. */
    void (*add_fixed)(float *x, size_t d, const int64_t *acc, const float *bias);

    /* gate = silu(gate) * up, n elements; silu(x) = x / (1 + exp(-x)). */
    void (*swiglu)(float *gate, const float *up, size_t n);
    /* gate = gelu_tanh(gate) * up. */
    void (*geglu_tanh)(float *gate, const float *up, size_t n);
    /* x = gelu_tanh(x + bias) = v * sigmoid(2 sqrt(2/pi) (v + 0.044715 v^3)), v = x + bias; bias may be NULL. */
    void (*gelu_tanh)(float *x, const float *bias, size_t n);
    /* x = v * Phi(v), Phi the normal distribution, within 2e-7 of it (Abramowitz and Stegun 7.1.26); bias as above. */
    void (*gelu)(float *x, const float *bias, size_t n);
    /* x = v * sigmoid(1.702 v); bias as above. */
    void (*gelu_quick)(float *x, const float *bias, size_t n);

    /* Attention, in the order above; partials [rows][kern_partial_floats].  The rows' partials of split `split`;
     * partials merged into the sums of those before them; the answers from the sums of all. */
    void (*attention_partial)(const kern_attention *a, uint32_t split, float *partials);
    void (*attention_merge)(float *sums, const float *partials, size_t n_rows, uint32_t dh);
    void (*attention_normalise)(const kern_attention *a, const float *sums);

    /* sum of exp(x - max) in 32 strided lanes, then a tree. */
    float (*sum_exp)(const float *x, size_t n, float max);
    /* y = exp(x - max). */
    void (*exp_shifted)(const float *x, size_t n, float max, float *y);
} kern_table;

/* The variants that this build has and this machine (CPU and OS) can run into `out`, the portable reference first,
 * wider ones later; returns how many. */
#define KERN_VARIANTS 6
size_t kern_usable(const kern_table *out[KERN_VARIANTS]);

/* Choose the variant for the process: "auto" (the last of kern_usable) or a name: "ref", "avx2", "avx512",
 * "avx512-bf16", "neon", "neon-dot".  Once, before any other call.  BASE_EINVAL unknown name; BASE_EUNSUPPORTED the
 * machine lacks it. */
base_status kern_select(const char *name, base_error *error);
/* The variant in use ("ref" before kern_select). */
const kern_table *kern_active(void);

#endif
