/* link.h - the message protocol between a coordinator and a replica's rank 0, over one ZeroMQ endpoint.
 *
 * Transports: inproc:// (embedded coordinator), ipc://, tcp://.  The coordinator's end binds, the replica's end
 * connects, so a batch job needs no inbound connection.  Every message is one frame, a type byte and its fields:
 *     HELLO   replica -> coordinator   identity and limits, once after the weights are loaded
 *     PLAN    coordinator -> replica   plan.h
 *     RESULT  replica -> coordinator   plan.h, one per plan, in order
 *     FAILED  replica -> coordinator   the replica cannot continue: status and text
 *     STOP    coordinator -> replica   finish the plans received, then exit
 * A ZeroMQ socket never changes threads: each end is opened and used by one thread.  Encoders never fail themselves:
 * out of memory sticks in the buffer (buf.h). */
#ifndef PALMGROVE_LINK_LINK_H
#define PALMGROVE_LINK_LINK_H

#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/status.h"
#include "proto/link/plan.h"

typedef enum link_type { LINK_HELLO = 1, LINK_PLAN, LINK_RESULT, LINK_FAILED, LINK_STOP } link_type;

/* HELLO: what a replica is and what plans it takes. */
typedef struct link_hello {
    uint32_t protocol; /* LINK_PROTOCOL */
    uint32_t tp, pp;
    link_limits limits;
    char model_digest[65]; /* lower-case hex SHA-256 over the checkpoint's tensors, see sharding/source.h */
    char isa[64];          /* kernel set in use; after a '+' the provider of products, if it is not our own */
    uint32_t n_threads;    /* per rank */
    uint64_t weights_bytes_max, kv_bytes_max, workspace_bytes_max; /* of the largest rank */
} link_hello;

#define LINK_PROTOCOL 5u

/* Append the encoded message; decode checks limits that the scheduler multiplies with.
 * Errors, *out untouched: BASE_EFORMAT with the field; BASE_EUNSUPPORTED another LINK_PROTOCOL. */
void link_hello_encode(const link_hello *hello, base_buf *out);
base_status link_hello_decode(const void *bytes, size_t size, link_hello *out, base_error *error);

/* status: not BASE_OK.  Decoded: an unknown status becomes BASE_EINTERNAL, a long text is cut to fit *out.
 * Errors, *out untouched: BASE_EFORMAT. */
void link_failed_encode(base_status status, const char *text, base_buf *out);
base_status link_failed_decode(const void *bytes, size_t size, base_error *out, base_error *error);

void link_stop_encode(base_buf *out);

/* The type of a message; 0 when it is empty or unknown. */
link_type link_message_type(const void *bytes, size_t size);

typedef struct link_end link_end;

/* Open the coordinator's or the replica's end.  `zmq` is the process's ZeroMQ context (shared when inproc).
 * Errors: BASE_EINVAL bad endpoint, BASE_EBUSY address in use, BASE_EIO; the endpoint is named. */
base_status link_bind(void *zmq, const char *endpoint, link_end **out, base_error *error);
base_status link_connect(void *zmq, const char *endpoint, link_end **out, base_error *error);

/* Close and set *end to NULL; waits up to 250 ms for messages to leave.  NULL is fine. */
void link_close(link_end **end);

/* Send one message (copied).  Never blocks.  Errors, nothing sent: BASE_EIO the peer is gone or its queue is full. */
base_status link_send(link_end *end, const base_buf *message, base_error *error);

/* Receive one message into `message` (replaced), waiting at most timeout_ms (0: poll, -1: for ever).
 * Errors: BASE_EDEADLINE none came, or a signal arrived (no error text); BASE_EIO; BASE_ENOMEM. */
base_status link_receive(link_end *end, base_buf *message, int timeout_ms, base_error *error);

/* The ZeroMQ socket, for a zmq_poll set. */
void *link_socket(link_end *end);

#endif
