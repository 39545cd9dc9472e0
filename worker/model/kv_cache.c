/* kv_cache.c - storing keys and values into blocks in the attention kernels' layout, in f32, bf16 or int8. */
#include "worker/model/kv_cache.h"

#include <math.h>
#include <string.h>

#include "proto/base/size.h"
#include "proto/link/plan.h"
#include "sharding/pack/half.h"
#include "worker/kernels/kern.h"

_Static_assert(LINK_KV_BLOCK_TOKENS == KERN_PANEL, "the positions of a KV block are the lanes of a panel");

#define QUAD 4u /* columns of a lane that lie together in int8 (pack.h) */

static const pack_type pack_types[MODEL_N_KV_TYPES] = {
    [MODEL_KV_F32] = PACK_F32, [MODEL_KV_BF16] = PACK_BF16, [MODEL_KV_INT8] = PACK_INT8};

void model_kv_layout(model_kv *kv, model_kv_type type, uint32_t n_layers, uint32_t n_heads, uint32_t n_blocks,
                     uint32_t dh, model_arena *arena)
{
    *kv =
        (model_kv){.type = pack_types[type], .n_layers = n_layers, .n_heads = n_heads, .n_blocks = n_blocks, .dh = dh};
    kv->block_bytes = kern_block_bytes(kv->type, dh);
    size_t n;
    if (!base_size_mul((size_t)n_layers * n_heads, n_blocks, &n) || !base_size_mul(n, kv->block_bytes, &n)) {
        arena->too_big = true;
        return;
    }
    kv->data = model_arena_alloc(arena, n, 1);
}

static char *head_of(const model_kv *kv, uint32_t layer, uint32_t head)
{
    return kv->data + ((size_t)layer * kv->n_heads + head) * kv->n_blocks * kv->block_bytes;
}

const char *model_kv_head(const model_kv *kv, uint32_t layer, uint32_t head)
{
    return head_of(kv, layer, head);
}

/* --- f32 and bf16 --- */

/* Lanes of the panel of values that begins at dimension c. */
static size_t panel_width(size_t dh_padded, size_t c)
{
    return dh_padded - c < KERN_PANEL ? dh_padded - c : KERN_PANEL;
}

static void store_f32(const model_kv *kv, char *block, uint32_t lane, const float *k, const float *v)
{
    size_t dh = kv->dh, padded = kern_dh_padded(kv->dh);
    float *keys = (float *)(void *)block, *values = keys + dh * KERN_PANEL;
    for (size_t i = 0; i < dh; i++)
        keys[i * KERN_PANEL + lane] = k[i];
    for (size_t c = 0; c < dh; c += KERN_PANEL) {
        size_t width = panel_width(padded, c), n = dh - c < width ? dh - c : width;
        memcpy(values + c * KERN_PANEL + lane * width, v + c, n * sizeof *v);
    }
}

static void store_bf16(const model_kv *kv, char *block, uint32_t lane, const float *k, const float *v)
{
    size_t dh = kv->dh, padded = kern_dh_padded(kv->dh);
    uint16_t *keys = (uint16_t *)(void *)block, *values = keys + dh * KERN_PANEL;
    for (size_t i = 0; i < dh; i++)
        keys[i * KERN_PANEL + lane] = half_to_bf16(k[i]);
    for (size_t c = 0; c < dh; c += KERN_PANEL) {
        uint16_t *row = values + c * KERN_PANEL + lane * panel_width(padded, c);
        for (size_t i = c; i < dh && i < c + KERN_PANEL; i++)
            row[i - c] = half_to_bf16(v[i]);
    }
}

/* --- int8 --- */

/* The f16 scale of a group x [n] and its inverse, which turns x into int8; a NaN when x is not finite. */
static uint16_t scale_of(const float *x, size_t n, float *inverse)
{
    float absmax = 0.0f;
    bool finite = true;
    for (size_t i = 0; i < n; i++) {
        absmax = fabsf(x[i]) > absmax ? fabsf(x[i]) : absmax;
        finite = finite && isfinite(x[i]);
    }
    uint16_t scale = half_to_f16(finite ? absmax / 127.0f : NAN);
    float value = half_from_f16(scale);
    *inverse = value > 0.0f ? 1.0f / value : 0.0f;
    return scale;
}

/* x * inverse to the nearest even integer of -127 to 127, as a biased byte. */
static uint8_t q_of(float x, float inverse)
{
    float scaled = x * inverse;
    if (fabsf(scaled) <= 127.0f)
        return (uint8_t)(lrintf(scaled) + 128);
    return scaled > 0.0f ? 255 : 1; /* the scale was rounded down, or is NaN */
}

static void store_int8(const model_kv *kv, char *block, uint32_t lane, const float *k, const float *v)
{
    size_t dh = kv->dh, padded = kern_dh_padded(kv->dh);
    uint8_t *keys = (uint8_t *)block, *values = keys + base_size_round_up(dh, QUAD) * KERN_PANEL;
    uint16_t *scales = (uint16_t *)(void *)(block + kv->block_bytes) - 2 * kern_scales(kv->dh);
    float inverse;
    for (size_t c = 0; c < dh; c += PACK_GROUP, scales += KERN_PANEL) {
        size_t n = dh - c < PACK_GROUP ? dh - c : PACK_GROUP, width = panel_width(padded, c);
        scales[lane] = scale_of(k + c, n, &inverse);
        for (size_t i = c; i < c + n; i++)
            keys[(i / QUAD * KERN_PANEL + lane) * QUAD + i % QUAD] = q_of(k[i], inverse);
        scales[kern_scales(kv->dh) + lane] = scale_of(v + c, n, &inverse);
        for (size_t i = 0; i < n; i++)
            values[c * KERN_PANEL + (lane / QUAD * width + i) * QUAD + lane % QUAD] = q_of(v[c + i], inverse);
    }
}

void model_kv_store(model_kv *kv, uint32_t layer, const uint32_t *blocks, uint32_t pos, const float *k, const float *v)
{
    uint32_t lane = pos % KERN_PANEL;
    for (uint32_t head = 0; head < kv->n_heads; head++, k += kv->dh, v += kv->dh) {
        char *block = head_of(kv, layer, head) + blocks[pos / KERN_PANEL] * kv->block_bytes;
        if (kv->type == PACK_F32)
            store_f32(kv, block, lane, k, v);
        else if (kv->type == PACK_BF16)
            store_bf16(kv, block, lane, k, v);
        else
            store_int8(kv, block, lane, k, v);
    }
}
