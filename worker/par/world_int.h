/* world_int.h - inside of par_world, for this folder only. */
#ifndef PALMGROVE_PAR_WORLD_INT_H
#define PALMGROVE_PAR_WORLD_INT_H

#include "worker/par/world.h"
#include "worker/par/wait_int.h"

struct par_world {
    MPI_Comm comm; /* a duplicate: no library's messages can meet ours */
    MPI_Comm node; /* the ranks that share this node's memory */
    int rank, size;
    int local_rank, local_size;
    bool use_shared;         /* for grids made from now on, like the next two */
    uint32_t pretended_node; /* ranks; 0: nodes as they are */
    par_wire wire;
    bool test_yields;  /* see par_spin */
    par_waiter waiter; /* without a service: nothing flows before there is a grid */
};

#endif
