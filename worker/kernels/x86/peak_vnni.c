/* peak_vnni.c - peak.h in 64-byte vectors with the 8-bit dot product. */
#include <immintrin.h>
#include <stdint.h>

#define PEAK_NAME      peak_vnni_table
#define PEAK_BYTES     64
#define PEAK_CHAINS    16
#define PEAK_INT8_NAME "vpdpbusd"

typedef int32_t ints __attribute__((vector_size(PEAK_BYTES)));

static inline ints peak_dot(ints acc, ints u, ints s)
{
    return (ints)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)u, (__m512i)s);
}

#include "worker/kernels/peak_tpl.h"
