/* worker.h - a rank's life: load, say hello, execute plans, leave.  It knows no requests. */
#ifndef PALMGROVE_WORKER_H
#define PALMGROVE_WORKER_H

#include "proto/base/status.h"
#include "worker/par/world.h"
#include "worker/worker_options.h"

/* Run this rank until the coordinator says stop.  Collective over the world.  Logs each rank's binding and memory, and
 * on rank 0 the load progress.  Failures, at start-up and later, are returned on all ranks; all resources are released.
 * Start the coordinator's threads before: threads made later inherit the cores that this rank is bound to. */
base_status worker_run(par_world *world, const worker_options *options, base_error *error);

#endif
