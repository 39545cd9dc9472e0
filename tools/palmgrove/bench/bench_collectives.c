/* bench_collectives.c - sums of activations over all ranks, ours against the MPI library's, in turns on the same
 * buffers. */
#include "tools/palmgrove/bench/bench.h"
#include "worker/par/collectives.h"

base_status bench_collectives_measure(bench_rank *rank, bench_results *results, base_error *error)
{
    static const struct {
        size_t bytes;
        uint32_t repeats;
    } sizes[] = {{(size_t)8 << 10, 201}, {(size_t)64 << 10, 101}, {(size_t)512 << 10, 51}, {(size_t)4 << 20, 21}};
    uint32_t n = (uint32_t)par_world_size(rank->world);
    par_grid *grid = NULL;
    if (n == 1)
        return BASE_OK;
    bench_say(rank, "sums over %u ranks ...", n);
    base_status status = par_grid_create(rank->world, n, 1, &grid, error);
    for (size_t i = 0; status == BASE_OK && i < sizeof sizes / sizeof sizes[0]; i++) {
        bench_collective_row row = {.bytes = sizes[i].bytes, .ranks = n};
        status = par_measure_allreduce(grid, row.bytes, sizes[i].repeats, &row.own_us, &row.mpi_us, error);
        results->collectives[results->n_collectives++] = row;
    }
    par_grid_destroy(&grid);
    return status;
}
