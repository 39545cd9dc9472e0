#include "worker/par/across.h"

#include <stdlib.h>

#include "proto/base/size.h"
#include "worker/par/mailbox.h"
#include "worker/par/wire.h"

#define LINE       64u
#define WHOLE_MOST ((size_t)32 << 10) /* bytes that a rank would receive in one round */

/* What a way is taken to cost, nanoseconds: a round's latency, a message's work at both ends, a byte in memory (5/8 of
 * it travel, at about 1 GB/s).  Only ratios matter, and only where two ways are near each other. */
#define ROUND_NS       20000u
#define MESSAGE_NS     5000u
#define BYTE_NS(bytes) ((bytes)*5u / 8u)

typedef enum way { WHOLE, DOUBLING, SLICES } way;

typedef struct flight {
    way way;
    par_combine how;
    unsigned char *values;
    size_t n;
    unsigned char *out, *in, *sum_out, *sum_in;               /* messages: first round, second round (slices) */
    MPI_Request *sends, *receives, *sum_sends, *sum_receives; /* [size - 1] each */
    par_shares shares;                                        /* of rows */
} flight;

/* A window of shares under way. */
enum { GATHERS = 2 };
typedef struct gathering {
    MPI_Request *requests; /* [2 x PAR_MATRICES x (size - 1)] */
    size_t n_requests;
} gathering;

struct par_across {
    MPI_Comm comm;
    int rank, size;
    par_wire wire;
    unsigned char *memory;
    MPI_Request *requests;
    flight flights[PAR_FLIGHTS];
    gathering gatherings[GATHERS];
};

/* --- making it --- */

/* Room for a piece's messages, cut into as many slices as there are ranks. */
static size_t room_bytes(size_t piece_bytes, int size)
{
    size_t whole = par_wire_most(PAR_OR_U32, piece_bytes / sizeof(uint32_t)); /* more blocks than sums have */
    size_t others = (size_t)size - 1;
    size_t all_whole = others * (par_wire_most(PAR_OR_U32, WHOLE_MOST / sizeof(uint32_t) / others) + LINE);
    size_t sliced = whole + (size_t)size * 4 * LINE;
    return base_size_round_up(sliced > all_whole ? sliced : all_whole, LINE);
}

