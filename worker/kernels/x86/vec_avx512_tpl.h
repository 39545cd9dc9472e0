/* vec_avx512_tpl.h - the vector vocabulary with 16 lanes: AVX-512 F, DQ, BW, VL, VNNI.  See ref/vec_ref_tpl.h for the
 * meaning of each word. */
#ifndef PALMGROVE_VEC_AVX512_TPL_H
#define PALMGROVE_VEC_AVX512_TPL_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define VEC_LANES      16
#define VEC_REGISTERS  32
#define VEC_TILE_ROWS  8 /* x 2 vectors of a panel: 16 accumulators of 32 registers */
#define VEC_SUMS       16
#define VEC_BLOCK_ROWS 8
#define VEC_PIECE      SIZE_MAX
#define VEC_Q8_ROWS    6 /* x 2 vectors, integer and float: 24 accumulators */
#define VEC_STEP_int8  2
#define VEC_STEP_int4  2

typedef __m512 vec;

static inline vec vec_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline vec vec_load_bf16(const uint16_t *p)
{
    __m512i widened = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(widened, 16));
}

static inline vec vec_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

/* 2^23 + byte, made of bits, less 2^23 + 128. */
static inline vec vec_column_int8(const uint8_t *quads, int j)
{
    __m512i column = _mm512_srli_epi32(_mm512_loadu_si512(quads), (unsigned)(8 * j));
    __m512i bits = _mm512_ternarylogic_epi32(column, _mm512_set1_epi32(0xff), _mm512_set1_epi32(0x4b000000), 0xea);
    return _mm512_sub_ps(_mm512_castsi512_ps(bits), _mm512_set1_ps(8388736.0f));
}

/* The permutation looks at the low four bits of an index only, so nothing is masked. */
static inline vec vec_column_int4(const uint8_t *quads, int j, int high)
{
    const vec values = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
    __m512i column = _mm512_srli_epi32(_mm512_loadu_si512(quads), (unsigned)(8 * j + (high ? 4 : 0)));
    return _mm512_permutexvar_ps(column, values);
}

static inline void vec_store(float *p, vec a)
{
    _mm512_storeu_ps(p, a);
}

static inline vec vec_set(float a)
{
    return _mm512_set1_ps(a);
}

static inline vec vec_set_bf16(const uint16_t *pair, int second)
{
    int32_t bits;
    memcpy(&bits, pair, sizeof bits);
    __m512i both = _mm512_set1_epi32(bits);
    return _mm512_castsi512_ps(second ? _mm512_slli_epi32(both, 16)
                                      : _mm512_and_si512(both, _mm512_set1_epi32((int)0xffff0000u)));
}

static inline vec vec_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}

static inline vec vec_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}

static inline vec vec_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}

static inline vec vec_div(vec a, vec b)
{
    return _mm512_div_ps(a, b);
}

static inline vec vec_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

static inline vec vec_min(vec a, vec b)
{
    return _mm512_min_ps(a, b);
}

static inline vec vec_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}

static inline float vec_max_across(vec a)
{
    return _mm512_reduce_max_ps(a);
}

static inline float vec_sum_across(vec a)
{
    return _mm512_reduce_add_ps(a);
}

static inline vec vec_scale_exp2(vec p, vec t)
{
    __m512i shifted = _mm512_slli_epi32(_mm512_castps_si512(t), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), shifted));
}

/* Denormals as zeros, in operands and results (MXCSR bits DAZ and FTZ). */
typedef unsigned vec_mode;

static inline vec_mode vec_flush_on(void)
{
    vec_mode mode = _mm_getcsr();
    _mm_setcsr(mode | 0x8040u);
    return mode;
}

static inline void vec_flush_off(vec_mode mode)
{
    _mm_setcsr(mode);
}

static inline vec vec_fma_flush(vec a, vec b, vec c)
{
    return vec_fma(a, b, c);
}

typedef __m512i vec_sums;
typedef __m512i vec_weights; /* biased as packed: the unsigned side of vpdpbusd */
typedef __m512i vec_activations;

static inline vec_activations vec_activations_set(const int8_t *x)
{
    int32_t quad;
    memcpy(&quad, x, sizeof quad);
    return _mm512_set1_epi32(quad);
}

static inline vec_weights vec_load_quads_int8(const uint8_t *quads)
{
    return _mm512_loadu_si512(quads);
}

static inline vec_weights vec_load_quads_int4(const uint8_t *quads, int high)
{
    __m512i bytes = _mm512_loadu_si512(quads);
    return _mm512_and_si512(high ? _mm512_srli_epi16(bytes, 4) : bytes, _mm512_set1_epi8(0x0f));
}

static inline void vec_store_quads(uint8_t *to, vec_weights w)
{
    _mm512_storeu_si512(to, w);
}

static inline vec_weights vec_load_unpacked4(const uint8_t *quads)
{
    return _mm512_loadu_si512(quads);
}

static inline vec_sums vec_sums_int8(int32_t correction)
{
    return _mm512_slli_epi32(_mm512_set1_epi32(correction), 4);
}

static inline vec_sums vec_sums_int4(int32_t correction)
{
    return _mm512_set1_epi32(correction);
}

static inline vec_sums vec_dot_int8(vec_sums s, vec_weights w, vec_activations x)
{
    return _mm512_dpbusd_epi32(s, w, x);
}

static inline vec_sums vec_dot_int4(vec_sums s, vec_weights w, vec_activations x)
{
    return _mm512_dpbusd_epi32(s, w, x);
}

static inline vec vec_from_sums_int8(vec_sums s, int32_t correction)
{
    (void)correction;
    return _mm512_cvtepi32_ps(s);
}

static inline vec vec_from_sums_int4(vec_sums s, int32_t correction)
{
    (void)correction;
    return _mm512_cvtepi32_ps(s);
}

static inline void vec_store_bytes(int8_t *to, vec a)
{
    _mm_storeu_si128((__m128i *)(void *)to, _mm512_cvtepi32_epi8(_mm512_castps_si512(a)));
}

#define VEC_FIXED_BIAS 0u

static inline void vec_add_fixed(int64_t *acc, const vec *a)
{
    __m512i low = _mm512_cvtps_epi64(_mm512_castps512_ps256(*a));
    __m512i high = _mm512_cvtps_epi64(_mm512_extractf32x8_ps(*a, 1));
    _mm512_storeu_si512(acc, _mm512_add_epi64(_mm512_loadu_si512(acc), low));
    _mm512_storeu_si512(acc + 8, _mm512_add_epi64(_mm512_loadu_si512(acc + 8), high));
}

typedef __m512i vec_absmax;

static inline vec_absmax vec_absmax_zero(void)
{
    return _mm512_setzero_si512();
}

static inline vec_absmax vec_absmax_update(vec_absmax absmax, vec a)
{
    return _mm512_max_epu32(absmax, _mm512_castps_si512(_mm512_abs_ps(a)));
}

static inline int vec_absmax_is_small(vec_absmax absmax)
{
    (void)absmax;
    return 0;
}

static inline void vec_add_small_fixed(int64_t *acc, const vec *a)
{
    vec_add_fixed(acc, a);
}

static inline uint32_t vec_absmax_across(vec_absmax absmax)
{
    return _mm512_reduce_max_epu32(absmax);
}

#endif
