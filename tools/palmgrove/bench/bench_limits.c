/* bench_limits.c - the measured limits: memory bandwidth by threads, f32 and int8 rates of all cores at once.
 *
 * A limit is the best of all tries: whatever makes one slower is not the machine's limit.  Shares are another matter:
 * on a machine that others use too what is measured now has to be held against what the machine gives now, so limits
 * are measured again between the runs. */
#include <stdarg.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/size.h"
#include "tools/palmgrove/bench/bench.h"
#include "worker/kernels/peak.h"
#include "worker/topo/topo.h"

#define LEAST_BYTES ((size_t)1 << 20)
#define TRIES       5
#define TRY_US      20000.0 /* of the arithmetic loops, at least */

const char *bench_bound_name(bench_bound bound)
{
    static const char *const names[] = {"read", "f32", "int8"};
    return names[bound];
}

void bench_say(const bench_rank *rank, const char *format, ...)
{
    if (rank->quiet || par_world_rank(rank->world) != 0)
        return;
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

/* --- the clock --- */

double bench_time_us(bench_rank *rank, void (*run)(void *context), void *context)
{
    par_world_max(rank->world, 0);
    uint64_t start_us = base_clock_us();
    run(context);
    uint64_t us = par_world_max(rank->world, base_clock_us() - start_us);
    return us > 0 ? (double)us : 1.0;
}

/* --- memory --- */

static size_t bytes_of_rank(par_world *world, size_t node_bytes)
{
    size_t bytes = node_bytes / (size_t)par_world_local_size(world);
    uint64_t available = topo_memory_available() / (uint64_t)par_world_local_size(world);
    while (available > 0 && bytes > available / 2 && bytes > LEAST_BYTES)
        bytes /= 2;
    return base_size_round_up(bytes > LEAST_BYTES ? bytes : LEAST_BYTES, PEAK_READ_UNIT);
}

static void touch(void *context, team_member *me)
{
    const bench_rank *rank = context;
    size_t begin, end;
    team_part(me, rank->memory_bytes, PEAK_READ_UNIT, &begin, &end);
    memset(rank->memory.base + begin, BENCH_FILL, end - begin);
}

base_status bench_memory_take(bench_rank *rank, size_t node_bytes, base_error *error)
{
    base_status status = BASE_OK;
    rank->memory_bytes = bytes_of_rank(rank->world, node_bytes);
    if (!model_arena_map(&rank->memory, rank->memory_bytes, rank->huge_pages))
        status = base_fail(error, BASE_ENOMEM, "no memory for a measurement over %zu MiB", rank->memory_bytes >> 20);
    status = par_world_agree(rank->world, status, error);
    if (status == BASE_OK)
        team_run(rank->team, touch, rank);
    return status;
}

void bench_memory_release(bench_rank *rank)
{
    model_arena_unmap(&rank->memory);
    rank->memory_bytes = 0;
}

/* --- the loops --- */

typedef struct loops {
    bench_rank *rank;
    const peak_table *peak;
    uint32_t n_readers;
    size_t n_rounds;
    bool is_int8;
} loops;

/* Keeps results from being computed for nobody. */
static volatile uint64_t sink;

/* The first n_readers members read all of the memory. */
static void read_part(void *context, team_member *me)
{
    const loops *l = context;
    if (me->index >= l->n_readers)
        return;
    team_member reader = {.index = me->index, .count = l->n_readers};
    size_t begin, end;
    team_part(&reader, l->rank->memory_bytes, PEAK_READ_UNIT, &begin, &end);
    sink = l->peak->read(l->rank->memory.base + begin, end - begin);
}

static void compute(void *context, team_member *me)
{
    const loops *l = context;
    (void)me;
    sink = l->is_int8 ? (uint64_t)l->peak->int8(l->n_rounds) : (uint64_t)l->peak->f32(l->n_rounds);
}

static void run_read(void *context)
{
    const loops *l = context;
    team_run(l->rank->team, read_part, context);
}

static void run_compute(void *context)
{
    const loops *l = context;
    team_run(l->rank->team, compute, context);
}

static double best_us(loops *l, void (*run)(void *context))
{
    double best = bench_time_us(l->rank, run, l);
    for (int i = 1; i < TRIES; i++) {
        double us = bench_time_us(l->rank, run, l);
        best = us < best ? us : best;
    }
    return best;
}

/* Gop/s of all ranks, when a run takes `us`. */
static double compute_rate(const loops *l, double us)
{
    double ops = l->is_int8 ? l->peak->int8_ops : l->peak->f32_ops;
    return ops * (double)l->n_rounds * l->rank->n_threads * par_world_size(l->rank->world) / (us * 1e3);
}

static double read_rate(const loops *l, double us)
{
    return (double)l->rank->memory_bytes * par_world_size(l->rank->world) / (us * 1e3);
}

static void measure_peak(loops *l, bool is_int8, bench_limits *out)
{
    l->is_int8 = is_int8;
    l->n_rounds = 1024;
    double us = best_us(l, run_compute);
    for (; us < TRY_US; us = best_us(l, run_compute)) /* the best: one slow run on a busy machine is not a long one */
        l->n_rounds *= 2;
    out->n_rounds[is_int8] = l->n_rounds;
    *(is_int8 ? &out->int8_gop_s : &out->f32_gop_s) = compute_rate(l, us);
}

void bench_limits_measure(bench_rank *rank, bench_limits *out)
{
    loops l = {.rank = rank, .peak = peak_active()};
    *out = (bench_limits){.int8_name = l.peak->int8_name};
    for (uint32_t n = 1; out->n_by_threads < BENCH_THREADS_MAX; n = n * 2 < rank->n_threads ? n * 2 : rank->n_threads) {
        l.n_readers = n;
        double gb_s = read_rate(&l, best_us(&l, run_read));
        out->by_threads[out->n_by_threads].threads = n;
        out->by_threads[out->n_by_threads++].read_gb_s = gb_s;
        if (gb_s > out->read_gb_s) {
            out->read_gb_s = gb_s;
            out->n_readers = n;
        }
        if (n == rank->n_threads)
            break;
    }
    measure_peak(&l, false, out);
    measure_peak(&l, true, out);
}

static double *limit_at(bench_limits *limits, bench_bound bound)
{
    return bound == BENCH_READ ? &limits->read_gb_s : bound == BENCH_F32 ? &limits->f32_gop_s : &limits->int8_gop_s;
}

double bench_limit_of(const bench_limits *limits, bench_bound bound)
{
    bench_limits copy = *limits;
    return *limit_at(&copy, bound);
}

double bench_limit_now(bench_rank *rank, bench_limits *limits, bench_bound bound)
{
    loops l = {.rank = rank,
               .peak = peak_active(),
               .n_readers = limits->n_readers,
               .is_int8 = bound == BENCH_INT8,
               .n_rounds = limits->n_rounds[bound == BENCH_INT8]};
    double us = bench_time_us(rank, bound == BENCH_READ ? run_read : run_compute, &l);
    double now = bound == BENCH_READ ? read_rate(&l, us) : compute_rate(&l, us);
    double *limit = limit_at(limits, bound);
    *limit = now > *limit ? now : *limit;
    return now;
}
