/* combine.c - sums over a tensor group by its whole team: inside the node through shared memory, between nodes by
 * messages.
 *
 * A group on one node is one call of par_shared_combine.  One that spans nodes goes in pieces, a pipeline of
 *     combine   the node's sum of piece i on all its ranks, shared memory, the whole team
 *     begin     piece i's slices leave          } main thread
 *     middle    piece i - 1                      } across.h
 *     end       piece i - 2 is whole             }
 *     spread    piece i - 2: every rank takes the slices that its neighbours have
 * so that the wire works on one piece while the team works on another. */
#include "worker/par/grid_impl.h"

#include "worker/trace/trace.h"

/* While a rank waits in shared memory MPI has to be called all the same: what its partner waits for may be a message
 * that this rank has begun to send. */
static void keep_moving(void *context)
{
    par_grid *grid = context;
    int present;
    par_grid_service(grid);
    par_must(MPI_Iprobe(MPI_ANY_SOURCE, PAR_TAG_TEXT, grid->comm, &present, MPI_STATUS_IGNORE), "MPI_Iprobe");
}

typedef struct vector {
    par_combine how;
    unsigned char *values;
    size_t bytes, n_pieces;
} vector;

static size_t piece_bytes(const vector *v, size_t i)
{
    size_t at = i * PAR_PIECE_BYTES;
    return v->bytes - at < PAR_PIECE_BYTES ? v->bytes - at : PAR_PIECE_BYTES;
}

/* Main thread: this rank's slice of piece i leaves, of the two before it arrives. */
static void turn_messages(par_grid *grid, const vector *v, size_t i)
{
    par_across *a = grid->nodes.across;
    if (a == NULL)
        return;
    if (i < v->n_pieces) {
        size_t bytes = piece_bytes(v, i), element = par_combine_element(v->how);
        size_t begin = par_share_begin(bytes, grid->nodes.local_rank, grid->nodes.n_rails);
        size_t end = par_share_begin(bytes, grid->nodes.local_rank + 1, grid->nodes.n_rails);
        par_across_begin(a, i, v->how, v->values + i * PAR_PIECE_BYTES + begin, (end - begin) / element);
    }
    if (i >= 1 && i - 1 < v->n_pieces)
        par_across_middle(a, i - 1, &grid->waiter);
    if (i >= 2)
        par_across_end(a, i - 2, &grid->waiter);
}

static void combine_nodes(par_grid *grid, team_member *me, const par_waiter *waiter, const vector *v)
{
    par_shared *shared = grid->nodes.shared;
    for (size_t i = 0; i < v->n_pieces + 2; i++) {
        if (shared != NULL && i < v->n_pieces) {
            par_shared_combine(shared, me, waiter, v->how, v->values + i * PAR_PIECE_BYTES, piece_bytes(v, i));
            team_barrier(me);
        }
        if (me->index == 0)
            turn_messages(grid, v, i);
        if (shared != NULL && i >= 2) {
            team_barrier(me);
            par_shared_spread(shared, me, waiter, grid->nodes.n_rails, v->values + (i - 2) * PAR_PIECE_BYTES,
                              piece_bytes(v, i - 2));
        }
    }
}

par_waiter par_group_begin(par_grid *grid, team_member *me)
{
    const par_waiter waiter = {.crowded = grid->waiter.crowded, .service = keep_moving, .context = grid};
    if (grid->nodes.shared != NULL)
        par_shared_begin(grid->nodes.shared, me, &waiter);
    team_barrier(me);
    if (me->index == 0 && grid->place.pp > 1) /* messages between stages move only while both ends call MPI */
        par_grid_service(grid);
    return waiter;
}

static void combine_group(par_grid *grid, team_member *me, par_combine how, void *values, size_t n)
{
    size_t bytes = n * par_combine_element(how);
    const vector v = {how, values, bytes, (bytes + PAR_PIECE_BYTES - 1) / PAR_PIECE_BYTES};
    const par_waiter waiter = par_group_begin(grid, me);
    if (grid->nodes.n_nodes > 1)
        combine_nodes(grid, me, &waiter, &v);
    else
        par_shared_combine(grid->nodes.shared, me, &waiter, how, values, bytes);
    team_barrier(me);
}

static void combine(par_grid *grid, team_member *me, par_combine how, void *values, size_t n)
{
    uint64_t begin_us = me->index == 0 ? trace_begin() : 0;
    if (grid->place.tp > 1) {
        combine_group(grid, me, how, values, n);
    } else {
        team_barrier(me);
        if (me->index == 0)
            par_grid_service(grid);
        return;
    }
    if (me->index == 0)
        trace_end(TRACE_REDUCE, begin_us, n * par_combine_element(how));
}

void par_sum_i64(par_grid *grid, team_member *me, int64_t *values, size_t n)
{
    combine(grid, me, PAR_SUM_I64, values, n);
}

void par_or_u32(par_grid *grid, team_member *me, uint32_t *values, size_t n)
{
    combine(grid, me, PAR_OR_U32, values, n);
}
