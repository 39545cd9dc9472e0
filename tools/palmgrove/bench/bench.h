/* bench.h - what `palmgrove bench` measures and how its parts fit together.
 *
 *   - bench_limits.c: what memory and cores can do at most
 *   - bench_kernels.c: products and attention alone, held against the limits
 *   - bench_products.c: our many-row products against OpenBLAS's
 *   - bench_engine.c: whole steps of a model, prefill and decode (bench_steps.c runs plans, bench_work.c counts what
 * they cost)
 *   - bench_collectives.c: sums over the ranks
 *   - bench_report.c: text and JSON; bench_plot.c: SVG
 *
 * All ranks measure the same thing at the same time, as they compute at the same time, and the slowest counts.  Rates
 * are those of all ranks together. */
#ifndef PALMGROVE_BENCH_H
#define PALMGROVE_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "proto/base/buf.h"
#include "proto/base/status.h"
#include "sharding/recipe.h"
#include "tools/palmgrove/bench/bench_spread.h"
#include "worker/model/arena.h"
#include "worker/model/numerics.h"
#include "worker/par/world.h"
#include "worker/team/team.h"

/* --- the rank that measures --- */

typedef struct bench_rank {
    par_world *world; /* borrowed */
    team *team;
    uint32_t n_threads;
    bool crowded;
    model_huge_pages huge_pages;
    model_arena memory; /* for limits and kernels: touched, every byte BENCH_FILL; empty otherwise */
    size_t memory_bytes;
    bool quiet;
} bench_rank;

/* In every byte it is a plain small number in every weight type: f32 0.0115, bf16 0.0115, f16 and the scales 1.06. */
#define BENCH_FILL 0x3c

/* node_bytes of a node, divided among its ranks (less where memory is short), each thread touching its own part.
 * Agreed.  BASE_ENOMEM. */
base_status bench_memory_take(bench_rank *rank, size_t node_bytes, base_error *error);
void bench_memory_release(bench_rank *rank);

