/* rank_queue_int.h - queues of messages between ranks: what travels outside the collectives, and why it cannot
 * deadlock.
 *
 * Tags on the grid's communicator (the tensor groups have communicators of their own):
 *     PAR_TAG_PLAN      rank 0 to all along a binomial tree: the parent of rank r is r without its lowest set bit.
 *                       Size: a plan's, at most the plan_bytes reserved (a few hundred bytes while decoding, 150 KB
 *                       more for each image)
 *     PAR_TAG_STAGE     stage s to s + 1, same tensor rank: the activations of a micro-batch, n_tokens x d x 4 bytes
 *     PAR_TAG_RESULT    last stage's tensor rank 0 to every rank of stage 0: about 28 bytes for each sampled token
 *     PAR_TAG_TEXT      texts and columns to a rank 0, at start-up and inside a tensor group
 * and on communicators of their own:
 *     PAR_TAG_PARTIALS  pieces of vectors between ranks of a tensor group on different nodes, PAR_TAG_SUMS their sums
 *                       (inter_node_int.h)
 * Messages with one tag between two ranks arrive in the order sent (MPI's rule); nothing here uses MPI_ANY_SOURCE.
 *
 * Why no cycle of waits can form:
 *  1. Every rank runs the same plans in the same order, and inside a plan does: receive from the stage before,
 *     collectives of its tensor group, send to the stage after.  Stages wait only for earlier stages and earlier plans:
 *     no cycle.
 *  2. A send copies into a slot and returns; it waits only for a slot.  A stage send has two slots, freed when the next
 *     stage has received, which by 1. waits for nothing later.
 *  3. Plans run against the direction of 1 (rank 0 waits for a child to take a plan; the child may be inside a plan
 *     that needs rank 0), and results close the ring from the last stage to the first.  Both therefore have
 *     W = par_grid_plans_max slots at each end, are drained into a receive queue whenever the receiver waits for
 *     anything at all (par_waiter.progress), and obey the window rule: plan k is sent by rank 0, and run by a rank of
 *     stage 0, only after that rank has taken result k - W.  So at most W plans and W results are on their way, every
 *     receive queue has room for them, and a send that finds its slot taken waits only until the receiver's next MPI
 *     call.
 *
 * Progress: MPI moves long messages only while both ends call it.  A computing rank calls it at least once a layer
 * (par_allreduce_sum_i64, which makes progress on the queues even when there is nothing to sum).
 *
 * Receiving: MPI_Improbe tells size and presence, MPI_Imrecv takes exactly that message into a slot; the transfer
 * itself may take a while (large ones need the sender's help), so it is tested in later turns rather than waited for.
 * Slots are allocated once at their full size; pages that no message ever reached cost no memory. */
#ifndef PALMGROVE_PAR_RANK_QUEUE_INT_H
#define PALMGROVE_PAR_RANK_QUEUE_INT_H

#include "proto/base/buf.h"
#include "proto/base/status.h"
#include "worker/par/wait_int.h"

enum { PAR_TAG_PLAN = 1, PAR_TAG_STAGE, PAR_TAG_RESULT, PAR_TAG_TEXT, PAR_TAG_PARTIALS, PAR_TAG_SUMS };

/* Messages to a fixed set of ranks: each goes to all of them. */
typedef struct par_send_queue {
    MPI_Comm comm;
    int tag;
    size_t n_dests, n_slots, slot_bytes;
    int *dests;            /* [n_dests] owned */
    uint8_t *memory;       /* [n_slots][slot_bytes] owned */
    MPI_Request *requests; /* [n_slots][n_dests] owned */
    uint64_t n_sent;
} par_send_queue;

/* Allocates the slots.  BASE_ETOOBIG when a slot is more than one MPI message can hold, BASE_ENOMEM; release in any
 * case. */
base_status par_send_queue_init(par_send_queue *queue, MPI_Comm comm, int tag, const int *dests, size_t n_dests,
                                size_t n_slots, size_t slot_bytes, base_error *error);
/* Waits until everything sent has left. */
void par_send_queue_release(par_send_queue *queue, const par_waiter *waiter);
/* Would par_send_queue_send return without waiting? */
bool par_send_queue_has_room(par_send_queue *queue);
void par_send_queue_send(par_send_queue *queue, const par_waiter *waiter, const void *bytes, size_t size);

/* Messages from one rank, kept in order until taken. */
typedef struct par_recv_queue {
    MPI_Comm comm;
    int tag, source;
    size_t n_slots, slot_bytes;
    uint8_t *memory;     /* [n_slots][slot_bytes] owned */
    size_t *sizes;       /* [n_slots] owned */
    MPI_Request request; /* of message n_begun - 1 while n_begun > n_arrived */
    uint64_t n_begun, n_arrived, n_taken;
} par_recv_queue;

base_status par_recv_queue_init(par_recv_queue *queue, MPI_Comm comm, int tag, int source, size_t n_slots,
                                size_t slot_bytes, base_error *error);
void par_recv_queue_release(par_recv_queue *queue);
/* Start or continue receiving; never waits.  True when one more message is complete: it is the newest
 * (par_recv_queue_newest). */
bool par_recv_queue_progress(par_recv_queue *queue);
/* Has a message begun to arrive and is not complete? */
bool par_recv_queue_is_receiving(const par_recv_queue *queue);
const uint8_t *par_recv_queue_newest(const par_recv_queue *queue, size_t *size);
/* Append a message of the rank's own; there must be room (window rule). */
void par_recv_queue_push(par_recv_queue *queue, const void *bytes, size_t size);
/* Copy the oldest into `out` (replaced); false when there is none. */
bool par_recv_queue_take(par_recv_queue *queue, base_buf *out);

#endif
