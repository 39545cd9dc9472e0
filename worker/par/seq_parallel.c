/* seq_parallel.c - sequence parallelism's two collectives over rows: reduce-scatter of sums to the rows' owners,
 * all-gather of what the owners made of them.  Megatron: Korthikanti et al., "Reducing Activation Recomputation in
 * Large Transformer Models", arXiv 2205.05198.
 *
 * A group on one node is one call of intra_node_int.h for each matrix.  One that spans nodes goes in windows of the
 * shares, a pipeline:
 *
 *     reduce-scatter   team          window i: on each node, rank j adds up the node's rows for the owners of rail j
 *                      main thread   window i leaves for its owners; window i - 1 has arrived and is added
 *     all-gather       main thread   window i of the owner's rows leaves along the rail; window i - 1 has arrived
 *                      team          window i - 1 goes to the node's other ranks through shared memory */
#include "worker/par/grid_int.h"

#include "worker/par/rank_queue_int.h"
#include "worker/trace/trace.h"

#define LINE 64u

/* All owners' shares of a matrix. */
static par_shares shares_of(const par_grid *grid, const par_matrix *matrix, size_t n_rows)
{
    return (par_shares){.rows = matrix->rows,
                        .row_bytes = matrix->row_bytes,
                        .n_rows = n_rows,
                        .n_shares = par_nodes_owners(&grid->nodes),
                        .stride = 1,
                        .window_bytes = SIZE_MAX};
}

/* The shares owned by the m-th ranks of the rails: member j is rail j's. */
static par_shares shares_of_place(const par_grid *grid, par_shares all, int m)
{
    all.first = m;
    all.stride = grid->nodes.n_nodes;
    return all;
}

/* The shares of this rank's rail: member m is its m-th rank's. */
static par_shares shares_of_rail(const par_grid *grid, par_shares all)
{
    all.first = grid->nodes.local_rank * grid->nodes.n_nodes;
    return all;
}

/* Bytes of a share in one window: a rail's shares together make one piece of par_inter_node. */
static size_t window_bytes(const par_grid *grid)
{
    size_t bytes = PAR_PIECE_BYTES / (size_t)grid->nodes.n_nodes / LINE * LINE;
    return bytes > 0 ? bytes : LINE;
}

static par_shares window_of(const par_grid *grid, par_shares all, size_t i)
{
    all.window_bytes = window_bytes(grid);
    all.window_at = i * all.window_bytes;
    return all;
}

static size_t n_windows(const par_grid *grid, const par_matrix *matrices, size_t n_matrices, size_t n_rows)
{
    size_t n_max = 0, window = window_bytes(grid);
    for (size_t i = 0; i < n_matrices; i++) {
        const par_shares all = shares_of(grid, &matrices[i], n_rows);
        size_t n = (par_shares_longest(&all) + window - 1) / window;
        n_max = n > n_max ? n : n_max;
    }
    return n_max;
}

par_rows par_rows_owned(const par_grid *grid, size_t n_rows)
{
    int q = par_nodes_owner(&grid->nodes), n_shares = par_nodes_owners(&grid->nodes);
    if (q == n_shares)
        return (par_rows){n_rows, n_rows};
    return (par_rows){par_row_begin(n_rows, q, n_shares), par_row_begin(n_rows, q + 1, n_shares)};
}

static size_t bytes_of(const par_matrix *matrices, size_t n_matrices, size_t n_rows)
{
    size_t sum = 0;
    for (size_t i = 0; i < n_matrices; i++)
        sum += matrices[i].row_bytes * n_rows;
    return sum;
}

/* --- reduce-scatter --- */

static void reduce_scatter_in_node(par_grid *grid, team_member *me, const par_waiter *waiter, par_reduce_op op,
                                   const par_shares *all)
{
    for (int m = 0; m < grid->nodes.n_nodes && grid->nodes.intra != NULL; m++) {
        const par_shares shares = shares_of_place(grid, *all, m);
        par_intra_node_reduce_scatter_rows(grid->nodes.intra, me, waiter, grid->nodes.n_rails, op, &shares);
    }
}

static void reduce_scatter_over_nodes(par_grid *grid, team_member *me, const par_waiter *waiter, par_reduce_op op,
                                      const par_shares *all, size_t windows)
{
    par_inter_node *inter = me->index == 0 ? grid->nodes.inter : NULL;
    for (size_t i = 0; i <= windows; i++) {
        const par_shares window = window_of(grid, *all, i), rail = shares_of_rail(grid, window);
        if (i < windows && grid->nodes.intra != NULL) {
            reduce_scatter_in_node(grid, me, waiter, op, &window);
            team_barrier(me);
        }
        if (inter != NULL && i < windows)
            par_inter_node_reduce_scatter_begin(inter, i, op, &rail);
        if (inter != NULL && i > 0)
            par_inter_node_reduce_scatter_end(inter, i - 1, &grid->waiter);
    }
}

