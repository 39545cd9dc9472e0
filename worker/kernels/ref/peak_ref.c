/* peak_ref.c - what portable code reaches: 16-byte vectors, products and sums apart. */
#include <stdint.h>

#define PEAK_NAME      peak_ref_table
#define PEAK_BYTES     16
#define PEAK_CHAINS    8
#define PEAK_INT8_NAME "32-bit integers"

typedef int32_t ints __attribute__((vector_size(PEAK_BYTES)));

/* Four products of 8 bits, one after the other, in 32-bit lanes. */
static inline ints peak_dot(ints acc, ints u, ints s)
{
    for (int byte = 0; byte < 4; byte++)
        acc +=
            ((u ^ acc) >> 8 * byte & 0xff) * (s >> 8 * byte & 0xff); /* u ^ acc: or the product would leave the loop */
    return acc & 0x7fffff;
}

#include "worker/kernels/peak_tpl.h"
