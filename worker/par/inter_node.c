/* inter_node.c - reductions between nodes, by messages: three algorithms for a piece, and the two halves for rows.
 *
 *     direct               begin: send the whole piece to all others      end: receive theirs, add
 *     recursive doubling   end: ceil(log2 N) rounds with rank ^ 1, ^ 2, ^ 4 ...
 *         ranks past the power of two P fold in first: rank P + i sends to i, and gets the result back from i
 *     reduce-scatter       begin: slice i to rank i      middle: receive and add the own slice, send the sum to all
 *                          end: receive the others' sums
 *
 * The caller drives pieces as a pipeline (allreduce.c): while piece i begins, i - 1 is in its middle and i - 2 ends.
 * Every message is encoded into, and decoded from, memory of the piece: 4 rooms (out, in, sum_out, sum_in) for each of
 * PAR_PIECES_IN_FLIGHT.  Rows of sequence parallelism use reduce-scatter's first round for sums, and a plain exchange
 * of bytes, without rooms, for the all-gather. */
#include "worker/par/inter_node_int.h"

#include <stdlib.h>

#include "proto/base/size.h"
#include "worker/par/rank_queue_int.h"
#include "worker/par/wire_codec_int.h"

#define LINE             64u
#define DIRECT_BYTES_MAX ((size_t)32 << 10) /* bytes that a rank would receive in one round */

/* The cost model, nanoseconds: a round's latency, a message's work at both ends, a byte in memory (5/8 of it travel, at
 * about 1 GB/s).  Only ratios matter, and only where two algorithms are near each other. */
#define ROUND_NS       20000u
#define MESSAGE_NS     5000u
#define BYTE_NS(bytes) ((bytes)*5u / 8u)

typedef enum algorithm { DIRECT, RECURSIVE_DOUBLING, REDUCE_SCATTER } algorithm;

typedef struct piece {
    algorithm algorithm;
    par_reduce_op op;
    unsigned char *values;
    size_t n;
    unsigned char *out, *in, *sum_out, *sum_in;               /* messages: first round, second round (slices) */
    MPI_Request *sends, *receives, *sum_sends, *sum_receives; /* [size - 1] each */
    par_shares shares;                                        /* of rows */
} piece;

/* All-gathers of rows in flight. */
enum { GATHERS = 2 };
typedef struct row_gather {
    MPI_Request *requests; /* [2 x PAR_MATRICES_MAX x (size - 1)] */
    size_t n_requests;
} row_gather;

struct par_inter_node {
    MPI_Comm comm;
    int rank, size;
    par_wire wire;
    unsigned char *memory;
    MPI_Request *requests;
    piece in_flight[PAR_PIECES_IN_FLIGHT];
    row_gather gathers[GATHERS];
};

/* --- creation --- */

/* Room for a piece's messages, cut into as many slices as there are ranks. */
static size_t room_bytes(size_t piece_bytes, int size)
{
    size_t whole = par_wire_bytes_max(PAR_OR_U32, piece_bytes / sizeof(uint32_t)); /* more blocks than sums have */
    size_t others = (size_t)size - 1;
    size_t all_whole = others * (par_wire_bytes_max(PAR_OR_U32, DIRECT_BYTES_MAX / sizeof(uint32_t) / others) + LINE);
    size_t sliced = whole + (size_t)size * 4 * LINE;
    return base_size_round_up(sliced > all_whole ? sliced : all_whole, LINE);
}

