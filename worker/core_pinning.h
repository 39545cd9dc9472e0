/* core_pinning.h - cores, threads and memory policy of this rank among the ranks of its node. */
#ifndef PALMGROVE_WORKER_CORE_PINNING_H
#define PALMGROVE_WORKER_CORE_PINNING_H

#include "proto/base/status.h"
#include "worker/par/world.h"
#include "worker/topo/topo.h"

/* Divide the allowed cores among the ranks that share them, set the OpenMP team and, when `pin`, bind it.  Collective.
 * `wanted`: threads, SMT and kinds of cores, and spare cores of a node, which its first rank gives up (with those that
 * share its set); which ranks share cores and which quotas apply is found out here.  *machine and *plan are owned by
 * the caller, also after a failure (NULL where not reached; destroy the plan first).  `remark`: what pinning could not
 * do. Errors are agreed upon: those of topo_machine_open and topo_plan_create; BASE_ENOMEM. */
base_status worker_pin_cores(par_world *world, const topo_request *wanted, bool pin, topo_machine **machine,
                             topo_plan **plan, char remark[TOPO_TEXT_MAX], base_error *error);

#endif
