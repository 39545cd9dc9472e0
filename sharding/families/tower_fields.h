/* tower_fields.h - inside sharding: what families with a CLIP or SigLIP tower have in common (arXiv 2103.00020,
 * 2303.15343). */
#ifndef PALMGROVE_SHARDING_TOWER_FIELDS_H
#define PALMGROVE_SHARDING_TOWER_FIELDS_H

#include "sharding/families.h"
#include "sharding/json_read.h"

/* Read a transformers vision configuration (model_type clip_vision_model or siglip_vision_model; fields left out have
 * that class's defaults).  Every layer is kept, behind them a norm for SigLIP and none for CLIP; projector and fit stay
 * as they are. */
base_status hf_tower_read(const family_config *config, shard_json *vision, arch_tower *out);

/* n_patches from image_size and patch_size.  BASE_EFORMAT when the one is no multiple of the other, or there are too
 * many. */
base_status tower_count_patches(const char *file, arch_tower *out, base_error *error);

/* What preprocessor_config.json says of the pictures over what `out` has: image_mean, image_std, resample, do_pad,
 * do_center_crop. */
base_status hf_fit_read(const family_config *config, arch_tower *out);

/* The candidate (the last is NULL) under which `name` exists, into `out` [ARCH_MAX_PREFIX]; the first when tensors are
 * not known.  False, `out` the first: none has it. */
bool hf_prefix_choose(const family_config *config, const char *const *candidates, const char *name, char *out);

/* Where towers stand in checkpoints of all ages, and the first tensor of one. */
extern const char *const hf_tower_prefixes[];
#define HF_TOWER_FIRST "embeddings.patch_embedding.weight"

/* What Gemma 3 does with a tower's output and with pictures, but for how they are normalised: projector, mask, fit. */
void family_gemma3_tower(arch_tower *out);

/* The same of LLaVA; pictures are padded with the tower's image_mean. */
void family_llava_tower(arch_tower *out);

/* The tower and projector of an mmproj file of llama.cpp into `out`: of Gemma 3, or of LLaVA (projector type "mlp") for
 * every other decoder. */
base_status gguf_tower_read(const family_gguf *gguf, bool is_gemma, arch_tower *out);

/* clang-format off */
#define HF_EYE_LAYER "encoder.layers.%u."
#define HF_TOWER_NAMES                                                         \
    [ARCH_PATCH] = HF_TOWER_FIRST,                                             \
    [ARCH_PATCH_BIAS] = "embeddings.patch_embedding.bias",                     \
    [ARCH_CLASS] = "embeddings.class_embedding",                               \
    [ARCH_POSITION] = "embeddings.position_embedding.weight",                  \
    [ARCH_PRE_NORM] = "pre_layrnorm.weight",                                   \
    [ARCH_PRE_NORM_BIAS] = "pre_layrnorm.bias",                                \
    [ARCH_FINAL_NORM] = "post_layernorm.weight",                               \
    [ARCH_FINAL_NORM_BIAS] = "post_layernorm.bias",                            \
    [ARCH_LAYER_NORM] = HF_EYE_LAYER "layer_norm1.weight",                        \
    [ARCH_LAYER_NORM_BIAS] = HF_EYE_LAYER "layer_norm1.bias",                     \
    [ARCH_LAYER_Q] = HF_EYE_LAYER "self_attn.q_proj.weight",                      \
    [ARCH_LAYER_K] = HF_EYE_LAYER "self_attn.k_proj.weight",                      \
    [ARCH_LAYER_V] = HF_EYE_LAYER "self_attn.v_proj.weight",                      \
    [ARCH_LAYER_Q_BIAS] = HF_EYE_LAYER "self_attn.q_proj.bias",                   \
    [ARCH_LAYER_K_BIAS] = HF_EYE_LAYER "self_attn.k_proj.bias",                   \
    [ARCH_LAYER_V_BIAS] = HF_EYE_LAYER "self_attn.v_proj.bias",                   \
    [ARCH_LAYER_O] = HF_EYE_LAYER "self_attn.out_proj.weight",                    \
    [ARCH_LAYER_O_BIAS] = HF_EYE_LAYER "self_attn.out_proj.bias",                 \
    [ARCH_LAYER_MLP_NORM] = HF_EYE_LAYER "layer_norm2.weight",                    \
    [ARCH_LAYER_MLP_NORM_BIAS] = HF_EYE_LAYER "layer_norm2.bias",                 \
    [ARCH_LAYER_UP] = HF_EYE_LAYER "mlp.fc1.weight",                              \
    [ARCH_LAYER_UP_BIAS] = HF_EYE_LAYER "mlp.fc1.bias",                           \
    [ARCH_LAYER_DOWN] = HF_EYE_LAYER "mlp.fc2.weight",                            \
    [ARCH_LAYER_DOWN_BIAS] = HF_EYE_LAYER "mlp.fc2.bias"
/* clang-format on */

#endif
