/* nodes_int.h - how a tensor group lies on nodes, and the ways its ranks add up accordingly.
 *
 * Ranks of one node share memory (intra_node_int.h).  When the group spans nodes, the first R ranks of each node, R
 * being the number on the node that has fewest, serve one slice of the vector each: rank j adds slice j up with the
 * j-th ranks of the other nodes (inter_node_int.h).  So all of a node's ranks share the work of messages, each byte
 * crosses the network once for a node, and uneven nodes are no special case. Where a node has no room for shared memory
 * each rank counts as a node of its own: everything goes by messages. */
#ifndef PALMGROVE_PAR_NODES_INT_H
#define PALMGROVE_PAR_NODES_INT_H

#include <mpi.h>

#include "worker/par/inter_node_int.h"
#include "worker/par/intra_node_int.h"

typedef struct par_nodes {
    MPI_Comm local; /* the group's ranks on this node */
    MPI_Comm
        rail; /* the j-th ranks of all nodes; MPI_COMM_NULL: this rank is behind the first R, or there is one node */
    int local_rank, local_size;
    int n_nodes, n_rails;  /* n_rails: R */
    int rail_rank;         /* 0 without a rail */
    uint32_t *tp_ranks;    /* [local_size] owned; tensor ranks of this node's, ascending */
    par_intra_node *intra; /* NULL: one rank on this node */
    par_inter_node *inter; /* NULL: as `rail` */
} par_nodes;

/* Pieces of vectors under way between nodes at a time, one slice for each rail. */
#define PAR_PIECE_BYTES ((size_t)1 << 20)

/* Collective over `group`.  `pretend` > 0: so many neighbouring ranks count as a node, whatever the machine is;
 * share_memory false: each rank does.  Release either way.  Errors: BASE_ENOMEM (on this rank: agree), BASE_EINVAL the
 * wires differ. */
base_status par_nodes_init(par_nodes *nodes, MPI_Comm group, bool share_memory, uint32_t pretend, par_wire wire,
                           base_error *error);
void par_nodes_release(par_nodes *nodes);

/* Sequence parallelism (row_shares_int.h): how many ranks of the group own rows, and which of them this rank is;
 * par_nodes_owners for a rank that owns none. */
int par_nodes_owners(const par_nodes *nodes);
int par_nodes_owner(const par_nodes *nodes);

#endif
