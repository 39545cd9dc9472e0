/* grid_impl.h - inside of par_grid, for this folder only. */
#ifndef PALMGROVE_PAR_GRID_IMPL_H
#define PALMGROVE_PAR_GRID_IMPL_H

#include "worker/par/mailbox.h"
#include "worker/par/par.h"
#include "worker/par/shared.h"
#include "worker/par/world.h"

struct par_grid {
    par_world *world;
    par_place place;
    MPI_Comm comm;  /* the grid: plans, stages, results */
    MPI_Comm group; /* this rank's tensor group */
    par_waiter waiter;
    bool reserved;
    par_outbox plans_out, stage_out, results_out;
    par_inbox plans_in, results_in;
    par_shared *shared;           /* of a tensor group on one node; NULL: messages */
    char *pieces;                 /* [2][PAR_PIECE_BYTES], when messages add up */
    MPI_Request *column_requests; /* [tp] of par_gather_columns */
    uint64_t idle_since_us;       /* 0: not idle */
};

/* Vectors go in pieces that stay in the cache, and that bound what MPI takes for its own copy. */
#define PAR_PIECE_BYTES ((size_t)1 << 20)

/* values[i] = the group's values[i] combined, by messages (messages.c).  Main thread. */
void par_combine_by_messages(par_grid *grid, par_combine how, void *values, size_t n);

#endif
