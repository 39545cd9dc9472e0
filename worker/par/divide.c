/* divide.c - rows divided among a tensor group: sums for their owners, and what the owners make of them for all.
 *
 * A group on one node is one call of shared.h for each matrix.  One that spans nodes goes in windows of the shares, a
 * pipeline of scatter   window i: on each node, rank j adds up what the node has for the owners of rail j     shared
 * memory, the whole team begin     it leaves for them main thread, across.h end       window i - 1 has come and back of
 *     begin     window i of the owners' rows leaves     main thread
 *     end       window i - 1 has come
 *     spread    and goes to the neighbours              the whole team
 */
#include "worker/par/grid_impl.h"

#include "worker/par/mailbox.h"
#include "worker/trace/trace.h"

#define LINE 64u

static int n_owners(const par_nodes *nodes)
{
    return nodes->n_nodes * nodes->n_rails;
}

/* Which owner this rank is; all of them and more: none. */
static int owner_of(const par_nodes *nodes)
{
    return nodes->local_rank < nodes->n_rails ? nodes->local_rank * nodes->n_nodes + nodes->rail_rank : n_owners(nodes);
}

/* All owners' shares of a matrix. */
static par_shares shares_of(const par_grid *grid, const par_matrix *matrix, size_t n_rows)
{
    return (par_shares){.rows = matrix->rows,
                        .row_bytes = matrix->row_bytes,
                        .n_rows = n_rows,
                        .n_shares = n_owners(&grid->nodes),
                        .stride = 1,
                        .most = SIZE_MAX};
}

/* Of those the ones that the m-th ranks of the rails own: member j is rail j's. */
static par_shares across_rails(const par_grid *grid, par_shares all, int m)
{
    all.first = m;
    all.stride = grid->nodes.n_nodes;
    return all;
}

/* And those of this rank's rail: member m is its m-th rank's. */
static par_shares along_rail(const par_grid *grid, par_shares all)
{
    all.first = grid->nodes.local_rank * grid->nodes.n_nodes;
    return all;
}

/* Window i of the shares: a piece of par_across when all of a rail's are put together. */
static size_t window_bytes(const par_grid *grid)
{
    size_t bytes = PAR_PIECE_BYTES / (size_t)grid->nodes.n_nodes / LINE * LINE;
    return bytes > 0 ? bytes : LINE;
}

static par_shares window_of(const par_grid *grid, par_shares all, size_t i)
{
    all.most = window_bytes(grid);
    all.at = i * all.most;
    return all;
}

static size_t n_windows(const par_grid *grid, const par_matrix *matrices, size_t n_matrices, size_t n_rows)
{
    size_t most = 0, window = window_bytes(grid);
    for (size_t i = 0; i < n_matrices; i++) {
        const par_shares all = shares_of(grid, &matrices[i], n_rows);
        size_t n = (par_shares_longest(&all) + window - 1) / window;
        most = n > most ? n : most;
    }
    return most;
}

par_rows par_rows_mine(const par_grid *grid, size_t n_rows)
{
    int q = owner_of(&grid->nodes), n_shares = n_owners(&grid->nodes);
    if (q == n_shares)
        return (par_rows){n_rows, n_rows};
    return (par_rows){par_row_begin(n_rows, q, n_shares), par_row_begin(n_rows, q + 1, n_shares)};
}

/* Stage s against s + 1, tensor rank by tensor rank, is every stage against the first. */
void par_rows_compare(par_grid *grid)
{
    uint32_t tp = grid->place.tp, pp = grid->place.pp;
    int mine[2] = {owner_of(&grid->nodes), n_owners(&grid->nodes)}, theirs[2], alike, rank = (int)grid->place.rank,
        size = (int)(tp * pp);
    int to = (rank + (int)tp) % size, from = (rank + size - (int)tp) % size;
    par_must(MPI_Sendrecv(mine, 2, MPI_INT, to, PAR_TAG_TEXT, theirs, 2, MPI_INT, from, PAR_TAG_TEXT, grid->comm,
                          MPI_STATUS_IGNORE),
             "MPI_Sendrecv");
    alike = mine[0] == theirs[0] && mine[1] == theirs[1];
    par_must(MPI_Allreduce(MPI_IN_PLACE, &alike, 1, MPI_INT, MPI_LAND, grid->comm), "MPI_Allreduce");
    grid->rows_alike = alike != 0;
}

bool par_rows_alike(const par_grid *grid)
{
    return grid->rows_alike;
}

static size_t bytes_of(const par_matrix *matrices, size_t n_matrices, size_t n_rows)
{
    size_t sum = 0;
    for (size_t i = 0; i < n_matrices; i++)
        sum += matrices[i].row_bytes * n_rows;
    return sum;
}

/* --- sums for the owners --- */

