/* plan_measure.h - what the planner wants to know of the machines at hand, measured on all ranks of this MPI job at
 * once. */
#ifndef PALMGROVE_PLAN_MEASURE_H
#define PALMGROVE_PLAN_MEASURE_H

#include "sharding/planner/plan_cluster.h"
#include "worker/par/world.h"

/* Measure with teams of `n_threads` (already placed, kernels selected): memory bandwidth, kernels, all-reduces inside a
 * node and over all.  Collective; the same result on every rank: the slowest rank's rates, a node's memory.  What
 * cannot be seen stays as *cluster has it: the network on one node, messages inside a node of one rank. `say` (may be
 * NULL) gets a line before each part.  Takes about half a minute and 300 MB a rank. Errors, agreed upon: BASE_ENOMEM;
 * BASE_EINVAL the nodes have unequal numbers of ranks. */
base_status plan_measure(par_world *world, uint32_t n_threads, void (*say)(const char *line), plan_cluster *cluster,
                         base_error *error);

/* The middle one of n values, which are sorted. */
double plan_median(double *values, size_t n);

#endif
