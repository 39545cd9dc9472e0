#include "worker/par/shared.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "proto/base/log.h"

#define LINE 64u
#define SLOT_BYTES ((size_t)256 << 10) /* of a rank, all lanes together: two of them stay in a core's cache */
#define LANES_MAX 16u
#define LANE_LEAST ((size_t)16 << 10) /* vectors of fewer bytes a lane are not worth another one */
#define DIRECT_MOST ((size_t)16 << 10) /* pieces up to this are added up by everybody */
#define SPIN_TURNS 20000u

/* One rank's progress in one lane: numbers of pieces, and which rank's team is how large. */
typedef struct progress {
    _Alignas(LINE) atomic_uint_fast64_t ready;
    _Alignas(LINE) atomic_uint_fast64_t done;
} progress;

/* A rank's part of the window. */
typedef struct part {
    _Alignas(LINE) atomic_uint team_size; /* 0: not told yet */
    progress lanes[LANES_MAX];
    _Alignas(LINE) unsigned char slots[2][SLOT_BYTES];
} part;

struct par_shared {
    MPI_Win window;
    int rank, size;
    part **parts;                 /* [size] */
    uint32_t n_lanes;             /* 0: not agreed yet */
    uint64_t pieces[LANES_MAX]; /* so far; each used by its lane's member only */
};

/* --- making it --- */

/* Containers often have a small /dev/shm, and a page that it cannot hold ends the process when it is touched. */
static bool has_room(size_t bytes)
{
    struct statvfs room;
    return statvfs("/dev/shm", &room) != 0 || (uint64_t)room.f_bavail * room.f_frsize / 2 > bytes;
}

static part *aligned_part(char *base)
{
    return (part *)(void *)(base + (LINE - (uintptr_t)base % LINE) % LINE);
}

/* Open MPI's window does not begin on a cache line. */
static bool map_parts(par_shared *s, MPI_Comm comm)
{
    char *mine;
    if (MPI_Win_allocate_shared((MPI_Aint)(sizeof(part) + LINE), 1, MPI_INFO_NULL, comm, &mine, &s->window) != MPI_SUCCESS)
        return false;
    for (int r = 0; r < s->size; r++) {
        MPI_Aint bytes;
        int unit;
        char *base;
        par_must(MPI_Win_shared_query(s->window, r, &bytes, &unit, &base), "MPI_Win_shared_query");
        s->parts[r] = aligned_part(base);
    }
    memset(s->parts[s->rank], 0, sizeof(part));
    par_must(MPI_Barrier(comm), "MPI_Barrier");
    return true;
}

static bool all_agree(MPI_Comm comm, bool mine)
{
    int yes = mine, all = 0;
    par_must(MPI_Allreduce(&yes, &all, 1, MPI_INT, MPI_LAND, comm), "MPI_Allreduce");
    return all != 0;
}

par_shared *par_shared_create(MPI_Comm comm)
{
    int size, rank;
    par_must(MPI_Comm_size(comm, &size), "MPI_Comm_size");
    par_must(MPI_Comm_rank(comm, &rank), "MPI_Comm_rank");
    if (size < 2)
        return NULL;
    par_shared *s = calloc(1, sizeof *s);
    part **parts = calloc((size_t)size, sizeof *parts);
    bool ready = s != NULL && parts != NULL && has_room((size_t)size * sizeof(part));
    if (all_agree(comm, ready)) {
        *s = (par_shared){.rank = rank, .size = size, .parts = parts};
        if (all_agree(comm, map_parts(s, comm)))
            return s;
    }
    if (rank == 0)
        base_log_info("no shared memory for the sums of %d ranks of this node (see /dev/shm): they use messages", size);
    free(parts);
    free(s);
    return NULL;
}

void par_shared_destroy(par_shared **shared)
{
    if (*shared == NULL)
        return;
    par_must(MPI_Win_free(&(*shared)->window), "MPI_Win_free");
    free((*shared)->parts);
    free(*shared);
    *shared = NULL;
}

/* --- waiting --- */

typedef struct awaited {
    par_shared *s;
    uint32_t lane;
    uint64_t piece;
    bool is_done; /* `done`, not `ready` */
} awaited;

/* Has every rank come so far? */
static bool has_come(void *context)
{
    const awaited *a = context;
    for (int r = 0; r < a->s->size; r++) {
        progress *p = &a->s->parts[r]->lanes[a->lane];
        if (atomic_load_explicit(a->is_done ? &p->done : &p->ready, memory_order_acquire) < a->piece)
            return false;
    }
    return true;
}

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void wait_for_all(awaited a, const par_waiter *waiter)
{
    for (uint32_t turn = 0; turn < SPIN_TURNS && !waiter->crowded; turn++) {
        if (has_come(&a))
            return;
        relax();
    }
    par_wait_until(waiter, has_come, &a, PAR_TRANSFER_US);
}

