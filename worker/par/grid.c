/* grid.c - the grid of tensor groups and stages: communicators, nodes, and what every collective of a team begins with.
 */
#include "worker/par/grid_int.h"

#include <stdlib.h>

/* Does every stage assign the same rows to the same tensor rank?  Compared with the next stage, cyclically; collective
 * over the grid. */
static void compare_row_owners(par_grid *grid)
{
    uint32_t tp = grid->place.tp, pp = grid->place.pp;
    int mine[2] = {par_nodes_owner(&grid->nodes), par_nodes_owners(&grid->nodes)}, theirs[2], alike,
        rank = (int)grid->place.rank, size = (int)(tp * pp);
    int to = (rank + (int)tp) % size, from = (rank + size - (int)tp) % size;
    par_must(MPI_Sendrecv(mine, 2, MPI_INT, to, PAR_TAG_TEXT, theirs, 2, MPI_INT, from, PAR_TAG_TEXT, grid->comm,
                          MPI_STATUS_IGNORE),
             "MPI_Sendrecv");
    alike = mine[0] == theirs[0] && mine[1] == theirs[1];
    par_must(MPI_Allreduce(MPI_IN_PLACE, &alike, 1, MPI_INT, MPI_LAND, grid->comm), "MPI_Allreduce");
    grid->rows_same_on_all_stages = alike != 0;
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
        if (grid == NULL || requests == NULL) {
            free(grid);
            free(requests);
            grid = NULL;
            status = base_fail(error, BASE_ENOMEM, "no memory for the rank grid");
        } else {
            grid->column_requests = requests;
        }
    }
    status = par_world_agree(world, status, error);
    if (status != BASE_OK) {
        if (grid != NULL)
            free(grid->column_requests);
        free(grid);
        return status;
    }

    uint32_t rank = (uint32_t)world->rank;
    grid->world = world;
    grid->place = (par_place){.rank = rank, .tp = tp, .pp = pp, .tp_rank = rank % tp, .stage = rank / tp};
    grid->spin = (par_spin){PAR_SPIN_MESSAGES, PAR_SPIN_MESSAGES, world->test_yields};
    grid->waiter = (par_waiter){
        .crowded = world->waiter.crowded, .spin = &grid->spin, .progress = par_grid_progress, .context = grid};
    par_must(MPI_Comm_dup(world->comm, &grid->comm), "MPI_Comm_dup");
    par_must(MPI_Comm_split(world->comm, (int)grid->place.stage, world->rank, &grid->group), "MPI_Comm_split");
    status = par_nodes_init(&grid->nodes, grid->group, world->use_shared, world->pretended_node, world->wire, error);
    status = par_world_agree(world, status, error);
    if (status != BASE_OK) {
        par_grid_destroy(&grid);
        return status;
    }
    compare_row_owners(grid);
    *out = grid;
    return status;
}

void par_grid_destroy(par_grid **grid)
{
    par_grid *g = *grid;
    if (g == NULL)
        return;
    par_channels_release(g);
    par_nodes_release(&g->nodes);
    par_must(MPI_Comm_free(&g->group), "MPI_Comm_free");
    par_must(MPI_Comm_free(&g->comm), "MPI_Comm_free");
    free(g->column_requests);
    free(g);
    *grid = NULL;
}

par_place par_grid_place(const par_grid *grid)
{
    return grid->place;
}

uint32_t par_grid_n_nodes(const par_grid *grid)
{
    return (uint32_t)grid->nodes.n_nodes;
}

bool par_rows_same_on_all_stages(const par_grid *grid)
{
    return grid->rows_same_on_all_stages;
}

/* --- collectives of a team --- */

/* While a rank waits in shared memory it must call MPI: its partner may be waiting for a message that this rank has
 * begun to send. */
static void progress_all(void *context)
{
    par_grid *grid = context;
    int present;
    par_grid_progress(grid);
    par_must(MPI_Iprobe(MPI_ANY_SOURCE, PAR_TAG_TEXT, grid->comm, &present, MPI_STATUS_IGNORE), "MPI_Iprobe");
}

par_waiter par_group_begin(par_grid *grid, team_member *me)
{
    const par_waiter waiter = {.crowded = grid->waiter.crowded, .progress = progress_all, .context = grid};
    if (grid->nodes.intra != NULL)
        par_intra_node_begin(grid->nodes.intra, me, &waiter);
    team_barrier(me);
    if (me->index == 0 && grid->place.pp > 1) /* messages between stages move only while both ends call MPI */
        par_grid_progress(grid);
    return waiter;
}
