#include "coordinator/gateway/clients.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

base_status clients_init(clients *c, uint32_t capacity, base_error *error)
{
    client_request *requests = calloc(capacity, sizeof *requests);
    if (requests == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a table of %u requests", capacity);
    for (uint32_t i = 0; i < capacity; i++)
        requests[i].number = i;
    *c = (clients){.requests = requests, .capacity = capacity};
    return BASE_OK;
}

void clients_release(clients *c)
{
    free(c->requests);
    *c = (clients){0};
}

bool client_is_same(const client_id *a, const client_id *b)
{
    return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

client_request *clients_find_id(clients *c, const client_id *client, const char *request_id)
{
    for (uint32_t i = 0; i < c->capacity; i++) {
        client_request *r = &c->requests[i];
        if (r->is_open && strcmp(r->request_id, request_id) == 0 && client_is_same(&r->client, client))
            return r;
    }
    return NULL;
}

static client_request *free_place(clients *c)
{
    for (uint32_t i = 0; i < c->capacity; i++)
        if (!c->requests[i].is_open)
            return &c->requests[i];
    return NULL;
}

base_status clients_open(clients *c, const client_id *client, const char *request_id, bool is_unique, uint64_t *number,
                         base_error *error)
{
    if (is_unique && clients_find_id(c, client, request_id) != NULL)
        return base_fail(error, BASE_EINVAL,
                         "request_id '%s' is in use on this connection; choose another or wait for its end",
                         request_id);
    client_request *r = free_place(c);
    if (r == NULL)
        return base_fail(error, BASE_EBUSY, "%u requests are open, the limit; try again later", c->n_open);
    r->number += UINT64_C(1) << 32;
    r->is_open = true;
    r->is_gone = false;
    r->client = *client;
    snprintf(r->request_id, sizeof r->request_id, "%s", request_id);
    c->n_open++;
    *number = r->number;
    return BASE_OK;
}

client_request *clients_find(clients *c, uint64_t number)
{
    client_request *r = &c->requests[(uint32_t)number % c->capacity];
    return r->is_open && r->number == number ? r : NULL;
}

void clients_close(clients *c, client_request *request)
{
    request->is_open = false;
    c->n_open--;
}
