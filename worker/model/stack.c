/* stack.c - the layer loop of decoder and vision tower.  stack.h says what a block is, stack_exchange.c what rows need
 * from other ranks.
 *
 * One serial layer.  ==== is a barrier of the team, [[ ]] a collective of the tensor group, the rest one pass over rows
 * or over products:
 *
 *     y = norm(x)                    all rows; in a sequence-parallel batch this rank's, then [[ all-gather y ]]
 *     ==== q, k, v = y W             the rank's heads
 *     ==== bias, QK norm, RoPE; k and v into the cache
 *     ==== o = attention(q, cache)   attend.c
 *     ==== acc = o Wo                fixed point, the rank's heads; [[ all-reduce or reduce-scatter acc ]]
 *     x += acc; y = mlp_norm(x)      one pass: end of a branch, norm before the next, quantising; [[ all-gather y ]]
 *     ==== gate, up = y W            the rank's MLP columns
 *     ==== hidden = activation(gate, up)
 *     ==== acc = hidden Wdown        [[ all-reduce or reduce-scatter acc ]]
 *     x += acc; y = norm(x)          of the next layer
 *
 * A parallel block computes gate and up together with q, k, v and reduces both contractions at once: one
 * reduction a layer instead of two. */
#include "worker/model/stack_int.h"

#include <string.h>

#include "worker/trace/trace.h"

void model_stack_init(model_stack *s, const arch_stack *a, const shard_stack_split *split,
                      const model_numerics *numerics, par_grid *grid)
{
    *s = (model_stack){.arch = a,
                       .split = *split,
                       .heads = model_heads_of(a, split),
                       .numerics = *numerics,
                       .grid = grid,
                       .seq_parallel_from = UINT32_MAX};
}

/* Widths of the rows that matrices are multiplied with, and their canonical groups. */
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
    model_kv_layout(&s->kv, s->numerics.kv, n_layers, shard_range_width(s->split.kv_heads), n_blocks, s->arch->dh,
                    arena);
}

static bool is_gated(const arch_stack *a)
{
    return arch_mlp_is_gated(a->mlp);
}

/* Rows of k columns in units of `unit`. */
static kern_activations reserve_quantised(model_arena *arena, size_t n_rows, size_t k, size_t unit)
{
    size_t n_groups = kern_n_groups(k, unit), n_bf16 = kern_n_bf16(k, unit);
    return (kern_activations){.q = model_arena_alloc(arena, n_rows, n_groups * PACK_GROUP),
                              .scales = model_arena_alloc(arena, n_rows, n_groups * sizeof(float)),
                              .corrections = model_arena_alloc(arena, n_rows, n_groups * sizeof(int32_t)),
                              .n_groups = n_groups,
                              .bf16 = model_arena_alloc(arena, n_rows, n_bf16 * sizeof(uint16_t)),
                              .n_bf16 = n_bf16};
}

void model_stack_layout_workspace(model_stack *s, uint32_t max_rows, uint32_t n_positions, model_arena *arena)
{
    size_t n = max_rows, d = s->arch->d, f = shard_range_width(s->split.mlp);
    size_t kv_width = (size_t)shard_range_width(s->split.kv_heads) * s->arch->dh;

    if (s->arch->rope)
        model_rope_layout(&s->rope_global, s->arch, n_positions, arena);
    if (s->arch->rope && s->arch->window != 0)
        model_rope_layout(&s->rope_local, s->arch, n_positions, arena);
    s->batch.has_spans = s->numerics.products == MODEL_PRODUCTS_OPENBLAS;
    model_batch_layout(&s->batch, max_rows, shard_range_width(s->split.heads), s->arch->window, arena);
    s->x = model_arena_alloc(arena, n, (d + 1) * sizeof *s->x);
    s->y = model_arena_alloc(arena, n, d * sizeof *s->y);
    s->q = model_arena_alloc(arena, n, q_width(s) * sizeof *s->q);
    s->k = model_arena_alloc(arena, n, kv_width * sizeof *s->k);
    s->v = model_arena_alloc(arena, n, kv_width * sizeof *s->v);
    s->o = model_arena_alloc(arena, n, q_width(s) * sizeof *s->o);
    s->up = model_arena_alloc(arena, n, f * sizeof *s->up);
    s->gate = is_gated(s->arch) ? model_arena_alloc(arena, n, f * sizeof *s->gate) : NULL;
    s->acc = model_arena_alloc(arena, n, (d + 1) * sizeof *s->acc);
    if (s->numerics.activations == MODEL_ACTIVATIONS_F32)
        return;
    s->y_quantised = reserve_quantised(arena, n, d, d);
    s->o_quantised = reserve_quantised(arena, n, q_width(s), s->arch->dh);
    s->hidden_quantised = reserve_quantised(arena, n, f, SHARD_MLP_GROUP);
}

