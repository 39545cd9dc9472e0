/* kv_cache.h - the key/value cache of one rank for one stack: blocks of LINK_KV_BLOCK_TOKENS positions.
 *
 * Owns: memory for local layers and local KV heads.  Not here: which sequence has which block (coordinator/sched).
 * The layout of a block of one layer and head is in kern.h (kern_attention): positions in vector lanes for the keys,
 * dimensions for the values.  bf16 rounds to nearest even; int8 is Q8_0 of GGUF: one f16 scale, max / 127, for 32
 * dimensions of a position's keys or values. */
#ifndef PALMGROVE_MODEL_KV_CACHE_H
#define PALMGROVE_MODEL_KV_CACHE_H

#include <stdint.h>

#include "sharding/pack/pack.h"
#include "worker/model/arena.h"
#include "worker/model/numerics.h"

typedef struct model_kv {
    pack_type type;
    uint32_t n_layers, n_heads, n_blocks; /* local */
    uint32_t dh;
    size_t block_bytes;
    char *data; /* [n_layers][n_heads][n_blocks][block_bytes] */
} model_kv;

void model_kv_layout(model_kv *kv, model_kv_type type, uint32_t n_layers, uint32_t n_heads, uint32_t n_blocks,
                     uint32_t dh, model_arena *arena);

/* Block 0 of a layer's head; block b is b * block_bytes further. */
const char *model_kv_head(const model_kv *kv, uint32_t layer, uint32_t head);

/* Store one token's keys and values, k and v [n_heads][dh], at `pos` of the sequence that owns `blocks`.  A head whose
 * keys or values are not finite is stored so that attention over them is NaN. */
void model_kv_store(model_kv *kv, uint32_t layer, const uint32_t *blocks, uint32_t pos, const float *k, const float *v);

#endif
