/* size.h - products and sums of sizes that cannot wrap.  Use before any allocation whose size comes from input. */
#ifndef PALMGROVE_BASE_SIZE_H
#define PALMGROVE_BASE_SIZE_H

#include <stdbool.h>
#include <stddef.h>

/* *out = a * b; false (and *out untouched) when the product does not fit. */
static inline bool base_size_mul(size_t a, size_t b, size_t *out)
{
    size_t product;
    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *out = product;
    return true;
}

/* *out = a + b; false (and *out untouched) when the sum does not fit. */
static inline bool base_size_add(size_t a, size_t b, size_t *out)
{
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *out = sum;
    return true;
}

/* The least multiple of `unit` (> 0) that is >= value.  The caller knows that it fits. */
static inline size_t base_size_round_up(size_t value, size_t unit)
{
    return (value + unit - 1) / unit * unit;
}

#endif
