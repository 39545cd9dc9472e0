/* intra_node.c - reductions inside a node: every rank maps every other rank's segment of a shared window.
 *
 *     segment of rank r   [team size] [ready, done of lane 0] ... [ready, done of lane 15] [slot 0] [slot 1]
 *
 * Lane l is served by member l of each rank's team; its part of a slot is slot_bytes / n_lanes.  One piece of a lane,
 * number p, through slot p mod 2, with three ranks:
 *
 *     rank 0   copy in, ready = p, wait for all ready | add share 0 of 1 and 2 to own slot, done = p, wait | copy 1, 2
 *     rank 1   copy in, ready = p, wait for all ready | add share 1 of 2 and 0 to own slot, done = p, wait | copy 2, 0
 *     rank 2   copy in, ready = p, wait for all ready | add share 2 of 0 and 1 to own slot, done = p, wait | copy 0, 1
 *              \_____________ publish _____________/   \__ reduce-scatter __________________________/   \ all-gather
 *
 * Short pieces, or two ranks: after `publish` every rank adds up all others' slots and is done.  intra_node_int.h says
 * why two slots suffice. */
#include "worker/par/intra_node_int.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "proto/base/log.h"

#define LINE             64u
#define SLOT_BYTES       ((size_t)256 << 10) /* of a rank, all lanes together: two of them stay in a core's cache */
#define LANES_MAX        16u
#define LANE_BYTES_MIN   ((size_t)16 << 10) /* a lane must have this many bytes of a vector to be worth using */
#define DIRECT_BYTES_MAX ((size_t)16 << 10) /* pieces up to this are added up by every rank */

/* One rank's progress in one lane, as numbers of pieces. */
typedef struct progress {
    _Alignas(LINE) atomic_uint_fast64_t ready;
    _Alignas(LINE) atomic_uint_fast64_t done;
} progress;

/* A rank's part of the window. */
typedef struct segment {
    _Alignas(LINE) atomic_uint team_size; /* 0: not known yet */
    progress lanes[LANES_MAX];
    _Alignas(LINE) unsigned char slots[2][SLOT_BYTES];
} segment;

struct par_intra_node {
    MPI_Win window;
    int rank, size;
    segment **segments;         /* [size] */
    uint32_t n_lanes;           /* 0: not agreed yet */
    uint64_t pieces[LANES_MAX]; /* so far; used by the lane's member only, like the spins */
    par_spin spins[LANES_MAX];
};

/* --- creation --- */

/* Containers often have a small /dev/shm, and a page that it cannot hold ends the process when it is touched. */
static bool has_room(size_t bytes)
{
    struct statvfs room;
    return statvfs("/dev/shm", &room) != 0 || (uint64_t)room.f_bavail * room.f_frsize / 2 > bytes;
}

static segment *aligned_segment(char *base)
{
    return (segment *)(void *)(base + (LINE - (uintptr_t)base % LINE) % LINE);
}

/* Open MPI's window does not begin on a cache line. */
static bool map_segments(par_intra_node *s, MPI_Comm comm)
{
    char *mine;
    if (MPI_Win_allocate_shared((MPI_Aint)(sizeof(segment) + LINE), 1, MPI_INFO_NULL, comm, &mine, &s->window) !=
        MPI_SUCCESS)
        return false;
    for (int r = 0; r < s->size; r++) {
        MPI_Aint bytes;
        int unit;
        char *base;
        par_must(MPI_Win_shared_query(s->window, r, &bytes, &unit, &base), "MPI_Win_shared_query");
        s->segments[r] = aligned_segment(base);
    }
    memset(s->segments[s->rank], 0, sizeof(segment));
    par_must(MPI_Barrier(comm), "MPI_Barrier");
    return true;
}

static bool all_agree(MPI_Comm comm, bool mine)
{
    int yes = mine, all = 0;
    par_must(MPI_Allreduce(&yes, &all, 1, MPI_INT, MPI_LAND, comm), "MPI_Allreduce");
    return all != 0;
}

par_intra_node *par_intra_node_create(MPI_Comm comm)
{
    int size, rank;
    par_must(MPI_Comm_size(comm, &size), "MPI_Comm_size");
    par_must(MPI_Comm_rank(comm, &rank), "MPI_Comm_rank");
    if (size < 2)
        return NULL;
    par_intra_node *s = calloc(1, sizeof *s);
    segment **segments = calloc((size_t)size, sizeof *segments);
    bool ready = s != NULL && segments != NULL && has_room((size_t)size * sizeof(segment));
    if (all_agree(comm, ready)) {
        *s = (par_intra_node){.rank = rank, .size = size, .segments = segments};
        for (uint32_t lane = 0; lane < LANES_MAX; lane++)
            s->spins[lane] = (par_spin){.turns = PAR_SPIN_MEMORY, .max_turns = PAR_SPIN_MEMORY};
        if (all_agree(comm, map_segments(s, comm)))
            return s;
    }
    if (rank == 0)
        base_log_info("no shared memory for the sums of %d ranks of this node (see /dev/shm): they use messages", size);
    free(segments);
    free(s);
    return NULL;
}

