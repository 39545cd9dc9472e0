#include "worker/model/stack.h"

#include <string.h>

#include "worker/kernels/linear.h"

void model_stack_init(model_stack *s, const arch_stack *a, const shard_stack_split *split, par_grid *grid)
{
    *s = (model_stack){.arch = a, .split = *split, .heads = model_heads_of(a, split), .grid = grid};
}

void model_stack_layout_kv(model_stack *s, uint32_t n_layers, uint32_t n_blocks, model_arena *arena)
{
    model_kv_layout(&s->kv, n_layers, shard_range_width(s->split.kv_heads), n_blocks, s->arch->dh, arena);
}

static bool is_gated(const arch_stack *a)
{
    return a->mlp != ARCH_MLP_GELU_TANH;
}

void model_stack_layout_workspace(model_stack *s, uint32_t max_rows, uint32_t n_positions, model_arena *arena)
{
    size_t n = max_rows, d = s->arch->d, f = shard_range_width(s->split.mlp);
    size_t q_width = (size_t)shard_range_width(s->split.heads) * s->arch->dh;
    size_t kv_width = (size_t)shard_range_width(s->split.kv_heads) * s->arch->dh;

    if (s->arch->rope)
        model_rope_layout(&s->rope_global, s->arch, n_positions, arena);
    if (s->arch->rope && s->arch->window != 0)
        model_rope_layout(&s->rope_local, s->arch, n_positions, arena);
    model_batch_layout(&s->batch, max_rows, shard_range_width(s->split.heads), s->arch->window, arena);
    s->x = model_arena_take(arena, n, (d + 1) * sizeof *s->x);
    s->y = model_arena_take(arena, n, d * sizeof *s->y);
    s->q = model_arena_take(arena, n, q_width * sizeof *s->q);
    s->k = model_arena_take(arena, n, kv_width * sizeof *s->k);
    s->v = model_arena_take(arena, n, kv_width * sizeof *s->v);
    s->o = model_arena_take(arena, n, q_width * sizeof *s->o);
    s->up = model_arena_take(arena, n, f * sizeof *s->up);
    s->gate = is_gated(s->arch) ? model_arena_take(arena, n, f * sizeof *s->gate) : NULL;
    s->acc = model_arena_take(arena, n, (d + 1) * sizeof *s->acc);
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

void model_stack_norm(const model_stack *s, const float *x, const float *gain, float *y)
{
    if (s->arch->norm == ARCH_NORM_RMS)
        kern_active()->norm_rms(x, gain, s->arch->norm_eps, s->arch->d, y);
    else
        kern_active()->norm_layer(x, gain, s->arch->norm_eps, s->arch->d, y);
}

static void norm_rows(model_stack *s, const float *gain)
{
    size_t d = s->arch->d;
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < s->batch.n_rows; r++)
        model_stack_norm(s, s->x + r * d, gain, s->y + r * d);
}

/* RMS norm of each head of one row, the gain shared (QK norm of ViT-22B and Gemma 3). */
static void norm_heads(const model_stack *s, float *x, uint32_t n_heads, const float *gain)
{
    for (uint32_t ih = 0; ih < n_heads; ih++, x += s->arch->dh)
        kern_active()->norm_rms(x, gain, s->arch->norm_eps, s->arch->dh, x);
}

static void project_qkv(model_stack *s, const model_layer *layer)
{
    size_t n = s->batch.n_rows, d = s->arch->d;
    kern_linear(&layer->q, s->y, d, n, s->q, layer->q.n);
    kern_linear(&layer->k, s->y, d, n, s->k, layer->k.n);
    kern_linear(&layer->v, s->y, d, n, s->v, layer->v.n);
}

/* x += y, n elements; nothing when y is NULL. */
static void add_vector(float *x, const float *y, size_t n)
{
    if (y == NULL)
        return;
    for (size_t i = 0; i < n; i++)
        x[i] += y[i];
}

/* Show the batch's rows that are about to meet matrices of layer `kv_layer`. */
static void show(const model_stack *s, const char *what, uint32_t kv_layer, const float *rows, size_t width)
{
    if (s->probe != NULL)
        s->probe(s->probe_context, what, s->first_layer + kv_layer, rows, s->batch.n_rows, width);
}

/* Bias, QK norm, RoPE, then into the cache, row by row: rows of a batch own different places in it. */
static void store_keys(model_stack *s, const model_layer *layer, uint32_t kv_layer)
{
    const model_batch *batch = &s->batch;
    const model_rope *rope = layer->is_local ? &s->rope_local : &s->rope_global;
    uint32_t n_heads = shard_range_width(s->split.heads), n_kv = shard_range_width(s->split.kv_heads);
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        float *q = s->q + (size_t)r * layer->q.n, *k = s->k + (size_t)r * layer->k.n, *v = s->v + (size_t)r * layer->v.n;
        add_vector(q, layer->q_bias, layer->q.n);
        add_vector(k, layer->k_bias, layer->k.n);
        add_vector(v, layer->v_bias, layer->v.n);
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
}

