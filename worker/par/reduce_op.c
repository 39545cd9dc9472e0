/* reduce_op.c - the two reduction operators on blocks of memory. */
#include "worker/par/reduce_op_int.h"

void par_reduce_into(par_reduce_op op, void *into, const void *from, size_t bytes)
{
    if (op == PAR_SUM_I64) {
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
