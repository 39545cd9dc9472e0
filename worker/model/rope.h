/* rope.h - rotary position embedding (arXiv 2104.09864), pairs (i, i + dh/2), from a table made at start-up. */
#ifndef PALMGROVE_MODEL_ROPE_H
#define PALMGROVE_MODEL_ROPE_H

#include <stdint.h>

#include "worker/model/arena.h"

typedef struct model_rope {
    uint32_t dh, n_positions;
    float *cosines, *sines; /* [n_positions][dh / 2] */
} model_rope;

void model_rope_layout(model_rope *rope, uint32_t dh, uint32_t n_positions, model_arena *arena);
/* angle(pos, i) = pos * theta^(-2i/dh), in double, rounded once. */
void model_rope_fill(model_rope *rope, double theta);

/* Rotate `n_heads` neighbouring heads x [n_heads][dh] of the token at `pos`, in place. */
void model_rope_apply(const model_rope *rope, float *x, uint32_t n_heads, uint32_t pos);

#endif
