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
    ARCH_MLP_SWIGLU,     /* (silu(x Wgate) * (x Wup)) Wdown */
    ARCH_MLP_GEGLU_TANH, /* (gelu_tanh(x Wgate) * (x Wup)) Wdown */
    ARCH_MLP_GELU_TANH,  /* gelu_tanh(x W1 + b1) W2 + b2 */
} arch_mlp_kind;

typedef enum arch_block_kind {
    ARCH_BLOCK_PARALLEL,  /* y = norm(x); x + attn(y) + mlp(y): one reduction a layer (PaLM, ViT-22B) */
    ARCH_BLOCK_SERIAL,    /* x += attn(norm(x)); x += mlp(mlp_norm(x)) (Llama, Qwen 2) */
    ARCH_BLOCK_POST_NORM, /* x += post_attn_norm(attn(norm(x))); x += post_mlp_norm(mlp(mlp_norm(x))) (Gemma 3) */
} arch_block_kind;

typedef enum arch_rope_scaling {
    ARCH_ROPE_PLAIN,
    ARCH_ROPE_LINEAR, /* positions divided by factor (arXiv 2306.15595) */
    ARCH_ROPE_LLAMA3, /* long wavelengths divided by factor, short ones kept, a ramp between (Llama 3.1) */
    ARCH_ROPE_YARN,   /* arXiv 2309.00071: a ramp over dimensions and an attention factor */
    ARCH_ROPE_DIVISORS, /* a divisor per frequency, listed in tensor ARCH_ROPE_FREQUENCIES (GGUF's rope_freqs.weight) */
} arch_rope_scaling;

/* Rotary positions: pair i turns by pos * frequency(i), frequency = theta^(-2i/dh), then scaled. */
typedef struct arch_rope {
    double theta;
    arch_rope_scaling scaling;
    double factor;                    /* linear, llama3, yarn */
    double low_factor, high_factor;   /* llama3 */
    double beta_fast, beta_slow;      /* yarn */
    double attention_factor;          /* yarn: multiplies cosines and sines; 1 otherwise */
    uint32_t original_positions;      /* llama3, yarn */
} arch_rope;

#define ARCH_MAX_LAYERS 1024u
#define ARCH_MAX_STOPS  8u

/* A stack of transformer layers; decoder and tower are both one. */
typedef struct arch_stack {
    uint32_t n_layers;
    uint32_t d, h, kv, dh, f;
    arch_block_kind block;
    arch_norm_kind norm;
    float norm_eps;
    arch_mlp_kind mlp;
    bool mlp_bias;
    bool qkv_bias;      /* biases of the q, k and v projections (Qwen 2) */
    bool qk_norm;       /* RMS norm of q and k per head, gain of length dh shared by the heads, before RoPE */
    bool norm_plus_one; /* the checkpoint stores gains as w, applied as 1 + w (Gemma in safetensors) */
    bool causal;        /* decoder: true */
    bool rope;
    bool rope_interleaved; /* pairs (2i, 2i + 1); else (i, i + dh/2) */
    arch_rope rope_global, rope_local; /* local: of the layers with a window */
    double xpos_base; /* 0: none; else q is multiplied by s^p, k by s^-p, p = (pos - centre) / xpos_base (arXiv 2212.10554) */
    uint32_t window;  /* positions that a local layer sees, its own included; 0: every layer is global */
    uint64_t local_layers[ARCH_MAX_LAYERS / 64]; /* bit il: layer il is local */
    float attn_scale; /* 1/sqrt(dh) unless the family says otherwise */
} arch_stack;

static inline bool arch_layer_is_local(const arch_stack *stack, uint32_t il)
{
    return stack->window != 0 && (stack->local_layers[il / 64] >> (il % 64) & 1u) != 0;
}

typedef struct arch_decoder {
    arch_stack stack;
    uint32_t vocab_size;
    uint32_t max_positions;
    bool tied_embeddings;  /* the output matrix is the embedding matrix */
    float embedding_scale; /* PaLM: 1 */
    float logit_scale;     /* PaLM: 1/sqrt(d) */
    int32_t bos_id, eos_id;    /* bos -1: a text begins with none */
    int32_t stop_ids[ARCH_MAX_STOPS]; /* every id that ends a reply, eos_id first */
    uint32_t n_stop_ids;
} arch_decoder;

