/* channels.c - plans, activations and results between ranks, over the queues of rank_queue_int.h, which says how they
 * flow and why they cannot lock up. */
#include "worker/par/channels.h"

#include <sched.h>
#include <stdlib.h>

#include "proto/base/clock.h"
#include "worker/par/grid_int.h"
#include "worker/trace/trace.h"

enum { TREE_CHILDREN_MAX = 31, STAGE_SLOTS = 2 };

uint32_t par_grid_plans_max(const par_grid *grid)
{
    return 2 * grid->place.pp + 8;
}

/* --- reserving --- */

static bool is_last_stage_root(const par_place *place)
{
    return place->stage == place->pp - 1 && place->tp_rank == 0;
}

/* The ranks below `rank` in the binomial tree over n ranks, the largest subtree first. */
static size_t tree_children(int rank, int n, int children[TREE_CHILDREN_MAX])
{
    int reach = 1;
    while (reach < n && (rank & reach) == 0)
        reach <<= 1;
    size_t count = 0;
    for (reach >>= 1; reach > 0; reach >>= 1) {
        if (rank + reach < n)
            children[count++] = rank + reach;
    }
    return count;
}

static base_status plans_reserve(par_grid *grid, size_t bytes, base_error *error)
{
    int children[TREE_CHILDREN_MAX];
    int rank = (int)grid->place.rank;
    size_t n_children = tree_children(rank, grid->world->size, children);
    size_t slots = par_grid_plans_max(grid);
    base_status status =
        par_send_queue_init(&grid->plans_out, grid->comm, PAR_TAG_PLAN, children, n_children, slots, bytes, error);
    if (status != BASE_OK)
        return status;
    return par_recv_queue_init(&grid->plans_in, grid->comm, PAR_TAG_PLAN, rank & (rank - 1), slots, bytes, error);
}

/* Results go to all of stage 0; a sender that is itself in stage 0 (one stage) puts a copy into its own receive queue.
 */
