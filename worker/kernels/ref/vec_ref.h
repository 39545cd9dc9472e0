/* vec_ref.h - the vector vocabulary with one lane: the portable reference.  fmaf is exact by the C standard. */
#ifndef PALMGROVE_VEC_REF_H
#define PALMGROVE_VEC_REF_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "sharding/pack/half.h"

#define VEC_LANES 1
#define VEC_TILE_ROWS 1

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

static inline vec vec_load_int8(const int8_t *p)
{
    return (float)*p;
}

/* The low or the high half of each byte, less 8. */
static inline vec vec_load_int4(const uint8_t *p, int high)
{
    return (float)((high ? *p >> 4 : *p & 0x0f) - 8);
}

static inline void vec_store(float *p, vec a)
{
    *p = a;
}

static inline vec vec_set(float a)
{
    return a;
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

/* acc[lane] += round(a[lane] * scale); false when a lane is not below `limit` in size. */
static inline int vec_add_fixed(int64_t *acc, vec a, float scale, float limit)
{
    if (!(fabsf(a) < limit))
        return 0;
    *acc += llrintf(a * scale);
    return 1;
}

#endif
