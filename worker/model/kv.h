/* kv.h - the key/value cache of one rank for one stack: blocks of LINK_KV_BLOCK_TOKENS positions.
 *
 * Owns: memory for local layers and local KV heads.  Not here: which sequence has which block (coordinator/sched).
 * A block holds, for one layer and one head, K [dh][32] then V [32][dh_padded] (kern.h), so that scores are computed with
 * positions in vector lanes and values with dimensions in them. */
#ifndef PALMGROVE_MODEL_KV_H
#define PALMGROVE_MODEL_KV_H

#include <stdint.h>

#include "worker/model/arena.h"

typedef struct model_kv {
    uint32_t n_layers, n_heads, n_blocks; /* local */
    uint32_t dh, dh_padded;
    size_t block_floats;
    float *data; /* [n_layers][n_heads][n_blocks][block_floats] */
} model_kv;

void model_kv_layout(model_kv *kv, uint32_t n_layers, uint32_t n_heads, uint32_t n_blocks, uint32_t dh, model_arena *arena);

/* Block 0 of a layer's head; block b is b * block_floats further. */
const float *model_kv_head(const model_kv *kv, uint32_t layer, uint32_t head);

/* Store one token's keys and values, k and v [n_heads][dh], at `pos` of the sequence that owns `blocks`. */
void model_kv_store(model_kv *kv, uint32_t layer, const uint32_t *blocks, uint32_t pos, const float *k, const float *v);

#endif
