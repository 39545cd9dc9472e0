/* vision_tower.c - patches, the stack's layers, pooling and projector, for one image at a time. */
#include "worker/model/vision_tower.h"

#include <string.h>

#include "worker/kernels/linear.h"

void model_tower_init(model_tower *t, const arch *a, const shard_split *split, const model_numerics *numerics,
                      const model_weights *weights, uint32_t n_slots, par_grid *grid)
{
    *t = (model_tower){.arch = &a->tower, .weights = weights, .d = a->decoder.stack.d, .n_slots = n_slots};
    model_stack_init(&t->stack, &a->tower.stack, &split->tower, numerics, grid);
    t->stack.numerics.kv =
        MODEL_KV_F32; /* one layer's keys and values for a moment: rounding them would save nothing */
}

/* Rows of the layers and vectors of an image. */
static uint32_t n_rows(const model_tower *t)
{
    return arch_tower_rows(t->arch);
}

static uint32_t n_vectors(const model_tower *t)
{
    return arch_tower_vectors(t->arch);
}

static uint32_t n_blocks(const model_tower *t)
{
    return (n_rows(t) + KERN_PANEL - 1) / KERN_PANEL;
}

static size_t patch_floats(const model_tower *t)
{
    return 3u * (size_t)t->arch->patch_size * t->arch->patch_size;
}

void model_tower_layout(model_tower *t, model_arena *arena)
{
    size_t n = n_vectors(t);
    /* One layer's keys and values serve all layers: nothing of an image's attention outlives its layer. */
    model_stack_layout_kv(&t->stack, 1, n_blocks(t), arena);
    model_stack_layout_workspace(&t->stack, n_rows(t), 0, arena);
    t->blocks = model_arena_alloc(arena, n_blocks(t), sizeof *t->blocks);
    t->patches = model_arena_alloc(arena, t->arch->n_patches, patch_floats(t) * sizeof *t->patches);
    if (t->arch->projector == ARCH_PROJECTOR_MLP2)
        t->hidden = model_arena_alloc(arena, n, t->d * sizeof *t->hidden);
    t->images = model_arena_alloc(arena, t->n_slots * n, t->d * sizeof *t->images);
    t->overflow = model_arena_alloc(arena, t->n_slots, sizeof *t->overflow);
}

void model_tower_start(model_tower *t)
{
    model_stack_start(&t->stack, NULL);
    for (uint32_t b = 0; b < n_blocks(t); b++)
        t->blocks[b] = b;
}

/* Pixels of patch p, channel by channel, then row by row, as a convolution's weights lie. */
static void cut_patch(model_tower *t, const uint8_t *pixels, size_t p)
{
    uint32_t side = t->arch->image_size, patch = t->arch->patch_size, per_row = side / patch;
    float *out = t->patches + p * patch_floats(t);
    for (uint32_t channel = 0; channel < 3; channel++)
        for (uint32_t y = 0; y < patch; y++)
            for (uint32_t x = 0; x < patch; x++) {
                size_t row = p / per_row * patch + y, column = p % per_row * patch + x;
                float value = (float)pixels[(row * side + column) * 3 + channel] / 255.0f;
                *out++ = (value - t->arch->image_mean[channel]) / t->arch->image_std[channel];
            }
}

/* f32 rows of an image; `span` is where they are listed for OpenBLAS, if it multiplies them. */
static kern_rows f32_rows(const model_tower *t, const float *x, size_t width, size_t n, kern_span *span)
{
    *span = (kern_span){0, n};
    bool own = t->stack.numerics.products == MODEL_PRODUCTS_OWN || n < MODEL_OPENBLAS_ROWS;
    return (kern_rows){.x = x,
                       .ldx = width,
                       .m = n,
                       .scratch = t->stack.scratch.bytes,
                       .scratch_stride = t->stack.scratch.stride,
                       .spans = span,
                       .n_spans = own ? 0 : 1};
}

/* Row r of x, which holds patch Wp^T or, for the class token, nothing yet. */
static void embed_row(model_tower *t, size_t r)
{
    const model_weights *weights = t->weights;
    size_t w = t->arch->stack.d;
    float *x = t->stack.x + r * w;
    const float *position = weights->position + r * w;
    if (t->arch->class_token && r == 0)
        memcpy(x, weights->class_token, w * sizeof *x);
    else
        model_stack_add(x, weights->patch_bias, w);
    model_stack_add(x, position, w);
    if (weights->pre_norm.gain != NULL)
        model_stack_norm(&t->stack, x, &weights->pre_norm, x);
    model_stack_overflow_flags(&t->stack)[r] = 0.0f;
}

/* x = norm(patch Wp^T + bp + position), the class token in front */
static void embed_patches(team_member *me, model_tower *t, const uint8_t *pixels)
{
    size_t n = t->arch->n_patches, w = t->arch->stack.d;
    float *first = t->stack.x + (n_rows(t) - n) * w;
    for (size_t p; team_take(me, n, &p);)
        cut_patch(t, pixels, p);
    team_barrier(me);
    kern_span span;
    kern_rows rows = f32_rows(t, t->patches, patch_floats(t), n, &span);
    kern_linear(me, &rows, &(kern_product){&t->weights->patch, first, w}, 1);
    team_barrier(me);
    for (size_t r; team_take(me, n_rows(t), &r);)
        embed_row(t, r);
    team_barrier(me);
}

