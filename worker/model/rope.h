/* rope.h - rotary position embedding (RoFormer, arXiv 2104.09864) and what families add to it, from tables made at
 * start-up.
 *
 * Pair i of a head turns by pos * frequency(i), frequency(i) = theta^(-2i/dh), scaled as arch_rope says (linear, Llama
 * 3, YaRN: rope_scaling.c).  A pair is (i, i + dh/2), or (2i, 2i + 1) when interleaved.
 *
 * xPos (arXiv 2212.10554) also multiplies: queries by s_i^p, keys by s_i^-p, p = (pos - centre) / base,
 * s_i = (2i + 0.4 dh) / (1.4 dh); only differences of p reach a score, so the centre is free and the middle of the
 * context keeps both factors small. */
#ifndef PALMGROVE_MODEL_ROPE_H
#define PALMGROVE_MODEL_ROPE_H

#include <stdint.h>

#include "sharding/arch.h"
#include "worker/model/arena.h"

typedef struct model_rope {
    uint32_t dh, n_positions;
    bool interleaved;
    float *cosines, *sines; /* [n_positions][dh / 2] */
    float *stretch;         /* [n_positions][dh / 2], s_i^p; NULL without xPos */
} model_rope;

void model_rope_layout(model_rope *rope, const arch_stack *stack, uint32_t n_positions, model_arena *arena);

/* Fill the tables for the frequencies of `a`; `divisors` [dh/2] with ARCH_ROPE_DIVISORS, else NULL.  Angles are
 * computed in double and rounded once. */
void model_rope_fill(model_rope *rope, const arch_rope *a, double xpos_base, const float *divisors);

/* Rotate `n_heads` neighbouring heads x [n_heads][dh] of the token at `pos`, in place. */
typedef enum model_rope_side { MODEL_ROPE_QUERY, MODEL_ROPE_KEY } model_rope_side;
void model_rope_apply(const model_rope *rope, model_rope_side side, float *x, uint32_t n_heads, uint32_t pos);

#endif
