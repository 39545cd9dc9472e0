/* bench_work.h - what a step must read and compute at least: from the model's dimensions, the types of its weights and
 * the layout. */
#ifndef PALMGROVE_BENCH_WORK_H
#define PALMGROVE_BENCH_WORK_H

#include "proto/base/status.h"
#include "sharding/planner/footprint.h"
#include "worker/model/numerics.h"

/* All ranks together. */
typedef struct bench_work {
    double layer_bytes, head_bytes;       /* weights, once for each plan, once for each plan that samples */
    double layer_f32_ops, layer_int8_ops; /* of a row */
    double head_f32_ops, head_int8_ops;   /* of a sampled row */
    const arch_stack *stack;              /* borrowed */
    double kv_bytes;                      /* of a value in the cache */
} bench_work;

/* `model` and its architecture are borrowed.  BASE_EINVAL the grid cannot hold the model. */
base_status bench_work_of(const plan_model *model, uint32_t tp, uint32_t pp, const model_numerics *numerics,
                          bench_work *out, base_error *error);

/* A position's keys and values in all layers are read by a row that sees `visible` positions: bytes and operations. */
double bench_work_attention_bytes(const bench_work *work, double visible);
double bench_work_attention_ops(const bench_work *work, double visible);

#endif
