/* endpoint.h - questions about ZeroMQ endpoint strings that ZeroMQ does not answer. */
#ifndef PALMGROVE_BASE_ENDPOINT_H
#define PALMGROVE_BASE_ENDPOINT_H

#include <stdbool.h>

/* True when a process listens on an "ipc:///PATH" endpoint.  zmq_bind removes such a socket file and takes the path
 * over silently, so ask before binding; a stale file without a listener is not in use.  False for every other kind of
 * endpoint. */
bool base_endpoint_in_use(const char *endpoint);

/* Remove the socket file of an "ipc:///PATH" endpoint that the caller had bound and has closed: ZeroMQ 4.3 does not
 * remove it.  No effect on every other kind of endpoint. */
void base_endpoint_remove(const char *endpoint);

#endif
