#include "worker/model/tower.h"

#include <string.h>

#include "worker/kernels/linear.h"

void model_tower_init(model_tower *t, const arch *a, const shard_split *split, const model_weights *weights, uint32_t n_slots,
                      par_grid *grid)
{
    *t = (model_tower){.arch = &a->tower, .weights = weights, .d = a->decoder.stack.d, .n_slots = n_slots};
    model_stack_init(&t->stack, &a->tower.stack, &split->tower, grid);
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

/* Pixels to patches, each channel by channel, then row by row, as a convolution's weights lie. */
static void cut_patches(model_tower *t, const uint8_t *pixels)
{
    uint32_t side = t->arch->image_size, patch = t->arch->patch_size, per_row = side / patch;
    float *out = t->patches;
    for (uint32_t p = 0; p < t->arch->n_patches; p++)
        for (uint32_t channel = 0; channel < 3; channel++)
            for (uint32_t y = 0; y < patch; y++)
                for (uint32_t x = 0; x < patch; x++) {
                    size_t row = (size_t)(p / per_row) * patch + y, column = (size_t)(p % per_row) * patch + x;
                    float value = (float)pixels[(row * side + column) * 3 + channel] / 255.0f;
                    *out++ = (value - t->arch->image_mean[channel]) / t->arch->image_std[channel];
                }
}

/* x = patch Wp^T + bp + position */
static void embed_patches(model_tower *t)
{
    size_t n = t->arch->n_patches, w = t->arch->stack.d;
    kern_linear(&t->weights->patch, t->patches, patch_floats(t), n, t->stack.x, w);
    for (size_t r = 0; r < n; r++)
        for (size_t i = 0; i < w; i++)
            t->stack.x[r * w + i] = (t->stack.x[r * w + i] + t->weights->patch_bias[i]) + t->weights->position[r * w + i];
    memset(model_stack_overflow(&t->stack), 0, n * sizeof(float));
}

/* image = norm(x) Wproj^T + bproj */
static void project(model_tower *t, float *image)
{
    size_t n = t->arch->n_patches, w = t->arch->stack.d, d = t->d;
    for (size_t r = 0; r < n; r++)
        model_stack_norm(&t->stack, t->stack.x + r * w, t->weights->tower_norm, t->stack.y + r * w);
    kern_linear(&t->weights->projector, t->stack.y, w, n, image, d);
    for (size_t r = 0; r < n; r++)
        for (size_t i = 0; i < d; i++)
            image[r * d + i] += t->weights->projector_bias[i];
}

void model_tower_encode(model_tower *t, uint32_t slot, const uint8_t *pixels, model_probe *probe, void *probe_context)
{
    size_t n = t->arch->n_patches, w = t->arch->stack.d;
    float *image = t->images + slot * n * t->d;

    model_batch_from_image(&t->stack.batch, t->arch->n_patches, t->blocks, &t->stack.heads);
    cut_patches(t, pixels);
    embed_patches(t);
    if (probe != NULL)
        probe(probe_context, "patches", 0, t->stack.x, n, w);
    for (uint32_t il = 0; il < t->arch->stack.n_layers; il++) {
        model_stack_layer(&t->stack, &t->weights->tower[il], 0);
        if (probe != NULL)
            probe(probe_context, "tower", il, t->stack.x, n, w);
    }
    project(t, image);
    if (probe != NULL)
        probe(probe_context, "image", 0, image, n, t->d);

    t->overflow[slot] = false;
    for (size_t r = 0; r < n; r++)
        t->overflow[slot] |= model_stack_overflow(&t->stack)[r] != 0.0f;
}

const float *model_tower_row(const model_tower *t, uint32_t row)
{
    return t->images + (size_t)row * t->d;
}

bool model_tower_row_overflow(const model_tower *t, uint32_t row)
{
    return t->overflow[row / t->arch->n_patches];
}