/* --- after the layers --- */

/* Vector v of y: the mean over the patches of its square, in rows from the top, and a norm. */
static void pool_row(model_tower *t, size_t v)
{
    size_t w = t->arch->stack.d, pool = t->arch->pool, side = t->arch->image_size / t->arch->patch_size;
    size_t top = v / (side / pool) * pool, left = v % (side / pool) * pool;
    float *y = t->stack.y + v * w;
    memset(y, 0, w * sizeof *y);
    for (size_t row = top; row < top + pool; row++)
        for (size_t column = left; column < left + pool; column++)
            for (size_t i = 0; i < w; i++)
                y[i] += t->stack.x[(row * side + column) * w + i];
    for (size_t i = 0; i < w; i++)
        y[i] /= (float)(pool * pool);
    kern_active()->norm_rms(y, t->weights->projector_norm, t->arch->stack.norm_eps, w, y);
}

/* y = the projector's input, [vectors][w]. */
static void finish_patches(team_member *me, model_tower *t)
{
    size_t n = t->arch->n_patches, w = t->arch->stack.d, skipped = n_rows(t) - n;
    bool pools = t->arch->projector == ARCH_PROJECTOR_GEMMA3;
    for (size_t p; team_take(me, n, &p);) {
        float *x = t->stack.x + (skipped + p) * w, *y = pools ? x : t->stack.y + p * w;
        if (t->weights->tower_norm.gain != NULL)
            model_stack_norm(&t->stack, x, &t->weights->tower_norm, y);
        else if (y != x)
            memcpy(y, x, w * sizeof *y);
    }
    team_barrier(me);
    for (size_t v; pools && team_take(me, n_vectors(t), &v);)
        pool_row(t, v);
    team_barrier(me);
}

/* image = y Wproj^T + bproj, or gelu of that through a second such product. */
static void project(team_member *me, model_tower *t, float *image)
{
    const model_weights *weights = t->weights;
    size_t n = n_vectors(t), d = t->d;
    float *first = t->hidden != NULL ? t->hidden : image;
    kern_span span;
    kern_rows rows = f32_rows(t, t->stack.y, t->arch->stack.d, n, &span);
    kern_linear(me, &rows, &(kern_product){&weights->projector, first, d}, 1);
    team_barrier(me);
    for (size_t r; team_take(me, n, &r);)
        if (t->hidden != NULL)
            kern_active()->gelu(first + r * d, weights->projector_bias, d);
        else
            model_stack_add(first + r * d, weights->projector_bias, d);
    team_barrier(me);
    if (t->hidden == NULL)
        return;
    rows = f32_rows(t, t->hidden, d, n, &span);
    kern_linear(me, &rows, &(kern_product){&weights->projector_2, image, d}, 1);
    team_barrier(me);
    for (size_t r; team_take(me, n, &r);)
        model_stack_add(image + r * d, weights->projector_2_bias, d);
}

/* Context of probe_layer, for member 0. */
typedef struct watch {
    model_tower *t;
    model_probe *probe;
    void *context;
} watch;

static void probe_layer(void *context, uint32_t il)
{
    const watch *w = context;
    if (w->probe != NULL)
        w->probe(w->context, "tower", il, w->t->stack.x, n_rows(w->t), w->t->arch->stack.d);
}

void model_tower_encode(team_member *me, model_tower *t, uint32_t slot, const uint8_t *pixels, model_probe *probe,
                        void *probe_context)
{
    size_t n = n_vectors(t);
    float *image = t->images + slot * n * t->d;
    bool shows = probe != NULL && me->index == 0;

    if (me->index == 0)
        model_batch_from_image(&t->stack.batch, n_rows(t), t->blocks, &t->stack.heads);
    team_barrier(me);
    embed_patches(me, t, pixels);
    if (shows)
        probe(probe_context, "patches", 0, t->stack.x, n_rows(t), t->arch->stack.d);
    model_stack_run(me, &t->stack, t->weights->tower, t->arch->stack.n_layers, probe_layer,
                    &(watch){t, probe, probe_context});
    model_stack_all_gather(me, &t->stack);
    finish_patches(me, t);
    project(me, t, image);
    if (me->index == 0) {
        t->overflow[slot] = false;
        for (size_t r = 0; r < n_rows(t); r++)
            t->overflow[slot] |= model_stack_overflow_flags(&t->stack)[r] != 0.0f;
    }
    team_barrier(me);
    if (shows)
        probe(probe_context, "image", 0, image, n, t->d);
}

const float *model_tower_row(const model_tower *t, uint32_t row)
{
    return t->images + (size_t)row * t->d;
}

bool model_tower_row_overflow(const model_tower *t, uint32_t row)
{
    return t->overflow[row / n_vectors(t)];
}