void model_stack_start(model_stack *s, const float *divisors)
{
    if (s->arch->rope)
        model_rope_fill(&s->rope_global, &s->arch->rope_global, s->arch->xpos_base, divisors);
    if (s->arch->rope && s->arch->window != 0)
        model_rope_fill(&s->rope_local, &s->arch->rope_local, s->arch->xpos_base, divisors);
}

void model_stack_norm(const model_stack *s, const float *x, const model_norm *norm, float *y)
{
    if (s->arch->norm == ARCH_NORM_RMS)
        kern_active()->norm_rms(x, norm->gain, s->arch->norm_eps, s->arch->d, y);
    else
        kern_active()->norm_layer(x, norm->gain, norm->bias, s->arch->norm_eps, s->arch->d, y);
}

/* --- inputs of matrices --- */

static unsigned form_for(const model_stack *s, const pack_matrix *w)
{
    if (s->numerics.activations == MODEL_ACTIVATIONS_F32)
        return STACK_FORM_F32;
    if (pack_type_is_quantised(w->type))
        return STACK_FORM_INT8;
    unsigned of_spans = s->batch.n_spans > 0 ? STACK_FORM_F32 : 0; /* OpenBLAS's */
    return w->type == PACK_BF16 ? STACK_FORM_BF16 | of_spans : STACK_FORM_F32;
}

/* One row of x [k], quantised to `forms`. */
static void quantise_row(unsigned forms, const float *x, size_t k, size_t unit, const kern_activations *quantised,
                         size_t r)
{
    size_t n = quantised->n_groups;
    if (forms & STACK_FORM_BF16)
        kern_active()->round_bf16(x, k, unit, quantised->bf16 + r * quantised->n_bf16);
    if (forms & STACK_FORM_INT8)
        kern_active()->quantise(x, k, unit, quantised->q + r * n * PACK_GROUP, quantised->scales + r * n,
                                quantised->corrections + r * n);
}

static kern_rows rows_of(const model_stack *s, const float *x, size_t width, size_t n,
                         const kern_activations *quantised)
{
    bool rounded = s->numerics.activations != MODEL_ACTIVATIONS_F32;
    return (kern_rows){.x = x,
                       .ldx = width,
                       .m = n,
                       .quantised = rounded ? quantised : NULL,
                       .scratch = s->scratch.bytes,
                       .scratch_stride = s->scratch.stride};
}

/* The same for all rows of the batch, those of OpenBLAS marked. */
static kern_rows batch_rows(const model_stack *s, const float *x, size_t width, const kern_activations *quantised)
{
    kern_rows rows = rows_of(s, x, width, s->batch.n_rows, quantised);
    rows.spans = s->batch.spans;
    rows.n_spans = s->batch.n_spans;
    return rows;
}

static void norm_row(model_stack *s, const float *x, const model_norm *norm, unsigned forms, size_t r)
{
    size_t d = s->arch->d;
    model_stack_norm(s, x, norm, s->y + r * d);
    quantise_row(forms, s->y + r * d, d, d, &s->y_quantised, r);
}

void model_stack_norm_quantised(model_stack *s, const float *x, const model_norm *norm, const pack_matrix *w, size_t r)
{
    norm_row(s, x, norm, form_for(s, w), r);
}

kern_rows model_stack_rows(const model_stack *s, size_t n)
{
    return rows_of(s, s->y, s->arch->d, n, &s->y_quantised);
}

/* How a branch begins: the norm before it and its projections: queries, keys and values with `attention`, gate and up
 * with `mlp`. */
typedef struct branch_begin {
    const model_norm *norm;
    const model_layer *layer;
    bool attention, mlp;
} branch_begin;

