/* gateway_harness.h - a coordinator with a fake replica, and clients that speak to it through real sockets, for the
 * gateway tests.
 */
#ifndef PALMGROVE_TESTS_GATEWAY_HARNESS_H
#define PALMGROVE_TESTS_GATEWAY_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/coordinator.h"
#include "proto/wire/msg.h"
#include "tests/gateway/fake_model.h"
#include "tests/gateway/fake_replica.h"

enum { HARNESS_TEXT = 8192, HARNESS_TIMEOUT_MS = 20000 };

typedef struct harness {
    char dir[64];      /* of its own, removed at the end; holds the model and the sockets */
    char endpoint[96]; /* ipc */
    char link[96];
    void *zmq;
    coord *coord;
    fake_replica replica;
    fake_replica_options replica_options; /* change before harness_start */
    coord_options options;                /* likewise */
    const char *endpoints[2];
    char ready_line[1024];
    atomic_bool is_ready;
} harness;

/* Options that most tests want: 1 endpoint on ipc, a queue of 16, a replica of 2 stages, 8 sequences, 4096 positions.
 */
harness *harness_create(void);
/* Start the coordinator and the replica, wait for the ready line. */
void harness_start(harness *r);
/* Drain, wait for the end, check that nothing is left in the directory, free. */
void harness_end(harness *r);
/* Free what harness_end frees, when the coordinator never started or ended otherwise. */
void harness_free(harness *r);

/* ---- a client that sees every message ---- */

typedef struct peer {
    void *socket; /* DEALER or REQ */
} peer;

peer peer_open(harness *r, int type);
void peer_close(peer *p);
void peer_send(peer *p, const wire_request *request);
void peer_send_bytes(peer *p, const void *bytes, size_t size);
/* Receive a reply within HARNESS_TIMEOUT_MS; release it with wire_reply_release. */
void peer_receive(peer *p, wire_reply *reply);
/* False when nothing came in `timeout_ms`. */
bool peer_try(peer *p, wire_reply *reply, int timeout_ms);
/* Receive and check that it is an Error of this status for this id; its text must contain `part` (may be NULL). */
void peer_expect_error(peer *p, const char *request_id, base_status status, const char *part);
wire_stats peer_stats(peer *p);

/* A Generate of one text part. */
wire_request text_request(const char *request_id, const char *text, uint32_t max_tokens, bool stream);

/* What the fake model answers to a text prompt; at least [max_tokens + 1] bytes.  Returns whether it ends by itself. */
bool harness_expect(const harness *r, const char *text, uint32_t max_tokens, const link_sampling *sampling,
                    char *answer);

/* Run a request whose answer is known, stream or whole, and compare. */
void peer_check_answer(peer *p, const harness *r, const char *request_id, const char *text, uint32_t max_tokens,
                       bool stream);

#endif
