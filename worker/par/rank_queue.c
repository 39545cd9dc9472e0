/* rank_queue.c - send and receive queues of fixed slots over non-blocking MPI; rank_queue_int.h says why they cannot
 * deadlock. */
#include "worker/par/rank_queue_int.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/size.h"

static base_status slots_allocate(size_t n_slots, size_t slot_bytes, uint8_t **out, base_error *error)
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

base_status par_send_queue_init(par_send_queue *queue, MPI_Comm comm, int tag, const int *dests, size_t n_dests,
                                size_t n_slots, size_t slot_bytes, base_error *error)
{
    *queue =
        (par_send_queue){.comm = comm, .tag = tag, .n_dests = n_dests, .n_slots = n_slots, .slot_bytes = slot_bytes};
    base_status status = slots_allocate(n_slots, slot_bytes, &queue->memory, error);
    if (status != BASE_OK)
        return status;
    queue->dests = malloc((n_dests + 1) * sizeof *queue->dests);
    queue->requests = malloc((n_slots * n_dests + 1) * sizeof *queue->requests);
    if (queue->dests == NULL || queue->requests == NULL) {
        free(queue->requests);
        queue->requests = NULL;
        return base_fail(error, BASE_ENOMEM, "no memory for %zu message requests", n_slots * n_dests);
    }
    if (n_dests > 0)
        memcpy(queue->dests, dests, n_dests * sizeof *dests);
    for (size_t i = 0; i < n_slots * n_dests; i++)
        queue->requests[i] = MPI_REQUEST_NULL;
    return BASE_OK;
}

void par_send_queue_release(par_send_queue *queue, const par_waiter *waiter)
{
    if (queue->requests != NULL)
        par_wait(waiter, queue->requests, queue->n_slots * queue->n_dests);
    free(queue->dests);
    free(queue->memory);
    free(queue->requests);
    *queue = (par_send_queue){0};
}

static MPI_Request *next_requests(const par_send_queue *queue)
{
    return queue->requests + (queue->n_sent % queue->n_slots) * queue->n_dests;
}

bool par_send_queue_has_room(par_send_queue *queue)
{
    int done = 0;
    par_must(MPI_Testall(par_count(queue->n_dests), next_requests(queue), &done, MPI_STATUSES_IGNORE), "MPI_Testall");
    return done != 0;
}

void par_send_queue_send(par_send_queue *queue, const par_waiter *waiter, const void *bytes, size_t size)
{
    if (queue->n_dests == 0)
        return;
    if (size > queue->slot_bytes)
        par_must(MPI_ERR_COUNT, "a message longer than was reserved");
    MPI_Request *requests = next_requests(queue);
    par_wait(waiter, requests, queue->n_dests);

    uint8_t *slot = queue->memory + (queue->n_sent % queue->n_slots) * queue->slot_bytes;
    if (size > 0)
        memcpy(slot, bytes, size);
    for (size_t i = 0; i < queue->n_dests; i++)
        par_must(MPI_Isend(slot, par_count(size), MPI_BYTE, queue->dests[i], queue->tag, queue->comm, &requests[i]),
                 "MPI_Isend");
    queue->n_sent++;
}

base_status par_recv_queue_init(par_recv_queue *queue, MPI_Comm comm, int tag, int source, size_t n_slots,
                                size_t slot_bytes, base_error *error)
{
    *queue = (par_recv_queue){.comm = comm, .tag = tag, .source = source, .n_slots = n_slots, .slot_bytes = slot_bytes};
    queue->request = MPI_REQUEST_NULL;
    base_status status = slots_allocate(n_slots, slot_bytes, &queue->memory, error);
    if (status != BASE_OK)
        return status;
    queue->sizes = calloc(n_slots, sizeof *queue->sizes);
    if (queue->sizes == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for %zu message sizes", n_slots);
    return BASE_OK;
}

void par_recv_queue_release(par_recv_queue *queue)
{
    free(queue->memory);
    free(queue->sizes);
    *queue = (par_recv_queue){0};
}

bool par_recv_queue_is_receiving(const par_recv_queue *queue)
{
    return queue->n_begun > queue->n_arrived;
}

/* Start receiving the next announced message into the next slot; false if there is none. */
static bool receive_begin(par_recv_queue *queue)
{
    int present = 0, size = 0;
    MPI_Message message;
    MPI_Status status;
    par_must(MPI_Improbe(queue->source, queue->tag, queue->comm, &present, &message, &status), "MPI_Improbe");
    if (!present)
        return false;
    par_must(MPI_Get_count(&status, MPI_BYTE, &size), "MPI_Get_count");
    if (size < 0 || (size_t)size > queue->slot_bytes)
        par_must(MPI_ERR_TRUNCATE, "a message longer than was reserved");
    size_t slot = queue->n_begun % queue->n_slots;
    queue->sizes[slot] = (size_t)size;
    par_must(MPI_Imrecv(queue->memory + slot * queue->slot_bytes, size, MPI_BYTE, &message, &queue->request),
             "MPI_Imrecv");
    queue->n_begun++;
    return true;
}

bool par_recv_queue_progress(par_recv_queue *queue)
{
    bool full = queue->n_begun - queue->n_taken == queue->n_slots;
    if (!par_recv_queue_is_receiving(queue) && (full || !receive_begin(queue)))
        return false;
    int done = 0;
    par_must(MPI_Test(&queue->request, &done, MPI_STATUS_IGNORE), "MPI_Test");
    if (!done)
        return false;
    queue->n_arrived++;
    return true;
}

const uint8_t *par_recv_queue_newest(const par_recv_queue *queue, size_t *size)
{
    size_t slot = (queue->n_arrived - 1) % queue->n_slots;
    *size = queue->sizes[slot];
    return queue->memory + slot * queue->slot_bytes;
}

void par_recv_queue_push(par_recv_queue *queue, const void *bytes, size_t size)
{
    if (size > queue->slot_bytes || queue->n_begun - queue->n_taken == queue->n_slots)
        par_must(MPI_ERR_OTHER, "a message too many or too long for this rank's own inbox");
    size_t slot = queue->n_begun % queue->n_slots;
    queue->sizes[slot] = size;
    if (size > 0)
        memcpy(queue->memory + slot * queue->slot_bytes, bytes, size);
    queue->n_begun++;
    queue->n_arrived++;
}

bool par_recv_queue_take(par_recv_queue *queue, base_buf *out)
{
    if (queue->n_taken == queue->n_arrived)
        return false;
    size_t slot = queue->n_taken % queue->n_slots;
    base_buf_clear(out);
    base_buf_put(out, queue->memory + slot * queue->slot_bytes, queue->sizes[slot]);
    if (out->failed)
        par_must(MPI_ERR_NO_MEM, "taking a message: no memory for it,");
    queue->n_taken++;
    return true;
}
