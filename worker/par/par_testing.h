/* par_testing.h - how a tensor group lies on nodes, overridden: for tests, and for comparing shared memory with
 * messages.  Before par_grid_create; the same on all ranks. */
#ifndef PALMGROVE_PAR_TESTING_H
#define PALMGROVE_PAR_TESTING_H

#include "worker/par/world.h"

/* Grids created afterwards reduce through the node's shared memory (the default), or by messages only. */
void par_world_use_shared(par_world *world, bool use);
/* This many neighbouring ranks of a tensor group count as a node; 0: nodes as they are. */
void par_world_pretend_nodes(par_world *world, uint32_t n_ranks);

#endif
