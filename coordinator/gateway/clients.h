/* clients.h - the requests that are open at the gateway, and where their replies go.
 *
 * A number names an open request everywhere else: its place in the table in the low half, a count of uses of that place
 * in the high half, so a number that is late finds nothing instead of a stranger.  Threads: the gateway's. */
#ifndef PALMGROVE_GATEWAY_CLIENTS_H
#define PALMGROVE_GATEWAY_CLIENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "proto/wire/msg.h"

/* A connection as the ROUTER socket names it. */
typedef struct client_id {
    uint8_t bytes[255];
    uint8_t size;
    bool has_delimiter; /* a REQ socket: an empty frame stands before the payload, both ways */
} client_id;

typedef struct client_request {
    bool is_open;
    bool is_gone; /* the client went away or does not read: replies are dropped */
    uint64_t number;
    client_id client;
    char request_id[WIRE_REQUEST_ID_BYTES_MAX + 1];
} client_request;

typedef struct clients {
    client_request *requests; /* [capacity] */
    uint32_t n_open, capacity;
} clients;

/* Errors: BASE_ENOMEM. */
base_status clients_init(clients *c, uint32_t capacity, base_error *error);
void clients_release(clients *c);

/* Open a request.  `is_unique`: its id must differ from those open on the same connection.
 * Errors: BASE_EBUSY the table is full; BASE_EINVAL the id is in use. */
base_status clients_open(clients *c, const client_id *client, const char *request_id, bool is_unique, uint64_t *number,
                         base_error *error);
/* NULL when it is closed already. */
client_request *clients_find(clients *c, uint64_t number);
/* The open request with this id on this connection; NULL: none. */
client_request *clients_find_id(clients *c, const client_id *client, const char *request_id);
void clients_close(clients *c, client_request *request);
bool client_is_same(const client_id *a, const client_id *b);

#endif