static void scatter_node(par_grid *grid, team_member *me, const par_waiter *waiter, par_combine how,
                         const par_shares *all)
{
    for (int m = 0; m < grid->nodes.n_nodes && grid->nodes.shared != NULL; m++) {
        const par_shares shares = across_rails(grid, *all, m);
        par_shared_scatter_rows(grid->nodes.shared, me, waiter, grid->nodes.n_rails, how, &shares);
    }
}

static void scatter_nodes(par_grid *grid, team_member *me, const par_waiter *waiter, par_combine how,
                          const par_shares *all, size_t windows)
{
    par_across *across = me->index == 0 ? grid->nodes.across : NULL;
    for (size_t i = 0; i <= windows; i++) {
        const par_shares window = window_of(grid, *all, i), rail = along_rail(grid, window);
        if (i < windows && grid->nodes.shared != NULL) {
            scatter_node(grid, me, waiter, how, &window);
            team_barrier(me);
        }
        if (across != NULL && i < windows)
            par_across_scatter_begin(across, i, how, &rail);
        if (across != NULL && i > 0)
            par_across_scatter_end(across, i - 1, &grid->waiter);
    }
}

static void sum_rows(par_grid *grid, team_member *me, par_combine how, const par_matrix *matrices, size_t n_matrices,
                     size_t n_rows)
{
    uint64_t begin_us = me->index == 0 ? trace_begin() : 0;
    const par_waiter waiter = par_group_begin(grid, me);
    for (size_t i = 0; i < n_matrices; i++) {
        const par_shares all = shares_of(grid, &matrices[i], n_rows);
        if (grid->nodes.n_nodes == 1)
            scatter_node(grid, me, &waiter, how, &all);
        else
            scatter_nodes(grid, me, &waiter, how, &all, n_windows(grid, &matrices[i], 1, n_rows));
    }
    team_barrier(me);
    if (me->index == 0)
        trace_end(TRACE_REDUCE, begin_us, bytes_of(matrices, n_matrices, n_rows));
}

void par_sum_rows_i64(par_grid *grid, team_member *me, const par_matrix *matrices, size_t n_matrices, size_t n_rows)
{
    sum_rows(grid, me, PAR_SUM_I64, matrices, n_matrices, n_rows);
}

void par_or_rows_u32(par_grid *grid, team_member *me, const par_matrix *matrices, size_t n_matrices, size_t n_rows)
{
    sum_rows(grid, me, PAR_OR_U32, matrices, n_matrices, n_rows);
}

/* --- the owners' rows for all --- */

static void spread_node(par_grid *grid, team_member *me, const par_waiter *waiter, const par_shares *all)
{
    for (int m = 0; m < grid->nodes.n_nodes && grid->nodes.shared != NULL; m++) {
        const par_shares shares = across_rails(grid, *all, m);
        par_shared_spread_rows(grid->nodes.shared, me, waiter, grid->nodes.n_rails, &shares);
    }
}

/* Main thread: window i of this rank's rows leaves, the one before arrives. */
static void turn_rail(par_grid *grid, const par_shares *all, size_t n_matrices, size_t i, size_t windows)
{
    par_across *across = grid->nodes.across;
    par_shares rails[PAR_MATRICES];
    if (across == NULL)
        return;
    for (size_t k = 0; k < n_matrices; k++)
        rails[k] = along_rail(grid, window_of(grid, all[k], i));
    if (i < windows)
        par_across_gather_begin(across, i, rails, n_matrices);
    if (i > 0)
        par_across_gather_end(across, i - 1, &grid->waiter);
}

static void share_nodes(par_grid *grid, team_member *me, const par_waiter *waiter, const par_shares *all,
                        size_t n_matrices, size_t windows)
{
    for (size_t i = 0; i <= windows; i++) {
        if (me->index == 0)
            turn_rail(grid, all, n_matrices, i, windows);
        if (grid->nodes.shared == NULL || i == 0)
            continue;
        team_barrier(me);
        for (size_t k = 0; k < n_matrices; k++) {
            const par_shares window = window_of(grid, all[k], i - 1);
            spread_node(grid, me, waiter, &window);
        }
    }
}

void par_share_rows(par_grid *grid, team_member *me, const par_matrix *matrices, size_t n_matrices, size_t n_rows)
{
    uint64_t begin_us = me->index == 0 ? trace_begin() : 0;
    par_shares all[PAR_MATRICES];
    for (size_t i = 0; i < n_matrices; i++)
        all[i] = shares_of(grid, &matrices[i], n_rows);
    const par_waiter waiter = par_group_begin(grid, me);
    if (grid->nodes.n_nodes > 1)
        share_nodes(grid, me, &waiter, all, n_matrices, n_windows(grid, matrices, n_matrices, n_rows));
    for (size_t i = 0; i < n_matrices && grid->nodes.n_nodes == 1; i++)
        spread_node(grid, me, &waiter, &all[i]);
    team_barrier(me);
    if (me->index == 0)
        trace_end(TRACE_GATHER, begin_us, bytes_of(matrices, n_matrices, n_rows));
}
