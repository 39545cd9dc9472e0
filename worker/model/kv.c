#include "worker/model/kv.h"

#include <string.h>

#include "proto/base/size.h"
#include "proto/link/plan.h"
#include "worker/kernels/kern.h"

_Static_assert(LINK_KV_BLOCK_TOKENS == KERN_PANEL, "the positions of a KV block are the lanes of a panel");

void model_kv_layout(model_kv *kv, uint32_t n_layers, uint32_t n_heads, uint32_t n_blocks, uint32_t dh, model_arena *arena)
{
    kv->n_layers = n_layers;
    kv->n_heads = n_heads;
    kv->n_blocks = n_blocks;
    kv->dh = dh;
    kv->dh_padded = (uint32_t)base_size_round_up(dh, 16);
    kv->block_floats = (size_t)KERN_PANEL * (dh + kv->dh_padded);
    size_t n;
    if (!base_size_mul((size_t)n_layers * n_heads, n_blocks, &n) || !base_size_mul(n, kv->block_floats, &n)) {
        arena->too_big = true;
        return;
    }
    kv->data = model_arena_take(arena, n, sizeof(float));
}

static float *head_of(const model_kv *kv, uint32_t layer, uint32_t head)
{
    return kv->data + ((size_t)layer * kv->n_heads + head) * kv->n_blocks * kv->block_floats;
}

const float *model_kv_head(const model_kv *kv, uint32_t layer, uint32_t head)
{
    return head_of(kv, layer, head);
}

void model_kv_store(model_kv *kv, uint32_t layer, const uint32_t *blocks, uint32_t pos, const float *k, const float *v)
{
    uint32_t lane = pos % KERN_PANEL;
    for (uint32_t head = 0; head < kv->n_heads; head++, k += kv->dh, v += kv->dh) {
        float *keys = head_of(kv, layer, head) + blocks[pos / KERN_PANEL] * kv->block_floats;
        float *values = keys + (size_t)kv->dh * KERN_PANEL;
        for (uint32_t i = 0; i < kv->dh; i++)
            keys[(size_t)i * KERN_PANEL + lane] = k[i];
        memcpy(values + (size_t)lane * kv->dh_padded, v, kv->dh * sizeof *v);
    }
}
