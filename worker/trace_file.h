/* trace_file.h - `--trace FILE`: every rank's spans in one file, and where each rank's time went. */
#ifndef PALMGROVE_WORKER_TRACE_FILE_H
#define PALMGROVE_WORKER_TRACE_FILE_H

#include "proto/base/status.h"
#include "worker/par/grid.h"

typedef struct worker_trace worker_trace;

/* Rank 0 creates `path`, every rank starts to record (worker/trace).  `path` is the same on all ranks; NULL: nothing is
 * traced, *out is NULL. Collective, agreed.  Errors: BASE_EIO the file cannot be written; BASE_ENOMEM. */
base_status worker_trace_open(par_world *world, const par_place *place, const char *path, worker_trace **out,
                              base_error *error);

/* Write all spans, in rank 0's time, and give rank 0 a line of text for each rank: how its time divides into computing,
 * reducing, waiting for other stages and idling.  Stops recording; nulls *t (which may be NULL).  Collective, agreed.
 * Errors: BASE_EIO, BASE_ENOMEM; the file is incomplete then. */
base_status worker_trace_close(worker_trace **t, void (*line)(void *context, int rank, const char *text), void *context,
                               base_error *error);

/* After a failure: stop recording and forget it, each rank for itself.  An empty file stays. */
void worker_trace_abandon(worker_trace **t);

#endif