static void attend_tile(model_stack *s, bool is_local, uint32_t kv_layer, const model_tile *tile)
{
    const model_batch *batch = &s->batch;
    size_t dh = s->arch->dh, row_floats = (size_t)shard_range_width(s->split.heads) * dh;
    size_t offset = tile->row * row_floats + tile->head * dh;
    const uint32_t *n_visible = batch->n_visible + tile->row, *first = is_local ? batch->first + tile->row : NULL;
    uint32_t same_visible[KERN_ATTENTION_ROWS], same_first[KERN_ATTENTION_ROWS]; /* the heads of one token see the same positions */
    for (uint32_t i = 0; i < tile->n && tile->across_heads; i++) {
        same_visible[i] = *n_visible;
        same_first[i] = first != NULL ? *first : 0;
    }

    kern_attention call = {
        .base = model_kv_head(&s->kv, kv_layer, tile->kv_head),
        .blocks = batch->blocks[tile->row],
        .block_floats = s->kv.block_floats,
        .dh = s->kv.dh,
        .dh_padded = s->kv.dh_padded,
        .scale = s->arch->attn_scale,
        .q = s->q + offset,
        .out = s->o + offset,
        .ldq = tile->across_heads ? dh : row_floats,
        .ldo = tile->across_heads ? dh : row_floats,
        .n_visible = tile->across_heads ? same_visible : n_visible,
        .first = tile->across_heads ? same_first : first,
        .n_rows = tile->n,
    };
    kern_active()->attention(&call);
}

static void attention(model_stack *s, const model_layer *layer, uint32_t kv_layer)
{
    project_qkv(s, layer);
    store_keys(s, layer, kv_layer);
#pragma omp parallel for schedule(dynamic)
    for (uint32_t i = 0; i < s->batch.n_tiles; i++)
        attend_tile(s, layer->is_local, kv_layer, &s->batch.tiles[i]);
}

static void activate(const model_stack *s, const model_layer *layer, float *gate, float *up, size_t f)
{
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
    }
}

/* The MLP's hidden activations, [n][f'] in the returned buffer. */
static const float *mlp_hidden(model_stack *s, const model_layer *layer)
{
    size_t n = s->batch.n_rows, d = s->arch->d, f = layer->up.n;
    bool gated = is_gated(s->arch);
    if (gated)
        kern_linear(&layer->gate, s->y, d, n, s->gate, f);
    kern_linear(&layer->up, s->y, d, n, s->up, f);
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < n; r++)
        activate(s, layer, gated ? s->gate + r * f : NULL, s->up + r * f, f);
    return gated ? s->gate : s->up;
}

/* --- what the branches add to x --- */

static void clear_sum(model_stack *s)
{
    memset(s->acc, 0, s->batch.n_rows * ((size_t)s->arch->d + 1) * sizeof *s->acc);
}

/* acc += in W^T, this rank's part of the contraction; in [n][k]. */
static void add_to_sum(model_stack *s, const pack_matrix *w, const float *in)
{
    size_t n = s->batch.n_rows, d = s->arch->d;
    kern_linear_fixed(w, in, w->k, n, s->acc, d, s->acc + n * d);
}

/* Finish the sum over the tensor group and add it to the residual stream, through a norm when `post_gain` is given. */
static void add_to_residual(model_stack *s, const float *bias, const float *post_gain)
{
    size_t n = s->batch.n_rows, d = s->arch->d;
    const int64_t *overflow = s->acc + n * d;
    par_sum_i64(s->grid, s->acc, n * (d + 1));
    if (post_gain == NULL) {
        kern_add_fixed(s->x, n, d, s->acc, bias);
    } else {
        memset(s->y, 0, n * d * sizeof *s->y);
        kern_add_fixed(s->y, n, d, s->acc, bias);
#pragma omp parallel for schedule(static)
        for (size_t r = 0; r < n; r++) {
            model_stack_norm(s, s->y + r * d, post_gain, s->y + r * d);
            add_vector(s->x + r * d, s->y + r * d, d);
        }
    }
    float *marks = model_stack_overflow(s);
    for (size_t r = 0; r < n; r++)
        if (overflow[r] != 0)
            marks[r] = 1.0f;
}

void model_stack_layer(model_stack *s, const model_layer *layer, uint32_t kv_layer)
{
    norm_rows(s, layer->norm);
    show(s, "attn_in", kv_layer, s->y, s->arch->d);
    clear_sum(s);
    attention(s, layer, kv_layer);
    show(s, "attn_out", kv_layer, s->o, layer->o.k);
    add_to_sum(s, &layer->o, s->o);
    if (s->arch->block != ARCH_BLOCK_PARALLEL) {
        add_to_residual(s, NULL, layer->post_attn_norm);
        norm_rows(s, layer->mlp_norm);
        clear_sum(s);
    }
    show(s, "mlp_in", kv_layer, s->y, s->arch->d);
    const float *hidden = mlp_hidden(s, layer);
    show(s, "mlp_hidden", kv_layer, hidden, layer->down.k);
    add_to_sum(s, &layer->down, hidden);
    add_to_residual(s, layer->down_bias, layer->post_mlp_norm);
}
