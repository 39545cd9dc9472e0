/* nodes.c - finding the nodes of a tensor group, its rails, and which of its ranks own rows. */
#include "worker/par/nodes_int.h"

#include <stdlib.h>

#include "proto/base/log.h"

static void split(par_nodes *nodes, MPI_Comm group, bool share_memory, uint32_t pretend)
{
    int rank;
    par_must(MPI_Comm_rank(group, &rank), "MPI_Comm_rank");
    if (share_memory && pretend == 0)
        par_must(MPI_Comm_split_type(group, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &nodes->local),
                 "MPI_Comm_split_type");
    else
        par_must(MPI_Comm_split(group, share_memory ? rank / (int)pretend : rank, rank, &nodes->local),
                 "MPI_Comm_split");
    par_must(MPI_Comm_rank(nodes->local, &nodes->local_rank), "MPI_Comm_rank");
    par_must(MPI_Comm_size(nodes->local, &nodes->local_size), "MPI_Comm_size");
}

static int over_group(MPI_Comm group, int value, MPI_Op op)
{
    int result = 0;
    par_must(MPI_Allreduce(&value, &result, 1, MPI_INT, op, group), "MPI_Allreduce");
    return result;
}

/* Nodes as the machine has them; if one of them cannot share memory, none does. */
static void share(par_nodes *nodes, MPI_Comm group, bool share_memory, uint32_t pretend)
{
    split(nodes, group, share_memory, pretend);
    if (!share_memory)
        return;
    nodes->intra = par_intra_node_create(nodes->local);
    if (over_group(group, nodes->intra != NULL || nodes->local_size == 1, MPI_LAND))
        return;
    par_intra_node_destroy(&nodes->intra);
    par_must(MPI_Comm_free(&nodes->local), "MPI_Comm_free");
    split(nodes, group, false, 0);
}

static base_status list_local(par_nodes *nodes, MPI_Comm group, base_error *error)
{
    int rank;
    par_must(MPI_Comm_rank(group, &rank), "MPI_Comm_rank");
    uint32_t mine = (uint32_t)rank;
    nodes->tp_ranks = malloc((size_t)nodes->local_size * sizeof *nodes->tp_ranks);
    int enough = nodes->tp_ranks != NULL;
    if (!over_group(nodes->local, enough, MPI_LAND))
        return base_fail(error, BASE_ENOMEM, "no memory for the rank grid");
    par_must(MPI_Allgather(&mine, 1, MPI_UINT32_T, nodes->tp_ranks, 1, MPI_UINT32_T, nodes->local), "MPI_Allgather");
    return BASE_OK;
}

base_status par_nodes_init(par_nodes *nodes, MPI_Comm group, bool share_memory, uint32_t pretend, par_wire wire,
                           base_error *error)
{
    *nodes = (par_nodes){.local = MPI_COMM_NULL, .rail = MPI_COMM_NULL};
    share(nodes, group, share_memory, pretend);
    nodes->n_nodes = over_group(group, nodes->local_rank == 0, MPI_SUM);
    nodes->n_rails = over_group(group, nodes->local_size, MPI_MIN);
    base_status status = list_local(nodes, group, error);
    if (nodes->n_nodes == 1)
        return status;
    if (over_group(group, (int)wire, MPI_MAX) != over_group(group, (int)wire, MPI_MIN))
        return base_fail(error, BASE_EINVAL,
                         "ranks of a tensor group were told different wires; start all with the same --wire");
    bool has_rail = nodes->local_rank < nodes->n_rails;
    par_must(MPI_Comm_split(group, has_rail ? nodes->local_rank : MPI_UNDEFINED, 0, &nodes->rail), "MPI_Comm_split");
    if (has_rail)
        par_must(MPI_Comm_rank(nodes->rail, &nodes->rail_rank), "MPI_Comm_rank");
    if (status == BASE_OK && has_rail)
        status = par_inter_node_create(nodes->rail, PAR_PIECE_BYTES, wire, &nodes->inter, error);
    return status;
}

void par_nodes_release(par_nodes *nodes)
{
    par_inter_node_destroy(&nodes->inter);
    par_intra_node_destroy(&nodes->intra);
    if (nodes->rail != MPI_COMM_NULL)
        par_must(MPI_Comm_free(&nodes->rail), "MPI_Comm_free");
    if (nodes->local != MPI_COMM_NULL)
        par_must(MPI_Comm_free(&nodes->local), "MPI_Comm_free");
    free(nodes->tp_ranks);
    *nodes = (par_nodes){.local = MPI_COMM_NULL, .rail = MPI_COMM_NULL};
}

/* --- sequence parallelism: which rank owns rows --- */

int par_nodes_owners(const par_nodes *nodes)
{
    return nodes->n_nodes * nodes->n_rails;
}

int par_nodes_owner(const par_nodes *nodes)
{
    return nodes->local_rank < nodes->n_rails ? nodes->local_rank * nodes->n_nodes + nodes->rail_rank
                                              : par_nodes_owners(nodes);
}