static base_status results_reserve(par_grid *grid, size_t bytes, base_error *error)
{
    const par_place *place = &grid->place;
    size_t slots = par_grid_plans_max(grid);
    int source = (int)((place->pp - 1) * place->tp);
    size_t n_dests = 0;
    int *dests = malloc(place->tp * sizeof *dests);
    if (dests == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the rank grid");
    for (int rank = 0; is_last_stage_root(place) && rank < (int)place->tp; rank++) {
        if (rank != (int)place->rank)
            dests[n_dests++] = rank;
    }
    base_status status =
        par_send_queue_init(&grid->results_out, grid->comm, PAR_TAG_RESULT, dests, n_dests, slots, bytes, error);
    free(dests);
    if (status != BASE_OK)
        return status;
    return par_recv_queue_init(&grid->results_in, grid->comm, PAR_TAG_RESULT, source, slots, bytes, error);
}

static base_status stages_reserve(par_grid *grid, size_t floats, base_error *error)
{
    const par_place *place = &grid->place;
    if (floats > PAR_COUNT_MAX / sizeof(float))
        return base_fail(error, BASE_ETOOBIG,
                         "a stage would send %zu floats, the limit is %zu; lower the tokens of a step", floats,
                         PAR_COUNT_MAX / sizeof(float));
    int next = (int)(place->rank + place->tp);
    size_t n_dests = place->stage + 1 < place->pp ? 1 : 0;
    return par_send_queue_init(&grid->stage_out, grid->comm, PAR_TAG_STAGE, &next, n_dests, STAGE_SLOTS,
                               floats * sizeof(float), error);
}

base_status par_grid_reserve(par_grid *grid, size_t stage_floats, size_t plan_bytes, size_t result_bytes,
                             base_error *error)
{
    base_status status = plans_reserve(grid, plan_bytes, error);
    if (status == BASE_OK)
        status = results_reserve(grid, result_bytes, error);
    if (status == BASE_OK)
        status = stages_reserve(grid, stage_floats, error);
    grid->reserved = true; /* boxes that were not reached are empty and may be released */
    return par_world_agree(grid->world, status, error);
}

void par_channels_release(par_grid *g)
{
    if (!g->reserved)
        return;
    par_send_queue_release(&g->stage_out, &g->waiter);
    par_send_queue_release(&g->results_out, &g->waiter);
    par_send_queue_release(&g->plans_out, &g->waiter);
    par_recv_queue_release(&g->results_in);
    par_recv_queue_release(&g->plans_in);
}

/* Take in what has arrived and pass plans on.  Runs inside every wait, so it must not wait itself: a plan is only
 * received while there is room to pass it on. */
void par_grid_progress(void *context)
{
    par_grid *grid = context;
    if (!grid->reserved)
        return;
    if (grid->place.rank != 0 && par_send_queue_has_room(&grid->plans_out) &&
        par_recv_queue_progress(&grid->plans_in)) {
        size_t size;
        const uint8_t *plan = par_recv_queue_newest(&grid->plans_in, &size);
        par_send_queue_send(&grid->plans_out, &grid->waiter, plan, size);
    }
    if (grid->place.stage == 0 && !is_last_stage_root(&grid->place))
        par_recv_queue_progress(&grid->results_in);
}

void par_plan_send(par_grid *grid, const void *bytes, size_t size)
{
    par_send_queue_send(&grid->plans_out, &grid->waiter, bytes, size);
}

bool par_plan_poll(par_grid *grid, base_buf *plan)
{
    par_grid_progress(grid);
    return par_recv_queue_take(&grid->plans_in, plan);
}

void par_result_send(par_grid *grid, const void *bytes, size_t size)
{
    par_send_queue_send(&grid->results_out, &grid->waiter, bytes, size);
    if (grid->place.stage == 0)
        par_recv_queue_push(&grid->results_in, bytes, size);
}

bool par_result_poll(par_grid *grid, base_buf *result)
{
    par_grid_progress(grid);
    return par_recv_queue_take(&grid->results_in, result);
}

void par_stage_send(par_grid *grid, const float *values, size_t n)
{
    uint64_t begin_us = trace_begin();
    par_send_queue_send(&grid->stage_out, &grid->waiter, values, n * sizeof *values);
    trace_end(TRACE_SEND, begin_us, n * sizeof *values);
}

/* Wait for the message to be announced, with naps; then for its bytes, without. */
typedef struct announcement {
    MPI_Comm comm;
    int source;
    MPI_Message message;
} announcement;

static bool is_announced(void *context)
{
    announcement *a = context;
    int present = 0;
    par_must(MPI_Improbe(a->source, PAR_TAG_STAGE, a->comm, &present, &a->message, MPI_STATUS_IGNORE), "MPI_Improbe");
    return present != 0;
}

void par_stage_receive(par_grid *grid, float *values, size_t n)
{
    announcement a = {.comm = grid->comm, .source = (int)(grid->place.rank - grid->place.tp)};
    MPI_Request request;
    uint64_t begin_us = trace_begin();
    par_wait_until(&grid->waiter, is_announced, &a, PAR_AWAKE_US);
    par_must(MPI_Imrecv(values, par_count(n * sizeof *values), MPI_BYTE, &a.message, &request), "MPI_Imrecv");
    par_wait_transfer(&grid->waiter, &request, 1);
    trace_end(TRACE_RECEIVE, begin_us, n * sizeof *values);
}

/* --- idling --- */

uint32_t par_idle_poll(par_grid *grid)
{
    par_grid_progress(grid);
    uint64_t now_us = base_clock_us();
    bool receiving = grid->reserved &&
                     (par_recv_queue_is_receiving(&grid->plans_in) || par_recv_queue_is_receiving(&grid->results_in));
    if (grid->idle_since_us == 0 || receiving)
        grid->idle_since_us = now_us;
    uint32_t rest_us = par_rest_us(now_us - grid->idle_since_us);
    if (rest_us == 0 && (grid->waiter.crowded || now_us - grid->idle_since_us >= PAR_SPIN_US))
        sched_yield();
    return rest_us;
}

void par_idle(par_grid *grid)
{
    uint32_t rest_us = par_idle_poll(grid);
    if (rest_us > 0)
        base_clock_nap(rest_us);
}

void par_idle_reset(par_grid *grid)
{
    grid->idle_since_us = 0;
}
