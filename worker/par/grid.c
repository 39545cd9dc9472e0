/* grid.c - the grid of tensor groups and stages, and the reductions inside a group.  mailbox.h tells how stages, plans
 * and results flow and why they cannot lock up. */
#include "worker/par/par.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "worker/par/grid_impl.h"
#include "worker/trace/trace.h"

enum { TREE_CHILDREN_MAX = 31, STAGE_SLOTS = 2 };

static void service_mailboxes(void *context);

/* Are all ranks of the tensor group on this node? */
static bool group_shares_node(const par_grid *grid)
{
    MPI_Comm local;
    int n = 0;
    par_must(MPI_Comm_split_type(grid->group, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &local), "MPI_Comm_split_type");
    par_must(MPI_Comm_size(local, &n), "MPI_Comm_size");
    par_must(MPI_Comm_free(&local), "MPI_Comm_free");
    return (uint32_t)n == grid->place.tp;
}

base_status par_grid_create(par_world *world, uint32_t tp, uint32_t pp, par_grid **out, base_error *error)
{
    base_status status = BASE_OK;
    par_grid *grid = NULL;
    if (tp == 0 || pp == 0 || (uint64_t)tp * pp != (uint64_t)world->size) {
        status = base_fail(error, BASE_EINVAL,
                           "layout tp %u x pp %u needs %llu ranks, but %d were started; change -n or --tp/--pp", tp, pp,
                           (unsigned long long)tp * pp, world->size);
    } else {
        grid = calloc(1, sizeof *grid);
        MPI_Request *requests = malloc(tp * sizeof *requests);
        char *pieces = malloc(tp > 1 ? 2 * PAR_PIECE_BYTES : 1);
        if (grid == NULL || requests == NULL || pieces == NULL) {
            free(grid);
            free(requests);
            free(pieces);
            grid = NULL;
            status = base_fail(error, BASE_ENOMEM, "no memory for the rank grid");
        } else {
            grid->column_requests = requests;
            grid->pieces = pieces;
        }
    }
    status = par_world_agree(world, status, error);
    if (status != BASE_OK) {
        if (grid != NULL) {
            free(grid->column_requests);
            free(grid->pieces);
        }
        free(grid);
        return status;
    }

    uint32_t rank = (uint32_t)world->rank;
    grid->world = world;
    grid->place = (par_place){.rank = rank, .tp = tp, .pp = pp, .tp_rank = rank % tp, .stage = rank / tp};
    grid->waiter = (par_waiter){.crowded = world->waiter.crowded, .service = service_mailboxes, .context = grid};
    par_must(MPI_Comm_dup(world->comm, &grid->comm), "MPI_Comm_dup");
    par_must(MPI_Comm_split(world->comm, (int)grid->place.stage, world->rank, &grid->group), "MPI_Comm_split");
    if (world->use_shared && group_shares_node(grid))
        grid->shared = par_shared_create(grid->group);
    *out = grid;
    return BASE_OK;
}

void par_grid_destroy(par_grid **grid)
{
    par_grid *g = *grid;
    if (g == NULL)
        return;
    if (g->reserved) {
        par_outbox_release(&g->stage_out, &g->waiter);
        par_outbox_release(&g->results_out, &g->waiter);
        par_outbox_release(&g->plans_out, &g->waiter);
        par_inbox_release(&g->results_in);
        par_inbox_release(&g->plans_in);
    }
    par_shared_destroy(&g->shared);
    par_must(MPI_Comm_free(&g->group), "MPI_Comm_free");
    par_must(MPI_Comm_free(&g->comm), "MPI_Comm_free");
    free(g->column_requests);
    free(g->pieces);
    free(g);
    *grid = NULL;
}

par_place par_grid_place(const par_grid *grid)
{
    return grid->place;
}

uint32_t par_grid_plans_max(const par_grid *grid)
{
    return 2 * grid->place.pp + 8;
}

/* --- mailboxes --- */

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
        par_outbox_init(&grid->plans_out, grid->comm, PAR_TAG_PLAN, children, n_children, slots, bytes, error);
    if (status != BASE_OK)
        return status;
    return par_inbox_init(&grid->plans_in, grid->comm, PAR_TAG_PLAN, rank & (rank - 1), slots, bytes, error);
}

