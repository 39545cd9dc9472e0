/* bench_spread.h - repeated measurements as a median and quartiles; lists of sizes to measure ("1,4,16"). */
#ifndef PALMGROVE_BENCH_SPREAD_H
#define PALMGROVE_BENCH_SPREAD_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

typedef struct bench_spread {
    double median, low, high; /* low, high: the quartiles */
} bench_spread;

/* Of n >= 1 values, which are sorted in place; between two of them it interpolates. */
bench_spread bench_spread_of(double *values, size_t n);

#define BENCH_LIST_MAX 16u

typedef struct bench_list {
    uint32_t values[BENCH_LIST_MAX];
    size_t n;
} bench_list;

/* Numbers with commas between, each from `least` to `most`.  BASE_EINVAL names `option`. */
base_status bench_list_read(const char *option, const char *text, uint32_t least, uint32_t most, bench_list *out,
                            base_error *error);
uint32_t bench_list_max(const bench_list *list);

#endif
