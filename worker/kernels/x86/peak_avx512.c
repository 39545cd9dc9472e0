/* peak_avx512.c - peak.h in 64-byte vectors, for CPUs without the 8-bit dot product. */
#include <immintrin.h>
#include <stdint.h>

#define PEAK_NAME      peak_avx512_table
#define PEAK_BYTES     64
#define PEAK_CHAINS    16
#define PEAK_INT8_NAME "vpmaddubsw + vpmaddwd"

typedef int32_t ints __attribute__((vector_size(PEAK_BYTES)));

static inline ints peak_dot(ints acc, ints u, ints s)
{
    __asm__ volatile("" : "+v"(u)); /* or the product would leave the loop */
    __m512i pairs = _mm512_maddubs_epi16((__m512i)u, (__m512i)s);
    return (ints)_mm512_add_epi32((__m512i)acc, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}

#include "worker/kernels/peak_tpl.h"
