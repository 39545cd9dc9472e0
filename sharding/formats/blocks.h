/* blocks.h - GGUF's quantised blocks as f32: Q8_0, Q4_0, Q4_1, Q5_0, Q5_1 (32 elements) and Q2_K to Q6_K (256).
 *
 * A block's bytes and the order of the arithmetic are ggml's (ggml-common.h, dequantize_row_* of ggml-quants.c): scales
 * times codes in f32, each operation rounded, nothing fused, so the values are bit for bit those of ggml's reference.
 */
#ifndef PALMGROVE_SHARDING_BLOCKS_H
#define PALMGROVE_SHARDING_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "sharding/source.h"

#define BLOCKS_MAX_ELEMENTS 256u

/* Is this one of the ten? */
bool blocks_is_quantised(shard_type type);

/* Decode the `n` blocks at `bytes` (n * the type's block bytes, any alignment) to out [n * the type's block elements].
 * `type` is quantised.  Every bit pattern is a valid block; a scale that is not finite makes values that are not. */
void blocks_read(shard_type type, const uint8_t *bytes, uint64_t n, float *out);

/* One block of 32 as it is: the scale in f16 bits, q [32] signed.  SHARD_Q8_0 or SHARD_Q4_0 (-8..7). */
void blocks_read_group(shard_type type, const uint8_t *block, uint16_t *scale, int8_t *q);

#endif