/* Those projections, at most 5, and where their products go. */
static size_t list_products(const model_stack *s, const branch_begin *begin, kern_product *products)
{
    const model_layer *layer = begin->layer;
    size_t n = 0;
    if (begin->attention) {
        products[n++] = (kern_product){&layer->q, s->q, layer->q.n};
        products[n++] = (kern_product){&layer->k, s->k, layer->k.n};
        products[n++] = (kern_product){&layer->v, s->v, layer->v.n};
    }
    if (begin->mlp && s->gate != NULL)
        products[n++] = (kern_product){&layer->gate, s->gate, layer->gate.n};
    if (begin->mlp)
        products[n++] = (kern_product){&layer->up, s->up, layer->up.n};
    return n;
}

static unsigned forms_of(const model_stack *s, const branch_begin *begin)
{
    kern_product products[5];
    unsigned forms = 0;
    for (size_t i = 0, n = list_products(s, begin, products); i < n; i++)
        forms |= form_for(s, products[i].w);
    return forms;
}

static void clear_sum(model_stack *s, size_t r)
{
    size_t d = s->arch->d;
    memset(s->acc + r * d, 0, d * sizeof *s->acc);
    s->acc[s->batch.n_rows * d + r] = 0;
}

/* Row r of y = norm(x), unless another rank owns it; clears the row's sums. */
static void norm_own_row(model_stack *s, const branch_begin *begin, unsigned forms, size_t r)
{
    par_rows own = model_stack_own_rows(s);
    if (r >= own.begin && r < own.end)
        norm_row(s, s->x + r * s->arch->d, begin->norm, forms, r);
    clear_sum(s, r);
}

/* After norm_own_row of all rows: y is complete on every rank and visible to every member. */
static void publish_rows(team_member *me, model_stack *s, unsigned forms)
{
    if (model_stack_is_seq_parallel(s))
        model_stack_all_gather_y(me, s, forms);
    else
        team_barrier(me);
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

/* The batch's rows that go into matrices of this rank's layer `layer`. */
static void call_probe(team_member *me, const model_stack *s, const char *what, uint32_t layer, const float *rows,
                       size_t width)
{
    if (s->probe == NULL)
        return;
    if (me->index == 0)
        s->probe(s->probe_context, what, s->first_layer + layer, rows, s->batch.n_rows, width);
    team_barrier(me);
}

/* Bias, QK norm, RoPE, then into the cache: rows of a batch have different places in it. */
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

/* --- the two branches, up to the inputs of their output projections --- */

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
    quantise_row(form_for(s, &layer->down), gate != NULL ? gate : up, f, SHARD_MLP_GROUP, &s->hidden_quantised, r);
}

static const float *hidden_of(const model_stack *s)
{
    return s->gate != NULL ? s->gate : s->up;
}

/* The branch's projections of y. */
static void project(team_member *me, model_stack *s, const branch_begin *begin)
{
    kern_rows rows = batch_rows(s, s->y, s->arch->d, &s->y_quantised);
    kern_product products[5];
    size_t n = list_products(s, begin, products);
    kern_linear(me, &rows, products, n);
    team_barrier(me);
}

/* From q, k, v to attention's output; in a parallel block also the MLP's activations of the same rows. */
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
    size_t width = q_width(s);
    unsigned form = form_for(s, &layer->o);
    if (form == STACK_FORM_F32)
        return;
    for (size_t r; team_take(me, s->batch.n_rows, &r);)
        quantise_row(form, s->o + r * width, width, s->arch->dh, &s->o_quantised, r);
    team_barrier(me);
}

/* --- what the branches add to x --- */

/* acc += this rank's part of the output projection of attention, of the MLP, or of both; then reduced over the tensor
 * group. */
static void sum(team_member *me, model_stack *s, const model_layer *layer, bool of_attention, bool of_mlp)
{
    size_t d = s->arch->d, n = s->batch.n_rows;
    kern_rows o = batch_rows(s, s->o, q_width(s), &s->o_quantised);
    kern_rows hidden = batch_rows(s, hidden_of(s), layer->down.k, &s->hidden_quantised);
    kern_term terms[2];
    size_t n_terms = 0;
    if (of_attention)
        terms[n_terms++] = (kern_term){&o, &layer->o};
    if (of_mlp)
        terms[n_terms++] = (kern_term){&hidden, &layer->down};
    kern_linear_fixed(me, terms, n_terms, s->acc, d, s->acc + n * d);
    model_stack_reduce(me, s);
}

