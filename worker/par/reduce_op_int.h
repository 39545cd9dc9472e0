/* reduce_op_int.h - reduction operators: on integers and bits only, so that no order of reducing leaves a trace. */
#ifndef PALMGROVE_PAR_REDUCE_OP_INT_H
#define PALMGROVE_PAR_REDUCE_OP_INT_H

#include <stddef.h>
#include <stdint.h>

typedef enum par_reduce_op { PAR_SUM_I64, PAR_OR_U32 } par_reduce_op;

static inline size_t par_reduce_op_bytes(par_reduce_op op)
{
    return op == PAR_SUM_I64 ? sizeof(int64_t) : sizeof(uint32_t);
}

/* into[i] = into[i] op from[i]; `bytes` are whole elements.  Sums wrap. */
void par_reduce_into(par_reduce_op op, void *into, const void *from, size_t bytes);

#endif
