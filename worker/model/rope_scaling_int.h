/* rope_scaling_int.h - the frequencies of rope.c. */
#ifndef PALMGROVE_MODEL_ROPE_SCALING_INT_H
#define PALMGROVE_MODEL_ROPE_SCALING_INT_H

#include "sharding/arch.h"

/* Radians that pair i of a head of width `dh` turns per position: theta^(-2i/dh), scaled as `a` says.  `divisors`
 * [dh/2] with ARCH_ROPE_DIVISORS, else NULL. */
double model_rope_frequency(const arch_rope *a, uint32_t dh, uint32_t i, const float *divisors);

#endif
