/* measure_allreduce.c - what an all-reduce over the tensor group costs here, next to MPI's own. */
#include "worker/par/grid_int.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"

/* Sums between two readings of the clock, so that its microseconds are fine enough. */
#define BATCH_BYTES ((size_t)4 << 20)
#define BATCH_MOST  256u

typedef struct measured {
    par_grid *grid;
    int64_t *values, *sums;
    const int64_t *filled;
    size_t n;
    uint32_t batch;
} measured;

/* As activations are: up to 4.0 of both signs at 2^-36. */
static void fill(int64_t *values, size_t n, uint32_t rank)
{
    uint64_t h = rank;
    for (size_t i = 0; i < n; i++) {
        h = h * 6364136223846793005u + 1442695040888963407u;
        values[i] = (int64_t)h >> 25;
    }
}

/* Sums are in place, so each begins with fresh values; the cost of the copy is measured too, and subtracted. */
static void renew(const measured *m)
{
    memcpy(m->values, m->filled, m->n * sizeof *m->values);
}

static void sum_own(void *context, team_member *me)
{
    const measured *m = context;
    for (uint32_t i = 0; i < m->batch; i++) {
        renew(m);
        par_allreduce_sum_i64(m->grid, me, m->values, m->n);
    }
}

static void sum_mpi(void *context, team_member *me)
{
    const measured *m = context;
    (void)me;
    for (uint32_t i = 0; i < m->batch; i++) {
        renew(m);
        par_must(MPI_Allreduce(m->values, m->sums, par_count(m->n), MPI_INT64_T, MPI_SUM, m->grid->group),
                 "MPI_Allreduce");
    }
}

static void sum_nothing(void *context, team_member *me)
{
    const measured *m = context;
    for (uint32_t i = 0; i < m->batch; i++) {
        renew(m);
        team_barrier(me); /* so that no copy is dropped as unseen */
    }
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, uint32_t n)
{
    qsort(values, n, sizeof *values, by_size);
    return values[n / 2];
}

/* Microseconds of one of a batch; ranks begin together. */
static double time_batch(measured *m, team *t, void (*work)(void *context, team_member *me))
{
    par_must(MPI_Barrier(m->grid->group), "MPI_Barrier");
    uint64_t start_us = base_clock_us();
    team_run(t, work, m);
    return (double)(base_clock_us() - start_us) / m->batch;
}

static void measure_once(measured *m, team *t, double *own_us, double *mpi_us)
{
    double copy_us = time_batch(m, t, sum_nothing);
    *own_us = time_batch(m, t, sum_own) - copy_us;
    *mpi_us = time_batch(m, t, sum_mpi) - copy_us;
}

base_status par_measure_allreduce(par_grid *grid, size_t bytes, uint32_t repeats, double *own_us, double *mpi_us,
                                  base_error *error)
{
    size_t n = bytes / sizeof(int64_t);
    uint32_t batch = bytes < BATCH_BYTES / BATCH_MOST ? BATCH_MOST : (uint32_t)(BATCH_BYTES / bytes + 1);
    int64_t *filled = malloc((n + 1) * sizeof *filled);
    measured m = {.grid = grid,
                  .values = calloc(n + 1, sizeof *m.values),
                  .sums = calloc(n + 1, sizeof *m.sums),
                  .filled = filled,
                  .n = n,
                  .batch = batch};
    double *times = calloc(2 * (size_t)repeats + 2, sizeof *times);
    team *t = NULL;
    base_status status = BASE_OK;
    if (filled == NULL || m.values == NULL || m.sums == NULL || times == NULL)
        status = base_fail(error, BASE_ENOMEM, "out of memory for sums of %zu bytes", bytes);
    if (status == BASE_OK)
        status = team_create(1, grid->waiter.crowded, &t, error);
    status = par_world_agree(grid->world, status, error);
    if (status == BASE_OK)
        fill(filled, n, grid->place.tp_rank);
    for (uint32_t i = 0; status == BASE_OK && i <= repeats; i++) /* the first pair warms up and is written over */
        measure_once(&m, t, &times[i == 0 ? 0 : i - 1], &times[repeats + (i == 0 ? 0 : i - 1)]);
    if (status == BASE_OK) {
        *own_us = median(times, repeats);
        *mpi_us = median(times + repeats, repeats);
    }
    team_destroy(&t);
    free(times);
    free(filled);
    free(m.values);
    free(m.sums);
    return status;
}
