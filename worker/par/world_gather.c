/* world_gather.c - gathering to rank 0: bytes of any size, and the offsets between the ranks' clocks. */
#include <stdlib.h>

#include "proto/base/clock.h"
#include "worker/par/rank_queue_int.h"
#include "worker/par/world_int.h"

/* Bytes go in pieces, so that rank 0 needs little memory whatever the others have. */
#define GATHER_PIECE ((size_t)1 << 20)

#define CLOCK_ROUNDS 16

static void send_to(par_world *world, int rank, const void *bytes, size_t size)
{
    MPI_Request request;
    par_must(MPI_Isend(bytes, par_count(size), MPI_BYTE, rank, PAR_TAG_TEXT, world->comm, &request), "MPI_Isend");
    par_wait(&world->waiter, &request, 1);
}

static void receive_from(par_world *world, int rank, void *bytes, size_t size)
{
    MPI_Request request;
    par_must(MPI_Irecv(bytes, par_count(size), MPI_BYTE, rank, PAR_TAG_TEXT, world->comm, &request), "MPI_Irecv");
    par_wait(&world->waiter, &request, 1);
}

static size_t piece_at(uint64_t at, uint64_t size)
{
    return size - at < GATHER_PIECE ? (size_t)(size - at) : GATHER_PIECE;
}

/* --- bytes --- */

static void send_bytes(par_world *world, const void *bytes, uint64_t size)
{
    send_to(world, 0, &size, sizeof size);
    for (uint64_t at = 0; at < size; at += GATHER_PIECE)
        send_to(world, 0, (const char *)bytes + at, piece_at(at, size));
}

static void receive_bytes(par_world *world, int rank, void *piece, par_world_chunk_fn *on_chunk, void *context)
{
    uint64_t size = 0;
    receive_from(world, rank, &size, sizeof size);
    for (uint64_t at = 0; at < size; at += GATHER_PIECE) {
        receive_from(world, rank, piece, piece_at(at, size));
        on_chunk(context, rank, piece, piece_at(at, size));
    }
}

base_status par_world_gather_bytes(par_world *world, const void *bytes, size_t size, par_world_chunk_fn *on_chunk,
                                   void *context, base_error *error)
{
    void *piece = world->rank == 0 ? malloc(GATHER_PIECE) : NULL;
    bool has_memory = world->rank != 0 || piece != NULL;
    base_status status =
        has_memory ? BASE_OK : base_fail(error, BASE_ENOMEM, "no memory to gather what the ranks measured");
    status = par_world_agree(world, status, error);
    if (status == BASE_OK && world->rank != 0)
        send_bytes(world, bytes, size);
    if (status == BASE_OK && world->rank == 0) {
        if (size > 0)
            on_chunk(context, 0, bytes, size);
        for (int rank = 1; rank < world->size; rank++)
            receive_bytes(world, rank, piece, on_chunk, context);
    }
    free(piece);
    return status;
}

/* --- clocks --- */

/* Rank 0's side: the other's time lies between sending and answer; the shortest round trip bounds it best (Cristian,
 * 1989).  If a round trip does not rule out that the clocks are the same one, as on a node, the offset is 0. */
static int64_t offset_of(par_world *world, int rank)
{
    uint64_t shortest_us = UINT64_MAX;
    int64_t offset_us = 0;
    for (int round = 0; round < CLOCK_ROUNDS; round++) {
        uint64_t before_us = base_clock_us(), there_us = 0;
        send_to(world, rank, &before_us, sizeof before_us);
        receive_from(world, rank, &there_us, sizeof there_us);
        uint64_t after_us = base_clock_us(), length_us = after_us - before_us;
        if (length_us >= shortest_us)
            continue;
        shortest_us = length_us;
        bool may_be_one = there_us >= before_us && there_us <= after_us;
        offset_us = may_be_one ? 0 : (int64_t)(before_us + length_us / 2) - (int64_t)there_us;
    }
    return offset_us;
}

int64_t par_world_clock_offset_us(par_world *world)
{
    int64_t offset_us = 0;
    for (int rank = 1; rank < world->size; rank++) {
        if (world->rank == 0) {
            int64_t theirs_us = offset_of(world, rank);
            send_to(world, rank, &theirs_us, sizeof theirs_us);
        } else if (world->rank == rank) {
            uint64_t ignored, now_us;
            for (int round = 0; round < CLOCK_ROUNDS; round++) {
                receive_from(world, 0, &ignored, sizeof ignored);
                now_us = base_clock_us();
                send_to(world, 0, &now_us, sizeof now_us);
            }
            receive_from(world, 0, &offset_us, sizeof offset_us);
        }
    }
    return offset_us;
}