static void reduce_scatter(par_grid *grid, team_member *me, par_reduce_op op, const par_matrix *matrices,
                           size_t n_matrices, size_t n_rows)
{
    uint64_t begin_us = me->index == 0 ? trace_begin() : 0;
    const par_waiter waiter = par_group_begin(grid, me);
    for (size_t i = 0; i < n_matrices; i++) {
        const par_shares all = shares_of(grid, &matrices[i], n_rows);
        if (grid->nodes.n_nodes == 1)
            reduce_scatter_in_node(grid, me, &waiter, op, &all);
        else
            reduce_scatter_over_nodes(grid, me, &waiter, op, &all, n_windows(grid, &matrices[i], 1, n_rows));
    }
    team_barrier(me);
    if (me->index == 0)
        trace_end(TRACE_REDUCE, begin_us, bytes_of(matrices, n_matrices, n_rows));
}

void par_reduce_scatter_sum_i64(par_grid *grid, team_member *me, const par_matrix *matrices, size_t n_matrices,
                                size_t n_rows)
{
    reduce_scatter(grid, me, PAR_SUM_I64, matrices, n_matrices, n_rows);
}

void par_reduce_scatter_or_u32(par_grid *grid, team_member *me, const par_matrix *matrices, size_t n_matrices,
                               size_t n_rows)
{
    reduce_scatter(grid, me, PAR_OR_U32, matrices, n_matrices, n_rows);
}

/* --- all-gather --- */

static void all_gather_in_node(par_grid *grid, team_member *me, const par_waiter *waiter, const par_shares *all)
{
    for (int m = 0; m < grid->nodes.n_nodes && grid->nodes.intra != NULL; m++) {
        const par_shares shares = shares_of_place(grid, *all, m);
        par_intra_node_all_gather_rows(grid->nodes.intra, me, waiter, grid->nodes.n_rails, &shares);
    }
}

/* Main thread: send window i of this rank's rows, finish the one before. */
static void exchange_window(par_grid *grid, const par_shares *all, size_t n_matrices, size_t i, size_t windows)
{
    par_inter_node *inter = grid->nodes.inter;
    par_shares rails[PAR_MATRICES_MAX];
    if (inter == NULL)
        return;
    for (size_t k = 0; k < n_matrices; k++)
        rails[k] = shares_of_rail(grid, window_of(grid, all[k], i));
    if (i < windows)
        par_inter_node_all_gather_begin(inter, i, rails, n_matrices);
    if (i > 0)
        par_inter_node_all_gather_end(inter, i - 1, &grid->waiter);
}

static void all_gather_over_nodes(par_grid *grid, team_member *me, const par_waiter *waiter, const par_shares *all,
                                  size_t n_matrices, size_t windows)
{
    for (size_t i = 0; i <= windows; i++) {
        if (me->index == 0)
            exchange_window(grid, all, n_matrices, i, windows);
        if (grid->nodes.intra == NULL || i == 0)
            continue;
        team_barrier(me);
        for (size_t k = 0; k < n_matrices; k++) {
            const par_shares window = window_of(grid, all[k], i - 1);
            all_gather_in_node(grid, me, waiter, &window);
        }
    }
}

void par_all_gather_rows(par_grid *grid, team_member *me, const par_matrix *matrices, size_t n_matrices, size_t n_rows)
{
    uint64_t begin_us = me->index == 0 ? trace_begin() : 0;
    par_shares all[PAR_MATRICES_MAX];
    for (size_t i = 0; i < n_matrices; i++)
        all[i] = shares_of(grid, &matrices[i], n_rows);
    const par_waiter waiter = par_group_begin(grid, me);
    if (grid->nodes.n_nodes > 1)
        all_gather_over_nodes(grid, me, &waiter, all, n_matrices, n_windows(grid, matrices, n_matrices, n_rows));
    for (size_t i = 0; i < n_matrices && grid->nodes.n_nodes == 1; i++)
        all_gather_in_node(grid, me, &waiter, &all[i]);
    team_barrier(me);
    if (me->index == 0)
        trace_end(TRACE_GATHER, begin_us, bytes_of(matrices, n_matrices, n_rows));
}
