/* world.c - all ranks of one launch: start, stop, and what they settle together before and after the steps.
 *
 * The collectives here are non-blocking ones waited for by par_wait, so a rank that is done early sleeps while another
 * still loads.  Exceptions, because MPI has no non-blocking form: starting, making communicators, and stopping (after a
 * non-blocking barrier, so that no rank blocks in it for long). */
#include "worker/par/world_int.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/par/par_testing.h"
#include "worker/par/rank_queue_int.h"

/* Pieces of a broadcast: bounds what MPI buffers inside. */
#define BROADCAST_PIECE ((size_t)16 << 20)

/* Are there more ranks than cores on this node?  Counts the union of all local ranks' masks: a launcher may have given
 * each rank its own. */
static bool node_is_crowded(const par_world *world)
{
    cpu_set_t mask;
    CPU_ZERO(&mask);
    int known = sched_getaffinity(0, sizeof mask, &mask) == 0; /* fails on nodes of more than 1024 CPUs: not crowded */
    cpu_set_t all;
    CPU_ZERO(&all);
    MPI_Request request;
    par_must(MPI_Iallreduce(&mask, &all, par_count(sizeof mask), MPI_BYTE, MPI_BOR, world->node, &request),
             "MPI_Iallreduce");
    par_wait(&world->waiter, &request, 1);
    return known && CPU_COUNT(&all) < world->local_size;
}

static base_status start_mpi(int *argc, char ***argv, base_error *error)
{
    /* The few blocking calls (see above) should not starve the others when several ranks share a core. */
    if (setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0) != 0)
        return base_fail(error, BASE_ENOMEM, "no memory to start MPI");
    int provided = MPI_THREAD_SINGLE;
    if (MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS)
        return base_fail(error, BASE_EIO,
                         "cannot start MPI; was the program launched by the mpirun of the MPI it was built with?");
    if (provided >= MPI_THREAD_FUNNELED)
        return BASE_OK;
    MPI_Finalize();
    return base_fail(
        error, BASE_EUNSUPPORTED,
        "this MPI offers thread level %d, palmgrove needs MPI_THREAD_FUNNELED (%d); use an MPI built with threads",
        provided, MPI_THREAD_FUNNELED);
}

base_status par_world_open(int *argc, char ***argv, par_world **out, base_error *error)
{
    par_world *world = calloc(1, sizeof *world);
    if (world == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory to start MPI");
    base_status status = start_mpi(argc, argv, error);
    if (status != BASE_OK) {
        free(world);
        return status;
    }
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN); /* duplicates inherit it */
    par_must(MPI_Comm_dup(MPI_COMM_WORLD, &world->comm), "MPI_Comm_dup");
    par_must(MPI_Comm_rank(world->comm, &world->rank), "MPI_Comm_rank");
    par_must(MPI_Comm_size(world->comm, &world->size), "MPI_Comm_size");
    par_must(MPI_Comm_split_type(world->comm, MPI_COMM_TYPE_SHARED, world->rank, MPI_INFO_NULL, &world->node),
             "MPI_Comm_split_type");
    par_must(MPI_Comm_rank(world->node, &world->local_rank), "MPI_Comm_rank");
    par_must(MPI_Comm_size(world->node, &world->local_size), "MPI_Comm_size");
    const char *yields = getenv("OMPI_MCA_mpi_yield_when_idle"); /* set by the launcher or by start_mpi */
    world->test_yields = yields != NULL && strcmp(yields, "0") != 0;
    world->use_shared = true;
    world->waiter.crowded = true; /* until known: yielding is never wrong, only slower */
    world->waiter.crowded = node_is_crowded(world);
    *out = world;
    return BASE_OK;
}

void par_world_close(par_world **world)
{
    par_world *w = *world;
    if (w == NULL)
        return;
    MPI_Request request;
    par_must(MPI_Ibarrier(w->comm, &request), "MPI_Ibarrier");
    par_wait(&w->waiter, &request, 1);
    par_must(MPI_Comm_free(&w->node), "MPI_Comm_free");
    par_must(MPI_Comm_free(&w->comm), "MPI_Comm_free");
    par_must(MPI_Finalize(), "MPI_Finalize");
    free(w);
    *world = NULL;
}

void par_world_abort(par_world *world, int exit_code)
{
    MPI_Abort(world->comm, exit_code);
}

void par_world_use_shared(par_world *world, bool use)
{
    world->use_shared = use;
}

void par_world_pretend_nodes(par_world *world, uint32_t n_ranks)
{
    world->pretended_node = n_ranks;
}

void par_world_set_wire(par_world *world, par_wire wire)
{
    world->wire = wire;
}

