/* kern_tpl.h - the kernel table of one instruction set; KERN_NAME is the name it is selected by. */
#include "worker/kernels/rows_tpl.h"

extern const kern_table KERN_FN(kern_table);

const kern_table KERN_FN(kern_table) = {
    .name = KERN_NAME,
    .unpack = {[PACK_F32] = KERN_FN(unpack_f32), [PACK_F16] = KERN_FN(unpack_f16), [PACK_BF16] = KERN_FN(unpack_bf16)},
    .panel = {[PACK_F32] = KERN_FN(panel_f32),
              [PACK_F16] = KERN_FN(panel_f16),
              [PACK_BF16] = KERN_FN(panel_bf16),
              [PACK_INT8] = KERN_FN(panel_int8),
              [PACK_INT4] = KERN_FN(panel_int4)},
    .panel_fixed = {[PACK_F32] = KERN_FN(panel_fixed_f32),
                    [PACK_F16] = KERN_FN(panel_fixed_f16),
                    [PACK_BF16] = KERN_FN(panel_fixed_bf16),
                    [PACK_INT8] = KERN_FN(panel_fixed_int8),
                    [PACK_INT4] = KERN_FN(panel_fixed_int4)},
    .panel_q8 = {[PACK_INT8] = KERN_FN(panel_q8_int8), [PACK_INT4] = KERN_FN(panel_q8_int4)},
    .panel_q8_fixed = {[PACK_INT8] = KERN_FN(panel_q8_fixed_int8), [PACK_INT4] = KERN_FN(panel_q8_fixed_int4)},
    .panel_bf16_bf16 = KERN_FN(panel_bf16_bf16),
    .panel_bf16_bf16_fixed = KERN_FN(panel_bf16_bf16_fixed),
    .quantise = KERN_FN(quantise),
    .round_bf16 = KERN_FN(round_bf16),
    .norm_rms = norm_rms,
    .norm_layer = norm_layer,
    .add_fixed = add_fixed,
    .swiglu = swiglu,
    .geglu_tanh = geglu_tanh,
    .gelu_tanh = gelu_tanh,
    .gelu = gelu,
    .gelu_quick = gelu_quick,
    .attention_partial = KERN_FN(attention_partial),
    .attention_merge = KERN_FN(attention_merge),
    .attention_normalise = KERN_FN(attention_normalise),
    .sum_exp = sum_exp,
    .exp_shifted = exp_shifted,
};
