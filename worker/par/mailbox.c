#include "worker/par/mailbox.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/size.h"

static base_status slots_take(size_t n_slots, size_t slot_bytes, uint8_t **out, base_error *error)
{
    size_t bytes;
    if (slot_bytes > PAR_COUNT_MAX || !base_size_mul(n_slots, slot_bytes, &bytes))
        return base_fail(error, BASE_ETOOBIG,
                         "a message between ranks would have %zu bytes, the limit is %zu; lower the tokens of a step",
                         slot_bytes, PAR_COUNT_MAX);
    uint8_t *memory = malloc(bytes > 0 ? bytes : 1);
    if (memory == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for %zu message slots of %zu bytes", n_slots, slot_bytes);
    *out = memory;
    return BASE_OK;
}

base_status par_outbox_init(par_outbox *box, MPI_Comm comm, int tag, const int *dests, size_t n_dests, size_t n_slots,
                            size_t slot_bytes, base_error *error)
{
    *box = (par_outbox){.comm = comm, .tag = tag, .n_dests = n_dests, .n_slots = n_slots, .slot_bytes = slot_bytes};
    base_status status = slots_take(n_slots, slot_bytes, &box->memory, error);
    if (status != BASE_OK)
        return status;
    box->dests = malloc((n_dests + 1) * sizeof *box->dests);
    box->requests = malloc((n_slots * n_dests + 1) * sizeof *box->requests);
    if (box->dests == NULL || box->requests == NULL) {
        free(box->requests);
        box->requests = NULL;
        return base_fail(error, BASE_ENOMEM, "no memory for %zu message requests", n_slots * n_dests);
    }
    if (n_dests > 0)
        memcpy(box->dests, dests, n_dests * sizeof *dests);
    for (size_t i = 0; i < n_slots * n_dests; i++)
        box->requests[i] = MPI_REQUEST_NULL;
    return BASE_OK;
}

void par_outbox_release(par_outbox *box, const par_waiter *waiter)
{
    if (box->requests != NULL)
        par_wait(waiter, box->requests, box->n_slots * box->n_dests);
    free(box->dests);
    free(box->memory);
    free(box->requests);
    *box = (par_outbox){0};
}

static MPI_Request *next_requests(const par_outbox *box)
{
    return box->requests + (box->n_sent % box->n_slots) * box->n_dests;
}

bool par_outbox_has_room(par_outbox *box)
{
    int done = 0;
    par_must(MPI_Testall(par_count(box->n_dests), next_requests(box), &done, MPI_STATUSES_IGNORE), "MPI_Testall");
    return done != 0;
}

void par_outbox_send(par_outbox *box, const par_waiter *waiter, const void *bytes, size_t size)
{
    if (box->n_dests == 0)
        return;
    if (size > box->slot_bytes)
        par_must(MPI_ERR_COUNT, "a message longer than was reserved");
    MPI_Request *requests = next_requests(box);
    par_wait(waiter, requests, box->n_dests);

    uint8_t *slot = box->memory + (box->n_sent % box->n_slots) * box->slot_bytes;
    if (size > 0)
        memcpy(slot, bytes, size);
    for (size_t i = 0; i < box->n_dests; i++)
        par_must(MPI_Isend(slot, par_count(size), MPI_BYTE, box->dests[i], box->tag, box->comm, &requests[i]),
                 "MPI_Isend");
    box->n_sent++;
}

base_status par_inbox_init(par_inbox *box, MPI_Comm comm, int tag, int source, size_t n_slots, size_t slot_bytes,
                           base_error *error)
{
    *box = (par_inbox){.comm = comm, .tag = tag, .source = source, .n_slots = n_slots, .slot_bytes = slot_bytes};
    box->request = MPI_REQUEST_NULL;
    base_status status = slots_take(n_slots, slot_bytes, &box->memory, error);
    if (status != BASE_OK)
        return status;
    box->sizes = calloc(n_slots, sizeof *box->sizes);
    if (box->sizes == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for %zu message sizes", n_slots);
    return BASE_OK;
}

void par_inbox_release(par_inbox *box)
{
    free(box->memory);
    free(box->sizes);
    *box = (par_inbox){0};
}

bool par_inbox_is_receiving(const par_inbox *box)
{
    return box->n_begun > box->n_arrived;
}

/* Take the next message that stands at the door into the next slot; false when there is none. */
static bool receive_begin(par_inbox *box)
{
    int present = 0, size = 0;
    MPI_Message message;
    MPI_Status status;
    par_must(MPI_Improbe(box->source, box->tag, box->comm, &present, &message, &status), "MPI_Improbe");
    if (!present)
        return false;
    par_must(MPI_Get_count(&status, MPI_BYTE, &size), "MPI_Get_count");
    if (size < 0 || (size_t)size > box->slot_bytes)
        par_must(MPI_ERR_TRUNCATE, "a message longer than was reserved");
    size_t slot = box->n_begun % box->n_slots;
    box->sizes[slot] = (size_t)size;
    par_must(MPI_Imrecv(box->memory + slot * box->slot_bytes, size, MPI_BYTE, &message, &box->request), "MPI_Imrecv");
    box->n_begun++;
    return true;
}

bool par_inbox_service(par_inbox *box)
{
    bool full = box->n_begun - box->n_taken == box->n_slots;
    if (!par_inbox_is_receiving(box) && (full || !receive_begin(box)))
        return false;
    int done = 0;
    par_must(MPI_Test(&box->request, &done, MPI_STATUS_IGNORE), "MPI_Test");
    if (!done)
        return false;
    box->n_arrived++;
    return true;
}

const uint8_t *par_inbox_newest(const par_inbox *box, size_t *size)
{
    size_t slot = (box->n_arrived - 1) % box->n_slots;
    *size = box->sizes[slot];
    return box->memory + slot * box->slot_bytes;
}

void par_inbox_push(par_inbox *box, const void *bytes, size_t size)
{
    if (size > box->slot_bytes || box->n_begun - box->n_taken == box->n_slots)
        par_must(MPI_ERR_OTHER, "a message too many or too long for this rank's own inbox");
    size_t slot = box->n_begun % box->n_slots;
    box->sizes[slot] = size;
    if (size > 0)
        memcpy(box->memory + slot * box->slot_bytes, bytes, size);
    box->n_begun++;
    box->n_arrived++;
}

bool par_inbox_take(par_inbox *box, base_buf *out)
{
    if (box->n_taken == box->n_arrived)
        return false;
    size_t slot = box->n_taken % box->n_slots;
    base_buf_clear(out);
    base_buf_put(out, box->memory + slot * box->slot_bytes, box->sizes[slot]);
    if (out->failed)
        par_must(MPI_ERR_NO_MEM, "taking a message: no memory for it,");
    box->n_taken++;
    return true;
}
