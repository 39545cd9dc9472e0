/* What ranks measured, brought to rank 0; their clocks. */
#include "tests/mpi/check.h"

#include <stdlib.h>

#include "proto/base/buf.h"

/* Rank r brings r x 700,000 bytes: none, less than a piece, several pieces. */
static size_t size_of(int rank)
{
    return (size_t)rank * 700000u;
}

static uint8_t byte_of(int rank, size_t at)
{
    return (uint8_t)(at * 13 + at / 257 + (size_t)rank);
}

typedef struct taken {
    int rank;
    size_t at, wrong;
    size_t sizes[16];
} taken;

static void take(void *context, int rank, const void *bytes, size_t size)
{
    taken *t = context;
    CHECK(rank >= t->rank && size > 0);
    if (rank != t->rank)
        t->at = 0;
    t->rank = rank;
    for (size_t i = 0; i < size; i++)
        t->wrong += ((const uint8_t *)bytes)[i] != byte_of(rank, t->at + i);
    t->at += size;
    t->sizes[rank] += size;
}

static void case_bytes(par_world *world)
{
    int rank = par_world_rank(world);
    base_error error = {0};
    base_buf mine = {0};
    for (size_t i = 0; i < size_of(rank); i++)
        base_buf_put_u8(&mine, byte_of(rank, i));
    taken t = {0};
    for (int repeat = 0; repeat < 2; repeat++) {
        t = (taken){0};
        CHECK(par_world_gather_bytes(world, mine.data, mine.size, take, &t, &error) == BASE_OK);
    }
    CHECK(t.wrong == 0);
    for (int r = 0; r < par_world_size(world); r++)
        CHECK(t.sizes[r] == (rank == 0 ? size_of(r) : 0));

    /* rank 0's own bytes arrive too */
    t = (taken){0};
    uint8_t one = byte_of(rank, 0);
    CHECK(par_world_gather_bytes(world, &one, 1, take, &t, &error) == BASE_OK);
    CHECK(rank != 0 || (t.sizes[0] == 1 && t.wrong == 0 && t.sizes[par_world_size(world) - 1] == 1));
    base_buf_release(&mine);
}

/* All ranks of a test run on one node, whose clock they share. */
static void case_clocks(par_world *world)
{
    for (int repeat = 0; repeat < 3; repeat++)
        CHECK(par_world_clock_offset_us(world) == 0);
}

int main(int argc, char **argv)
{
    static const check_case cases[] = {{"bytes", case_bytes}, {"clocks", case_clocks}};
    return check_main(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