void par_intra_node_destroy(par_intra_node **intra)
{
    if (*intra == NULL)
        return;
    par_must(MPI_Win_free(&(*intra)->window), "MPI_Win_free");
    free((*intra)->segments);
    free(*intra);
    *intra = NULL;
}

/* --- waiting --- */

typedef struct lane_piece {
    par_intra_node *s;
    uint32_t lane;
    uint64_t piece;
    bool is_done; /* `done`, not `ready` */
} lane_piece;

/* Has every rank raised its flag to this piece? */
static bool have_all_arrived(void *context)
{
    const lane_piece *a = context;
    for (int r = 0; r < a->s->size; r++) {
        progress *p = &a->s->segments[r]->lanes[a->lane];
        if (atomic_load_explicit(a->is_done ? &p->done : &p->ready, memory_order_acquire) < a->piece)
            return false;
    }
    return true;
}

static void wait_for_all(lane_piece a, const par_waiter *waiter)
{
    par_waiter mine = *waiter;
    mine.spin = &a.s->spins[a.lane];
    par_wait_until(&mine, have_all_arrived, &a, PAR_TRANSFER_US);
}

/* --- all-reduce --- */

size_t par_share_begin(size_t bytes, int r, int size)
{
    size_t begin = (bytes / LINE * (size_t)r / (size_t)size) * LINE;
    return r == size ? bytes : begin;
}

/* Bytes of a slot that belong to one lane. */
static size_t lane_bytes(const par_intra_node *s)
{
    return SLOT_BYTES / s->n_lanes / LINE * LINE;
}

static unsigned char *slot_of(const par_intra_node *s, int r, const lane_piece *at)
{
    return s->segments[r]->slots[at->piece % 2] +
           (at->lane > 0 ? at->lane * lane_bytes(s) : 0); /* gathering may come before lanes */
}

/* The next piece of a lane; its slot is this rank's to fill. */
static lane_piece next_piece(par_intra_node *s, uint32_t lane)
{
    return (lane_piece){.s = s, .lane = lane, .piece = ++s->pieces[lane]};
}

/* This rank's slot is filled: wait until all ranks' are. */
static void wait_ready(const lane_piece *at, const par_waiter *waiter)
{
    par_intra_node *s = at->s;
    atomic_store_explicit(&s->segments[s->rank]->lanes[at->lane].ready, at->piece, memory_order_release);
    wait_for_all(*at, waiter);
}

/* Put this rank's bytes into its slot, and wait until all ranks have done so. */
static lane_piece publish(par_intra_node *s, uint32_t lane, const par_waiter *waiter, const void *mine, size_t bytes)
{
    lane_piece at = next_piece(s, lane);
    if (bytes > 0)
        memcpy(slot_of(s, s->rank, &at), mine, bytes);
    wait_ready(&at, waiter);
    return at;
}

static void reduce_scatter_all_gather(par_intra_node *s, lane_piece at, const par_waiter *waiter, par_reduce_op op,
                                      unsigned char *values, size_t bytes)
{
    size_t begin = par_share_begin(bytes, s->rank, s->size), end = par_share_begin(bytes, s->rank + 1, s->size);
    for (int i = 1; i < s->size; i++)
        par_reduce_into(op, slot_of(s, s->rank, &at) + begin, slot_of(s, (s->rank + i) % s->size, &at) + begin,
                        end - begin);
    atomic_store_explicit(&s->segments[s->rank]->lanes[at.lane].done, at.piece, memory_order_release);
    at.is_done = true;
    wait_for_all(at, waiter);
    for (int r = 0; r < s->size; r++) {
        begin = par_share_begin(bytes, r, s->size);
        memcpy(values + begin, slot_of(s, r, &at) + begin, par_share_begin(bytes, r + 1, s->size) - begin);
    }
}

static void allreduce_piece(par_intra_node *s, uint32_t lane, const par_waiter *waiter, par_reduce_op op,
                            unsigned char *values, size_t bytes)
{
    lane_piece at = publish(s, lane, waiter, values, bytes);
    if (s->size > 2 && bytes > DIRECT_BYTES_MAX) {
        reduce_scatter_all_gather(s, at, waiter, op, values, bytes);
        return;
    }
    for (int i = 1; i < s->size; i++)
        par_reduce_into(op, values, slot_of(s, (s->rank + i) % s->size, &at), bytes);
}

/* --- lanes --- */