base_status par_inter_node_create(MPI_Comm comm, size_t piece_bytes, par_wire wire, par_inter_node **out,
                                  base_error *error)
{
    *out = NULL;
    par_inter_node *a = calloc(1, sizeof *a);
    if (a == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for sums over nodes");
    a->comm = comm;
    a->wire = wire;
    par_must(MPI_Comm_size(comm, &a->size), "MPI_Comm_size");
    par_must(MPI_Comm_rank(comm, &a->rank), "MPI_Comm_rank");
    size_t room = room_bytes(piece_bytes, a->size), n = (size_t)a->size;
    a->memory = aligned_alloc(LINE, PAR_PIECES_IN_FLIGHT * 4 * room);
    a->requests = calloc((PAR_PIECES_IN_FLIGHT * 4 + GATHERS * 2 * PAR_MATRICES_MAX) * n, sizeof *a->requests);
    if (a->memory == NULL || a->requests == NULL) {
        par_inter_node_destroy(&a);
        return base_fail(error, BASE_ENOMEM, "no memory for sums over %zu nodes (%zu bytes)", n,
                         PAR_PIECES_IN_FLIGHT * 4 * room);
    }
    for (size_t i = 0; i < PAR_PIECES_IN_FLIGHT; i++) {
        unsigned char *memory = a->memory + i * 4 * room;
        MPI_Request *requests = a->requests + i * 4 * n;
        a->in_flight[i] = (piece){.out = memory,
                                  .in = memory + room,
                                  .sum_out = memory + 2 * room,
                                  .sum_in = memory + 3 * room,
                                  .sends = requests,
                                  .receives = requests + n,
                                  .sum_sends = requests + 2 * n,
                                  .sum_receives = requests + 3 * n};
    }
    for (size_t i = 0; i < GATHERS; i++)
        a->gathers[i].requests = a->requests + (PAR_PIECES_IN_FLIGHT * 4 + i * 2 * PAR_MATRICES_MAX) * n;
    *out = a;
    return BASE_OK;
}

void par_inter_node_destroy(par_inter_node **inter)
{
    if (*inter == NULL)
        return;
    free((*inter)->memory);
    free((*inter)->requests);
    free(*inter);
    *inter = NULL;
}

/* --- messages --- */

static MPI_Request send(const par_inter_node *a, int to, int tag, const void *message, size_t bytes)
{
    MPI_Request request;
    par_must(MPI_Isend(message, par_count(bytes), MPI_BYTE, to, tag, a->comm, &request), "MPI_Isend");
    return request;
}

static MPI_Request receive(const par_inter_node *a, int from, int tag, void *message, size_t max_bytes)
{
    MPI_Request request;
    par_must(MPI_Irecv(message, par_count(max_bytes), MPI_BYTE, from, tag, a->comm, &request), "MPI_Irecv");
    return request;
}

/* The partner of turn i: no rank is the first partner of all others. */
static int partner(const par_inter_node *a, int i)
{
    return (a->rank + 1 + i) % a->size;
}

/* Bytes between the messages of neighbours in a room. */
static size_t stride_bytes(par_reduce_op op, size_t n)
{
    return base_size_round_up(par_wire_bytes_max(op, n), LINE);
}

/* A rounding wire: keep what the others will decode. */
static void keep_rounded(const par_inter_node *a, const piece *f, const unsigned char *message, size_t n, void *values)
{
    if (a->wire != PAR_WIRE_EXACT)
        par_wire_decode(f->op, message, n, values);
}

/* --- direct --- */

static void begin_direct(par_inter_node *a, piece *f)
{
    size_t max_bytes = par_wire_bytes_max(f->op, f->n), stride = stride_bytes(f->op, f->n);
    for (int i = 0; i < a->size - 1; i++)
        f->receives[i] = receive(a, partner(a, i), PAR_TAG_PARTIALS, f->in + (size_t)i * stride, max_bytes);
    size_t bytes = par_wire_encode(a->wire, f->op, f->values, f->n, f->out);
    for (int i = 0; i < a->size - 1; i++)
        f->sends[i] = send(a, partner(a, i), PAR_TAG_PARTIALS, f->out, bytes);
    keep_rounded(a, f, f->out, f->n, f->values);
}

static void end_direct(par_inter_node *a, piece *f, const par_waiter *waiter)
{
    par_wait_transfer(waiter, f->receives, (size_t)a->size - 1);
    for (int i = 0; i < a->size - 1; i++)
        par_wire_accumulate(f->op, f->in + (size_t)i * stride_bytes(f->op, f->n), f->n, f->values);
    par_wait_transfer(waiter, f->sends, (size_t)a->size - 1);
}

/* --- reduce-scatter --- */

/* Where rank r's slice begins: whole cache lines. */
static size_t slice_begin(const par_inter_node *a, const piece *f, int r)
{
    size_t unit = LINE / par_reduce_op_bytes(f->op);
    return r == a->size ? f->n : f->n / unit * (size_t)r / (size_t)a->size * unit;
}

static size_t slice_width(const par_inter_node *a, const piece *f, int r)
{
    return slice_begin(a, f, r + 1) - slice_begin(a, f, r);
}

static unsigned char *slice_of(const par_inter_node *a, const piece *f, int r)
{
    return f->values + slice_begin(a, f, r) * par_reduce_op_bytes(f->op);
}

/* Receives for all sums are posted here, so that none arrives unexpected. */
static void begin_reduce_scatter(par_inter_node *a, piece *f)
{
    size_t own = slice_width(a, f, a->rank);
    unsigned char *in = f->in, *sum_in = f->sum_in, *out = f->out;
    for (int i = 0; i < a->size - 1; i++) {
        int other = partner(a, i);
        size_t theirs = slice_width(a, f, other);
        f->receives[i] = receive(a, other, PAR_TAG_PARTIALS, in, par_wire_bytes_max(f->op, own));
        f->sum_receives[i] = receive(a, other, PAR_TAG_SUMS, sum_in, par_wire_bytes_max(f->op, theirs));
        in += stride_bytes(f->op, own);
        sum_in += stride_bytes(f->op, theirs);
    }
    for (int i = 0; i < a->size - 1; i++) {
        int other = partner(a, i);
        size_t theirs = slice_width(a, f, other);
        f->sends[i] =
            send(a, other, PAR_TAG_PARTIALS, out, par_wire_encode(a->wire, f->op, slice_of(a, f, other), theirs, out));
        out += stride_bytes(f->op, theirs);
    }
}

static void middle_reduce_scatter(par_inter_node *a, piece *f, const par_waiter *waiter)
{
    size_t own = slice_width(a, f, a->rank);
    unsigned char *values = slice_of(a, f, a->rank);
    par_wait_transfer(waiter, f->receives, (size_t)a->size - 1);
    for (int i = 0; i < a->size - 1; i++)
        par_wire_accumulate(f->op, f->in + (size_t)i * stride_bytes(f->op, own), own, values);
    size_t bytes = par_wire_encode(a->wire, f->op, values, own, f->sum_out);
    for (int i = 0; i < a->size - 1; i++)
        f->sum_sends[i] = send(a, partner(a, i), PAR_TAG_SUMS, f->sum_out, bytes);
    keep_rounded(a, f, f->sum_out, own, values);
}

static void end_reduce_scatter(par_inter_node *a, piece *f, const par_waiter *waiter)
{
    const unsigned char *in = f->sum_in;
    par_wait_transfer(waiter, f->sum_receives, (size_t)a->size - 1);
    for (int i = 0; i < a->size - 1; i++) {
        size_t theirs = slice_width(a, f, partner(a, i));
        par_wire_decode(f->op, in, theirs, slice_of(a, f, partner(a, i)));
        in += stride_bytes(f->op, theirs);
    }
    par_wait_transfer(waiter, f->sends, (size_t)a->size - 1);
    par_wait_transfer(waiter, f->sum_sends, (size_t)a->size - 1);
}

/* --- shares of rows --- */

static size_t elements(const piece *f, par_share share)
{
    return share.bytes / par_reduce_op_bytes(f->op);
}

/* A rounding wire rounds the owner's part too, as `direct` does: a sum of two nodes has the same bits either way. */
static void round_own_rows(const par_inter_node *a, piece *f, par_share own)
{
    if (a->wire == PAR_WIRE_EXACT)
        return;
    par_wire_encode(a->wire, f->op, own.begin, elements(f, own), f->sum_out);
    keep_rounded(a, f, f->sum_out, elements(f, own), own.begin);
}

/* Empty messages are not sent. */
void par_inter_node_reduce_scatter_begin(par_inter_node *a, uint64_t index, par_reduce_op op, const par_shares *shares)
{
    piece *f = &a->in_flight[index % PAR_PIECES_IN_FLIGHT];
    f->op = op;
    f->shares = *shares;
    par_share own = par_share_of(shares, a->rank);
    size_t n_own = elements(f, own);
    unsigned char *out = f->out;
    for (int i = 0; i < a->size - 1; i++) {
        f->receives[i] = f->sends[i] = MPI_REQUEST_NULL;
        if (n_own > 0)
            f->receives[i] = receive(a, partner(a, i), PAR_TAG_PARTIALS, f->in + (size_t)i * stride_bytes(op, n_own),
                                     par_wire_bytes_max(op, n_own));
    }
    for (int i = 0; i < a->size - 1; i++) {
        par_share theirs = par_share_of(shares, partner(a, i));
        size_t n = elements(f, theirs);
        if (n > 0)
            f->sends[i] =
                send(a, partner(a, i), PAR_TAG_PARTIALS, out, par_wire_encode(a->wire, op, theirs.begin, n, out));
        out += stride_bytes(op, n);
    }
    round_own_rows(a, f, own);
}

void par_inter_node_reduce_scatter_end(par_inter_node *a, uint64_t index, const par_waiter *waiter)
{
    piece *f = &a->in_flight[index % PAR_PIECES_IN_FLIGHT];
    par_share own = par_share_of(&f->shares, a->rank);
    size_t n = elements(f, own);
    par_wait_transfer(waiter, f->receives, (size_t)a->size - 1);
    for (int i = 0; i < a->size - 1 && n > 0; i++)
        par_wire_accumulate(f->op, f->in + (size_t)i * stride_bytes(f->op, n), n, own.begin);
    par_wait_transfer(waiter, f->sends, (size_t)a->size - 1);
}

void par_inter_node_all_gather_begin(par_inter_node *a, uint64_t index, const par_shares *shares, size_t n_shares)
{
    row_gather *g = &a->gathers[index % GATHERS];
    g->n_requests = 0;
    for (int i = 0; i < a->size - 1; i++) {
        for (size_t s = 0; s < n_shares; s++) {
            par_share theirs = par_share_of(&shares[s], partner(a, i));
            if (theirs.bytes > 0)
                g->requests[g->n_requests++] = receive(a, partner(a, i), PAR_TAG_SUMS, theirs.begin, theirs.bytes);
        }
    }
    for (int i = 0; i < a->size - 1; i++) {
        for (size_t s = 0; s < n_shares; s++) {
            par_share own = par_share_of(&shares[s], a->rank);
            if (own.bytes > 0)
                g->requests[g->n_requests++] = send(a, partner(a, i), PAR_TAG_SUMS, own.begin, own.bytes);
        }
    }
}

void par_inter_node_all_gather_end(par_inter_node *a, uint64_t index, const par_waiter *waiter)
{
    row_gather *g = &a->gathers[index % GATHERS];
    par_wait_transfer(waiter, g->requests, g->n_requests);
}

/* --- recursive doubling --- */

static void send_all(par_inter_node *a, piece *f, int to)
{
    f->sends[0] = send(a, to, PAR_TAG_PARTIALS, f->out, par_wire_encode(a->wire, f->op, f->values, f->n, f->out));
    keep_rounded(a, f, f->out, f->n, f->values);
}

static void receive_all(par_inter_node *a, piece *f, int from)
{
    f->receives[0] = receive(a, from, PAR_TAG_PARTIALS, f->in, par_wire_bytes_max(f->op, f->n));
}

/* A rank past the power of two: its values to the partner, the result back. */
static void fold_in(par_inter_node *a, piece *f, int to, const par_waiter *waiter)
{
    receive_all(a, f, to);
    send_all(a, f, to);
    par_wait_transfer(waiter, f->sends, 1);
    par_wait_transfer(waiter, f->receives, 1);
    par_wire_decode(f->op, f->in, f->n, f->values);
}

static void end_recursive_doubling(par_inter_node *a, piece *f, const par_waiter *waiter)
{
    int power = 1;
    while (power * 2 <= a->size)
        power *= 2;
    if (a->rank >= power) {
        fold_in(a, f, a->rank - power, waiter);
        return;
    }
    bool has_folded = a->rank + power < a->size;
    if (has_folded) {
        receive_all(a, f, a->rank + power);
        par_wait_transfer(waiter, f->receives, 1);
        par_wire_accumulate(f->op, f->in, f->n, f->values);
    }
    for (int bit = 1; bit < power; bit *= 2) {
        receive_all(a, f, a->rank ^ bit);
        send_all(a, f, a->rank ^ bit);
        par_wait_transfer(waiter, f->receives, 1);
        par_wait_transfer(waiter, f->sends, 1);
        par_wire_accumulate(f->op, f->in, f->n, f->values);
    }
    if (has_folded) {
        send_all(a, f, a->rank + power);
        par_wait_transfer(waiter, f->sends, 1);
    } else if (power < a->size && a->wire != PAR_WIRE_EXACT) { /* the folded rank reads it rounded, so all ranks do */
        par_wire_encode(a->wire, f->op, f->values, f->n, f->out);
        keep_rounded(a, f, f->out, f->n, f->values);
    }
}

/* --- the three turns of a piece --- */

/* Rounds of recursive doubling; ranks past the power of two add one before and one after. */
static size_t doubling_rounds(int size)
{
    size_t rounds = 0;
    int power = 1;
    for (; power * 2 <= size; power *= 2)
        rounds++;
    return power < size ? rounds + 2 : rounds;
}

static algorithm choose_algorithm(const par_inter_node *a, par_reduce_op op, size_t n)
{
    size_t bytes = n * par_reduce_op_bytes(op), others = (size_t)a->size - 1;
    if (others == 1 || bytes * others <= DIRECT_BYTES_MAX)
        return DIRECT;
    size_t doubling_ns = doubling_rounds(a->size) * (ROUND_NS + MESSAGE_NS + BYTE_NS(bytes));
    size_t slices_ns = 2 * (ROUND_NS + others * MESSAGE_NS + BYTE_NS(bytes / (size_t)a->size * others));
    return doubling_ns < slices_ns ? RECURSIVE_DOUBLING : REDUCE_SCATTER;
}

void par_inter_node_begin(par_inter_node *a, uint64_t index, par_reduce_op op, void *values, size_t n)
{
    piece *f = &a->in_flight[index % PAR_PIECES_IN_FLIGHT];
    f->algorithm = choose_algorithm(a, op, n);
    f->op = op;
    f->values = values;
    f->n = n;
    if (f->algorithm == DIRECT)
        begin_direct(a, f);
    else if (f->algorithm == REDUCE_SCATTER)
        begin_reduce_scatter(a, f);
}

void par_inter_node_middle(par_inter_node *a, uint64_t index, const par_waiter *waiter)
{
    piece *f = &a->in_flight[index % PAR_PIECES_IN_FLIGHT];
    if (f->algorithm == REDUCE_SCATTER)
        middle_reduce_scatter(a, f, waiter);
}

void par_inter_node_end(par_inter_node *a, uint64_t index, const par_waiter *waiter)
{
    piece *f = &a->in_flight[index % PAR_PIECES_IN_FLIGHT];
    if (f->algorithm == DIRECT)
        end_direct(a, f, waiter);
    else if (f->algorithm == REDUCE_SCATTER)
        end_reduce_scatter(a, f, waiter);
    else
        end_recursive_doubling(a, f, waiter);
}
