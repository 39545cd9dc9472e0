/* messages.c - sums over a tensor group that spans nodes.
 *
 * Two ranks exchange: both send at the same time, so a full-duplex link carries each byte once; while a piece is being added the next is
 * on its way.  More ranks leave it to MPI, out of a copy: in place Open MPI 4's libnbc would send everything along a tree, from a copy it
 * adds up shares in a ring when they are large. */
#include "worker/par/grid_impl.h"

#include <string.h>


/* --- two ranks --- */

typedef struct exchange {
    MPI_Request requests[2]; /* receive, send */
    char *other;             /* what the partner sends */
} exchange;

static void begin(par_grid *grid, exchange *e, size_t piece, void *values, size_t bytes)
{
    int partner = 1 - (int)grid->place.tp_rank;
    e->other = grid->pieces + piece % 2 * PAR_PIECE_BYTES;
    par_must(MPI_Irecv(e->other, par_count(bytes), MPI_BYTE, partner, PAR_TAG_SUM, grid->group, &e->requests[0]), "MPI_Irecv");
    par_must(MPI_Isend(values, par_count(bytes), MPI_BYTE, partner, PAR_TAG_SUM, grid->group, &e->requests[1]), "MPI_Isend");
}

static size_t piece_bytes(size_t bytes, size_t piece)
{
    size_t at = piece * PAR_PIECE_BYTES;
    return bytes - at < PAR_PIECE_BYTES ? bytes - at : PAR_PIECE_BYTES;
}

/* A piece is added to only when it has been sent. */
static void combine_two(par_grid *grid, par_combine how, char *values, size_t bytes)
{
    size_t n_pieces = (bytes + PAR_PIECE_BYTES - 1) / PAR_PIECE_BYTES;
    exchange under_way[2];
    for (size_t i = 0; i <= n_pieces; i++) {
        if (i < n_pieces)
            begin(grid, &under_way[i % 2], i, values + i * PAR_PIECE_BYTES, piece_bytes(bytes, i));
        if (i == 0)
            continue;
        exchange *e = &under_way[(i - 1) % 2];
        par_wait_transfer(&grid->waiter, e->requests, 2);
        par_combine_into(how, values + (i - 1) * PAR_PIECE_BYTES, e->other, piece_bytes(bytes, i - 1));
    }
}

/* --- more --- */

static void combine_many(par_grid *grid, par_combine how, char *values, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += PAR_PIECE_BYTES) {
        size_t n = bytes - at < PAR_PIECE_BYTES ? bytes - at : PAR_PIECE_BYTES;
        MPI_Request request;
        memcpy(grid->pieces, values + at, n);
        par_must(MPI_Iallreduce(grid->pieces, values + at, par_count(n / par_combine_element(how)),
                                how == PAR_SUM_I64 ? MPI_INT64_T : MPI_UINT32_T, how == PAR_SUM_I64 ? MPI_SUM : MPI_BOR, grid->group,
                                &request),
                 "MPI_Iallreduce");
        par_wait_transfer(&grid->waiter, &request, 1);
    }
}

void par_combine_by_messages(par_grid *grid, par_combine how, void *values, size_t n)
{
    size_t bytes = n * par_combine_element(how);
    if (grid->place.tp == 2)
        combine_two(grid, how, values, bytes);
    else
        combine_many(grid, how, values, bytes);
}
