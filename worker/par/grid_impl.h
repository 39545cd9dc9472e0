/* grid_impl.h - inside of par_grid, for this folder only. */
#ifndef PALMGROVE_PAR_GRID_IMPL_H
#define PALMGROVE_PAR_GRID_IMPL_H

#include "worker/par/mailbox.h"
#include "worker/par/nodes.h"
#include "worker/par/par.h"
#include "worker/par/world.h"

struct par_grid {
    par_world *world;
    par_place place;
    MPI_Comm comm;  /* the grid: plans, stages, results */
    MPI_Comm group; /* this rank's tensor group */
    par_waiter waiter;
    par_spin spin; /* of waits for messages */
    bool reserved;
    par_outbox plans_out, stage_out, results_out;
    par_inbox plans_in, results_in;
    par_nodes nodes;              /* of the tensor group */
    MPI_Request *column_requests; /* [tp] of par_gather_columns */
    bool rows_alike;              /* par_rows_alike */
    uint64_t idle_since_us;       /* 0: not idle */
};

/* Take in what has arrived and pass plans on; never waits.  A waiter's service, `context` being the grid. */
void par_grid_service(void *context);

/* Find out whether all stages divide rows alike; after par_nodes_init.  Collective over the grid. */
void par_rows_compare(par_grid *grid);

/* What work of a whole team over its tensor group begins with: a waiter that keeps messages moving, and a barrier. */
par_waiter par_group_begin(par_grid *grid, team_member *me);

#endif
