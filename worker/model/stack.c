#include "worker/model/stack.h"

#include <string.h>

#include "worker/trace/trace.h"

void model_stack_init(model_stack *s, const arch_stack *a, const shard_stack_split *split, const model_numerics *numerics, par_grid *grid)
{
    *s = (model_stack){
        .arch = a, .split = *split, .heads = model_heads_of(a, split), .numerics = *numerics, .grid = grid};
}

/* Widths of the rows that meet matrices, and their canonical groups. */
static size_t q_width(const model_stack *s)
{
    return (size_t)shard_range_width(s->split.heads) * s->arch->dh;
}

static size_t y_groups(const model_stack *s)
{
    return kern_n_groups(s->arch->d, s->arch->d);
}

static size_t o_groups(const model_stack *s)
{
    return kern_n_groups(q_width(s), s->arch->dh);
}

static size_t hidden_groups(const model_stack *s)
{
    return kern_n_groups(shard_range_width(s->split.mlp), SHARD_MLP_GROUP);
}

size_t model_stack_scratch_bytes(const model_stack *s)
{
    size_t n = y_groups(s) > o_groups(s) ? y_groups(s) : o_groups(s);
    return kern_scratch_bytes(n > hidden_groups(s) ? n : hidden_groups(s));
}

void model_stack_layout_kv(model_stack *s, uint32_t n_layers, uint32_t n_blocks, model_arena *arena)
{
    model_kv_layout(&s->kv, s->numerics.kv, n_layers, shard_range_width(s->split.kv_heads), n_blocks, s->arch->dh, arena);
}

static bool is_gated(const arch_stack *a)
{
    return arch_mlp_is_gated(a->mlp);
}

/* Rows of k columns in units of `unit`. */
static kern_codes take_codes(model_arena *arena, size_t n_rows, size_t k, size_t unit)
{
    size_t n_groups = kern_n_groups(k, unit), n_halves = kern_n_halves(k, unit);
    return (kern_codes){.codes = model_arena_take(arena, n_rows, n_groups * PACK_GROUP),
                        .scales = model_arena_take(arena, n_rows, n_groups * sizeof(float)),
                        .offsets = model_arena_take(arena, n_rows, n_groups * sizeof(int32_t)),
                        .n_groups = n_groups,
                        .halves = model_arena_take(arena, n_rows, n_halves * sizeof(uint16_t)),
                        .n_halves = n_halves};
}

void model_stack_layout_workspace(model_stack *s, uint32_t max_rows, uint32_t n_positions, model_arena *arena)
{
    size_t n = max_rows, d = s->arch->d, f = shard_range_width(s->split.mlp);
    size_t kv_width = (size_t)shard_range_width(s->split.kv_heads) * s->arch->dh;

    if (s->arch->rope)
        model_rope_layout(&s->rope_global, s->arch, n_positions, arena);
    if (s->arch->rope && s->arch->window != 0)
        model_rope_layout(&s->rope_local, s->arch, n_positions, arena);
    model_batch_layout(&s->batch, max_rows, shard_range_width(s->split.heads), s->arch->window, arena);
    s->x = model_arena_take(arena, n, (d + 1) * sizeof *s->x);
    s->y = model_arena_take(arena, n, d * sizeof *s->y);
    s->q = model_arena_take(arena, n, q_width(s) * sizeof *s->q);
    s->k = model_arena_take(arena, n, kv_width * sizeof *s->k);
    s->v = model_arena_take(arena, n, kv_width * sizeof *s->v);
    s->o = model_arena_take(arena, n, q_width(s) * sizeof *s->o);
    s->up = model_arena_take(arena, n, f * sizeof *s->up);
    s->gate = is_gated(s->arch) ? model_arena_take(arena, n, f * sizeof *s->gate) : NULL;
    s->acc = model_arena_take(arena, n, (d + 1) * sizeof *s->acc);
    if (s->numerics.activations == MODEL_ACTIVATIONS_F32)
        return;
    s->y_codes = take_codes(arena, n, d, d);
    s->o_codes = take_codes(arena, n, q_width(s), s->arch->dh);
    s->hidden_codes = take_codes(arena, n, f, SHARD_MLP_GROUP);
}

