/* gateway.h - the client sockets: receives and checks messages, refuses what is wrong, passes requests to the engine
 * and its replies back.
 *
 * One thread owns one ROUTER socket that is bound to every endpoint.  It never blocks on a client: one whose send queue
 * is full, or who went away, has its requests canceled.  A client that goes away silently while nothing is sent to it
 * is noticed when the first reply cannot be routed; heartbeats make ZeroMQ close dead connections within seconds. */
#ifndef PALMGROVE_GATEWAY_H
#define PALMGROVE_GATEWAY_H

#include <stdatomic.h>

#include "coordinator/coord_options.h"
#include "coordinator/thread_queue.h"

typedef struct gateway gateway;

/* Start the thread and bind.  Returns when every endpoint is bound.  `queue` is where replies arrive, `engine` where
 * requests go, `payload_bytes` grows by each Generate passed on; all borrowed. Errors: address_check's; BASE_EBUSY a
 * tcp port is in use; BASE_EIO, BASE_ENOMEM; no thread is left running. */
base_status gateway_start(const coord_options *options, void *zmq, thread_queue *queue, thread_queue *engine,
                          atomic_size_t *payload_bytes, gateway **out, base_error *error);

/* The endpoints as bound (a port chosen by the system filled in), separated by ", "; borrowed. */
const char *gateway_endpoints(const gateway *g);

/* After the replies sent so far: answer what is still open with BASE_ESHUTDOWN, close the sockets, remove ipc files,
 * end the thread. */
void gateway_stop(gateway **g);

#endif
