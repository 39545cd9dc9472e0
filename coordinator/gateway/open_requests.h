/* open_requests.h - the requests that are open at the gateway, and where their replies go.
 *
 * A number names an open request everywhere else: its place in the table in the low half, a count of uses of that place
 * in the high half, so a number that is late finds nothing instead of another request.  Threads: the gateway's. */
#ifndef PALMGROVE_GATEWAY_OPEN_REQUESTS_H
#define PALMGROVE_GATEWAY_OPEN_REQUESTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "proto/wire/msg.h"

/* A connection as the ROUTER socket names it. */
typedef struct client_id {
    uint8_t bytes[255];
    uint8_t size;
    bool has_delimiter; /* a REQ socket: an empty frame precedes the payload, both ways */
} client_id;

typedef struct open_request {
    bool is_open;
    bool is_gone; /* the client went away or does not read: replies are dropped */
    uint64_t number;
    client_id client;
    char request_id[WIRE_REQUEST_ID_BYTES_MAX + 1];
} open_request;

typedef struct open_requests {
    open_request *requests; /* [capacity] */
    uint32_t n_open, capacity;
} open_requests;

/* Errors: BASE_ENOMEM. */
base_status open_requests_init(open_requests *c, uint32_t capacity, base_error *error);
void open_requests_release(open_requests *c);

/* Open a request.  `is_unique`: its id must differ from those open on the same connection.
 * Errors: BASE_EBUSY the table is full; BASE_EINVAL the id is in use. */
base_status open_requests_add(open_requests *c, const client_id *client, const char *request_id, bool is_unique,
                              uint64_t *number, base_error *error);
/* NULL when it is closed already. */
open_request *open_requests_find(open_requests *c, uint64_t number);
/* The open request with this id on this connection; NULL: none. */
open_request *open_requests_find_id(open_requests *c, const client_id *client, const char *request_id);
void open_requests_remove(open_requests *c, open_request *request);
bool client_id_equal(const client_id *a, const client_id *b);

#endif
