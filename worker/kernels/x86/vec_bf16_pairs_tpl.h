/* vec_bf16_pairs_tpl.h - two words for vec_avx512_tpl.h: products of pairs of bf16 columns by vdpbf16ps.
 * linear_bf16_tpl.h is written over them where VEC_HAS_PAIRS is defined, and over vec_fma_flush elsewhere. */
#ifndef PALMGROVE_VEC_BF16_PAIRS_TPL_H
#define PALMGROVE_VEC_BF16_PAIRS_TPL_H

#include "worker/kernels/x86/vec_avx512_tpl.h"

#define VEC_HAS_PAIRS

typedef __m512i vec_pairs; /* in each lane the first column's bf16 in the high half, the second's in the low half */

static inline vec_pairs vec_pairs_set(const uint16_t *x)
{
    int32_t pair;
    memcpy(&pair, x, sizeof pair);
    return _mm512_set1_epi32(pair);
}

/* Two columns of 32 outputs.  Interleaving works on quarters of a vector, so outputs come as 0-3, 8-11, 16-19, 24-27
 * and 4-7, 12-15, 20-23, 28-31. */
static inline void vec_pairs_load(const uint16_t *first, const uint16_t *second, vec_pairs out[2])
{
    __m512i high = _mm512_loadu_si512(first), low = _mm512_loadu_si512(second);
    out[0] = _mm512_unpacklo_epi16(low, high);
    out[1] = _mm512_unpackhi_epi16(low, high);
}

/* The two sums of a row from that order into the outputs' own. */
static inline void vec_pairs_order(vec s[2])
{
    const __m512i lower = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i upper = _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
    vec a = s[0], b = s[1];
    s[0] = _mm512_permutex2var_ps(a, lower, b);
    s[1] = _mm512_permutex2var_ps(a, upper, b);
}

/* fma(second, second, fma(first, first, s)), each rounded to nearest even, denormals as zeros, whatever MXCSR says. */
static inline vec vec_dot_pairs(vec s, vec_pairs w, vec_pairs x)
{
    return _mm512_dpbf16_ps(s, (__m512bh)w, (__m512bh)x);
}

#endif