/* Has every rank published the size of its team? */
static bool all_team_sizes_known(void *context)
{
    const par_intra_node *s = context;
    for (int r = 0; r < s->size; r++)
        if (atomic_load_explicit(&s->segments[r]->team_size, memory_order_acquire) == 0)
            return false;
    return true;
}

/* As many lanes as the smallest team has members, but no more than leave a cache line of a slot for every rank; by
 * member 0, in the first call. */
static void agree_on_lanes(par_intra_node *s, const team_member *me, const par_waiter *waiter)
{
    atomic_store_explicit(&s->segments[s->rank]->team_size, me->count, memory_order_release);
    par_wait_until(waiter, all_team_sizes_known, s, PAR_TRANSFER_US);
    uint32_t least = (uint32_t)(SLOT_BYTES / LINE / (size_t)s->size);
    least = least == 0 ? 1 : least < LANES_MAX ? least : LANES_MAX;
    for (int r = 0; r < s->size; r++) {
        uint32_t size = atomic_load_explicit(&s->segments[r]->team_size, memory_order_relaxed);
        least = size < least ? size : least;
    }
    s->n_lanes = least;
}

void par_intra_node_begin(par_intra_node *s, const team_member *me, const par_waiter *waiter)
{
    if (me->index != 0)
        return;
    if (s->n_lanes == 0)
        agree_on_lanes(s, me, waiter);
    if (me->count < s->n_lanes)
        par_must(MPI_ERR_OTHER, "a sum by a smaller team than the first one");
}

static size_t lanes_for(const par_intra_node *s, size_t bytes)
{
    size_t n = (bytes + LANE_BYTES_MIN - 1) / LANE_BYTES_MIN;
    return n < s->n_lanes ? n : s->n_lanes;
}

/* Only member 0 makes progress on messages. */
static par_waiter waiter_of(const team_member *me, const par_waiter *waiter)
{
    return me->index == 0 ? *waiter : (par_waiter){.crowded = waiter->crowded};
}

void par_intra_node_allreduce(par_intra_node *s, const team_member *me, const par_waiter *waiter, par_reduce_op op,
                              void *values, size_t bytes)
{
    size_t n_lanes = lanes_for(s, bytes), piece = lane_bytes(s);
    if (me->index >= n_lanes)
        return;
    const par_waiter mine = waiter_of(me, waiter);
    size_t end = par_share_begin(bytes, (int)me->index + 1, (int)n_lanes);
    for (size_t at = par_share_begin(bytes, (int)me->index, (int)n_lanes); at < end; at += piece)
        allreduce_piece(s, me->index, &mine, op, (unsigned char *)values + at, end - at < piece ? end - at : piece);
}

/* --- all-gather --- */

/* Which rank owns what: owner r has share r. */
typedef struct owned {
    int n_owners;
    const par_shares *rows; /* shares of rows; NULL: shares of `bytes` bytes (par_share_begin) */
    unsigned char *values;
    size_t bytes;
} owned;

static par_share share_of(const owned *all, int r)
{
    if (all->rows != NULL)
        return par_share_of(all->rows, r);
    size_t begin = par_share_begin(all->bytes, r, all->n_owners);
    return (par_share){all->values + begin, par_share_begin(all->bytes, r + 1, all->n_owners) - begin};
}

/* A lane of several, and how much of an owner's share goes through a slot at a time. */
typedef struct lane_cut {
    int lane, n_lanes;
    size_t piece_bytes;
} lane_cut;

/* The lane's part of a share, a piece of it from `done` on. */
static par_share lane_part(par_share share, const lane_cut *cut, size_t done)
{
    size_t begin = par_share_begin(share.bytes, cut->lane, cut->n_lanes),
           end = par_share_begin(share.bytes, cut->lane + 1, cut->n_lanes);
    size_t left = begin + done < end ? end - begin - done : 0;
    return (par_share){share.begin + (left > 0 ? begin + done : 0), left < cut->piece_bytes ? left : cut->piece_bytes};
}

/* Bytes of all shares, and of the longest part of this lane. */
static size_t bytes_of_all(const owned *all)
{
    size_t sum = 0;
    for (int r = 0; r < all->n_owners; r++)
        sum += share_of(all, r).bytes;
    return sum;
}

static size_t longest_part(const owned *all, const lane_cut *cut)
{
    size_t longest = 0;
    for (int r = 0; r < all->n_owners; r++) {
        const lane_cut whole = {cut->lane, cut->n_lanes, SIZE_MAX};
        size_t bytes = lane_part(share_of(all, r), &whole, 0).bytes;
        longest = bytes > longest ? bytes : longest;
    }
    return longest;
}

