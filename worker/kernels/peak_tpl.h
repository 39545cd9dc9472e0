/* peak_tpl.h - the loops of peak.h over vectors of PEAK_BYTES, compiled per instruction set.
 *
 * Before the inclusion: PEAK_NAME (of the table), PEAK_BYTES, PEAK_CHAINS (independent accumulators: enough to hide the
 * latency, few enough to stay in registers), PEAK_INT8_NAME, and the word peak_dot(acc, u, s): acc plus the 8-bit dot
 * products of u and s, four to a 32-bit lane; where the compiler could take work out of the loop it must be stopped
 * (PEAK_HIDE).
 *
 * The read loop is one stream: two to eight at a time, or prefetches ahead of it, were slower or the same
 * (docs/PERFORMANCE.md). */
#include "worker/kernels/peak.h"

typedef float peak_floats __attribute__((vector_size(PEAK_BYTES)));
typedef int32_t peak_ints __attribute__((vector_size(PEAK_BYTES)));
typedef uint64_t peak_words __attribute__((vector_size(PEAK_BYTES)));

static uint64_t peak_read(const void *bytes, size_t size)
{
    const peak_words *at = __builtin_assume_aligned(bytes, 64);
    peak_words sums[8] = {{0}};
    for (size_t i = 0; i < size / PEAK_BYTES; i += 8)
        for (size_t j = 0; j < 8; j++)
            sums[j] ^= at[i + j];
    for (size_t j = 1; j < 8; j++)
        sums[0] ^= sums[j];
    return sums[0][0];
}

static float peak_f32(size_t n)
{
    static const volatile float factor = 0.5f, term = 1.0f; /* towards 2: neither grows nor becomes denormal */
    peak_floats acc[PEAK_CHAINS], a = (peak_floats){0} + factor, b = (peak_floats){0} + term;
    for (int c = 0; c < PEAK_CHAINS; c++)
        acc[c] = b * (float)c;
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < PEAK_CHAINS; c++)
            acc[c] = acc[c] * a + b;
    for (int c = 1; c < PEAK_CHAINS; c++)
        acc[0] += acc[c];
    return acc[0][0];
}

static int32_t peak_int8(size_t n)
{
    static const volatile int32_t bytes = 0x01020304;
    peak_ints acc[PEAK_CHAINS], u = (peak_ints){0} + bytes, s = u;
    for (int c = 0; c < PEAK_CHAINS; c++)
        acc[c] = u * c; /* equal chains would be computed once */
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < PEAK_CHAINS; c++)
            acc[c] = peak_dot(acc[c], u, s);
    for (int c = 1; c < PEAK_CHAINS; c++)
        acc[0] ^= acc[c];
    return acc[0][0];
}

const peak_table PEAK_NAME = {
    .int8_name = PEAK_INT8_NAME,
    .read = peak_read,
    .f32 = peak_f32,
    .int8 = peak_int8,
    .f32_ops = 2.0 * PEAK_CHAINS * PEAK_BYTES / 4,
    .int8_ops = 2.0 * PEAK_CHAINS * PEAK_BYTES,
};
