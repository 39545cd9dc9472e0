/* nodes_int.h - how a tensor group maps to nodes, and the reduction it uses.
 *
 * Ranks of one node share memory (intra_node_int.h).  If the group spans nodes, rail j (collectives.h) reduces slice j
 * of a vector between nodes (inter_node_int.h): the j-th ranks of all nodes, j < R, R being the number of ranks on the
 * node with the fewest.  So R ranks of a node share the work of messages, each byte crosses the network once for a
 * node, and uneven nodes are no special case.  Where a node has no room for shared memory every rank counts as a node
 * of its own: everything goes by messages. */
#ifndef PALMGROVE_PAR_NODES_INT_H
#define PALMGROVE_PAR_NODES_INT_H

#include <mpi.h>

#include "worker/par/inter_node_int.h"
#include "worker/par/intra_node_int.h"

typedef struct par_nodes {
    MPI_Comm local; /* the group's ranks on this node */
    MPI_Comm rail;  /* MPI_COMM_NULL: this rank is not among its node's first R, or there is one node */
    int local_rank, local_size;
    int n_nodes, n_rails;  /* n_rails: R */
    int rail_rank;         /* 0 without a rail */
    uint32_t *tp_ranks;    /* [local_size] owned; tensor ranks of this node's, ascending */
    par_intra_node *intra; /* NULL: one rank on this node */
    par_inter_node *inter; /* NULL: as `rail` */
} par_nodes;

/* A piece of a vector between nodes, one slice of it for each rail. */
#define PAR_PIECE_BYTES ((size_t)1 << 20)

/* Collective over `group`.  `pretend` > 0: this many neighbouring ranks count as a node, whatever the machine is;
 * share_memory false: each rank does.  Release in any case.  Errors: BASE_ENOMEM (on this rank only: agree),
 * BASE_EINVAL the wires differ. */
base_status par_nodes_init(par_nodes *nodes, MPI_Comm group, bool share_memory, uint32_t pretend, par_wire wire,
                           base_error *error);
void par_nodes_release(par_nodes *nodes);

/* Sequence parallelism (row_shares_int.h): how many ranks of the group own rows, and which of them this rank is;
 * par_nodes_owners for a rank that owns none. */
int par_nodes_owners(const par_nodes *nodes);
int par_nodes_owner(const par_nodes *nodes);

#endif