typedef struct arch_tower {
    arch_stack stack;
    uint32_t image_size, patch_size; /* pixels; n_patches = (image_size / patch_size)^2 */
    uint32_t n_patches;
    float image_mean[3], image_std[3]; /* pixel = (v / 255 - mean) / std */
} arch_tower;

typedef struct arch {
    char family[32];   /* "palm_e" */
    bool gguf;         /* tensors have the family's GGUF names, not its safetensors names; no prefix then */
    char prefix[48];   /* what stands before the decoder's safetensors names: "model.", "language_model.model." ... */
    arch_decoder decoder;
    bool has_tower;
    arch_tower tower;
    /* projector: affine, [d][tower d] and a bias */
} arch;

/* Roles a tensor can play.  Layer tensors exist once per layer. */
typedef enum arch_role {
    ARCH_EMBEDDING,       /* [V][d] */
    ARCH_OUTPUT,          /* [V][d]; only without tied embeddings */
    ARCH_ROPE_FREQUENCIES, /* [dh/2] divisors; ARCH_ROPE_DIVISORS only */
    ARCH_FINAL_NORM,      /* [d] */
    ARCH_LAYER_NORM,      /* [d]; before attention (and the MLP, in a parallel block) */
    ARCH_LAYER_POST_ATTN_NORM, /* [d] */
    ARCH_LAYER_MLP_NORM,  /* [d]; serial and post-norm blocks */
    ARCH_LAYER_POST_MLP_NORM, /* [d] */
    ARCH_LAYER_Q,         /* [h*dh][d] */
    ARCH_LAYER_K,         /* [kv*dh][d] */
    ARCH_LAYER_V,         /* [kv*dh][d] */
    ARCH_LAYER_Q_BIAS,    /* [h*dh] */
    ARCH_LAYER_K_BIAS,    /* [kv*dh] */
    ARCH_LAYER_V_BIAS,    /* [kv*dh] */
    ARCH_LAYER_O,         /* [d][h*dh] */
    ARCH_LAYER_Q_NORM,    /* [dh] */
    ARCH_LAYER_K_NORM,    /* [dh] */
    ARCH_LAYER_GATE,      /* [f][d]; gated MLPs */
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

/* Read DIR/config.json, and DIR/generation_config.json where there is one (it may know more ids that end a reply).  Reads no
 * tensors: the prefix is the family's usual one; to read tensors open a checkpoint (checkpoint.h).
 * Errors: BASE_ENOTFOUND no such file; BASE_EFORMAT not JSON, a field missing, of the wrong kind or outside its sane
 * range (the field is named); BASE_EUNSUPPORTED an architecture this build does not know (the known ones are listed), or one of its
 * values that is not computed with (the field and the known values are named). */
base_status arch_load(const char *dir, arch *out, base_error *error);

/* The same from the `size` bytes of a config.json that errors call `file`. */
base_status arch_parse(const char *file, const void *bytes, size_t size, arch *out, base_error *error);

/* True for ARCH_LAYER_...: the tensor exists once per layer. */
bool arch_role_is_layer(arch_role role);

/* True for the gains of norms. */
bool arch_role_is_gain(arch_role role);

/* The name in the checkpoint of a part's role (patches, positions and the projector belong to ARCH_TOWER), `layer`
 * ignored for roles outside layers; false when the model has no such tensor (a PaLM decoder has no ARCH_LAYER_Q_NORM) or `size` is too
 * small. */
bool arch_tensor_name(const arch *a, arch_part part, arch_role role, uint32_t layer, char *name, size_t size);

/* The shape that tensor must have; returns the number of dimensions: 2, 1 (shape[1] is 1 then), or 0 when the model has no
 * such tensor.  Depends on what is computed, not on the family's names. */
int arch_tensor_shape(const arch *a, arch_part part, arch_role role, uint64_t shape[2]);

#endif
