/* elements.h - what is combined, and how: integers and bits, so that no order of combining leaves a trace. */
#ifndef PALMGROVE_PAR_ELEMENTS_H
#define PALMGROVE_PAR_ELEMENTS_H

#include <stddef.h>
#include <stdint.h>

typedef enum par_combine { PAR_SUM_I64, PAR_OR_U32 } par_combine;

static inline size_t par_combine_element(par_combine how)
{
    return how == PAR_SUM_I64 ? sizeof(int64_t) : sizeof(uint32_t);
}

/* into[i] combined with from[i]; `bytes` are whole elements.  Sums wrap. */
void par_combine_into(par_combine how, void *into, const void *from, size_t bytes);

#endif
