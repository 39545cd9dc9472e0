/* place.h - cores, threads and memory policy of this rank among the ranks of its node. */
#ifndef PALMGROVE_WORKER_PLACE_H
#define PALMGROVE_WORKER_PLACE_H

#include "proto/base/status.h"
#include "worker/par/par.h"
#include "worker/topo/topo.h"

/* Divide the allowed cores among the ranks that share them, set the OpenMP team and, when `pin`, bind it.  Collective.  `n_threads` 0:
 * one for each core of the share.  *machine and *plan are owned by the caller, also after a failure (NULL where not reached; destroy the
 * plan first).  `remark`: what pinning could not do.  Errors are agreed upon: those of topo_machine_open and topo_plan_create; BASE_ENOMEM. */
base_status worker_place(par_world *world, uint32_t n_threads, bool pin, topo_machine **machine, topo_plan **plan,
                         char remark[TOPO_TEXT_MAX], base_error *error);

#endif
