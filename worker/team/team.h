/* team.h - the threads of a rank at work on one thing together.
 *
 * A step is one OpenMP parallel region (team_run): every member walks through the same code and meets the others at
 * barriers.  Between two barriers the members divide a loop's indices among themselves (team_take): each has a share of
 * neighbouring indices and, when its own is done, helps the others, so a thread that lost its core for a while delays
 * no other.  Who computes what leaves no trace in the results (worker/kernels: an output is computed whole by one
 * thread).
 *
 * Only member 0, the main thread, calls MPI.  Nothing here allocates or, while cores are not shared, makes system
 * calls. */
#ifndef PALMGROVE_TEAM_H
#define PALMGROVE_TEAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

typedef struct team team;

typedef struct team_member {
    team *team;
    uint32_t index, count; /* 0 is the main thread */
    uint32_t phase;        /* barriers passed; team.c's own */
} team_member;

/* A team of n_threads (0: as many as OpenMP would start).  `crowded`: cores are shared with other ranks, so waiting
 * members offer theirs at once.  Errors: BASE_ENOMEM. */
base_status team_create(uint32_t n_threads, bool crowded, team **out, base_error *error);
void team_destroy(team **t);
uint32_t team_size(const team *t);

/* Call work(context, member) once on every member; returns when all have returned.  From the main thread. */
void team_run(team *t, void (*work)(void *context, team_member *me), void *context);

/* Wait for the other members.  Everything they wrote before is visible after it. */
void team_barrier(team_member *me);

/* Divide [0, n): true with the next index for this member, false when none is left.  Between two barriers all members
 * may divide one loop, with the same n: for (size_t i; team_take(me, n, &i);)
 *         ...
 *     team_barrier(me); */
bool team_take(team_member *me, size_t n, size_t *index);

/* A fixed part of [0, n) in multiples of `grain`, for passes over memory: from *begin to *end. */
void team_part(const team_member *me, size_t n, size_t grain, size_t *begin, size_t *end);

/* A breath in a loop that waits for another core. */
static inline void team_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
