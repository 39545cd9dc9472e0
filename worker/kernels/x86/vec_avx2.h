/* vec_avx2.h - the vector vocabulary with 8 lanes: AVX2, FMA, F16C.  See ref/vec_ref.h for the meaning of each word. */
#ifndef PALMGROVE_VEC_AVX2_H
#define PALMGROVE_VEC_AVX2_H

#include <immintrin.h>
#include <math.h>
#include <stdint.h>

#define VEC_LANES 8
#define VEC_TILE_ROWS 2 /* x 4 vectors of a panel: 8 accumulators of 16 registers */

typedef __m256 vec;

static inline vec vec_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

static inline vec vec_load_bf16(const uint16_t *p)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

static inline vec vec_load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

static inline vec vec_load_int8(const int8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}

static inline vec vec_load_int4(const uint8_t *p, int high)
{
    __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
    __m256i code = high ? _mm256_srli_epi32(bytes, 4) : _mm256_and_si256(bytes, _mm256_set1_epi32(0x0f));
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(code, _mm256_set1_epi32(8)));
}

static inline void vec_store(float *p, vec a)
{
    _mm256_storeu_ps(p, a);
}

static inline vec vec_set(float a)
{
    return _mm256_set1_ps(a);
}

static inline vec vec_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}

static inline vec vec_sub(vec a, vec b)
{
    return _mm256_sub_ps(a, b);
}

static inline vec vec_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}

static inline vec vec_div(vec a, vec b)
{
    return _mm256_div_ps(a, b);
}

static inline vec vec_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}

static inline vec vec_min(vec a, vec b)
{
    return _mm256_min_ps(a, b);
}

static inline vec vec_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}

static inline vec vec_scale_exp2(vec p, vec t)
{
    __m256i shifted = _mm256_slli_epi32(_mm256_castps_si256(t), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), shifted));
}

/* AVX2 has no float to int64 conversion: lanes go one by one. */
static inline int vec_add_fixed(int64_t *acc, vec a, float scale, float limit)
{
    float lanes[VEC_LANES];
    _mm256_storeu_ps(lanes, a);
    int in_range = 1;
    for (int i = 0; i < VEC_LANES; i++) {
        if (fabsf(lanes[i]) < limit)
            acc[i] += _mm_cvtss_si64(_mm_set_ss(lanes[i] * scale));
        else
            in_range = 0;
    }
    return in_range;
}

#endif
