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

void model_stack_layout_workspace(model_stack *s, uint32_t max_rows, uint32_t n_positions, model_arena *arena)
{
    size_t n = max_rows, d = s->arch->d, f = shard_range_width(s->split.mlp);
    size_t q_width = (size_t)shard_range_width(s->split.heads) * s->arch->dh;
    size_t kv_width = (size_t)shard_range_width(s->split.kv_heads) * s->arch->dh;

    if (s->arch->rope)
        model_rope_layout(&s->rope, s->arch->dh, n_positions, arena);
    model_batch_layout(&s->batch, max_rows, shard_range_width(s->split.heads), arena);
    s->x = model_arena_take(arena, n, (d + 1) * sizeof *s->x);
    s->y = model_arena_take(arena, n, d * sizeof *s->y);
    s->q = model_arena_take(arena, n, q_width * sizeof *s->q);
    s->k = model_arena_take(arena, n, kv_width * sizeof *s->k);
    s->v = model_arena_take(arena, n, kv_width * sizeof *s->v);
    s->o = model_arena_take(arena, n, q_width * sizeof *s->o);
    s->up = model_arena_take(arena, n, f * sizeof *s->up);
    s->gate = s->arch->mlp == ARCH_MLP_SWIGLU ? model_arena_take(arena, n, f * sizeof *s->gate) : NULL;
    s->acc = model_arena_take(arena, n, (d + 1) * sizeof *s->acc);
}

void model_stack_start(model_stack *s)
{
    if (s->arch->rope)
        model_rope_fill(&s->rope, s->arch->rope_theta);
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

static void norm_rows(model_stack *s, const model_layer *layer)
{
    size_t d = s->arch->d;
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < s->batch.n_rows; r++)
        model_stack_norm(s, s->x + r * d, layer->norm, s->y + r * d);
}

/* RMS norm of each head of one row, the gain shared (ViT-22B's QK norm). */
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

/* QK norm, then RoPE, then into the cache, row by row: rows of a batch own different places in it. */
static void store_keys(model_stack *s, const model_layer *layer, uint32_t kv_layer)
{
    const model_batch *batch = &s->batch;
    uint32_t n_heads = shard_range_width(s->split.heads), n_kv = shard_range_width(s->split.kv_heads);
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        float *q = s->q + (size_t)r * layer->q.n, *k = s->k + (size_t)r * layer->k.n;
        if (s->arch->qk_norm) {
            norm_heads(s, q, n_heads, layer->q_norm);
            norm_heads(s, k, n_kv, layer->k_norm);
        }
        if (s->arch->rope) {
            model_rope_apply(&s->rope, q, n_heads, batch->pos[r]);
            model_rope_apply(&s->rope, k, n_kv, batch->pos[r]);
        }
        model_kv_store(&s->kv, kv_layer, batch->blocks[r], batch->pos[r], k, s->v + (size_t)r * layer->v.n);
    }
}

static void attend_tile(model_stack *s, uint32_t kv_layer, const model_tile *tile)
{
    const model_batch *batch = &s->batch;
    size_t dh = s->arch->dh, row_floats = (size_t)shard_range_width(s->split.heads) * dh;
    size_t offset = tile->row * row_floats + tile->head * dh;
    uint32_t same[KERN_ATTENTION_ROWS]; /* the heads of one token see the same positions */
    for (uint32_t i = 0; i < tile->n; i++)
        same[i] = batch->n_visible[tile->row];

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
        .n_visible = tile->across_heads ? same : batch->n_visible + tile->row,
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
        attend_tile(s, kv_layer, &s->batch.tiles[i]);
}

/* The MLP's hidden activations, [n][f'] in the returned buffer. */
static const float *mlp_hidden(model_stack *s, const model_layer *layer)
{
    size_t n = s->batch.n_rows, d = s->arch->d, f = layer->up.n;
    bool swiglu = s->arch->mlp == ARCH_MLP_SWIGLU;
    if (swiglu)
        kern_linear(&layer->gate, s->y, d, n, s->gate, f);
    kern_linear(&layer->up, s->y, d, n, s->up, f);
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < n; r++) {
        if (swiglu)
            kern_active()->swiglu(s->gate + r * f, s->up + r * f, f);
        else
            kern_active()->gelu_tanh(s->up + r * f, layer->up_bias, f);
    }
    return swiglu ? s->gate : s->up;
}

/* Sum both branches over the tensor group and add them to the residual stream. */
static void reduce_into_residual(model_stack *s, const model_layer *layer)
{
    size_t n = s->batch.n_rows, d = s->arch->d;
    int64_t *overflow = s->acc + n * d;
    par_sum_i64(s->grid, s->acc, n * (d + 1));
    kern_add_fixed(s->x, n, d, s->acc, layer->down_bias);
    float *marks = model_stack_overflow(s);
    for (size_t r = 0; r < n; r++)
        if (overflow[r] != 0)
            marks[r] = 1.0f;
}

void model_stack_layer(model_stack *s, const model_layer *layer, uint32_t kv_layer)
{
    size_t n = s->batch.n_rows, d = s->arch->d;
    int64_t *overflow = s->acc + n * d;

    norm_rows(s, layer);
    attention(s, layer, kv_layer);
    const float *hidden = mlp_hidden(s, layer);
    memset(s->acc, 0, n * (d + 1) * sizeof *s->acc);
    kern_linear_fixed(&layer->o, s->arch->dh, s->o, layer->o.k, n, s->acc, d, overflow);
    kern_linear_fixed(&layer->down, SHARD_MLP_GROUP, hidden, layer->down.k, n, s->acc, d, overflow);
    reduce_into_residual(s, layer);
}
