#include "tools/palmgrove/bench/bench_work.h"

#include "sharding/slices.h"

typedef struct counting {
    const plan_model *model;
    bool is_last_stage, has_codes;
    bench_work *work;
} counting;

/* The embedding is read for the output only, where it is tied to it; the tower is not run. */
static bool is_output(const counting *c, const shard_slice *slice)
{
    bool tied = c->model->a->decoder.tied_embeddings;
    return slice->role == ARCH_OUTPUT || (slice->role == ARCH_EMBEDDING && tied && c->is_last_stage);
}

static base_status count(void *context, const shard_slice *slice, base_error *error)
{
    (void)error;
    counting *c = context;
    if (!slice->is_matrix || slice->part != ARCH_DECODER || (slice->role == ARCH_EMBEDDING && !is_output(c, slice)))
        return BASE_OK;
    pack_type type = plan_model_type(c->model, slice);
    uint32_t rows = shard_range_width(slice->rows), columns = shard_range_width(slice->columns);
    double bytes = (double)pack_bytes(type, rows, columns, slice->unit), ops = 2.0 * rows * columns;
    bool is_int8 = c->has_codes && pack_type_is_quantised(type);
    if (is_output(c, slice)) {
        c->work->head_bytes += bytes;
        *(is_int8 ? &c->work->head_int8_ops : &c->work->head_f32_ops) += ops;
    } else {
        c->work->layer_bytes += bytes;
        *(is_int8 ? &c->work->layer_int8_ops : &c->work->layer_f32_ops) += ops;
    }
    return BASE_OK;
}

base_status bench_work_of(const plan_model *model, uint32_t tp, uint32_t pp, const model_numerics *numerics,
                          bench_work *out, base_error *error)
{
    static const double kv_bytes[MODEL_N_KV_TYPES] = {[MODEL_KV_F32] = 4, [MODEL_KV_BF16] = 2, [MODEL_KV_INT8] = 1};
    bench_work work = {.stack = &model->a->decoder.stack, .kv_bytes = kv_bytes[numerics->kv]};
    base_status status = BASE_OK;
    for (uint32_t rank = 0; status == BASE_OK && rank < tp * pp; rank++) {
        shard_split split;
        counting c = {.model = model,
                      .is_last_stage = rank / tp + 1 == pp,
                      .has_codes = numerics->activations == MODEL_ACTIVATIONS_INT8,
                      .work = &work};
        status = shard_split_of(model->a, tp, pp, rank % tp, rank / tp, &split, error);
        if (status == BASE_OK)
            status = shard_slices_visit(model->a, &split, count, &c, error);
    }
    if (status == BASE_OK)
        *out = work;
    return status;
}

/* Positions seen in all layers together. */
static double seen(const bench_work *work, double visible)
{
    double sum = 0.0;
    for (uint32_t il = 0; il < work->stack->n_layers; il++) {
        bool cut = arch_layer_is_local(work->stack, il) && visible > work->stack->window;
        sum += cut ? (double)work->stack->window : visible;
    }
    return sum;
}

double bench_work_attention_bytes(const bench_work *work, double visible)
{
    return seen(work, visible) * 2.0 * work->stack->kv * work->stack->dh * work->kv_bytes;
}

double bench_work_attention_ops(const bench_work *work, double visible)
{
    return seen(work, visible) * 4.0 * work->stack->h * work->stack->dh;
}
