#include "coordinator/gateway/open_requests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

base_status open_requests_init(open_requests *c, uint32_t capacity, base_error *error)
{
    open_request *requests = calloc(capacity, sizeof *requests);
    if (requests == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a table of %u requests", capacity);
    for (uint32_t i = 0; i < capacity; i++)
        requests[i].number = i;
    *c = (open_requests){.requests = requests, .capacity = capacity};
    return BASE_OK;
}

void open_requests_release(open_requests *c)
{
    free(c->requests);
    *c = (open_requests){0};
}

bool client_id_equal(const client_id *a, const client_id *b)
{
    return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

open_request *open_requests_find_id(open_requests *c, const client_id *client, const char *request_id)
{
    for (uint32_t i = 0; i < c->capacity; i++) {
        open_request *r = &c->requests[i];
        if (r->is_open && strcmp(r->request_id, request_id) == 0 && client_id_equal(&r->client, client))
            return r;
    }
    return NULL;
}

static open_request *free_place(open_requests *c)
{
    for (uint32_t i = 0; i < c->capacity; i++)
        if (!c->requests[i].is_open)
            return &c->requests[i];
    return NULL;
}

base_status open_requests_add(open_requests *c, const client_id *client, const char *request_id, bool is_unique,
                              uint64_t *number, base_error *error)
{
    if (is_unique && open_requests_find_id(c, client, request_id) != NULL)
        return base_fail(error, BASE_EINVAL,
                         "request_id '%s' is in use on this connection; choose another or wait for its end",
                         request_id);
    open_request *r = free_place(c);
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

open_request *open_requests_find(open_requests *c, uint64_t number)
{
    open_request *r = &c->requests[(uint32_t)number % c->capacity];
    return r->is_open && r->number == number ? r : NULL;
}

void open_requests_remove(open_requests *c, open_request *request)
{
    request->is_open = false;
    c->n_open--;
}
