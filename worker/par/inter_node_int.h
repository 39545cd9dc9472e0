/* inter_node_int.h - sums over nodes, by messages.
 *
 * One rank of each node takes part (several such sets of ranks may each serve a slice of the vector: nodes_int.h).  Any
 * number of nodes; by the piece's size: whole      everybody sends its piece to everybody: one round, the least
 * latency.  Two nodes always, more while it is little in all doubling   recursive doubling: ceil(log2 N) rounds of the
 * whole piece; ranks beyond the power of two hand theirs to a partner first and get the result back.  Short pieces and
 * many nodes slices     reduce-scatter and all-gather in two rounds: everybody sends slice i to rank i, which adds them
 * up and sends the sum to everybody.  2 (N - 1) / N of the piece a rank, the least there is, whatever N (Thakur,
 * Rabenseifner, Gropp, "Optimization of Collective Communication Operations in MPICH", 2005; direct messages take the
 * place of their rings, because a CPU cluster's switch lets all pairs talk and a ring's N - 1 latencies in a row are
 * what hurts.) Values travel as wire_codec_int.h writes them.  With PAR_WIRE_BF16 every rank still ends with the same
 * bits: whoever sends a value on keeps what it sent. Rows that are divided (row_shares_int.h) need only the first round
 * of slices, and later, as opaque bytes, the second.
 *
 * Up to PAR_PIECES_IN_FLIGHT pieces are under way at a time: piece i begins, piece i - 1 is in the middle and piece i -
 * 2 ends.
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

/* Piece number `index` of a vector: values[n], the caller's until its end, combined in place.  Main thread, in this
 * order for each piece, all ranks alike; `middle` and `end` wait. */
void par_inter_node_begin(par_inter_node *a, uint64_t index, par_reduce_op op, void *values, size_t n);
void par_inter_node_middle(par_inter_node *a, uint64_t index, const par_waiter *waiter);
void par_inter_node_end(par_inter_node *a, uint64_t index, const par_waiter *waiter);

/* Shares of rows, the comm's rank r owning member r's: each rank's becomes the sum over all ranks.  `shares`, whose
 * window is one piece (together at most piece_bytes), is copied; begin and end as above, the other ranks' shares stay
 * as they are. */
void par_inter_node_reduce_scatter_begin(par_inter_node *a, uint64_t index, par_reduce_op op, const par_shares *shares);
void par_inter_node_reduce_scatter_end(par_inter_node *a, uint64_t index, const par_waiter *waiter);

/* Each rank's shares of several matrices to all others, straight from and into their place; window `index` of at most
 * PAR_MATRICES_MAX.  Two may be under way. */
void par_inter_node_all_gather_begin(par_inter_node *a, uint64_t index, const par_shares *shares, size_t n_shares);
void par_inter_node_all_gather_end(par_inter_node *a, uint64_t index, const par_waiter *waiter);

#endif
