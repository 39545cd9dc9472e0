/* arch.h - a model as data: what a decoder, a vision tower and a projector are, without weights.
 *
 * One layer loop reads these descriptors (worker/model); a family is a function that fills them from config.json and a
 * table of tensor names (families.c).  Shapes: d hidden size, h query heads, kv key/value heads, dh head dimension, f
 * MLP size, V vocabulary. */
#ifndef PALMGROVE_SHARDING_ARCH_H
#define PALMGROVE_SHARDING_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

typedef enum arch_norm_kind {
    ARCH_NORM_RMS,       /* x * gain / sqrt(mean(x^2) + eps) */
    ARCH_NORM_LAYERNORM, /* (x - mean) * gain / sqrt(var + eps), no bias */
} arch_norm_kind;

typedef enum arch_mlp_kind {
    ARCH_MLP_SWIGLU,    /* (silu(x Wgate) * (x Wup)) Wdown */
    ARCH_MLP_GELU_TANH, /* gelu_tanh(x W1 + b1) W2 + b2 */
} arch_mlp_kind;

typedef enum arch_block_kind {
    ARCH_BLOCK_PARALLEL, /* y = norm(x); x + attn(y) + mlp(y): one reduction a layer */
} arch_block_kind;

/* A stack of transformer layers; decoder and tower are both one. */
typedef struct arch_stack {
    uint32_t n_layers;
    uint32_t d, h, kv, dh, f;
    arch_block_kind block;
    arch_norm_kind norm;
    float norm_eps;
    arch_mlp_kind mlp;
    bool mlp_bias;
    bool qk_norm; /* RMS norm of q and k per head, gain of length dh shared by the heads */
    bool causal;  /* decoder: true */
    bool rope;    /* rotate pairs (i, i + dh/2) by pos * rope_theta^(-2i/dh) */
    double rope_theta;
    float attn_scale; /* 1/sqrt(dh) unless the family says otherwise */
} arch_stack;

typedef struct arch_decoder {
    arch_stack stack;
    uint32_t vocab_size;
    uint32_t max_positions;
    bool tied_embeddings;
    float embedding_scale; /* PaLM: 1 */
    float logit_scale;     /* PaLM: 1/sqrt(d) */
    int32_t bos_id, eos_id;
} arch_decoder;

typedef struct arch_tower {
    arch_stack stack;
    uint32_t image_size, patch_size; /* pixels; n_patches = (image_size / patch_size)^2 */
    uint32_t n_patches;
    float image_mean[3], image_std[3]; /* pixel = (v / 255 - mean) / std */
} arch_tower;

typedef struct arch {
    char family[32]; /* "palm_e" */
    arch_decoder decoder;
    bool has_tower;
    arch_tower tower;
    /* projector: affine, [d][tower d] and a bias */
} arch;

/* Roles a tensor can play.  Layer tensors exist once per layer. */
typedef enum arch_role {
    ARCH_EMBEDDING,       /* [V][d] */
    ARCH_FINAL_NORM,      /* [d] */
    ARCH_LAYER_NORM,      /* [d] */
    ARCH_LAYER_Q,         /* [h*dh][d] */
    ARCH_LAYER_K,         /* [kv*dh][d] */
    ARCH_LAYER_V,         /* [kv*dh][d] */
    ARCH_LAYER_O,         /* [d][h*dh] */
    ARCH_LAYER_Q_NORM,    /* [dh] */
    ARCH_LAYER_K_NORM,    /* [dh] */
    ARCH_LAYER_GATE,      /* [f][d]; swiglu only */
    ARCH_LAYER_UP,        /* [f][d]; gelu: W1 */
    ARCH_LAYER_UP_BIAS,   /* [f] */
    ARCH_LAYER_DOWN,      /* [d][f] */
    ARCH_LAYER_DOWN_BIAS, /* [d] */
    ARCH_PATCH,           /* [w][3*patch*patch] */
    ARCH_PATCH_BIAS,      /* [w] */
    ARCH_POSITION,        /* [n_patches][w] */
    ARCH_PROJECTOR,       /* [d][w] */
    ARCH_PROJECTOR_BIAS,  /* [d] */
    ARCH_N_ROLES
} arch_role;

typedef enum arch_part { ARCH_DECODER, ARCH_TOWER } arch_part;

/* Read DIR/config.json.
 * Errors: BASE_ENOTFOUND no such file; BASE_EFORMAT not JSON, a field missing, of the wrong kind or outside its sane
 * range (the field is named); BASE_EUNSUPPORTED an architecture this build does not know (the known ones are listed).
 */
base_status arch_load(const char *dir, arch *out, base_error *error);

/* The same from the `size` bytes of a config.json that errors call `file`. */
base_status arch_parse(const char *file, const void *bytes, size_t size, arch *out, base_error *error);

/* True for ARCH_LAYER_...: the tensor exists once per layer. */
bool arch_role_is_layer(arch_role role);

/* The name in the checkpoint of a part's role (patches, positions and the projector belong to ARCH_TOWER), `layer`
 * ignored for roles outside layers; false when the family has no such tensor (a PaLM decoder has no ARCH_LAYER_Q_NORM).
 */
bool arch_tensor_name(const arch *a, arch_part part, arch_role role, uint32_t layer, char *name, size_t size);

/* The shape that tensor must have; returns the number of dimensions: 2, 1 (shape[1] is 1 then), or 0 when there is no
 * such tensor. */
int arch_tensor_shape(const arch *a, arch_part part, arch_role role, uint64_t shape[2]);

#endif
