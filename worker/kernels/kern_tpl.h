/* kern_tpl.h - every kernel, written once over the vector vocabulary.
 *
 * Included by exactly one .c file per instruction set, after a vec_*.h and with KERN_NAME (the table's name) and
 * KERN_TABLE (its identifier) defined.  That file alone is compiled with the instruction set's flags.  The contracts
 * stand in kern.h. */

#include <math.h>
#include <string.h>

#include "proto/base/size.h"
#include "sharding/pack/half.h"
#include "worker/kernels/kern.h"

#define VECS             (KERN_PANEL / VEC_LANES) /* vectors of a panel */
#define FIXED_SCALE      68719476736.0f           /* 2^KERN_FIXED_BITS */
#define FIXED_LIMIT_BITS 0x5e800000u              /* 2^62 as f32: from there on a scaled partial is out of range */
/* No instruction: the compiler may not carry what memory holds over this point in registers. */
#define FORGET_MEMORY() __atomic_signal_fence(__ATOMIC_SEQ_CST)
/* Where registers are few, the compiler may not fetch the next row's operands before it has used this one's: it would
 * store sums for that. */
#if VEC_REGISTERS < 32
#define ROW_BY_ROW() FORGET_MEMORY()
#define BY_MEMORY    static __attribute__((noinline)) /* what takes a whole tile's sums takes them from memory */
#else
#define ROW_BY_ROW() ((void)0)
#define BY_MEMORY    static inline __attribute__((always_inline))
#endif
/* Before a loop over rows or vectors of a tile, whose sums lie in registers only when it is unrolled.  With a check at
 * every access that takes minutes to compile, and speed is not what such a build is for. */
#if VEC_LANES > 1 && !defined(__SANITIZE_ADDRESS__)
#define UNROLL _Pragma("GCC unroll 8")
#else
#define UNROLL
#endif
#define INLINE static inline __attribute__((always_inline))

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

#include "worker/kernels/rows_tpl.h"
#include "worker/kernels/linear_tpl.h"
#include "worker/kernels/linear_bf16_tpl.h"
#include "worker/kernels/linear_q8_tpl.h"
#include "worker/kernels/attention_tpl.h"

const kern_table KERN_TABLE = {
    .name = KERN_NAME,
    .panel = {[PACK_F32] = panel_f32,
              [PACK_F16] = panel_f16,
              [PACK_BF16] = panel_bf16,
              [PACK_INT8] = panel_int8,
              [PACK_INT4] = panel_int4},
    .panel_fixed = {[PACK_F32] = panel_fixed_f32,
                    [PACK_F16] = panel_fixed_f16,
                    [PACK_BF16] = panel_fixed_bf16,
                    [PACK_INT8] = panel_fixed_int8,
                    [PACK_INT4] = panel_fixed_int4},
    .panel_q8 = {[PACK_INT8] = panel_q8_int8, [PACK_INT4] = panel_q8_int4},
    .panel_q8_fixed = {[PACK_INT8] = panel_q8_fixed_int8, [PACK_INT4] = panel_q8_fixed_int4},
    .panel_bf16_bf16 = panel_bf16_bf16,
    .panel_bf16_bf16_fixed = panel_bf16_bf16_fixed,
    .quantise = quantise,
    .round_bf16 = round_bf16,
    .norm_rms = norm_rms,
    .norm_layer = norm_layer,
    .add_fixed = add_fixed,
    .swiglu = swiglu,
    .geglu_tanh = geglu_tanh,
    .gelu_tanh = gelu_tanh,
    .gelu = gelu,
    .gelu_quick = gelu_quick,
    .attention_partial = attention_partial,
    .attention_merge = attention_merge,
    .attention_normalise = attention_normalise,
    .sum_exp = sum_exp,
    .exp_shifted = exp_shifted,
};
