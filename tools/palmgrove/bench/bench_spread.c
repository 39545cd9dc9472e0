#include "tools/palmgrove/bench/bench_spread.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The value below which `part` of the sorted values lie. */
static double quantile(const double *sorted, size_t n, double part)
{
    double place = part * (double)(n - 1);
    size_t below = (size_t)place;
    double beyond = place - (double)below;
    return below + 1 < n ? sorted[below] * (1.0 - beyond) + sorted[below + 1] * beyond : sorted[below];
}

bench_spread bench_spread_of(double *values, size_t n)
{
    qsort(values, n, sizeof *values, by_size);
    return (bench_spread){
        .median = quantile(values, n, 0.5), .low = quantile(values, n, 0.25), .high = quantile(values, n, 0.75)};
}

base_status bench_list_read(const char *option, const char *text, uint32_t least, uint32_t most, bench_list *out,
                            base_error *error)
{
    out->n = 0;
    for (const char *at = text;; at++) {
        char *end = NULL;
        errno = 0;
        unsigned long value = isdigit((unsigned char)*at) ? strtoul(at, &end, 10) : 0;
        if (end == NULL || errno != 0 || value < least || value > most || out->n == BENCH_LIST_MAX)
            break;
        out->values[out->n++] = (uint32_t)value;
        at = end;
        if (*at == '\0')
            return BASE_OK;
        if (*at != ',')
            break;
    }
    return base_fail(error, BASE_EINVAL,
                     "%s '%.60s': up to %u numbers from %u to %u with commas between, such as 1,4,16", option, text,
                     BENCH_LIST_MAX, least, most);
}

uint32_t bench_list_max(const bench_list *list)
{
    uint32_t most = 0;
    for (size_t i = 0; i < list->n; i++)
        most = list->values[i] > most ? list->values[i] : most;
    return most;
}
