/* tile_tpl.h - what the templates share: names by instruction set, vectors of a panel, heights of tiles.
 *
 * A template is compiled once per instruction set, by a .c of five lines: a vec_*_tpl.h (the vector vocabulary),
 * KERN_ISA (the suffix of all its functions), the template.  That file alone has the instruction set's compiler flags:
 *
 *     <isa>/kern_<isa>.c        rows_tpl.h, and the table (kern_tpl.h)
 *     <isa>/linear_<isa>.c      linear_tpl.h, linear_bf16_tpl.h
 *     <isa>/linear_q8_<isa>.c   linear_q8_tpl.h
 *     <isa>/attention_<isa>.c   attention_tpl.h
 *
 * kern.h has the contracts. */
#ifndef PALMGROVE_KERN_TILE_TPL_H
#define PALMGROVE_KERN_TILE_TPL_H

#include <math.h>
#include <string.h>

#include "proto/base/size.h"
#include "sharding/pack/half.h"
#include "worker/kernels/compiler_int.h"
#include "worker/kernels/kern.h"

#define KERN_PASTE_2(name, isa) name##_##isa
#define KERN_PASTE(name, isa)   KERN_PASTE_2(name, isa)
#define KERN_FN(name)           KERN_PASTE(name, KERN_ISA) /* panel_f32 is panel_f32_avx2 in the AVX2 files */

#define VECS (KERN_PANEL / VEC_LANES) /* vectors of a panel */

/* DO(what, rows) for each height of a tile from 1 to `highest`. */
#define EACH_1(DO, what)               DO(what, 1)
#define EACH_2(DO, what)               EACH_1(DO, what) DO(what, 2)
#define EACH_3(DO, what)               EACH_2(DO, what) DO(what, 3)
#define EACH_4(DO, what)               EACH_3(DO, what) DO(what, 4)
#define EACH_5(DO, what)               EACH_4(DO, what) DO(what, 5)
#define EACH_6(DO, what)               EACH_5(DO, what) DO(what, 6)
#define EACH_7(DO, what)               EACH_6(DO, what) DO(what, 7)
#define EACH_8(DO, what)               EACH_7(DO, what) DO(what, 8)
#define EACH_PASTE(highest, DO, what)  EACH_##highest(DO, what)
#define EACH_HEIGHT(highest, DO, what) EACH_PASTE(highest, DO, what)

INLINE size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The height of the next tile when `left` rows are left. */
INLINE size_t tile_height(size_t left, size_t highest)
{
    size_t n_tiles = (left + highest - 1) / highest;
    return (left + n_tiles - 1) / n_tiles;
}

/* --- what a variant's files define for its table (kern_table has their contracts) --- */

kern_unpack KERN_FN(unpack_f32), KERN_FN(unpack_f16), KERN_FN(unpack_bf16);
kern_panel KERN_FN(panel_f32), KERN_FN(panel_f16), KERN_FN(panel_bf16), KERN_FN(panel_int8), KERN_FN(panel_int4);
kern_panel_fixed KERN_FN(panel_fixed_f32), KERN_FN(panel_fixed_f16), KERN_FN(panel_fixed_bf16),
    KERN_FN(panel_fixed_int8), KERN_FN(panel_fixed_int4);
kern_panel_bf16 KERN_FN(panel_bf16_bf16);
kern_panel_bf16_fixed KERN_FN(panel_bf16_bf16_fixed);
void KERN_FN(round_bf16)(const float *x, size_t k, size_t unit, uint16_t *bf16);

kern_panel_q8 KERN_FN(panel_q8_int8), KERN_FN(panel_q8_int4);
kern_panel_q8_fixed KERN_FN(panel_q8_fixed_int8), KERN_FN(panel_q8_fixed_int4);
void KERN_FN(quantise)(const float *x, size_t k, size_t unit, int8_t *q, float *scales, int32_t *corrections);

void KERN_FN(attention_partial)(const kern_attention *a, uint32_t split, float *partials);
void KERN_FN(attention_merge)(float *sums, const float *partials, size_t n_rows, uint32_t dh);
void KERN_FN(attention_normalise)(const kern_attention *a, const float *sums);

#endif
