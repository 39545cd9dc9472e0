#include "worker/model/tower.h"

#include <string.h>

#include "worker/kernels/linear.h"

void model_tower_init(model_tower *t, const arch *a, const shard_split *split, const model_numerics *numerics, const model_weights *weights,
                      uint32_t n_slots, par_grid *grid)
{
    *t = (model_tower){.arch = &a->tower, .weights = weights, .d = a->decoder.stack.d, .n_slots = n_slots};
    model_stack_init(&t->stack, &a->tower.stack, &split->tower, numerics, grid);
    t->stack.numerics.kv = MODEL_KV_F32; /* one layer's keys and values for a moment: rounding them would save nothing */
}

static uint32_t n_blocks(const model_tower *t)
{
    return (t->arch->n_patches + KERN_PANEL - 1) / KERN_PANEL;
}

static size_t patch_floats(const model_tower *t)
{
    return 3u * (size_t)t->arch->patch_size * t->arch->patch_size;
}

void model_tower_layout(model_tower *t, model_arena *arena)
{
    size_t n = t->arch->n_patches;
    /* One layer's keys and values serve all layers: nothing of an image's attention outlives its layer. */
    model_stack_layout_kv(&t->stack, 1, n_blocks(t), arena);
    model_stack_layout_workspace(&t->stack, t->arch->n_patches, 0, arena);
    t->blocks = model_arena_take(arena, n_blocks(t), sizeof *t->blocks);
    t->patches = model_arena_take(arena, n, patch_floats(t) * sizeof *t->patches);
    t->images = model_arena_take(arena, t->n_slots * n, t->d * sizeof *t->images);
    t->overflow = model_arena_take(arena, t->n_slots, sizeof *t->overflow);
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

static kern_rows plain_rows(const float *x, size_t width, size_t n)
{
    return (kern_rows){.x = x, .ldx = width, .m = n};
}

/* x = patch Wp^T + bp + position */
static void embed_patches(team_member *me, model_tower *t, const uint8_t *pixels)
{
    size_t n = t->arch->n_patches, w = t->arch->stack.d;
    for (size_t p; team_take(me, n, &p);)
        cut_patch(t, pixels, p);
    team_barrier(me);
    kern_rows rows = plain_rows(t->patches, patch_floats(t), n);
    kern_linear(me, &rows, &(kern_product){&t->weights->patch, t->stack.x, w}, 1);
    team_barrier(me);
    for (size_t r; team_take(me, n, &r);) {
        for (size_t i = 0; i < w; i++)
            t->stack.x[r * w + i] = (t->stack.x[r * w + i] + t->weights->patch_bias[i]) + t->weights->position[r * w + i];
        model_stack_overflow(&t->stack)[r] = 0.0f;
    }
    team_barrier(me);
}

/* image = norm(x) Wproj^T + bproj */
static void project(team_member *me, model_tower *t, float *image)
{
    size_t n = t->arch->n_patches, w = t->arch->stack.d, d = t->d;
    for (size_t r; team_take(me, n, &r);)
        model_stack_norm(&t->stack, t->stack.x + r * w, t->weights->tower_norm, t->stack.y + r * w);
    team_barrier(me);
    kern_rows rows = plain_rows(t->stack.y, w, n);
    kern_linear(me, &rows, &(kern_product){&t->weights->projector, image, d}, 1);
    team_barrier(me);
    for (size_t r; team_take(me, n, &r);)
        for (size_t i = 0; i < d; i++)
            image[r * d + i] += t->weights->projector_bias[i];
}

/* What the tower shows of itself, by member 0. */
typedef struct watch {
    model_tower *t;
    model_probe *probe;
    void *context;
} watch;

static void show_layer(void *context, uint32_t il)
{
    const watch *w = context;
    if (w->probe != NULL)
        w->probe(w->context, "tower", il, w->t->stack.x, w->t->arch->n_patches, w->t->arch->stack.d);
}

void model_tower_encode(team_member *me, model_tower *t, uint32_t slot, const uint8_t *pixels, model_probe *probe, void *probe_context)
{
    size_t n = t->arch->n_patches;
    float *image = t->images + slot * n * t->d;
    bool shows = probe != NULL && me->index == 0;

    if (me->index == 0)
        model_batch_from_image(&t->stack.batch, t->arch->n_patches, t->blocks, &t->stack.heads);
    team_barrier(me);
    embed_patches(me, t, pixels);
    if (shows)
        probe(probe_context, "patches", 0, t->stack.x, n, t->arch->stack.d);
    model_stack_run(me, &t->stack, t->weights->tower, t->arch->stack.n_layers, show_layer, &(watch){t, probe, probe_context});
    project(me, t, image);
    if (me->index == 0) {
        t->overflow[slot] = false;
        for (size_t r = 0; r < n; r++)
            t->overflow[slot] |= model_stack_overflow(&t->stack)[r] != 0.0f;
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
    return t->overflow[row / t->arch->n_patches];
}