base_status par_across_create(MPI_Comm comm, size_t piece_bytes, par_wire wire, par_across **out, base_error *error)
{
    *out = NULL;
    par_across *a = calloc(1, sizeof *a);
    if (a == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for sums over nodes");
    a->comm = comm;
    a->wire = wire;
    par_must(MPI_Comm_size(comm, &a->size), "MPI_Comm_size");
    par_must(MPI_Comm_rank(comm, &a->rank), "MPI_Comm_rank");
    size_t room = room_bytes(piece_bytes, a->size), n = (size_t)a->size;
    a->memory = aligned_alloc(LINE, PAR_FLIGHTS * 4 * room);
    a->requests = calloc((PAR_FLIGHTS * 4 + GATHERS * 2 * PAR_MATRICES) * n, sizeof *a->requests);
    if (a->memory == NULL || a->requests == NULL) {
        par_across_destroy(&a);
        return base_fail(error, BASE_ENOMEM, "no memory for sums over %zu nodes (%zu bytes)", n,
                         PAR_FLIGHTS * 4 * room);
    }
    for (size_t i = 0; i < PAR_FLIGHTS; i++) {
        unsigned char *memory = a->memory + i * 4 * room;
        MPI_Request *requests = a->requests + i * 4 * n;
        a->flights[i] = (flight){.out = memory,
                                 .in = memory + room,
                                 .sum_out = memory + 2 * room,
                                 .sum_in = memory + 3 * room,
                                 .sends = requests,
                                 .receives = requests + n,
                                 .sum_sends = requests + 2 * n,
                                 .sum_receives = requests + 3 * n};
    }
    for (size_t i = 0; i < GATHERS; i++)
        a->gatherings[i].requests = a->requests + (PAR_FLIGHTS * 4 + i * 2 * PAR_MATRICES) * n;
    *out = a;
    return BASE_OK;
}

void par_across_destroy(par_across **across)
{
    if (*across == NULL)
        return;
    free((*across)->memory);
    free((*across)->requests);
    free(*across);
    *across = NULL;
}

/* --- messages --- */

static MPI_Request send(const par_across *a, int to, int tag, const void *message, size_t bytes)
{
    MPI_Request request;
    par_must(MPI_Isend(message, par_count(bytes), MPI_BYTE, to, tag, a->comm, &request), "MPI_Isend");
    return request;
}

static MPI_Request receive(const par_across *a, int from, int tag, void *message, size_t most)
{
    MPI_Request request;
    par_must(MPI_Irecv(message, par_count(most), MPI_BYTE, from, tag, a->comm, &request), "MPI_Irecv");
    return request;
}

/* The partner of turn i: nobody is everybody's first. */
static int partner(const par_across *a, int i)
{
    return (a->rank + 1 + i) % a->size;
}

/* Bytes between the messages of neighbours in a room. */
static size_t stride_bytes(par_combine how, size_t n)
{
    return base_size_round_up(par_wire_most(how, n), LINE);
}

/* Keep what the others will read: rounded, if the wire rounds. */
static void settle(const par_across *a, const flight *f, const unsigned char *message, size_t n, void *values)
{
    if (a->wire != PAR_WIRE_EXACT)
        par_wire_take(f->how, message, n, values);
}

/* --- whole --- */

static void begin_whole(par_across *a, flight *f)
{
    size_t most = par_wire_most(f->how, f->n), stride = stride_bytes(f->how, f->n);
    for (int i = 0; i < a->size - 1; i++)
        f->receives[i] = receive(a, partner(a, i), PAR_TAG_SUM, f->in + (size_t)i * stride, most);
    size_t bytes = par_wire_put(a->wire, f->how, f->values, f->n, f->out);
    for (int i = 0; i < a->size - 1; i++)
        f->sends[i] = send(a, partner(a, i), PAR_TAG_SUM, f->out, bytes);
    settle(a, f, f->out, f->n, f->values);
}

static void end_whole(par_across *a, flight *f, const par_waiter *waiter)
{
    par_wait_transfer(waiter, f->receives, (size_t)a->size - 1);
    for (int i = 0; i < a->size - 1; i++)
        par_wire_combine(f->how, f->in + (size_t)i * stride_bytes(f->how, f->n), f->n, f->values);
    par_wait_transfer(waiter, f->sends, (size_t)a->size - 1);
}

/* --- slices --- */

/* Where rank r's slice begins: whole cache lines. */
static size_t slice_begin(const par_across *a, const flight *f, int r)
{
    size_t unit = LINE / par_combine_element(f->how);
    return r == a->size ? f->n : f->n / unit * (size_t)r / (size_t)a->size * unit;
}

static size_t slice_width(const par_across *a, const flight *f, int r)
{
    return slice_begin(a, f, r + 1) - slice_begin(a, f, r);
}

static unsigned char *slice_of(const par_across *a, const flight *f, int r)
{
    return f->values + slice_begin(a, f, r) * par_combine_element(f->how);
}

/* All sums of slices are awaited from the start, so that none arrives unexpected. */
static void begin_slices(par_across *a, flight *f)
{
    size_t own = slice_width(a, f, a->rank);
    unsigned char *in = f->in, *sum_in = f->sum_in, *out = f->out;
    for (int i = 0; i < a->size - 1; i++) {
        int other = partner(a, i);
        size_t theirs = slice_width(a, f, other);
        f->receives[i] = receive(a, other, PAR_TAG_SUM, in, par_wire_most(f->how, own));
        f->sum_receives[i] = receive(a, other, PAR_TAG_SUMMED, sum_in, par_wire_most(f->how, theirs));
        in += stride_bytes(f->how, own);
        sum_in += stride_bytes(f->how, theirs);
    }
    for (int i = 0; i < a->size - 1; i++) {
        int other = partner(a, i);
        size_t theirs = slice_width(a, f, other);
        f->sends[i] =
            send(a, other, PAR_TAG_SUM, out, par_wire_put(a->wire, f->how, slice_of(a, f, other), theirs, out));
        out += stride_bytes(f->how, theirs);
    }
}

static void middle_slices(par_across *a, flight *f, const par_waiter *waiter)
{
    size_t own = slice_width(a, f, a->rank);
    unsigned char *values = slice_of(a, f, a->rank);
    par_wait_transfer(waiter, f->receives, (size_t)a->size - 1);
    for (int i = 0; i < a->size - 1; i++)
        par_wire_combine(f->how, f->in + (size_t)i * stride_bytes(f->how, own), own, values);
    size_t bytes = par_wire_put(a->wire, f->how, values, own, f->sum_out);
    for (int i = 0; i < a->size - 1; i++)
        f->sum_sends[i] = send(a, partner(a, i), PAR_TAG_SUMMED, f->sum_out, bytes);
    settle(a, f, f->sum_out, own, values);
}

static void end_slices(par_across *a, flight *f, const par_waiter *waiter)
{
    const unsigned char *in = f->sum_in;
    par_wait_transfer(waiter, f->sum_receives, (size_t)a->size - 1);
    for (int i = 0; i < a->size - 1; i++) {
        size_t theirs = slice_width(a, f, partner(a, i));
        par_wire_take(f->how, in, theirs, slice_of(a, f, partner(a, i)));
        in += stride_bytes(f->how, theirs);
    }
    par_wait_transfer(waiter, f->sends, (size_t)a->size - 1);
    par_wait_transfer(waiter, f->sum_sends, (size_t)a->size - 1);
}

/* --- shares of rows --- */

static size_t elements(const flight *f, par_share share)
{
    return share.bytes / par_combine_element(f->how);
}

/* A rounding wire rounds the owner's part too, as `whole` does: a sum of two nodes has the same bits either way. */
static void settle_own(const par_across *a, flight *f, par_share own)
{
    if (a->wire == PAR_WIRE_EXACT)
        return;
    par_wire_put(a->wire, f->how, own.begin, elements(f, own), f->sum_out);
    settle(a, f, f->sum_out, elements(f, own), own.begin);
}

/* Messages without values are not sent. */
void par_across_scatter_begin(par_across *a, uint64_t index, par_combine how, const par_shares *shares)
{
    flight *f = &a->flights[index % PAR_FLIGHTS];
    f->how = how;
    f->shares = *shares;
    par_share own = par_share_of(shares, a->rank);
    size_t n_own = elements(f, own);
    unsigned char *out = f->out;
    for (int i = 0; i < a->size - 1; i++) {
        f->receives[i] = f->sends[i] = MPI_REQUEST_NULL;
        if (n_own > 0)
            f->receives[i] = receive(a, partner(a, i), PAR_TAG_SUM, f->in + (size_t)i * stride_bytes(how, n_own),
                                     par_wire_most(how, n_own));
    }
    for (int i = 0; i < a->size - 1; i++) {
        par_share theirs = par_share_of(shares, partner(a, i));
        size_t n = elements(f, theirs);
        if (n > 0)
            f->sends[i] = send(a, partner(a, i), PAR_TAG_SUM, out, par_wire_put(a->wire, how, theirs.begin, n, out));
        out += stride_bytes(how, n);
    }
    settle_own(a, f, own);
}

void par_across_scatter_end(par_across *a, uint64_t index, const par_waiter *waiter)
{
    flight *f = &a->flights[index % PAR_FLIGHTS];
    par_share own = par_share_of(&f->shares, a->rank);
    size_t n = elements(f, own);
    par_wait_transfer(waiter, f->receives, (size_t)a->size - 1);
    for (int i = 0; i < a->size - 1 && n > 0; i++)
        par_wire_combine(f->how, f->in + (size_t)i * stride_bytes(f->how, n), n, own.begin);
    par_wait_transfer(waiter, f->sends, (size_t)a->size - 1);
}

void par_across_gather_begin(par_across *a, uint64_t index, const par_shares *shares, size_t n_shares)
{
    gathering *g = &a->gatherings[index % GATHERS];
    g->n_requests = 0;
    for (int i = 0; i < a->size - 1; i++) {
        for (size_t s = 0; s < n_shares; s++) {
            par_share theirs = par_share_of(&shares[s], partner(a, i));
            if (theirs.bytes > 0)
                g->requests[g->n_requests++] = receive(a, partner(a, i), PAR_TAG_SUMMED, theirs.begin, theirs.bytes);
        }
    }
    for (int i = 0; i < a->size - 1; i++) {
        for (size_t s = 0; s < n_shares; s++) {
            par_share own = par_share_of(&shares[s], a->rank);
            if (own.bytes > 0)
                g->requests[g->n_requests++] = send(a, partner(a, i), PAR_TAG_SUMMED, own.begin, own.bytes);
        }
    }
}

void par_across_gather_end(par_across *a, uint64_t index, const par_waiter *waiter)
{
    gathering *g = &a->gatherings[index % GATHERS];
    par_wait_transfer(waiter, g->requests, g->n_requests);
}

/* --- doubling --- */

static void send_all(par_across *a, flight *f, int to)
{
    f->sends[0] = send(a, to, PAR_TAG_SUM, f->out, par_wire_put(a->wire, f->how, f->values, f->n, f->out));
    settle(a, f, f->out, f->n, f->values);
}

static void await_from(par_across *a, flight *f, int from)
{
    f->receives[0] = receive(a, from, PAR_TAG_SUM, f->in, par_wire_most(f->how, f->n));
}

/* A rank beyond the power of two: its values to the partner, the result back. */
static void hand_over(par_across *a, flight *f, int to, const par_waiter *waiter)
{
    await_from(a, f, to);
    send_all(a, f, to);
    par_wait_transfer(waiter, f->sends, 1);
    par_wait_transfer(waiter, f->receives, 1);
    par_wire_take(f->how, f->in, f->n, f->values);
}

static void end_doubling(par_across *a, flight *f, const par_waiter *waiter)
{
    int power = 1;
    while (power * 2 <= a->size)
        power *= 2;
    if (a->rank >= power) {
        hand_over(a, f, a->rank - power, waiter);
        return;
    }
    bool has_guest = a->rank + power < a->size;
    if (has_guest) {
        await_from(a, f, a->rank + power);
        par_wait_transfer(waiter, f->receives, 1);
        par_wire_combine(f->how, f->in, f->n, f->values);
    }
    for (int bit = 1; bit < power; bit *= 2) {
        await_from(a, f, a->rank ^ bit);
        send_all(a, f, a->rank ^ bit);
        par_wait_transfer(waiter, f->receives, 1);
        par_wait_transfer(waiter, f->sends, 1);
        par_wire_combine(f->how, f->in, f->n, f->values);
    }
    if (has_guest) {
        send_all(a, f, a->rank + power);
        par_wait_transfer(waiter, f->sends, 1);
    } else if (power < a->size && a->wire != PAR_WIRE_EXACT) { /* a guest reads it rounded, so everybody does */
        par_wire_put(a->wire, f->how, f->values, f->n, f->out);
        settle(a, f, f->out, f->n, f->values);
    }
}

/* --- the three turns of a piece --- */

/* Rounds of doubling one after the other: a rank beyond the power of two adds one before and one after. */
static size_t doubling_rounds(int size)
{
    size_t rounds = 0;
    int power = 1;
    for (; power * 2 <= size; power *= 2)
        rounds++;
    return power < size ? rounds + 2 : rounds;
}

static way choose_way(const par_across *a, par_combine how, size_t n)
{
    size_t bytes = n * par_combine_element(how), others = (size_t)a->size - 1;
    if (others == 1 || bytes * others <= WHOLE_MOST)
        return WHOLE;
    size_t doubling_ns = doubling_rounds(a->size) * (ROUND_NS + MESSAGE_NS + BYTE_NS(bytes));
    size_t slices_ns = 2 * (ROUND_NS + others * MESSAGE_NS + BYTE_NS(bytes / (size_t)a->size * others));
    return doubling_ns < slices_ns ? DOUBLING : SLICES;
}

void par_across_begin(par_across *a, uint64_t index, par_combine how, void *values, size_t n)
{
    flight *f = &a->flights[index % PAR_FLIGHTS];
    f->way = choose_way(a, how, n);
    f->how = how;
    f->values = values;
    f->n = n;
    if (f->way == WHOLE)
        begin_whole(a, f);
    else if (f->way == SLICES)
        begin_slices(a, f);
}

void par_across_middle(par_across *a, uint64_t index, const par_waiter *waiter)
{
    flight *f = &a->flights[index % PAR_FLIGHTS];
    if (f->way == SLICES)
        middle_slices(a, f, waiter);
}

void par_across_end(par_across *a, uint64_t index, const par_waiter *waiter)
{
    flight *f = &a->flights[index % PAR_FLIGHTS];
    if (f->way == WHOLE)
        end_whole(a, f, waiter);
    else if (f->way == SLICES)
        end_slices(a, f, waiter);
    else
        end_doubling(a, f, waiter);
}
