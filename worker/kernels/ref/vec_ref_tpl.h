/* vec_ref_tpl.h - the vector vocabulary with one lane: the portable reference.  fmaf is exact by the C standard.
 *
 * It defines every word; the other vec_*_tpl.h do the same with more lanes.  `vec` is VEC_LANES floats. Packed
 * weights come in quads (sharding/pack/pack.h): four neighbouring columns of a lane in four neighbouring bytes, lanes
 * one after the other, so VEC_LANES lanes are 4 * VEC_LANES bytes, aligned to as many. */
#ifndef PALMGROVE_VEC_REF_TPL_H
#define PALMGROVE_VEC_REF_TPL_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "sharding/pack/half.h"

#define VEC_LANES     1
#define VEC_REGISTERS 32 /* with fewer, compiler_int.h keeps the compiler from storing sums */

/* f32 and bf16 activations: rows of a tile, 1 to 8; sums that registers hold next to a column of weights, if not for
 * all vectors of a panel then for half of them. */
#define VEC_TILE_ROWS 1
#define VEC_SUMS      32
/* Rows that meet a piece of a panel before the next piece, and a piece's columns (even): what the first cache holds.  A
 * whole panel where a tile alone keeps its sums in registers all the way. */
#define VEC_BLOCK_ROWS 1
#define VEC_PIECE      SIZE_MAX
/* 8-bit activations: rows of a tile, 1 to 8; vectors of a panel whose sums registers hold for all of them. */
#define VEC_Q8_ROWS   1
#define VEC_STEP_int8 32
#define VEC_STEP_int4 32

typedef float vec;

static inline vec vec_load(const float *p)
{
    return *p;
}

static inline vec vec_load_bf16(const uint16_t *p)
{
    return half_from_bf16(*p);
}

static inline vec vec_load_f16(const uint16_t *p)
{
    return half_from_f16(*p);
}

/* Column j (a constant, 0 to 3) of quads of int8: each lane's byte j, less 128. */
static inline vec vec_column_int8(const uint8_t *quads, int j)
{
    return (float)(quads[j] - 128);
}

/* Column j of quads of int4: the low or (`high`, a constant) the high half of each lane's byte j, less 8. */
static inline vec vec_column_int4(const uint8_t *quads, int j, int high)
{
    return (float)((high ? quads[j] >> 4 : quads[j] & 0x0f) - 8);
}

static inline void vec_store(float *p, vec a)
{
    *p = a;
}

static inline vec vec_set(float a)
{
    return a;
}

/* The first or the `second` column (a constant) of a pair of a row in bf16 (kern.h): the first comes after
 * the second. */
static inline vec vec_set_bf16(const uint16_t *pair, int second)
{
    return half_from_bf16(pair[second ? 0 : 1]);
}

static inline vec vec_add(vec a, vec b)
{
    return a + b;
}

static inline vec vec_sub(vec a, vec b)
{
    return a - b;
}

static inline vec vec_mul(vec a, vec b)
{
    return a * b;
}

static inline vec vec_div(vec a, vec b)
{
    return a / b;
}

/* a * b + c, rounded once. */
static inline vec vec_fma(vec a, vec b, vec c)
{
    return fmaf(a, b, c);
}

static inline vec vec_min(vec a, vec b)
{
    return a < b ? a : b;
}

static inline vec vec_max(vec a, vec b)
{
    return a > b ? a : b;
}

/* The largest lane (anything where one is a NaN), and the lanes' sum in any order: for sums that no order changes. */
static inline float vec_max_across(vec a)
{
    return a;
}

static inline float vec_sum_across(vec a)
{
    return a;
}

/* p * 2^n where t = 1.5 * 2^23 + n: the low mantissa bits of t move into p's exponent. */
static inline vec vec_scale_exp2(vec p, vec t)
{
    uint32_t p_bits, t_bits;
    memcpy(&p_bits, &p, sizeof p_bits);
    memcpy(&t_bits, &t, sizeof t_bits);
    p_bits += t_bits << 23;
    memcpy(&p, &p_bits, sizeof p);
    return p;
}

/* --- products without denormals --- */

/* Between these two, vec_fma_flush is called; a variant may switch the processor's mode there. */
typedef int vec_mode;

static inline vec_mode vec_flush_on(void)
{
    return 0;
}

static inline void vec_flush_off(vec_mode mode)
{
    (void)mode;
}

static inline float vec_flushed(float a)
{
    return fabsf(a) < 0x1p-126f ? copysignf(0.0f, a) : a;
}

/* vec_fma with denormal operands as zeros, and zero of its sign for a result that, rounded to 24 bits, is below 2^-126.
 * fmaf rounds such a one to fewer bits, which may bring it up to 2^-126: there the same 2^60 times as large tells. */
