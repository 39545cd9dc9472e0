/* coordinator.h - the front of a cluster: gateway, sessions, scheduler.  Never calls MPI; drives a replica through the
 * link.
 *
 * It starts its own threads (coord_start): gateway (client sockets, limits), intake (image decoding, tokenizing),
 * engine (scheduler, link, detokenizing).  They exchange owned messages through queues; README.md in this folder has
 * the diagram. */
#ifndef PALMGROVE_COORDINATOR_H
#define PALMGROVE_COORDINATOR_H

#include <stdbool.h>

#include "coordinator/coord_options.h"
#include "proto/base/status.h"

typedef struct coord coord;

/* Load tokenizer and templates, bind every endpoint, start the threads.  `zmq` is the process's ZeroMQ context
 * (borrowed). `options` and the strings in it are read during the call only; `ready` and its context are used later.
 * Errors name their subject: tokenizer file, endpoint in use (BASE_EBUSY), insecure address (BASE_EINVAL),
 * a draft model with another vocabulary (BASE_EINVAL). */
base_status coord_start(const coord_options *options, void *zmq, coord **out, base_error *error);

/* Stop admitting (BASE_ESHUTDOWN to clients), finish what is admitted, stop the replica, then the threads end.  Returns
 * at once; any thread; idempotent.  A second call with `now` cancels what is still running. */
void coord_drain(coord *c, bool now);

/* The replica is known to be gone (a rank died): every open request ends with BASE_EIO, then the threads end.  `why`:
 * static.  Returns at once; any thread; idempotent. */
void coord_replica_lost(coord *c, const char *why);

/* Wait for the threads to end (after coord_drain, or a failed replica) and free everything.  Returns why it ended:
 * BASE_OK after a drain, else the replica's failure. */
base_status coord_finish(coord **c, base_error *error);

#endif
