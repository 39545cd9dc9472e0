/* peak_neon.c - peak.h in 16-byte vectors of Armv8-A: 8-bit products to 16 bits, added in pairs to 32. */
#include <arm_neon.h>
#include <stdint.h>

#define PEAK_NAME      peak_neon_table
#define PEAK_BYTES     16
#define PEAK_CHAINS    12
#define PEAK_INT8_NAME "smull + sadalp"

typedef int32_t ints __attribute__((vector_size(PEAK_BYTES)));

static inline ints peak_dot(ints acc, ints u, ints s)
{
    __asm__ volatile("" : "+w"(u)); /* or the product would leave the loop */
    int16x8_t low = vmull_s8(vget_low_s8((int8x16_t)u), vget_low_s8((int8x16_t)s));
    int16x8_t high = vmull_high_s8((int8x16_t)u, (int8x16_t)s);
    return (ints)vpadalq_s16(vpadalq_s16((int32x4_t)acc, low), high);
}

#include "worker/kernels/peak_tpl.h"
