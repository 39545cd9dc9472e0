#include "worker/model/stack.h"

#include <string.h>

#include "worker/par/channels.h"
#include "worker/par/collectives.h"
#include "worker/trace/trace.h"

void model_stack_init(model_stack *s, const arch_stack *a, const shard_stack_split *split,
                      const model_numerics *numerics, par_grid *grid)
{
    *s = (model_stack){.arch = a,
                       .split = *split,
                       .heads = model_heads_of(a, split),
                       .numerics = *numerics,
                       .grid = grid,
                       .divided_from = UINT32_MAX};
}

void model_stack_divide(model_stack *s, uint32_t tp)
{
    s->divided_from = tp > 1 ? tp * MODEL_ROWS_DIVIDED : UINT32_MAX;
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
    return (kern_activations){.q = model_arena_take(arena, n_rows, n_groups * PACK_GROUP),
                              .scales = model_arena_take(arena, n_rows, n_groups * sizeof(float)),
                              .corrections = model_arena_take(arena, n_rows, n_groups * sizeof(int32_t)),
                              .n_groups = n_groups,
                              .bf16 = model_arena_take(arena, n_rows, n_bf16 * sizeof(uint16_t)),
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

/* What a row is kept as: kern_linear takes 8 bits for quantised matrices, bf16 for bf16, values for all others. */
enum { FORM_VALUES = 1, FORM_CODES = 2, FORM_HALVES = 4 };

static unsigned form_for(const model_stack *s, const pack_matrix *w)
{
    if (s->numerics.activations == MODEL_ACTIVATIONS_F32)
        return FORM_VALUES;
    return pack_type_is_quantised(w->type) ? FORM_CODES : w->type == PACK_BF16 ? FORM_HALVES : FORM_VALUES;
}

/* One row of x [k] in the forms of rounded rows that are wanted. */
static void round_row(unsigned forms, const float *x, size_t k, size_t unit, const kern_activations *quantised,
                      size_t r)
{
    size_t n = quantised->n_groups;
    if (forms & FORM_HALVES)
        kern_active()->round_bf16(x, k, unit, quantised->bf16 + r * quantised->n_bf16);
    if (forms & FORM_CODES)
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

static void norm_row(model_stack *s, const float *x, const model_norm *norm, unsigned forms, size_t r)
{
    size_t d = s->arch->d;
    model_stack_norm(s, x, norm, s->y + r * d);
    round_row(forms, s->y + r * d, d, d, &s->y_quantised, r);
}

void model_stack_norm_rounded(model_stack *s, const float *x, const model_norm *norm, const pack_matrix *w, size_t r)
{
    norm_row(s, x, norm, form_for(s, w), r);
}

kern_rows model_stack_rows(const model_stack *s, size_t n)
{
    return rows_of(s, s->y, s->arch->d, n, &s->y_quantised);
}

/* How a branch begins: the norm before it, and the matrices that its rows meet, queries, keys and values with
 * `attention`, gate and up with `mlp`. */
typedef struct branch_begin {
    const model_norm *norm;
    const model_layer *layer;
    bool attention, mlp;
} branch_begin;

/* Those matrices, at most 5, and where their products go. */
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

/* --- rows divided among the tensor group --- */

static bool is_divided(const model_stack *s)
{
    return s->batch.n_rows >= s->divided_from;
}

/* The rows that this rank settles and norms. */
static par_rows own_rows(const model_stack *s)
{
    return is_divided(s) ? par_rows_owned(s->grid, s->batch.n_rows) : (par_rows){0, s->batch.n_rows};
}

/* Own rows of y to all ranks, and theirs, in the forms that are wanted. */
static void share_rows(team_member *me, model_stack *s, unsigned forms)
{
    const kern_activations *quantised = &s->y_quantised;
    par_matrix matrices[PAR_MATRICES_MAX];
    size_t n = 0;
    if (forms & FORM_VALUES)
        matrices[n++] = (par_matrix){s->y, s->arch->d * sizeof *s->y};
    if (forms & FORM_HALVES)
        matrices[n++] = (par_matrix){quantised->bf16, quantised->n_bf16 * sizeof *quantised->bf16};
    if (forms & FORM_CODES) {
        matrices[n++] = (par_matrix){quantised->q, quantised->n_groups * PACK_GROUP};
        matrices[n++] = (par_matrix){quantised->scales, quantised->n_groups * sizeof *quantised->scales};
        matrices[n++] = (par_matrix){quantised->corrections, quantised->n_groups * sizeof *quantised->corrections};
    }
    par_all_gather_rows(s->grid, me, matrices, n, s->batch.n_rows);
}

static par_matrix marks_of(model_stack *s)
{
    return (par_matrix){model_stack_overflow(s), sizeof(float)};
}

void model_stack_unite(team_member *me, model_stack *s)
{
    size_t n = s->batch.n_rows, d = s->arch->d;
    const par_matrix rows = {s->x, d * sizeof *s->x};
    if (is_divided(s))
        par_reduce_scatter_or_u32(s->grid, me, &rows, 1, n);
    else
        par_allreduce_or_u32(s->grid, me, (uint32_t *)(void *)s->x, n * d);
}

void model_stack_collect(team_member *me, model_stack *s)
{
    const par_matrix matrices[] = {{s->x, s->arch->d * sizeof *s->x}, marks_of(s)};
    if (is_divided(s))
        par_all_gather_rows(s->grid, me, matrices, 2, s->batch.n_rows);
}

/* Few rows: side by side in y, zero where they are not this rank's, so that a union of bits moves them. */
static void unite_rows(team_member *me, model_stack *s, const uint32_t *rows, size_t n)
{
    size_t d = s->arch->d;
    par_rows own = own_rows(s);
    for (size_t i; team_take(me, n, &i);) {
        if (rows[i] >= own.begin && rows[i] < own.end)
            memcpy(s->y + i * d, s->x + rows[i] * d, d * sizeof *s->x);
        else
            memset(s->y + i * d, 0, d * sizeof *s->y);
    }
    par_allreduce_or_u32(s->grid, me, (uint32_t *)(void *)s->y, n * d);
    for (size_t i; team_take(me, n, &i);)
        memcpy(s->x + rows[i] * d, s->y + i * d, d * sizeof *s->x);
    team_barrier(me);
}

void model_stack_collect_rows(team_member *me, model_stack *s, const uint32_t *rows, size_t n)
{
    const par_matrix marks = marks_of(s);
    if (2 * n >= s->batch.n_rows) {
        model_stack_collect(me, s);
    } else if (is_divided(s)) {
        unite_rows(me, s, rows, n);
        par_all_gather_rows(s->grid, me, &marks, 1, s->batch.n_rows);
    }
}

/* What goes from stage to stage lies in x: rows, and their marks behind them.  Of divided rows that is a part of x; the
 * marks are moved to its end, where another rank's row or other marks lay, which nobody reads. */
static bool hops_divided(const model_stack *s)
{
    return is_divided(s) && par_rows_same_on_all_stages(s->grid);
}

static par_rows hop_rows(const model_stack *s)
{
    return hops_divided(s) ? own_rows(s) : (par_rows){0, s->batch.n_rows};
}

void model_stack_send(team_member *me, model_stack *s)
{
    size_t d = s->arch->d;
    if (!hops_divided(s))
        model_stack_collect(me, s);
    if (me->index != 0)
        return;
    par_rows rows = hop_rows(s);
    size_t n = rows.end - rows.begin;
    memmove(s->x + rows.end * d, model_stack_overflow(s) + rows.begin, n * sizeof *s->x);
    par_stage_send(s->grid, s->x + rows.begin * d, n * (d + 1));
}

void model_stack_receive(team_member *me, model_stack *s)
{
    if (me->index == 0) {
        size_t d = s->arch->d;
        par_rows rows = hop_rows(s);
        size_t n = rows.end - rows.begin;
        par_stage_receive(s->grid, s->x + rows.begin * d, n * (d + 1));
        memmove(model_stack_overflow(s) + rows.begin, s->x + rows.end * d, n * sizeof *s->x);
    }
    team_barrier(me);
}

/* Row r of y = norm(x), unless it is another rank's, and nothing summed yet. */
static void begin_row(model_stack *s, const branch_begin *begin, unsigned forms, size_t r)
{
    par_rows own = own_rows(s);
    if (r >= own.begin && r < own.end)
        norm_row(s, s->x + r * s->arch->d, begin->norm, forms, r);
    clear_sum(s, r);
}

/* All rows are begun: those of the others too. */
static void end_rows(team_member *me, model_stack *s, unsigned forms)
{
    if (is_divided(s))
        share_rows(me, s, forms);
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

/* Show the batch's rows that are about to meet matrices of layer `layer` of this rank. */
static void show(team_member *me, const model_stack *s, const char *what, uint32_t layer, const float *rows,
                 size_t width)
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
    round_row(form_for(s, &layer->down), gate != NULL ? gate : up, f, SHARD_MLP_GROUP, &s->hidden_quantised, r);
}

static const float *hidden_of(const model_stack *s)
{
    return s->gate != NULL ? s->gate : s->up;
}

/* The products of y. */
static void project(team_member *me, model_stack *s, const branch_begin *begin)
{
    kern_rows rows = model_stack_rows(s, s->batch.n_rows);
    kern_product products[5];
    size_t n = list_products(s, begin, products);
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
    size_t width = q_width(s);
    unsigned form = form_for(s, &layer->o);
    if (form == FORM_VALUES)
        return;
    for (size_t r; team_take(me, s->batch.n_rows, &r);)
        round_row(form, s->o + r * width, width, s->arch->dh, &s->o_quantised, r);
    team_barrier(me);
}

/* --- what the branches add to x --- */

/* Over the tensor group: own rows of acc, or all. */
static void sum_group(team_member *me, model_stack *s)
{
    size_t d = s->arch->d, n = s->batch.n_rows;
    const par_matrix sums[] = {{s->acc, d * sizeof *s->acc}, {s->acc + n * d, sizeof *s->acc}};
    if (is_divided(s))
        par_reduce_scatter_sum_i64(s->grid, me, sums, 2, n);
    else
        par_allreduce_sum_i64(s->grid, me, s->acc, n * (d + 1));
}

/* acc += this rank's part of the contractions of attention's output, the MLP's activations, or both; then over the
 * tensor group. */
static void sum(team_member *me, model_stack *s, const model_layer *layer, bool of_attention, bool of_mlp)
{
    size_t d = s->arch->d, n = s->batch.n_rows;
    kern_rows o = rows_of(s, s->o, q_width(s), n, &s->o_quantised);
    kern_rows hidden = rows_of(s, hidden_of(s), layer->down.k, n, &s->hidden_quantised);
    kern_term terms[2];
    size_t n_terms = 0;
    if (of_attention)
        terms[n_terms++] = (kern_term){&o, &layer->o};
    if (of_mlp)
        terms[n_terms++] = (kern_term){&hidden, &layer->down};
    kern_linear_fixed(me, terms, n_terms, s->acc, d, s->acc + n * d);
    sum_group(me, s);
}

/* How a branch ends: what is added to its sum (both branches of a parallel block may have a bias), the norm it goes
 * through before it is added to the residual stream, and the next branch; NULL: none. */
typedef struct branch_end {
    const float *bias, *second_bias;
    float *post_gain;
    const branch_begin *next;
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

/* Settle the rows, which are this rank's or all, and begin the next branch. */
static void settle(team_member *me, model_stack *s, const branch_end *end)
{
    par_rows own = own_rows(s);
    unsigned forms = end->next != NULL ? forms_of(s, end->next) : 0;
    for (size_t r; team_take(me, s->batch.n_rows, &r);) {
        if (r >= own.begin && r < own.end)
            settle_row(s, end, r);
        if (end->next != NULL)
            begin_row(s, end->next, forms, r);
    }
    if (end->next != NULL)
        end_rows(me, s, forms);
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
    show(me, s, "attn_in", il, s->y, s->arch->d);
    project(me, s, &first);
    attention(me, s, layer, kv_layer);
    show(me, s, "attn_out", il, s->o, layer->o.k);
    if (!parallel) {
        sum(me, s, layer, true, false);
        settle(me, s, &(branch_end){layer->o_bias, NULL, layer->post_attn_norm, &mlp});
        project(me, s, &mlp);
        for (size_t r; team_take(me, s->batch.n_rows, &r);)
            activate_row(s, layer, r);
        team_barrier(me);
    }
    show(me, s, "mlp_in", il, s->y, s->arch->d);
    show(me, s, "mlp_hidden", il, hidden_of(s), layer->down.k);
    sum(me, s, layer, parallel, true);
    settle(me, s,
           &(branch_end){layer->down_bias, parallel ? layer->o_bias : NULL, layer->post_mlp_norm,
                         next != NULL ? &after : NULL});
}

/* The first norm. */
static void begin_layers(team_member *me, model_stack *s, const model_layer *layers)
{
    const branch_begin first = layer_begin(s, &layers[0]);
    unsigned forms = forms_of(s, &first);
    for (size_t r; team_take(me, s->batch.n_rows, &r);)
        begin_row(s, &first, forms, r);
    end_rows(me, s, forms);
}

void model_stack_run(team_member *me, model_stack *s, const model_layer *layers, uint32_t n,
                     void (*done)(void *context, uint32_t layer), void *done_context)
{
    if (me->index == 0)
        model_attention_divide(&s->attention, &s->batch);
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
