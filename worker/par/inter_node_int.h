/* inter_node_int.h - reductions between nodes, by messages.
 *
 * One rank of each node takes part (the ranks of a rail, see collectives.h; each rail serves a slice of the vector).
 * Any number N of nodes; the algorithm follows from the piece's size:
 *
 *     direct               every rank sends its piece to all others: one round, the lowest latency.  Always for two
 *                          nodes, for more while all pieces together are small
 *     recursive doubling   ceil(log2 N) rounds of the whole piece; ranks past the power of two send theirs to a partner
 *                          first and get the result back.  Short pieces and many nodes
 *     reduce-scatter       and all-gather, in two rounds: slice i goes to rank i, which adds the slices up and sends
 *                          the sum to all.  2 (N - 1) / N of the piece a rank, the minimum, whatever N
 *
 * (Thakur, Rabenseifner, Gropp, "Optimization of Collective Communication Operations in MPICH", 2005; direct messages
 * replace their rings, because a CPU cluster's switch lets all pairs talk and N - 1 latencies in a row would hurt.)
 *
 * Values travel as wire_codec_int.h writes them.  With PAR_WIRE_BF16 every rank still ends with the same bits: a rank
 * keeps what it sent.  Sequence-parallel rows (row_shares_int.h) need only the first round of reduce-scatter and later,
 * as opaque bytes, the all-gather.
 *
 * Up to PAR_PIECES_IN_FLIGHT pieces are in flight: piece i begins, piece i - 1 is in the middle and piece i - 2 ends.
 */
#ifndef PALMGROVE_PAR_INTER_NODE_INT_H
#define PALMGROVE_PAR_INTER_NODE_INT_H

#include <mpi.h>

#include "worker/par/collectives.h"
#include "worker/par/row_shares_int.h"
#include "worker/par/intra_node_int.h"
#include "worker/par/wait_int.h"

typedef struct par_inter_node par_inter_node;

enum { PAR_PIECES_IN_FLIGHT = 3 };

/* Over `comm` (borrowed), for pieces of at most `piece_bytes`.  Errors: BASE_ENOMEM, NULL in *out.  Not collective. */
base_status par_inter_node_create(MPI_Comm comm, size_t piece_bytes, par_wire wire, par_inter_node **out,
                                  base_error *error);
void par_inter_node_destroy(par_inter_node **inter);

/* All-reduce piece number `index` of a vector in place: values[n], not to be touched until its end.  Main thread, in
 * this order for each piece, the same on all ranks; `middle` and `end` wait. */
void par_inter_node_begin(par_inter_node *a, uint64_t index, par_reduce_op op, void *values, size_t n);
void par_inter_node_middle(par_inter_node *a, uint64_t index, const par_waiter *waiter);
void par_inter_node_end(par_inter_node *a, uint64_t index, const par_waiter *waiter);

/* Reduce-scatter of row shares; the comm's rank r owns the share of member r.  Each rank's share becomes the sum over
 * all ranks; the other shares stay as they are.  `shares`, whose window is one piece (together at most piece_bytes), is
 * copied; begin and end as above. */
void par_inter_node_reduce_scatter_begin(par_inter_node *a, uint64_t index, par_reduce_op op, const par_shares *shares);
void par_inter_node_reduce_scatter_end(par_inter_node *a, uint64_t index, const par_waiter *waiter);

/* All-gather: each rank's shares of at most PAR_MATRICES_MAX matrices to all others, sent from and received into the
 * matrices themselves.  Two windows `index` may be in flight. */
void par_inter_node_all_gather_begin(par_inter_node *a, uint64_t index, const par_shares *shares, size_t n_shares);
void par_inter_node_all_gather_end(par_inter_node *a, uint64_t index, const par_waiter *waiter);

#endif