static inline vec vec_fma_flush(vec a, vec b, vec c)
{
    a = vec_flushed(a), b = vec_flushed(b), c = vec_flushed(c);
    float sum = vec_flushed(fmaf(a, b, c));
    if (fabsf(sum) == 0x1p-126f && fabsf(fmaf(a * 0x1p30f, b * 0x1p30f, c * 0x1p60f)) < 0x1p-66f)
        return copysignf(0.0f, sum);
    return sum;
}

/* --- 8-bit products: weights in quads times four q of a row, summed exactly in int32 --- */

typedef int32_t vec_sums;    /* VEC_LANES sums */
typedef struct vec_weights { /* quads of weights in the form the dot product takes; opaque to the caller */
    int16_t q[4];
} vec_weights;
typedef struct vec_activations { /* four q of a row, -127 to 127, the same for all lanes */
    int16_t q[4];
} vec_activations;

static inline vec_activations vec_activations_set(const int8_t *x)
{
    return (vec_activations){{x[0], x[1], x[2], x[3]}};
}

/* Weights as packed: byte q + 128. */
static inline vec_weights vec_load_quads_int8(const uint8_t *quads)
{
    return (vec_weights){{quads[0], quads[1], quads[2], quads[3]}};
}

/* The low or (`high`, a constant) the high halves of VEC_LANES quads: q + 8. */
static inline vec_weights vec_load_quads_int4(const uint8_t *quads, int high)
{
    int shift = high ? 4 : 0;
    return (vec_weights){
        {quads[0] >> shift & 0x0f, quads[1] >> shift & 0x0f, quads[2] >> shift & 0x0f, quads[3] >> shift & 0x0f}};
}

/* Unpacked int4: store quads as bytes 0 to 15 at `to` (4 * VEC_LANES bytes), and load them again. */
static inline void vec_store_quads(uint8_t *to, vec_weights w)
{
    for (int j = 0; j < 4; j++)
        to[j] = (uint8_t)w.q[j];
}

static inline vec_weights vec_load_unpacked4(const uint8_t *quads)
{
    return vec_load_quads_int8(quads);
}

/* Where the sums of a group begin, and their end, exact: it is below 2^24.  `correction` is -8 times the sum of the
 * row's q in the group.  A variant whose dot product keeps the zero point of the packed weights adds -zero point times
 * that sum at one end or the other, one that takes the zero point off the weights does not. */
static inline vec_sums vec_sums_int8(int32_t correction)
{
    return 16 * correction;
}

static inline vec_sums vec_sums_int4(int32_t correction)
{
    return correction;
}

/* s + the four products of each lane, w from vec_load_quads_int8. */
static inline vec_sums vec_dot_int8(vec_sums s, vec_weights w, vec_activations x)
{
    for (int j = 0; j < 4; j++)
        s += w.q[j] * x.q[j];
    return s;
}

/* The same, w from vec_load_quads_int4 or vec_load_unpacked4. */
static inline vec_sums vec_dot_int4(vec_sums s, vec_weights w, vec_activations x)
{
    return vec_dot_int8(s, w, x);
}

static inline vec vec_from_sums_int8(vec_sums s, int32_t correction)
{
    (void)correction;
    return (float)s;
}

static inline vec vec_from_sums_int4(vec_sums s, int32_t correction)
{
    (void)correction;
    return (float)s;
}

/* The low byte of each lane's bits, lanes one after the other at `to`. */
static inline void vec_store_bytes(int8_t *to, vec a)
{
    uint32_t bits;
    memcpy(&bits, &a, sizeof bits);
    uint8_t byte = (uint8_t)(bits & 0xffu);
    memcpy(to, &byte, sizeof byte);
}

/* --- fixed point --- */

/* acc[lane] += a[lane] rounded to the nearest integer, ties to even, and VEC_FIXED_BIAS more, modulo 2^64; anything
 * when a lane is not below 2^62 in size. */
#define VEC_FIXED_BIAS 0u

static inline void vec_add_fixed(int64_t *acc, const vec *a)
{
    *acc = (int64_t)((uint64_t)*acc + (uint64_t)llrintf(*a));
}

/* Per lane the largest |a| so far as an unsigned integer, its float bits without the sign: a NaN is above every number.
 */
typedef uint32_t vec_absmax;

static inline vec_absmax vec_absmax_zero(void)
{
    return 0;
}

static inline vec_absmax vec_absmax_update(vec_absmax absmax, vec a)
{
    uint32_t bits;
    memcpy(&bits, &a, sizeof bits);
    bits &= 0x7fffffffu;
    return bits > absmax ? bits : absmax;
}

/* All sizes seen are below 2^51; false wherever vec_add_fixed is as fast.  vec_add_small_fixed is vec_add_fixed for
 * such lanes. */
static inline int vec_absmax_is_small(vec_absmax absmax)
{
    (void)absmax;
    return 0;
}

static inline void vec_add_small_fixed(int64_t *acc, const vec *a)
{
    vec_add_fixed(acc, a);
}

/* The largest of all lanes. */
static inline uint32_t vec_absmax_across(vec_absmax absmax)
{
    return absmax;
}

#endif