void model_stack_start(model_stack *s, const float *divisors)
{
    if (s->arch->rope)
        model_rope_fill(&s->rope_global, &s->arch->rope_global, s->arch->xpos_base, divisors);
    if (s->arch->rope && s->arch->window != 0)
        model_rope_fill(&s->rope_local, &s->arch->rope_local, s->arch->xpos_base, divisors);
}

float *model_stack_overflow(model_stack *s)
{
    return s->x + (size_t)s->batch.n_rows * s->arch->d;
}

void model_stack_norm(const model_stack *s, const float *x, const model_norm *norm, float *y)
{
    if (s->arch->norm == ARCH_NORM_RMS)
        kern_active()->norm_rms(x, norm->gain, s->arch->norm_eps, s->arch->d, y);
    else
        kern_active()->norm_layer(x, norm->gain, norm->bias, s->arch->norm_eps, s->arch->d, y);
}

/* --- rows that meet matrices --- */

/* One row of x [k] to 8 bits and to bf16, unless the numerics keep f32. */
static void round_row(const model_stack *s, const float *x, size_t k, size_t unit, const kern_codes *codes, size_t r)
{
    size_t n = codes->n_groups;
    if (s->numerics.activations == MODEL_ACTIVATIONS_F32)
        return;
    kern_active()->round_bf16(x, k, unit, codes->halves + r * codes->n_halves);
    kern_active()->quantise(x, k, unit, codes->codes + r * n * PACK_GROUP, codes->scales + r * n, codes->offsets + r * n);
}

static kern_rows rows_of(const model_stack *s, const float *x, size_t width, size_t n, const kern_codes *codes)
{
    bool rounded = s->numerics.activations != MODEL_ACTIVATIONS_F32;
    return (kern_rows){.x = x, .ldx = width, .m = n, .codes = rounded ? codes : NULL,
                       .scratch = s->scratch.bytes, .scratch_stride = s->scratch.stride};
}

void model_stack_norm_rounded(model_stack *s, const float *x, const model_norm *norm, size_t r)
{
    size_t d = s->arch->d;
    model_stack_norm(s, x, norm, s->y + r * d);
    round_row(s, s->y + r * d, d, d, &s->y_codes, r);
}

kern_rows model_stack_rows(const model_stack *s, size_t n)
{
    return rows_of(s, s->y, s->arch->d, n, &s->y_codes);
}

/* Begin a branch: y = norm(x), and nothing summed yet. */
static void begin_row(model_stack *s, const model_norm *norm, size_t r)
{
    size_t d = s->arch->d;
    model_stack_norm_rounded(s, s->x + r * d, norm, r);
    memset(s->acc + r * d, 0, d * sizeof *s->acc);
    s->acc[s->batch.n_rows * d + r] = 0;
}

/* RMS norm of each head of one row, the gain shared (QK norm of ViT-22B and Gemma 3). */
static void norm_heads(const model_stack *s, float *x, uint32_t n_heads, const float *gain)
{
    for (uint32_t ih = 0; ih < n_heads; ih++, x += s->arch->dh)
        kern_active()->norm_rms(x, gain, s->arch->norm_eps, s->arch->dh, x);
}

void model_stack_add(float *x, const float *y, size_t n)
{
    if (y == NULL)
        return;
    for (size_t i = 0; i < n; i++)
        x[i] += y[i];
}

/* Show the batch's rows that are about to meet matrices of layer `layer` of this rank. */
static void show(team_member *me, const model_stack *s, const char *what, uint32_t layer, const float *rows, size_t width)
{
    if (s->probe == NULL)
        return;
    if (me->index == 0)
        s->probe(s->probe_context, what, s->first_layer + layer, rows, s->batch.n_rows, width);
    team_barrier(me);
}