/* --- combining --- */

void par_combine_into(par_combine how, void *into, const void *from, size_t bytes)
{
    if (how == PAR_SUM_I64) {
        uint64_t *sums = into;
        const uint64_t *values = from;
        for (size_t i = 0; i < bytes / sizeof *sums; i++)
            sums[i] += values[i];
    } else {
        uint32_t *bits = into;
        const uint32_t *values = from;
        for (size_t i = 0; i < bytes / sizeof *bits; i++)
            bits[i] |= values[i];
    }
}

/* Share r of a piece: whole cache lines. */
static size_t share_begin(size_t bytes, int r, int size)
{
    size_t begin = (bytes / LINE * (size_t)r / (size_t)size) * LINE;
    return r == size ? bytes : begin;
}

static unsigned char *slot_of(const par_shared *s, int r, const awaited *at)
{
    size_t lane_bytes = SLOT_BYTES / s->n_lanes / LINE * LINE;
    return s->parts[r]->slots[at->piece % 2] + at->lane * lane_bytes;
}

static void combine_shares(par_shared *s, awaited at, const par_waiter *waiter, par_combine how, unsigned char *values, size_t bytes)
{
    size_t begin = share_begin(bytes, s->rank, s->size), end = share_begin(bytes, s->rank + 1, s->size);
    for (int i = 1; i < s->size; i++)
        par_combine_into(how, slot_of(s, s->rank, &at) + begin, slot_of(s, (s->rank + i) % s->size, &at) + begin, end - begin);
    atomic_store_explicit(&s->parts[s->rank]->lanes[at.lane].done, at.piece, memory_order_release);
    at.is_done = true;
    wait_for_all(at, waiter);
    for (int r = 0; r < s->size; r++) {
        begin = share_begin(bytes, r, s->size);
        memcpy(values + begin, slot_of(s, r, &at) + begin, share_begin(bytes, r + 1, s->size) - begin);
    }
}

static void combine_piece(par_shared *s, uint32_t lane, const par_waiter *waiter, par_combine how, unsigned char *values, size_t bytes)
{
    awaited at = {.s = s, .lane = lane, .piece = ++s->pieces[lane]};
    memcpy(slot_of(s, s->rank, &at), values, bytes);
    atomic_store_explicit(&s->parts[s->rank]->lanes[lane].ready, at.piece, memory_order_release);
    wait_for_all(at, waiter);
    if (s->size > 2 && bytes > DIRECT_MOST) {
        combine_shares(s, at, waiter, how, values, bytes);
        return;
    }
    for (int i = 1; i < s->size; i++)
        par_combine_into(how, values, slot_of(s, (s->rank + i) % s->size, &at), bytes);
}

/* --- lanes --- */

/* Has every rank told how large its team is? */
static bool all_have_told(void *context)
{
    const par_shared *s = context;
    for (int r = 0; r < s->size; r++)
        if (atomic_load_explicit(&s->parts[r]->team_size, memory_order_acquire) == 0)
            return false;
    return true;
}

/* As many lanes as the smallest team has members; found out in the first call, by member 0. */
static void agree_on_lanes(par_shared *s, const team_member *me, const par_waiter *waiter)
{
    atomic_store_explicit(&s->parts[s->rank]->team_size, me->count, memory_order_release);
    par_wait_until(waiter, all_have_told, s, PAR_TRANSFER_US);
    uint32_t least = LANES_MAX;
    for (int r = 0; r < s->size; r++) {
        uint32_t size = atomic_load_explicit(&s->parts[r]->team_size, memory_order_relaxed);
        least = size < least ? size : least;
    }
    s->n_lanes = least;
}

void par_shared_begin(par_shared *s, const team_member *me, const par_waiter *waiter)
{
    if (me->index == 0 && s->n_lanes == 0)
        agree_on_lanes(s, me, waiter);
}

void par_shared_combine(par_shared *s, const team_member *me, const par_waiter *waiter, par_combine how, void *values, size_t n)
{
    size_t bytes = n * par_combine_element(how);
    size_t n_lanes = (bytes + LANE_LEAST - 1) / LANE_LEAST;
    n_lanes = n_lanes < s->n_lanes ? n_lanes : s->n_lanes;
    if (me->index >= n_lanes)
        return;
    const par_waiter quiet = {.crowded = waiter->crowded}; /* only member 0 looks after the mailboxes */
    size_t end = share_begin(bytes, (int)me->index + 1, (int)n_lanes), piece = SLOT_BYTES / s->n_lanes / LINE * LINE;
    for (size_t at = share_begin(bytes, (int)me->index, (int)n_lanes); at < end; at += piece)
        combine_piece(s, me->index, me->index == 0 ? waiter : &quiet, how, (unsigned char *)values + at,
                      end - at < piece ? end - at : piece);
}