static void all_gather_piece(par_intra_node *s, const owned *all, const lane_cut *cut, const par_waiter *waiter,
                             size_t done)
{
    par_share own = {NULL, 0};
    if (s->rank < all->n_owners)
        own = lane_part(share_of(all, s->rank), cut, done);
    lane_piece at = publish(s, (uint32_t)cut->lane, waiter, own.begin, own.bytes);
    for (int r = 0; r < all->n_owners; r++) {
        par_share theirs = lane_part(share_of(all, r), cut, done);
        if (r != s->rank && theirs.bytes > 0)
            memcpy(theirs.begin, slot_of(s, r, &at), theirs.bytes);
    }
}

static void all_gather(par_intra_node *s, const team_member *me, const par_waiter *waiter, const owned *all)
{
    const lane_cut cut = {(int)me->index, (int)lanes_for(s, bytes_of_all(all)), lane_bytes(s)};
    if (cut.lane >= cut.n_lanes)
        return;
    const par_waiter mine = waiter_of(me, waiter);
    size_t longest = longest_part(all, &cut);
    for (size_t done = 0; done < longest; done += cut.piece_bytes)
        all_gather_piece(s, all, &cut, &mine, done);
}

void par_intra_node_all_gather(par_intra_node *s, const team_member *me, const par_waiter *waiter, int n_owners,
                               void *values, size_t bytes)
{
    all_gather(s, me, waiter, &(owned){.n_owners = n_owners, .values = values, .bytes = bytes});
}

void par_intra_node_all_gather_rows(par_intra_node *s, const team_member *me, const par_waiter *waiter, int n_owners,
                                    const par_shares *shares)
{
    all_gather(s, me, waiter, &(owned){.n_owners = n_owners, .rows = shares});
}

/* --- reduce-scatter --- */

/* A slot is cut into a part for each owner. */
static void reduce_scatter_piece(par_intra_node *s, const owned *all, const lane_cut *cut, const par_waiter *waiter,
                                 par_reduce_op op, size_t done)
{
    lane_piece at = next_piece(s, (uint32_t)cut->lane);
    for (int r = 0; r < all->n_owners; r++) {
        par_share theirs = lane_part(share_of(all, r), cut, done);
        if (r != s->rank && theirs.bytes > 0)
            memcpy(slot_of(s, s->rank, &at) + (size_t)r * cut->piece_bytes, theirs.begin, theirs.bytes);
    }
    wait_ready(&at, waiter);
    if (s->rank >= all->n_owners)
        return;
    par_share own = lane_part(share_of(all, s->rank), cut, done);
    for (int i = 1; i < s->size; i++)
        par_reduce_into(op, own.begin, slot_of(s, (s->rank + i) % s->size, &at) + (size_t)s->rank * cut->piece_bytes,
                        own.bytes);
}

void par_intra_node_reduce_scatter_rows(par_intra_node *s, const team_member *me, const par_waiter *waiter,
                                        int n_owners, par_reduce_op op, const par_shares *shares)
{
    const owned all = {.n_owners = n_owners, .rows = shares};
    const lane_cut cut = {(int)me->index, (int)lanes_for(s, bytes_of_all(&all)),
                          lane_bytes(s) / (size_t)n_owners / LINE * LINE};
    if (cut.lane >= cut.n_lanes)
        return;
    const par_waiter mine = waiter_of(me, waiter);
    size_t longest = longest_part(&all, &cut);
    for (size_t done = 0; done < longest; done += cut.piece_bytes)
        reduce_scatter_piece(s, &all, &cut, &mine, op, done);
}

/* --- gather to a reader --- */

/* Lane 0's part of the slots; before the lanes are agreed on, the smallest that it can become. */
static size_t gather_piece_bytes(const par_intra_node *s)
{
    return s->n_lanes > 0 ? lane_bytes(s) : SLOT_BYTES / LANES_MAX;
}

bool par_intra_node_gather_next(par_intra_node *s, const par_waiter *waiter, par_intra_node_gather *c)
{
    c->at += c->piece_bytes;
    if (c->at >= c->max_bytes)
        return false;
    size_t piece = gather_piece_bytes(s), left = c->mine_bytes > c->at ? c->mine_bytes - c->at : 0;
    c->piece_bytes = piece;
    lane_piece at =
        publish(s, 0, waiter, (const unsigned char *)c->mine + (left > 0 ? c->at : 0), left < piece ? left : piece);
    c->piece = at.piece;
    return true;
}

void par_intra_node_gather_read(const par_intra_node *s, const par_intra_node_gather *c, int r, void *into,
                                size_t bytes)
{
    const lane_piece at = {.lane = 0, .piece = c->piece};
    if (c->at < bytes)
        memcpy((unsigned char *)into + c->at, slot_of(s, r, &at),
               bytes - c->at < c->piece_bytes ? bytes - c->at : c->piece_bytes);
}