/* Bias, QK norm, RoPE, then into the cache: rows of a batch own different places in it. */
static void store_row(model_stack *s, const model_layer *layer, uint32_t kv_layer, size_t r)
{
    const model_batch *batch = &s->batch;
    const model_rope *rope = layer->is_local ? &s->rope_local : &s->rope_global;
    uint32_t n_heads = shard_range_width(s->split.heads), n_kv = shard_range_width(s->split.kv_heads);
    float *q = s->q + r * layer->q.n, *k = s->k + r * layer->k.n, *v = s->v + r * layer->v.n;
    model_stack_add(q, layer->q_bias, layer->q.n);
    model_stack_add(k, layer->k_bias, layer->k.n);
    model_stack_add(v, layer->v_bias, layer->v.n);
    if (s->arch->qk_norm) {
        norm_heads(s, q, n_heads, layer->q_norm);
        norm_heads(s, k, n_kv, layer->k_norm);
    }
    if (s->arch->rope) {
        model_rope_apply(rope, MODEL_ROPE_QUERY, q, n_heads, batch->pos[r]);
        model_rope_apply(rope, MODEL_ROPE_KEY, k, n_kv, batch->pos[r]);
    }
    model_kv_store(&s->kv, kv_layer, batch->blocks[r], batch->pos[r], k, v);
}

static void attend(team_member *me, const model_stack *s, bool is_local, uint32_t kv_layer)
{
    model_attend_rows rows = {.q = s->q, .o = s->o, .ld = q_width(s), .scale = s->arch->attn_scale};
    model_attend(me, &s->attention, &s->batch, &s->kv, kv_layer, is_local, &rows);
}

/* --- the two branches, each ends with rows that wait to be multiplied back to the residual's width --- */

/* The MLP's activations of one row: into gate when there is one, else into up. */
static void activate_row(model_stack *s, const model_layer *layer, size_t r)
{
    size_t f = layer->up.n;
    float *gate = s->gate != NULL ? s->gate + r * f : NULL, *up = s->up + r * f;
    switch (s->arch->mlp) {
    case ARCH_MLP_SWIGLU:
        kern_active()->swiglu(gate, up, f);
        break;
    case ARCH_MLP_GEGLU_TANH:
        kern_active()->geglu_tanh(gate, up, f);
        break;
    case ARCH_MLP_GELU_TANH:
        kern_active()->gelu_tanh(up, layer->up_bias, f);
        break;
    case ARCH_MLP_GELU:
        kern_active()->gelu(up, layer->up_bias, f);
        break;
    case ARCH_MLP_QUICK_GELU:
        kern_active()->gelu_quick(up, layer->up_bias, f);
        break;
    }
    round_row(s, gate != NULL ? gate : up, f, SHARD_MLP_GROUP, &s->hidden_codes, r);
}

static const float *hidden_of(const model_stack *s)
{
    return s->gate != NULL ? s->gate : s->up;
}

/* The products of y: queries, keys and values with `attention`, gate and up with `mlp`. */
static void project(team_member *me, model_stack *s, const model_layer *layer, bool attention, bool mlp)
{
    kern_rows rows = model_stack_rows(s, s->batch.n_rows);
    kern_product products[5];
    size_t n = 0;
    if (attention) {
        products[n++] = (kern_product){&layer->q, s->q, layer->q.n};
        products[n++] = (kern_product){&layer->k, s->k, layer->k.n};
        products[n++] = (kern_product){&layer->v, s->v, layer->v.n};
    }
    if (mlp && s->gate != NULL)
        products[n++] = (kern_product){&layer->gate, s->gate, layer->gate.n};
    if (mlp)
        products[n++] = (kern_product){&layer->up, s->up, layer->up.n};
    kern_linear(me, &rows, products, n);
    team_barrier(me);
}

/* Rows of q, k, v to attention's output; in a parallel block the MLP's activations of the same rows too. */
static void attention(team_member *me, model_stack *s, const model_layer *layer, uint32_t kv_layer)
{
    bool parallel = s->arch->block == ARCH_BLOCK_PARALLEL;
    for (size_t r; team_take(me, s->batch.n_rows, &r);) {
        store_row(s, layer, kv_layer, r);
        if (parallel)
            activate_row(s, layer, r);
    }
    team_barrier(me);
    attend(me, s, layer->is_local, kv_layer);
    team_barrier(me);
    if (s->numerics.activations == MODEL_ACTIVATIONS_F32)
        return;
    size_t width = q_width(s);
    for (size_t r; team_take(me, s->batch.n_rows, &r);)
        round_row(s, s->o + r * width, width, s->arch->dh, &s->o_codes, r);
    team_barrier(me);
}

/* --- what the branches add to x --- */

