/* grid_int.h - inside of par_grid, for this folder only. */
#ifndef PALMGROVE_PAR_GRID_INT_H
#define PALMGROVE_PAR_GRID_INT_H

#include "worker/par/collectives.h"
#include "worker/par/rank_queue_int.h"
#include "worker/par/nodes_int.h"
#include "worker/par/world_int.h"

struct par_grid {
    par_world *world;
    par_place place;
    MPI_Comm comm;  /* the grid: plans, stages, results */
    MPI_Comm group; /* this rank's tensor group */
    par_waiter waiter;
    par_spin spin; /* of waits for messages */
    bool reserved;
    par_send_queue plans_out, stage_out, results_out;
    par_recv_queue plans_in, results_in;
    par_nodes nodes;              /* of the tensor group */
    MPI_Request *column_requests; /* [tp] of par_gather_columns */
    bool rows_same_on_all_stages; /* par_rows_same_on_all_stages */
    uint64_t idle_since_us;       /* 0: not idle */
};

/* Take in what has arrived and pass plans on; never waits.  A waiter's `progress`, `context` being the grid. */
void par_grid_progress(void *context);

/* Wait until everything sent has left, and free the queues; nothing if none were reserved. */
void par_channels_release(par_grid *grid);

/* Begin a collective of whole teams: a barrier, and a waiter that keeps messages moving. */
par_waiter par_group_begin(par_grid *grid, team_member *me);

#endif