par_wire par_world_wire(const par_world *world)
{
    return world->wire;
}

static const char *const wire_names[] = {[PAR_WIRE_EXACT] = "exact", [PAR_WIRE_BF16] = "bf16"};

const char *par_wire_name(par_wire wire)
{
    return wire_names[wire];
}

bool par_wire_find(const char *name, par_wire *out)
{
    for (size_t i = 0; i < sizeof wire_names / sizeof wire_names[0]; i++)
        if (strcmp(name, wire_names[i]) == 0) {
            *out = (par_wire)i;
            return true;
        }
    return false;
}

int par_world_rank(const par_world *world)
{
    return world->rank;
}

int par_world_size(const par_world *world)
{
    return world->size;
}

int par_world_local_rank(const par_world *world)
{
    return world->local_rank;
}

int par_world_local_size(const par_world *world)
{
    return world->local_size;
}

void par_world_local_gather(par_world *world, uint64_t value, uint64_t *values)
{
    MPI_Request request;
    par_must(MPI_Iallgather(&value, 1, MPI_UINT64_T, values, 1, MPI_UINT64_T, world->node, &request), "MPI_Iallgather");
    par_wait(&world->waiter, &request, 1);
}

uint64_t par_world_max(par_world *world, uint64_t value)
{
    uint64_t largest = 0;
    MPI_Request request;
    par_must(MPI_Iallreduce(&value, &largest, 1, MPI_UINT64_T, MPI_MAX, world->comm, &request), "MPI_Iallreduce");
    par_wait(&world->waiter, &request, 1);
    return largest;
}

static void broadcast_piece(par_world *world, void *bytes, size_t size, int root)
{
    MPI_Request request;
    par_must(MPI_Ibcast(bytes, par_count(size), MPI_BYTE, root, world->comm, &request), "MPI_Ibcast");
    par_wait(&world->waiter, &request, 1);
}

base_status par_world_agree(par_world *world, base_status mine, base_error *error)
{
    /* Largest of (size - rank) over the failing ranks names the first of them; 0: none. */
    uint64_t failing = mine == BASE_OK ? 0 : (uint64_t)(world->size - world->rank);
    uint64_t worst = par_world_max(world, failing);
    if (worst == 0)
        return BASE_OK;
    int first = world->size - (int)worst;

    base_error cause = {0};
    if (world->rank == first) {
        const char *text = error != NULL && error->text[0] != '\0' ? error->text : base_status_text(mine);
        base_error_set(&cause, mine, "%s", text);
    }
    broadcast_piece(world, &cause, sizeof cause, first);
    if (world->size > 1)
        base_error_prefix(&cause, "rank %d: ", first);
    return base_fail(error, cause.status, "%s", cause.text);
}

void par_world_collect_text(par_world *world, const char *text, void (*line)(void *context, int rank, const char *text),
                            void *context)
{
    char mine[PAR_TEXT_MAX];
    snprintf(mine, sizeof mine, "%s", text != NULL ? text : "");
    MPI_Request request;
    if (world->rank != 0) {
        par_must(MPI_Isend(mine, PAR_TEXT_MAX, MPI_CHAR, 0, PAR_TAG_TEXT, world->comm, &request), "MPI_Isend");
        par_wait(&world->waiter, &request, 1);
        return;
    }
    line(context, 0, mine);
    for (int rank = 1; rank < world->size; rank++) {
        par_must(MPI_Irecv(mine, PAR_TEXT_MAX, MPI_CHAR, rank, PAR_TAG_TEXT, world->comm, &request), "MPI_Irecv");
        par_wait(&world->waiter, &request, 1);
        mine[PAR_TEXT_MAX - 1] = '\0';
        line(context, rank, mine);
    }
}

base_status par_world_broadcast(par_world *world, base_buf *buf, base_error *error)
{
    uint64_t size = buf->size;
    broadcast_piece(world, &size, sizeof size, 0);
    base_status status = BASE_OK;
    if (world->rank != 0) {
        base_buf_clear(buf);
        if (size > SIZE_MAX || !base_buf_reserve(buf, (size_t)size))
            status = base_fail(error, BASE_ENOMEM, "no memory for a broadcast of %llu bytes", (unsigned long long)size);
    }
    status = par_world_agree(world, status, error);
    if (status != BASE_OK)
        return status;
    for (size_t at = 0; at < size; at += BROADCAST_PIECE) {
        size_t left = (size_t)size - at;
        broadcast_piece(world, buf->data + at, left < BROADCAST_PIECE ? left : BROADCAST_PIECE, 0);
    }
    buf->size = (size_t)size;
    return BASE_OK;
}
