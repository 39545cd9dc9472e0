/* team.c - an OpenMP team with its own barrier, and loops that are divided with work stealing. */
#include "worker/team/team.h"

#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/size.h"

#define LINE 64u

/* Turns of a waiting member before it offers its core: about 50 us. */
#define SPIN_TURNS 20000u

/* How far a member's share of the present loop has been taken, counted from its beginning; by itself and by helpers. */
typedef struct share {
    _Alignas(LINE) atomic_size_t taken;
} share;

struct team {
    uint32_t n_threads;
    bool crowded;
    _Alignas(LINE) atomic_uint arrived; /* members at the present barrier */
    _Alignas(LINE) atomic_uint phase;   /* barriers that opened */
    share *shares;                      /* [n_threads] */
};

base_status team_create(uint32_t n_threads, bool crowded, team **out, base_error *error)
{
    if (n_threads == 0)
        n_threads = (uint32_t)omp_get_max_threads();
    team *t = aligned_alloc(LINE, base_size_round_up(sizeof *t, LINE));
    share *shares = aligned_alloc(LINE, n_threads * sizeof *shares);
    if (t == NULL || shares == NULL) {
        free(t);
        free(shares);
        return base_fail(error, BASE_ENOMEM, "out of memory for a team of %u threads", n_threads);
    }
    *t = (team){.n_threads = n_threads, .crowded = crowded, .shares = shares};
    for (uint32_t i = 0; i < n_threads; i++)
        atomic_init(&shares[i].taken, 0);
    *out = t;
    return BASE_OK;
}

void team_destroy(team **t)
{
    if (*t != NULL)
        free((*t)->shares);
    free(*t);
    *t = NULL;
}

uint32_t team_size(const team *t)
{
    return t->n_threads;
}

void team_run(team *t, void (*work)(void *context, team_member *me), void *context)
{
    uint32_t phase = atomic_load_explicit(&t->phase, memory_order_relaxed);
    if (t->n_threads == 1) {
        work(context, &(team_member){.team = t, .index = 0, .count = 1, .phase = phase});
        return;
    }
#pragma omp parallel num_threads((int)t->n_threads)
    {
        team_member me = {.team = t, .index = (uint32_t)omp_get_thread_num(), .count = t->n_threads, .phase = phase};
        work(context, &me);
    }
}

static void clear_shares(team *t)
{
    for (uint32_t i = 0; i < t->n_threads; i++)
        atomic_store_explicit(&t->shares[i].taken, 0, memory_order_relaxed);
}

/* The last to arrive clears the shares and opens the barrier. */
void team_barrier(team_member *me)
{
    team *t = me->team;
    me->phase++;
    if (atomic_fetch_add_explicit(&t->arrived, 1, memory_order_acq_rel) + 1 == me->count) {
        atomic_store_explicit(&t->arrived, 0, memory_order_relaxed);
        clear_shares(t);
        atomic_store_explicit(&t->phase, me->phase, memory_order_release);
        return;
    }
    for (uint32_t turn = 0; atomic_load_explicit(&t->phase, memory_order_acquire) != me->phase; turn++) {
        if (t->crowded || turn >= SPIN_TURNS)
            sched_yield();
        else
            team_relax();
    }
}

static size_t share_begin(size_t n, uint32_t index, uint32_t count)
{
    return n / count * index + (n % count) * index / count;
}

bool team_take(team_member *me, size_t n, size_t *index)
{
    for (uint32_t i = 0; i < me->count; i++) {
        uint32_t owner = (me->index + i) % me->count;
        size_t begin = share_begin(n, owner, me->count), end = share_begin(n, owner + 1, me->count);
        atomic_size_t *taken = &me->team->shares[owner].taken;
        if (begin + atomic_load_explicit(taken, memory_order_relaxed) >= end) /* so that the counter cannot run away */
            continue;
        size_t at = begin + atomic_fetch_add_explicit(taken, 1, memory_order_relaxed);
        if (at < end) {
            *index = at;
            return true;
        }
    }
    return false;
}

void team_part(const team_member *me, size_t n, size_t grain, size_t *begin, size_t *end)
{
    size_t grains = n / grain + (n % grain != 0);
    *begin = share_begin(grains, me->index, me->count) * grain;
    *end = share_begin(grains, me->index + 1, me->count) * grain;
    if (*begin > n)
        *begin = n;
    if (*end > n)
        *end = n;
}
