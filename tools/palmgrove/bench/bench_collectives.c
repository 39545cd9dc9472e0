/* bench_collectives.c - placeholder until par_measure_sum exists. */
#include "tools/palmgrove/bench/bench.h"

base_status bench_collectives_measure(bench_rank *rank, bench_results *results, base_error *error)
{
    (void)rank;
    (void)results;
    return base_fail(error, BASE_EUNSUPPORTED, "no collectives yet");
}
