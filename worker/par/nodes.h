/* nodes.h - how a tensor group lies on nodes, and the ways its ranks add up accordingly.
 *
 * Ranks of one node share memory (shared.h).  When the group spans nodes, the first R ranks of each node, R being the
 * number on the node that has fewest, serve one slice of the vector each: rank j adds slice j up with the j-th ranks of
 * the other nodes (across.h).  So all of a node's ranks share the work of messages, each byte crosses the network once
 * for a node, and uneven nodes are no special case. Where a node has no room for shared memory each rank counts as a
 * node of its own: everything goes by messages. */
#ifndef PALMGROVE_PAR_NODES_H
#define PALMGROVE_PAR_NODES_H

#include <mpi.h>

#include "worker/par/across.h"
#include "worker/par/shared.h"

typedef struct par_nodes {
    MPI_Comm local; /* the group's ranks on this node */
    MPI_Comm
        rail; /* the j-th ranks of all nodes; MPI_COMM_NULL: this rank is behind the first R, or there is one node */
    int local_rank, local_size;
    int n_nodes, n_rails; /* n_rails: R */
    int rail_rank;        /* 0 without a rail */
    uint32_t *tp_ranks;   /* [local_size] owned; tensor ranks of this node's, ascending */
    par_shared *shared;   /* NULL: one rank on this node */
    par_across *across;   /* NULL: as `rail` */
} par_nodes;

/* Pieces of vectors under way between nodes at a time, one slice for each rail. */
#define PAR_PIECE_BYTES ((size_t)1 << 20)

/* Collective over `group`.  `pretend` > 0: so many neighbouring ranks count as a node, whatever the machine is;
 * share_memory false: each rank does.  Release either way.  Errors: BASE_ENOMEM (on this rank: agree), BASE_EINVAL the
 * wires differ. */
base_status par_nodes_init(par_nodes *nodes, MPI_Comm group, bool share_memory, uint32_t pretend, par_wire wire,
                           base_error *error);
void par_nodes_release(par_nodes *nodes);

#endif
