/* endpoint.h - questions about ZeroMQ endpoint strings that ZeroMQ does not answer. */
#ifndef PALMGROVE_BASE_ENDPOINT_H
#define PALMGROVE_BASE_ENDPOINT_H

#include <stdbool.h>

/* True when somebody listens on an "ipc:///PATH" endpoint.  zmq_bind takes such a path over without a word (it removes
 * the socket file), so whoever binds asks first; a stale file that nobody listens on is not in use.  False for every
 * other kind of endpoint. */
bool base_endpoint_in_use(const char *endpoint);

/* Remove the socket file of an "ipc:///PATH" endpoint that the caller had bound and has closed: ZeroMQ 4.3 leaves it
 * behind.  No effect on every other kind of endpoint. */
void base_endpoint_remove(const char *endpoint);

#endif
