/* vec_avx512.h - the vector vocabulary with 16 lanes: AVX-512 F, DQ, BW, VL.  See ref/vec_ref.h for the meaning of each word. */
#ifndef PALMGROVE_VEC_AVX512_H
#define PALMGROVE_VEC_AVX512_H

#include <immintrin.h>
#include <stdint.h>

#define VEC_LANES 16
#define VEC_TILE_ROWS 8 /* x 2 vectors of a panel: 16 accumulators of 32 registers */

typedef __m512 vec;

static inline vec vec_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline vec vec_load_bf16(const uint16_t *p)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

static inline vec vec_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

static inline vec vec_load_int8(const int8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}

/* The permutation looks at the low four bits of an index only, so the low half needs no mask. */
static inline vec vec_load_int4(const uint8_t *p, int high)
{
    const vec values = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
    __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
    return _mm512_permutexvar_ps(high ? _mm512_srli_epi32(bytes, 4) : bytes, values);
}

static inline void vec_store(float *p, vec a)
{
    _mm512_storeu_ps(p, a);
}

static inline vec vec_set(float a)
{
    return _mm512_set1_ps(a);
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

static inline vec vec_scale_exp2(vec p, vec t)
{
    __m512i shifted = _mm512_slli_epi32(_mm512_castps_si512(t), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), shifted));
}

static inline int vec_add_fixed(int64_t *acc, vec a, float scale, float limit)
{
    __mmask16 in_range = _mm512_cmp_ps_mask(_mm512_abs_ps(a), _mm512_set1_ps(limit), _CMP_LT_OQ);
    vec scaled = _mm512_mul_ps(a, _mm512_set1_ps(scale));
    __m512i low = _mm512_cvtps_epi64(_mm512_castps512_ps256(scaled));
    __m512i high = _mm512_cvtps_epi64(_mm512_extractf32x8_ps(scaled, 1));
    __m512i sum_low = _mm512_loadu_si512(acc);
    __m512i sum_high = _mm512_loadu_si512(acc + 8);
    sum_low = _mm512_mask_add_epi64(sum_low, (__mmask8)in_range, sum_low, low);
    sum_high = _mm512_mask_add_epi64(sum_high, (__mmask8)(in_range >> 8), sum_high, high);
    _mm512_storeu_si512(acc, sum_low);
    _mm512_storeu_si512(acc + 8, sum_high);
    return in_range == 0xffff;
}

#endif