/* acc += this rank's part of the contractions of attention's output, the MLP's activations, or both; then over the tensor group. */
static void sum(team_member *me, model_stack *s, const model_layer *layer, bool of_attention, bool of_mlp)
{
    size_t d = s->arch->d, n = s->batch.n_rows;
    kern_rows o = rows_of(s, s->o, q_width(s), n, &s->o_codes);
    kern_rows hidden = rows_of(s, hidden_of(s), layer->down.k, n, &s->hidden_codes);
    kern_term terms[2];
    size_t n_terms = 0;
    if (of_attention)
        terms[n_terms++] = (kern_term){&o, &layer->o};
    if (of_mlp)
        terms[n_terms++] = (kern_term){&hidden, &layer->down};
    kern_linear_fixed(me, terms, n_terms, s->acc, d, s->acc + n * d);
    par_sum_i64(s->grid, me, s->acc, n * (d + 1));
}

/* How a branch ends: what is added to its sum (both branches of a parallel block may have a bias), the norm it goes through before it is
 * added to the residual stream, and the norm that begins the next branch; NULL: none. */
typedef struct branch_end {
    const float *bias, *second_bias;
    float *post_gain;
    const model_norm *next;
} branch_end;

static void settle_row(model_stack *s, const branch_end *end, size_t r)
{
    size_t d = s->arch->d, n = s->batch.n_rows;
    float *x = s->x + r * d, *y = s->y + r * d;
    if (end->post_gain == NULL) {
        kern_active()->add_fixed(x, d, s->acc + r * d, end->bias);
        model_stack_add(x, end->second_bias, d);
    } else {
        memset(y, 0, d * sizeof *y);
        kern_active()->add_fixed(y, d, s->acc + r * d, end->bias);
        model_stack_norm(s, y, &(model_norm){.gain = end->post_gain}, y);
        model_stack_add(x, y, d);
    }
    if (s->acc[n * d + r] != 0)
        model_stack_overflow(s)[r] = 1.0f;
}

/* Settle every row and begin the next branch. */
static void settle(team_member *me, model_stack *s, const branch_end *end)
{
    for (size_t r; team_take(me, s->batch.n_rows, &r);) {
        settle_row(s, end, r);
        if (end->next != NULL)
            begin_row(s, end->next, r);
    }
    team_barrier(me);
}

/* One layer; `next`: the norm of the one after it. */
static void run_layer(team_member *me, model_stack *s, const model_layer *layer, uint32_t il, const model_norm *next)
{
    bool parallel = s->arch->block == ARCH_BLOCK_PARALLEL;
    uint32_t kv_layer = s->kv.n_layers > 1 ? il : 0;
    show(me, s, "attn_in", il, s->y, s->arch->d);
    project(me, s, layer, true, parallel);
    attention(me, s, layer, kv_layer);
    show(me, s, "attn_out", il, s->o, layer->o.k);
    if (!parallel) {
        sum(me, s, layer, true, false);
        settle(me, s, &(branch_end){layer->o_bias, NULL, layer->post_attn_norm, &layer->mlp_norm});
        project(me, s, layer, false, true);
        for (size_t r; team_take(me, s->batch.n_rows, &r);)
            activate_row(s, layer, r);
        team_barrier(me);
    }
    show(me, s, "mlp_in", il, s->y, s->arch->d);
    show(me, s, "mlp_hidden", il, hidden_of(s), layer->down.k);
    sum(me, s, layer, parallel, true);
    settle(me, s, &(branch_end){layer->down_bias, parallel ? layer->o_bias : NULL, layer->post_mlp_norm, next});
}

void model_stack_run(team_member *me, model_stack *s, const model_layer *layers, uint32_t n, void (*done)(void *context, uint32_t layer),
                     void *done_context)
{
    if (me->index == 0)
        model_attention_divide(&s->attention, &s->batch);
    for (size_t r; n > 0 && team_take(me, s->batch.n_rows, &r);)
        begin_row(s, &layers[0].norm, r);
    team_barrier(me);
    for (uint32_t il = 0; il < n; il++) {
        uint64_t begin_us = me->index == 0 ? trace_begin() : 0;
        run_layer(me, s, &layers[il], il, il + 1 < n ? &layers[il + 1].norm : NULL);
        if (me->index == 0)
            trace_end(TRACE_LAYER, begin_us, s->first_layer + il);
        if (me->index == 0 && done != NULL)
            done(done_context, il);
    }
}
