/* gather_columns.c - columns of a matrix to tensor rank 0: from ranks of its node through shared memory, from other
 * nodes by messages, row by row straight into their place. */
#include "worker/par/grid_int.h"

#include <string.h>

static size_t column_begin(const uint32_t *columns, uint32_t tp_rank)
{
    size_t begin = 0;
    for (uint32_t t = 0; t < tp_rank; t++)
        begin += columns[t];
    return begin;
}

/* On tensor rank 0's node: its ranks' pieces side by side into `row`, which is tensor rank 0's. */
static void gather_node(par_grid *grid, const uint32_t *columns, const float *piece, float *row)
{
    const par_nodes *nodes = &grid->nodes;
    par_intra_node_gather gather = {.mine = piece, .mine_bytes = columns[grid->place.tp_rank] * sizeof *piece};
    for (int i = 0; i < nodes->local_size; i++) {
        size_t bytes = columns[nodes->tp_ranks[i]] * sizeof *piece;
        gather.max_bytes = bytes > gather.max_bytes ? bytes : gather.max_bytes;
    }
    while (par_intra_node_gather_next(nodes->intra, &grid->waiter, &gather)) {
        for (int i = 1; i < nodes->local_size && grid->place.tp_rank == 0; i++)
            par_intra_node_gather_read(nodes->intra, &gather, i, row + column_begin(columns, nodes->tp_ranks[i]),
                                       columns[nodes->tp_ranks[i]] * sizeof *row);
    }
}

static bool is_neighbour(const par_nodes *nodes, uint32_t tp_rank)
{
    for (int i = 0; i < nodes->local_size; i++)
        if (nodes->tp_ranks[i] == tp_rank)
            return true;
    return false;
}

/* Tensor rank 0: post receives for the pieces of other nodes' ranks; returns how many. */
static size_t expect_row(par_grid *grid, const uint32_t *columns, float *row)
{
    size_t n = 0;
    for (uint32_t t = 0; t < grid->place.tp; t++) {
        if (columns[t] > 0 && !is_neighbour(&grid->nodes, t))
            par_must(MPI_Irecv(row + column_begin(columns, t), par_count(columns[t]), MPI_FLOAT, (int)t, PAR_TAG_TEXT,
                               grid->group, &grid->column_requests[n++]),
                     "MPI_Irecv");
    }
    return n;
}

static void gather_row(par_grid *grid, const uint32_t *columns, const float *piece, float *row)
{
    size_t n_requests = 0, width = columns[grid->place.tp_rank];
    if (grid->place.tp_rank == 0)
        n_requests = expect_row(grid, columns, row);
    else if (grid->nodes.tp_ranks[0] != 0 && width > 0)
        par_must(MPI_Isend(piece, par_count(width), MPI_FLOAT, 0, PAR_TAG_TEXT, grid->group,
                           &grid->column_requests[n_requests++]),
                 "MPI_Isend");
    if (grid->place.tp_rank == 0 && width > 0)
        memcpy(row, piece, width * sizeof *row);
    if (grid->nodes.tp_ranks[0] == 0 && grid->nodes.intra != NULL)
        gather_node(grid, columns, piece, row);
    par_wait_transfer(&grid->waiter, grid->column_requests, n_requests);
}

void par_gather_columns(par_grid *grid, const float *local, const uint32_t *columns, size_t n_rows, float *full)
{
    size_t width = columns[grid->place.tp_rank], total = 0;
    for (uint32_t t = 0; t < grid->place.tp; t++)
        total += columns[t];
    for (size_t row = 0; row < n_rows; row++)
        gather_row(grid, columns, local + row * width, grid->place.tp_rank == 0 ? full + row * total : NULL);
}
