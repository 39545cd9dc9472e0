/* peak_neon_dot.c - peak.h in 16-byte vectors with the 8-bit dot product (Armv8.2 dotprod). */
#include <arm_neon.h>
#include <stdint.h>

#define PEAK_NAME      peak_neon_dot_table
#define PEAK_BYTES     16
#define PEAK_CHAINS    16
#define PEAK_INT8_NAME "sdot"

typedef int32_t ints __attribute__((vector_size(PEAK_BYTES)));

static inline ints peak_dot(ints acc, ints u, ints s)
{
    return (ints)vdotq_s32((int32x4_t)acc, (int8x16_t)u, (int8x16_t)s);
}

#include "worker/kernels/peak_tpl.h"
