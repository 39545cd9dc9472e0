/* estimate.h - how long a model takes on a cluster in one layout, and what it sends: a formula for each part.
 *
 * After Pope et al., arXiv 2211.05102 (bytes over bandwidth, flops over rate), with what their formulas leave out and
 * clusters of CPUs feel: the latency of each message, the team start of each kernel call, and panels and heads that do
 * not divide among the cores. docs/PLANNING.md derives them; the parts:
 *
 *     matrix    max(bytes / rank bandwidth, ceil(tiles / cores) x tile / core rate), a tile being 32 outputs x at most
 * 64 rows attention 4 flops x positions x head dimension x heads x rows, in tiles of 8 queries x 256 positions; at
 * least the KV bytes / rank bandwidth reduction few rows: the in-place MPI_Iallreduce of Open MPI 4: a binomial tree up
 * and one down, pieces of 1 MiB of int64; from PLAN_ROWS_DIVIDED rows a rank on the rows are divided: a reduce-scatter
 * of int64, an all-gather of rounded rows hop       one message of f32 rows from stage to stage */
#ifndef PALMGROVE_PLANNER_ESTIMATE_H
#define PALMGROVE_PLANNER_ESTIMATE_H

#include "sharding/planner/footprint.h"
#include "sharding/planner/plan_cluster.h"

/* What is asked of the cluster. */
typedef struct plan_demand {
    uint32_t context;     /* positions of a sequence */
    uint32_t batch;       /* sequences at the same time */
    uint32_t prompt;      /* tokens of a prompt */
    uint32_t answer;      /* tokens of an answer */
    uint32_t step_tokens; /* rows of one step */
    uint32_t image_slots; /* encoded images kept */
} plan_demand;

/* The limits that serving this demand sets. */
link_limits plan_limits_of(const plan_demand *demand);

/* One pass of `rows` rows, microseconds, by what takes them. */
typedef struct plan_time {
    double matrix_us; /* products with weights */
    double memory_us; /* of matrix_us: where reading the weights takes longer than computing with them */
    double attention_us;
    double reduce_us; /* sums over the tensor group */
    double hop_us;    /* activations to the next stage, tokens back to the first */
} plan_time;
double plan_time_total(const plan_time *time);

typedef struct plan_speed {
    plan_time decode;       /* one token of one sequence */
    double decode_full_us;  /* between two tokens of a sequence while `batch` decode */
    plan_time prefill;      /* one prompt, to its first token */
    double prefill_full_us; /* `batch` prompts one behind the other, to the last one's first token */
    double image_us;        /* one image through the tower; 0 without */
} plan_speed;

/* Rows of a rank from which on a step's rows are divided among the tensor group: MODEL_ROWS_DIVIDED
 * (worker/model/stack.h). */
#define PLAN_ROWS_DIVIDED 8u

/* What one token sends, bytes. */
typedef struct plan_traffic {
    uint64_t reduce_bytes; /* sent and received by a rank of the tensor group, all its stage's reductions, largest
                              stage; decoding */
    uint64_t prompt_bytes; /* the same in a step of many rows */
    uint64_t hop_bytes;    /* from a rank to the next stage */
    uint64_t n_reductions; /* in a row, over all stages */
} plan_traffic;

/* BASE_EINVAL the grid cannot hold the model. */
base_status plan_speed_of(const plan_model *model, const plan_cluster *cluster, uint32_t tp, uint32_t pp,
                          const plan_demand *demand, plan_speed *out, base_error *error);

plan_traffic plan_traffic_of(const plan_model *model, uint32_t tp, uint32_t pp);

/* The parts, for tests and for `palmgrove plan --check`. */

/* Levels of a binomial tree over n ranks: ceil(log2 n). */
uint32_t plan_tree_levels(uint32_t n);

/* n int64 (or, bytes_each 4, u32) summed over a tensor group of neighbouring ranks. */
double plan_reduce_us(const plan_cluster *cluster, uint32_t tp, uint64_t n, uint32_t bytes_each);

/* The same for rows that are divided: `scattered` bytes whose sums go to their owners, `gathered` bytes that owners
 * send to all. */
double plan_divide_us(const plan_cluster *cluster, uint32_t tp, double scattered, double gathered);

/* One pass through a stage. */
typedef struct plan_pass {
    uint32_t rows;
    uint32_t rows_per_sequence; /* 1: decoding; else a prompt's chunk */
    uint32_t sampled;           /* rows that get logits, on the last stage */
    double visible;             /* positions that a row sees, on average */
} plan_pass;

/* The pass on one rank: decoder layers, and what surrounds them on the first and the last stage.  Hops are left out. */
base_status plan_rank_time(const plan_model *model, const plan_cluster *cluster, uint32_t tp, uint32_t pp,
                           uint32_t tp_rank, uint32_t stage, const plan_pass *pass, plan_time *out, base_error *error);

#endif