/* Results go to all of stage 0; a sender that is itself in stage 0 (one stage) puts its own copy into its inbox. */
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
        par_outbox_init(&grid->results_out, grid->comm, PAR_TAG_RESULT, dests, n_dests, slots, bytes, error);
    free(dests);
    if (status != BASE_OK)
        return status;
    return par_inbox_init(&grid->results_in, grid->comm, PAR_TAG_RESULT, source, slots, bytes, error);
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
    return par_outbox_init(&grid->stage_out, grid->comm, PAR_TAG_STAGE, &next, n_dests, STAGE_SLOTS,
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

/* Take in what has arrived and pass plans on.  Runs inside every wait, so it must not wait itself: a plan is only
 * received while there is room to pass it on. */
static void service_mailboxes(void *context)
{
    par_grid *grid = context;
    if (!grid->reserved)
        return;
    if (grid->place.rank != 0 && par_outbox_has_room(&grid->plans_out) && par_inbox_service(&grid->plans_in)) {
        size_t size;
        const uint8_t *plan = par_inbox_newest(&grid->plans_in, &size);
        par_outbox_send(&grid->plans_out, &grid->waiter, plan, size);
    }
    if (grid->place.stage == 0 && !is_last_stage_root(&grid->place))
        par_inbox_service(&grid->results_in);
}

void par_plan_send(par_grid *grid, const void *bytes, size_t size)
{
    par_outbox_send(&grid->plans_out, &grid->waiter, bytes, size);
}

bool par_plan_poll(par_grid *grid, base_buf *plan)
{
    service_mailboxes(grid);
    return par_inbox_take(&grid->plans_in, plan);
}

void par_result_send(par_grid *grid, const void *bytes, size_t size)
{
    par_outbox_send(&grid->results_out, &grid->waiter, bytes, size);
    if (grid->place.stage == 0)
        par_inbox_push(&grid->results_in, bytes, size);
}

bool par_result_poll(par_grid *grid, base_buf *result)
{
    service_mailboxes(grid);
    return par_inbox_take(&grid->results_in, result);
}

void par_stage_send(par_grid *grid, const float *values, size_t n)
{
    uint64_t begin_us = trace_begin();
    par_outbox_send(&grid->stage_out, &grid->waiter, values, n * sizeof *values);
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

/* --- inside a tensor group --- */

/* While a rank waits in shared memory MPI has to be called all the same: what its partner waits for may be a message that this rank has
 * begun to send. */
static void keep_moving(void *context)
{
    par_grid *grid = context;
    int present;
    service_mailboxes(grid);
    par_must(MPI_Iprobe(MPI_ANY_SOURCE, PAR_TAG_TEXT, grid->comm, &present, MPI_STATUS_IGNORE), "MPI_Iprobe");
}

static void combine(par_grid *grid, team_member *me, par_combine how, void *values, size_t n)
{
    const par_waiter waiter = {.crowded = grid->waiter.crowded, .service = keep_moving, .context = grid};
    uint64_t begin_us = me->index == 0 ? trace_begin() : 0;
    if (grid->shared != NULL)
        par_shared_begin(grid->shared, me, &waiter);
    team_barrier(me);
    if (grid->place.tp == 1) {
        if (me->index == 0)
            service_mailboxes(grid);
        return;
    }
    if (me->index == 0 && grid->place.pp > 1) /* messages between stages move only while both ends call MPI */
        service_mailboxes(grid);
    if (grid->shared != NULL)
        par_shared_combine(grid->shared, me, &waiter, how, values, n);
    else if (me->index == 0)
        par_combine_by_messages(grid, how, values, n);
    team_barrier(me);
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

/* One row at a time, straight into its place: no staging copy of a vocabulary-wide matrix. */
static void gather_row(par_grid *grid, const float *local, const uint32_t *columns, float *full)
{
    MPI_Request *requests = grid->column_requests;
    float *at = full + columns[0];
    for (uint32_t t = 1; t < grid->place.tp; t++) {
        par_must(MPI_Irecv(at, par_count(columns[t]), MPI_FLOAT, (int)t, PAR_TAG_TEXT, grid->group, &requests[t - 1]),
                 "MPI_Irecv");
        at += columns[t];
    }
    if (columns[0] > 0)
        memcpy(full, local, columns[0] * sizeof *full);
    par_wait_transfer(&grid->waiter, requests, grid->place.tp - 1);
}

void par_gather_columns(par_grid *grid, const float *local, const uint32_t *columns, size_t n_rows, float *full)
{
    size_t width = columns[grid->place.tp_rank], total = 0;
    for (uint32_t t = 0; t < grid->place.tp; t++)
        total += columns[t];
    for (size_t row = 0; row < n_rows; row++) {
        const float *piece = local + row * width;
        if (grid->place.tp_rank == 0) {
            gather_row(grid, piece, columns, full + row * total);
            continue;
        }
        MPI_Request request;
        par_must(MPI_Isend(piece, par_count(width), MPI_FLOAT, 0, PAR_TAG_TEXT, grid->group, &request), "MPI_Isend");
        par_wait_transfer(&grid->waiter, &request, 1);
    }
}

/* --- idling --- */

uint32_t par_idle_turn(par_grid *grid)
{
    service_mailboxes(grid);
    uint64_t now_us = base_clock_us();
    bool receiving =
        grid->reserved && (par_inbox_is_receiving(&grid->plans_in) || par_inbox_is_receiving(&grid->results_in));
    if (grid->idle_since_us == 0 || receiving)
        grid->idle_since_us = now_us;
    uint32_t rest_us = par_rest_us(now_us - grid->idle_since_us);
    if (rest_us == 0 && (grid->waiter.crowded || now_us - grid->idle_since_us >= PAR_SPIN_US))
        sched_yield();
    return rest_us;
}

void par_idle(par_grid *grid)
{
    uint32_t rest_us = par_idle_turn(grid);
    if (rest_us > 0)
        base_clock_nap(rest_us);
}

void par_idle_reset(par_grid *grid)
{
    grid->idle_since_us = 0;
}