/* How a branch ends: the biases (both branches of a parallel block may have one), the norm of the sum before it is
 * added to the residual stream, and the next branch; NULL: none. */
typedef struct branch_end {
    const float *bias, *second_bias;
    float *post_gain;
    const branch_begin *next;
} branch_end;

static void add_to_residual(model_stack *s, const branch_end *end, size_t r)
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
        model_stack_overflow_flags(s)[r] = 1.0f;
}

/* Add the branch to the residual stream of this rank's rows, or of all, and begin the next branch. */
static void end_branch(team_member *me, model_stack *s, const branch_end *end)
{
    par_rows own = model_stack_own_rows(s);
    unsigned forms = end->next != NULL ? forms_of(s, end->next) : 0;
    for (size_t r; team_take(me, s->batch.n_rows, &r);) {
        if (r >= own.begin && r < own.end)
            add_to_residual(s, end, r);
        if (end->next != NULL)
            norm_own_row(s, end->next, forms, r);
    }
    if (end->next != NULL)
        publish_rows(me, s, forms);
    else
        team_barrier(me);
}

/* The first branch of a layer: attention, in a parallel block with the MLP. */
static branch_begin layer_begin(const model_stack *s, const model_layer *layer)
{
    return (branch_begin){&layer->norm, layer, true, s->arch->block == ARCH_BLOCK_PARALLEL};
}

/* One layer; `next`: the one after it. */
static void run_layer(team_member *me, model_stack *s, const model_layer *layer, uint32_t il, const model_layer *next)
{
    bool parallel = s->arch->block == ARCH_BLOCK_PARALLEL;
    uint32_t kv_layer = s->kv.n_layers > 1 ? il : 0;
    const branch_begin first = layer_begin(s, layer), mlp = {&layer->mlp_norm, layer, false, true};
    const branch_begin after = next != NULL ? layer_begin(s, next) : (branch_begin){0};
    call_probe(me, s, "attn_in", il, s->y, s->arch->d);
    project(me, s, &first);
    attention(me, s, layer, kv_layer);
    call_probe(me, s, "attn_out", il, s->o, layer->o.k);
    if (!parallel) {
        sum(me, s, layer, true, false);
        end_branch(me, s, &(branch_end){layer->o_bias, NULL, layer->post_attn_norm, &mlp});
        project(me, s, &mlp);
        for (size_t r; team_take(me, s->batch.n_rows, &r);)
            activate_row(s, layer, r);
        team_barrier(me);
    }
    call_probe(me, s, "mlp_in", il, s->y, s->arch->d);
    call_probe(me, s, "mlp_hidden", il, hidden_of(s), layer->down.k);
    sum(me, s, layer, parallel, true);
    end_branch(me, s,
               &(branch_end){layer->down_bias, parallel ? layer->o_bias : NULL, layer->post_mlp_norm,
                             next != NULL ? &after : NULL});
}

/* The first norm. */
static void begin_layers(team_member *me, model_stack *s, const model_layer *layers)
{
    const branch_begin first = layer_begin(s, &layers[0]);
    unsigned forms = forms_of(s, &first);
    for (size_t r; team_take(me, s->batch.n_rows, &r);)
        norm_own_row(s, &first, forms, r);
    publish_rows(me, s, forms);
}

void model_stack_run(team_member *me, model_stack *s, const model_layer *layers, uint32_t n,
                     void (*done)(void *context, uint32_t layer), void *done_context)
{
    if (me->index == 0)
        model_attention_prepare(&s->attention, &s->batch);
    if (n > 0)
        begin_layers(me, s, layers);
    for (uint32_t il = 0; il < n; il++) {
        uint64_t begin_us = me->index == 0 ? trace_begin() : 0;
        run_layer(me, s, &layers[il], il, il + 1 < n ? &layers[il + 1] : NULL);
        if (me->index == 0)
            trace_end(TRACE_LAYER, begin_us, s->first_layer + il);
        if (me->index == 0 && done != NULL)
            done(done_context, il);
    }
}
