/* allreduce.c - the tensor-parallel all-reduce, by the ranks' whole teams: inside a node through shared memory, between
 * nodes by messages.
 *
 * A group on one node is one call of par_intra_node_allreduce.  One that spans nodes goes in pieces of PAR_PIECE_BYTES,
 * a pipeline, so that messages of one piece travel while the team works on another:
 *
 *     time ->         piece 0     piece 1     piece 2     piece 3
 *     team            reduce 0    reduce 1    reduce 2    reduce 3      in the node: all its ranks have the node's sum
 *     main thread     begin 0     begin 1     begin 2     begin 3       this rank's slice (its rail's) leaves
 *                                 middle 0    middle 1    middle 2
 *                                             end 0       end 1         the slice is the sum over all nodes
 *     team                                    gather 0    gather 1      every rank copies its neighbours' slices
 *
 * A group of one rank has nothing to add, but still makes progress on messages between stages. */
#include "worker/par/grid_int.h"

#include "worker/trace/trace.h"

typedef struct vector {
    par_reduce_op op;
    unsigned char *values;
    size_t bytes, n_pieces;
} vector;

static size_t piece_bytes(const vector *v, size_t i)
{
    size_t at = i * PAR_PIECE_BYTES;
    return v->bytes - at < PAR_PIECE_BYTES ? v->bytes - at : PAR_PIECE_BYTES;
}

/* Main thread: begin piece i, middle of i - 1, end of i - 2, each for this rank's slice. */
static void advance_pieces(par_grid *grid, const vector *v, size_t i)
{
    par_inter_node *a = grid->nodes.inter;
    if (a == NULL)
        return;
    if (i < v->n_pieces) {
        size_t bytes = piece_bytes(v, i), element = par_reduce_op_bytes(v->op);
        size_t begin = par_share_begin(bytes, grid->nodes.local_rank, grid->nodes.n_rails);
        size_t end = par_share_begin(bytes, grid->nodes.local_rank + 1, grid->nodes.n_rails);
        par_inter_node_begin(a, i, v->op, v->values + i * PAR_PIECE_BYTES + begin, (end - begin) / element);
    }
    if (i >= 1 && i - 1 < v->n_pieces)
        par_inter_node_middle(a, i - 1, &grid->waiter);
    if (i >= 2)
        par_inter_node_end(a, i - 2, &grid->waiter);
}

static void allreduce_over_nodes(par_grid *grid, team_member *me, const par_waiter *waiter, const vector *v)
{
    par_intra_node *intra = grid->nodes.intra;
    for (size_t i = 0; i < v->n_pieces + 2; i++) {
        if (intra != NULL && i < v->n_pieces) {
            par_intra_node_allreduce(intra, me, waiter, v->op, v->values + i * PAR_PIECE_BYTES, piece_bytes(v, i));
            team_barrier(me);
        }
        if (me->index == 0)
            advance_pieces(grid, v, i);
        if (intra != NULL && i >= 2) {
            team_barrier(me);
            par_intra_node_all_gather(intra, me, waiter, grid->nodes.n_rails, v->values + (i - 2) * PAR_PIECE_BYTES,
                                      piece_bytes(v, i - 2));
        }
    }
}

static void allreduce_group(par_grid *grid, team_member *me, par_reduce_op op, void *values, size_t n)
{
    size_t bytes = n * par_reduce_op_bytes(op);
    const vector v = {op, values, bytes, (bytes + PAR_PIECE_BYTES - 1) / PAR_PIECE_BYTES};
    const par_waiter waiter = par_group_begin(grid, me);
    if (grid->nodes.n_nodes > 1)
        allreduce_over_nodes(grid, me, &waiter, &v);
    else
        par_intra_node_allreduce(grid->nodes.intra, me, &waiter, op, values, bytes);
    team_barrier(me);
}

static void allreduce(par_grid *grid, team_member *me, par_reduce_op op, void *values, size_t n)
{
    uint64_t begin_us = me->index == 0 ? trace_begin() : 0;
    if (grid->place.tp > 1) {
        allreduce_group(grid, me, op, values, n);
    } else {
        team_barrier(me);
        if (me->index == 0)
            par_grid_progress(grid);
        return;
    }
    if (me->index == 0)
        trace_end(TRACE_REDUCE, begin_us, n * par_reduce_op_bytes(op));
}

void par_allreduce_sum_i64(par_grid *grid, team_member *me, int64_t *values, size_t n)
{
    allreduce(grid, me, PAR_SUM_I64, values, n);
}

void par_allreduce_or_u32(par_grid *grid, team_member *me, uint32_t *values, size_t n)
{
    allreduce(grid, me, PAR_OR_U32, values, n);
}
