/* bench_steps.h - plans run on all ranks without a coordinator: every rank builds the same plans and obeys them.
 *
 * As in service, the tokens that the last stage samples go to the ranks of stage 0, which wait for them only where a
 * plan feeds them back, so that several plans are under way when there are several stages. */
#ifndef PALMGROVE_BENCH_STEPS_H
#define PALMGROVE_BENCH_STEPS_H

#include "worker/model/model.h"

typedef struct bench_steps bench_steps;

/* Sequence s has the KV blocks [s * blocks, (s + 1) * blocks), blocks = ceil(limits.max_positions / 32).  `grid` and
 * `m` are borrowed. Collective, agreed.  BASE_ENOMEM. */
base_status bench_steps_create(par_world *world, par_grid *grid, model *m, size_t d, bench_steps **out,
                               base_error *error);
void bench_steps_destroy(bench_steps **steps);

/* Positions [depth, depth + n) of sequences [0, batch), in plans of at most `step_tokens` rows; with `sample` each
 * prompt's end is sampled. Returns when this rank has done its part and, on stage 0, has all results.  Collective. */
void bench_steps_prefill(bench_steps *steps, uint32_t batch, uint32_t depth, uint32_t n, uint32_t step_tokens,
                         bool sample);
uint32_t bench_steps_prefill_plans(uint32_t batch, uint32_t n, uint32_t step_tokens);

/* n tokens for each sequence, from position `depth` on; the sequences are divided among as many plans as there are
 * stages. */
void bench_steps_decode(bench_steps *steps, uint32_t batch, uint32_t depth, uint32_t n);
uint32_t bench_steps_decode_plans(const bench_steps *steps, uint32_t batch, uint32_t n);

/* An activation left the fixed-point range since the beginning; stage 0 knows. */
bool bench_steps_overflowed(const bench_steps *steps);

#endif
