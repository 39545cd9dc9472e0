/* peak_avx2.c - peak.h in 32-byte vectors. */
#include <immintrin.h>
#include <stdint.h>

#define PEAK_NAME      peak_avx2_table
#define PEAK_BYTES     32
#define PEAK_CHAINS    12
#define PEAK_INT8_NAME "vpmaddubsw + vpmaddwd"

typedef int32_t ints __attribute__((vector_size(PEAK_BYTES)));

static inline ints peak_dot(ints acc, ints u, ints s)
{
    __asm__ volatile("" : "+x"(u)); /* or the product would leave the loop */
    __m256i pairs = _mm256_maddubs_epi16((__m256i)u, (__m256i)s);
    return (ints)_mm256_add_epi32((__m256i)acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

#include "worker/kernels/peak_tpl.h"