/* Microseconds that `run` takes, of the slowest rank; all begin together.  Collective. */
double bench_time_us(bench_rank *rank, void (*run)(void *context), void *context);
/* What is being measured, on rank 0's stderr. */
void bench_say(const bench_rank *rank, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* --- results --- */

#define BENCH_THREADS_MAX 12u /* numbers of threads that reading is measured with: 1, 2, 4 ... and all */

typedef struct bench_limits {
    double read_gb_s, f32_gop_s, int8_gop_s; /* of all ranks */
    const char *int8_name;                   /* the instruction */
    struct {
        uint32_t threads; /* of each rank */
        double read_gb_s; /* of all ranks */
    } by_threads[BENCH_THREADS_MAX];
    size_t n_by_threads;
    uint32_t n_readers; /* threads that read fastest */
    size_t n_rounds[2]; /* of the loops of peak.h: f32, int8 */
} bench_limits;

typedef enum bench_bound { BENCH_READ, BENCH_F32, BENCH_INT8 } bench_bound;
const char *bench_bound_name(bench_bound bound); /* "read", "f32", "int8"; static */
double bench_limit_of(const bench_limits *limits, bench_bound bound);

/* A product or attention alone. */
typedef struct bench_kernel_row {
    const char *type, *activations, *what; /* "int8", "f32", "linear": static */
    uint32_t rows;
    double gb_s, gop_s, share; /* of the limit that binds */
    bench_bound bound;
} bench_kernel_row;

#define BENCH_KERNELS_MAX 64u

typedef struct bench_engine_row {
    bool decode;
    uint32_t tokens, batch, depth;
    bench_spread tokens_per_s;
    double bytes_per_token, ops_per_token;
    double read_share, peak_share; /* medians over the runs, each held against the limits as they were around it */
} bench_engine_row;

typedef struct bench_collective_row {
    size_t bytes;
    uint32_t ranks;
    double own_us, mpi_us;
} bench_collective_row;

#define BENCH_COLLECTIVES_MAX 8u

/* The same product by our kernels and by OpenBLAS, in turns. */
typedef struct bench_products_row {
    const char *type, *activations, *what; /* activations: those of our kernels */
    uint32_t rows;
    double own_gop_s, openblas_gop_s; /* medians */
    double ratio;                     /* our time to OpenBLAS's: above 1 it is faster; the median of the pairs' */
} bench_products_row;

#define BENCH_PRODUCTS_MAX 32u

typedef struct bench_load {
    double seconds;
    uint64_t bytes; /* of packed weights, all ranks */
} bench_load;

#define BENCH_TEXT 256u

typedef struct bench_machine {
    char date[32], version[64], cpu[BENCH_TEXT], system[BENCH_TEXT], isa[64], places[BENCH_TEXT], model[BENCH_TEXT];
    char weights[32], activations[32], kv[32];
    uint32_t ranks, nodes, tp, pp, threads; /* threads of a rank */
    bool pinned;
    char wire[8];
    double billions; /* parameters of the decoder; 0: no model */
} bench_machine;

typedef struct bench_results {
    bench_machine machine;
    bool has_limits, has_load;
    bench_limits limits;
    bench_load load;
    bench_engine_row *engine; /* owned */
    size_t n_engine;
    bench_kernel_row kernels[BENCH_KERNELS_MAX];
    size_t n_kernels;
    bench_collective_row collectives[BENCH_COLLECTIVES_MAX];
    size_t n_collectives;
    bench_products_row products[BENCH_PRODUCTS_MAX];
    size_t n_products;
    char provider[64]; /* of the other column: "openblas-0.3.21-Haswell" */
} bench_results;

void bench_print(const bench_results *results, FILE *out);
/* BASE_ENOMEM. */
base_status bench_json(const bench_results *results, base_buf *out, base_error *error);
/* A roofline of the kernels, bars of the engine, or both.  BASE_ENOMEM. */
base_status bench_plot(const bench_results *results, base_buf *out, base_error *error);

/* --- the parts; collective, agreed --- */

/* These need the rank's memory.  The first takes the best of several tries; the second measures one limit once more and
 * returns what it is now, GB/s or Gop/s of all ranks, raising it in `limits` when that is more. */
void bench_limits_measure(bench_rank *rank, bench_limits *out);
double bench_limit_now(bench_rank *rank, bench_limits *limits, bench_bound bound);

/* Needs the rank's memory and limits.  BASE_ENOMEM. */
base_status bench_kernels_measure(bench_rank *rank, bench_results *results, base_error *error);

/* Needs the rank's memory, and OpenBLAS to be open.  BASE_ENOMEM; BASE_EINVAL too little of the rank's memory. */
base_status bench_products_measure(bench_rank *rank, bench_results *results, base_error *error);

/* Sums over all ranks as one tensor group; nothing to measure with one rank. */
base_status bench_collectives_measure(bench_rank *rank, bench_results *results, base_error *error);

typedef struct bench_engine_options {
    const char *model, *importance, *trace; /* trace: NULL for none */
    shard_recipe recipe;
    model_numerics numerics;
    model_huge_pages huge_pages;
    uint32_t tp, pp;           /* 0: chosen */
    uint32_t prompt, generate; /* tokens; 0: not measured */
    bench_list batches, depths;
    uint32_t repeats, step_tokens; /* step_tokens 0: chosen */
} bench_engine_options;

/* With `only_load` nothing else is needed; else the rank's memory and limits.  Load the model, measure prefill and
 * decode (unless only loading is asked for), fill in the machine's model and layout.  Errors: those of opening and
 * loading a model; BASE_ENUMERIC an activation left the range. */
base_status bench_engine_measure(bench_rank *rank, const bench_engine_options *options, bool only_load,
                                 bench_results *results, base_error *error);

#endif
