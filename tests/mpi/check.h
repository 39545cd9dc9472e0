/* check.h - the frame of tests under mpirun: every rank runs the case, a failed check is printed and counted, and at
 * the end all ranks agree whether any failed.  After a failed check the case continues, so that no rank is left alone
 * in a collective. */
#ifndef PALMGROVE_TESTS_MPI_CHECK_H
#define PALMGROVE_TESTS_MPI_CHECK_H

#include <stdio.h>
#include <string.h>

#include "worker/par/grid.h"

static int check_failures;

#define CHECK(condition)                                                                \
    do {                                                                                \
        if (!(condition)) {                                                             \
            if (check_failures++ < 10)                                                  \
                fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
        }                                                                               \
    } while (0)

typedef struct check_case {
    const char *name;
    void (*run)(par_world *world);
} check_case;

/* Run a case on every layout that the number of ranks allows. */
static inline void check_each_layout(par_world *world, void (*run)(par_world *world, par_grid *grid))
{
    uint32_t n = (uint32_t)par_world_size(world);
    for (uint32_t tp = 1; tp <= n; tp++) {
        if (n % tp != 0)
            continue;
        base_error error = {0};
        par_grid *grid = NULL;
        CHECK(par_grid_create(world, tp, n / tp, &grid, &error) == BASE_OK);
        par_place place = par_grid_place(grid);
        CHECK(place.rank == (uint32_t)par_world_rank(world) && place.stage == place.rank / tp &&
              place.tp_rank == place.rank % tp);
        run(world, grid);
        par_grid_destroy(&grid);
        CHECK(grid == NULL);
    }
}

/* Run the case named on the command line; the process's exit code. */
static int check_main(int argc, char **argv, const check_case *cases, size_t n_cases)
{
    base_error error = {0};
    par_world *world = NULL;
    if (par_world_open(&argc, &argv, &world, &error) != BASE_OK) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    bool found = false;
    for (size_t i = 0; i < n_cases; i++) {
        if (argc > 1 && strcmp(argv[1], cases[i].name) == 0) {
            found = true;
            cases[i].run(world);
        }
    }
    if (!found)
        fprintf(stderr, "no case '%s'\n", argc > 1 ? argv[1] : "");
    uint64_t failures = par_world_max(world, (uint64_t)check_failures + !found);
    par_world_close(&world);
    return failures == 0 ? 0 : 1;
}

#endif
