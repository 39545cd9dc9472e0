#include "worker/par/elements.h"

void par_combine_into(par_combine how, void *into, const void *from, size_t bytes)
{
    if (how == PAR_SUM_I64) {
        uint64_t *sums = into;
        const uint64_t *values = from;
        for (size_t i = 0; i < bytes / sizeof *sums; i++)
            sums[i] += values[i];
    } else {
        uint32_t *bits = into;
        const uint32_t *values = from;
        for (size_t i = 0; i < bytes / sizeof *bits; i++)
            bits[i] |= values[i];
    }
}
