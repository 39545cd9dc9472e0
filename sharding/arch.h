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
    ARCH_NORM_LAYERNORM, /* (x - mean) * gain / sqrt(var + eps), plus a bias with norm_bias */
} arch_norm_kind;

typedef enum arch_mlp_kind {
    ARCH_MLP_SWIGLU,     /* (silu(x Wgate) * (x Wup)) Wdown */
    ARCH_MLP_GEGLU_TANH, /* (gelu_tanh(x Wgate) * (x Wup)) Wdown */
    ARCH_MLP_GELU_TANH,  /* gelu_tanh(x W1 + b1) W2 + b2 */
    ARCH_MLP_GELU,       /* the same with gelu(x) = x Phi(x) */
    ARCH_MLP_QUICK_GELU, /* the same with x sigmoid(1.702 x) (CLIP) */
} arch_mlp_kind;

static inline bool arch_mlp_is_gated(arch_mlp_kind kind)
{
    return kind == ARCH_MLP_SWIGLU || kind == ARCH_MLP_GEGLU_TANH;
}

typedef enum arch_block_kind {
    ARCH_BLOCK_PARALLEL,  /* y = norm(x); x + attn(y) + mlp(y): one reduction a layer (PaLM, ViT-22B) */
    ARCH_BLOCK_SERIAL,    /* x += attn(norm(x)); x += mlp(mlp_norm(x)) (Llama, Qwen 2) */
    ARCH_BLOCK_POST_NORM, /* x += post_attn_norm(attn(norm(x))); x += post_mlp_norm(mlp(mlp_norm(x))) (Gemma 3) */
} arch_block_kind;

typedef enum arch_rope_scaling {
    ARCH_ROPE_PLAIN,
    ARCH_ROPE_LINEAR,   /* positions divided by factor (arXiv 2306.15595) */
    ARCH_ROPE_LLAMA3,   /* long wavelengths divided by factor, short ones kept, a ramp between (Llama 3.1) */
    ARCH_ROPE_YARN,     /* arXiv 2309.00071: a ramp over dimensions and an attention factor */
    ARCH_ROPE_DIVISORS, /* a divisor per frequency, listed in tensor ARCH_ROPE_FREQUENCIES (GGUF's rope_freqs.weight) */
} arch_rope_scaling;

/* Rotary positions: pair i turns by pos * frequency(i), frequency = theta^(-2i/dh), then scaled. */
typedef struct arch_rope {
    double theta;
    arch_rope_scaling scaling;
    double factor;                  /* linear, llama3, yarn */
    double low_factor, high_factor; /* llama3 */
    double beta_fast, beta_slow;    /* yarn */
    double attention_factor;        /* yarn: multiplies cosines and sines; 1 otherwise */
    uint32_t original_positions;    /* llama3, yarn */
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
    bool o_bias;        /* bias of attention's output projection */
    bool norm_bias;     /* biases of the layers' layer norms */
    bool qk_norm;       /* RMS norm of q and k per head, gain of length dh shared by the heads, before RoPE */
    bool norm_plus_one; /* the checkpoint stores gains as w, applied as 1 + w (Gemma in safetensors) */
    bool causal;        /* decoder: true */
    bool rope;
    bool rope_interleaved;             /* pairs (2i, 2i + 1); else (i, i + dh/2) */
    arch_rope rope_global, rope_local; /* local: of the layers with a window */
    double xpos_base; /* 0: none; else q is multiplied by s^p, k by s^-p, p = (pos - centre) / xpos_base (arXiv
                         2212.10554) */
    uint32_t window;  /* positions that a local layer sees, its own included; 0: every layer is global */
    uint64_t local_layers[ARCH_MAX_LAYERS / 64]; /* bit il: layer il is local */
    float attn_scale;                            /* 1/sqrt(dh) unless the family says otherwise */
} arch_stack;

static inline bool arch_layer_is_local(const arch_stack *stack, uint32_t il)
{
    return stack->window != 0 && (stack->local_layers[il / 64] >> (il % 64) & 1u) != 0;
}

typedef struct arch_decoder {
    arch_stack stack;
    uint32_t vocab_size;
    uint32_t max_positions;
    bool tied_embeddings;             /* the output matrix is the embedding matrix */
    float embedding_scale;            /* PaLM: 1 */
    float logit_scale;                /* PaLM: 1/sqrt(d) */
    int32_t bos_id, eos_id;           /* bos -1: a text begins with none */
    int32_t stop_ids[ARCH_MAX_STOPS]; /* every id that ends a reply, eos_id first */
    uint32_t n_stop_ids;
} arch_decoder;

/* How a picture of any shape becomes the square that a tower reads. */
typedef enum arch_fit_kind {
    ARCH_FIT_PAD,     /* the longer side becomes image_size, then padding to the square (Med-PaLM M) */
    ARCH_FIT_SQUARE,  /* padding to a square first, then resizing (LLaVA's image_aspect_ratio "pad") */
    ARCH_FIT_STRETCH, /* resizing without regard to the aspect (Gemma 3) */
    ARCH_FIT_CROP,    /* the shorter side becomes image_size, then the middle is cut out (CLIP) */
} arch_fit_kind;

typedef enum arch_filter {
    ARCH_FILTER_BILINEAR_FLOAT, /* PyTorch's interpolate with antialias, on floats */
    ARCH_FILTER_BILINEAR,       /* Pillow's, in its fixed point */
    ARCH_FILTER_BICUBIC,        /* Pillow's */
} arch_filter;

/* Where padding goes: on both sides; right and below; left and above. */
typedef enum arch_pad_side { ARCH_PAD_CENTRE, ARCH_PAD_BEHIND, ARCH_PAD_BEFORE } arch_pad_side;

/* Their names in configurations and descriptions, in order, NULL-terminated. */
extern const char *const arch_fit_names[], *const arch_filter_names[], *const arch_pad_side_names[];

typedef struct arch_fit {
    arch_fit_kind kind;
    arch_filter filter;
    arch_pad_side pad_side;
    uint32_t pad_value[3]; /* 0 to 255, by channel */
} arch_fit;

/* From the tower's output to vectors of the decoder. */
typedef enum arch_projector_kind {
    ARCH_PROJECTOR_AFFINE, /* x W^T + b (PaLM-E, LLaVA 1.0) */
    ARCH_PROJECTOR_MLP2,   /* gelu(x W^T + b) W2^T + b2 (LLaVA 1.5: mlp2x_gelu) */
    ARCH_PROJECTOR_GEMMA3, /* mean over pool x pool patches, RMS norm, x W without bias; W is stored [w][d] */
} arch_projector_kind;

#define ARCH_MAX_MARK 48u

typedef struct arch_tower {
    arch_stack stack;
    uint32_t image_size, patch_size; /* pixels; n_patches = (image_size / patch_size)^2 */
    uint32_t n_patches;
    uint32_t pool;    /* patches a side that become one vector; 1: none */
    bool class_token; /* a learned vector goes through the layers before the patches, and is dropped behind them (CLIP)
                       */
    bool patch_bias;
    bool pre_norm;    /* a norm of patch + position, before the layers (CLIP) */
    bool final_norm;  /* a norm behind the layers */
    bool swapped_mlp; /* GGUF: the first matrix of the MLP is called ffn_down (older files) */
    arch_projector_kind projector;
    bool projector_plus_one;           /* the gain of the projector's norm is stored as w, applied as 1 + w */
    float image_mean[3], image_std[3]; /* pixel = (v / 255 - mean) / std */
    arch_fit fit;
    bool images_see_all; /* the decoder's rows of one image see each other, both ways (Gemma 3) */
    char open[ARCH_MAX_MARK],
        close[ARCH_MAX_MARK]; /* text around an image's rows, control tokens by their spelling; "" none */
} arch_tower;

/* Of CLIP's pictures: openai/clip-vit-large-patch14-336, preprocessor_config.json. */
#define ARCH_CLIP_MEAN                       \
    {                                        \
        0.48145466f, 0.4578275f, 0.40821073f \
    }
#define ARCH_CLIP_STD                         \
    {                                         \
        0.26862954f, 0.26130258f, 0.27577711f \
    }

/* Rows that go through the tower's layers, and vectors that an image becomes. */
static inline uint32_t arch_tower_rows(const arch_tower *tower)
{
    return tower->n_patches + (tower->class_token ? 1 : 0);
}

static inline uint32_t arch_tower_vectors(const arch_tower *tower)
{
    return tower->n_patches / (tower->pool * tower->pool);
}

#define ARCH_MAX_ENCODERS     8u
#define ARCH_MAX_ENCODER_NAME 32u

/* What makes a vector that is no picture, such as a robot's state, into one of the decoder's (PaLM-E, arXiv 2303.03378
 * section 4): gelu_tanh(x W1^T + b1) W2^T + b2. */
typedef struct arch_encoder {
    char name[ARCH_MAX_ENCODER_NAME]; /* what requests call it */
    uint32_t width, hidden;
} arch_encoder;

#define ARCH_MAX_PREFIX 64u

typedef struct arch {
    char family[32];              /* "palm_e" */
    bool gguf;                    /* tensors have the family's GGUF names, not its safetensors names; no prefix then */
    char prefix[ARCH_MAX_PREFIX]; /* what stands before the decoder's safetensors names: "model.",
                                     "language_model.model." ... */
    char tower_prefix[ARCH_MAX_PREFIX],
        projector_prefix[ARCH_MAX_PREFIX]; /* the same of the tower's and the projector's */
    arch_decoder decoder;
    bool has_tower;
    arch_tower tower;
    uint32_t n_encoders;
    arch_encoder encoders[ARCH_MAX_ENCODERS];
} arch;

/* Roles a tensor can play.  Layer tensors exist once per layer. */
typedef enum arch_role {
    ARCH_EMBEDDING,            /* [V][d] */
    ARCH_OUTPUT,               /* [V][d]; only without tied embeddings */
    ARCH_ROPE_FREQUENCIES,     /* [dh/2] divisors; ARCH_ROPE_DIVISORS only */
    ARCH_FINAL_NORM,           /* [d] */
    ARCH_FINAL_NORM_BIAS,      /* [d]; of a tower, with norm_bias */
    ARCH_LAYER_NORM,           /* [d]; before attention (and the MLP, in a parallel block) */
    ARCH_LAYER_NORM_BIAS,      /* [d] */
    ARCH_LAYER_POST_ATTN_NORM, /* [d] */
    ARCH_LAYER_MLP_NORM,       /* [d]; serial and post-norm blocks */
    ARCH_LAYER_MLP_NORM_BIAS,  /* [d] */
    ARCH_LAYER_POST_MLP_NORM,  /* [d] */
    ARCH_LAYER_Q,              /* [h*dh][d] */
    ARCH_LAYER_K,              /* [kv*dh][d] */
    ARCH_LAYER_V,              /* [kv*dh][d] */
    ARCH_LAYER_Q_BIAS,         /* [h*dh] */
    ARCH_LAYER_K_BIAS,         /* [kv*dh] */
    ARCH_LAYER_V_BIAS,         /* [kv*dh] */
    ARCH_LAYER_O,              /* [d][h*dh] */
    ARCH_LAYER_O_BIAS,         /* [d] */
    ARCH_LAYER_Q_NORM,         /* [dh] */
    ARCH_LAYER_K_NORM,         /* [dh] */
    ARCH_LAYER_GATE,           /* [f][d]; gated MLPs */
    ARCH_LAYER_UP,             /* [f][d]; gelu: W1 */
    ARCH_LAYER_UP_BIAS,        /* [f] */
    ARCH_LAYER_DOWN,           /* [d][f] */
    ARCH_LAYER_DOWN_BIAS,      /* [d] */
    ARCH_PATCH,                /* [w][3*patch*patch] */
    ARCH_PATCH_BIAS,           /* [w] */
    ARCH_CLASS,                /* [w] */
    ARCH_POSITION,             /* [rows of the tower][w]; the class token's first */
    ARCH_PRE_NORM,             /* [w] */
    ARCH_PRE_NORM_BIAS,        /* [w] */
    ARCH_PROJECTOR_NORM,       /* [w] */
    ARCH_PROJECTOR,            /* [d][w] */
    ARCH_PROJECTOR_BIAS,       /* [d] */
    ARCH_PROJECTOR_2,          /* [d][d] */
    ARCH_PROJECTOR_2_BIAS,     /* [d] */
    ARCH_ENCODER_IN,           /* [hidden][width] */
    ARCH_ENCODER_IN_BIAS,      /* [hidden] */
    ARCH_ENCODER_OUT,          /* [d][hidden] */
    ARCH_ENCODER_OUT_BIAS,     /* [d] */
    ARCH_N_ROLES
} arch_role;

/* Vector encoder e is part ARCH_ENCODERS + e. */
typedef enum arch_part {
    ARCH_DECODER,
    ARCH_TOWER,
    ARCH_ENCODERS,
    ARCH_N_PARTS = ARCH_ENCODERS + ARCH_MAX_ENCODERS
} arch_part;

/* The widest input and the widest hidden row of the vector encoders; 0 and 0 without any. */
void arch_widest_encoder(const arch *a, uint32_t *width, uint32_t *hidden);

/* Read DIR/config.json, and DIR/generation_config.json where there is one (it may know more ids that end a reply).
 * Reads no tensors: the prefix is the family's usual one; to read tensors open a checkpoint (checkpoint.h). Errors:
 * BASE_ENOTFOUND no such file; BASE_EFORMAT not JSON, a field missing, of the wrong kind or outside its sane range (the
 * field is named); BASE_EUNSUPPORTED an architecture this build does not know (the known ones are listed), or one of
 * its values that is not computed with (the field and the known values are named). */
base_status arch_load(const char *dir, arch *out, base_error *error);

/* The same from the `size` bytes of a config.json that errors call `file`. */
base_status arch_parse(const char *file, const void *bytes, size_t size, arch *out, base_error *error);

/* True for ARCH_LAYER_...: the tensor exists once per layer. */
bool arch_role_is_layer(arch_role role);

/* True for the gains of norms. */
bool arch_role_is_gain(arch_role role);

/* The gain of that part and role is stored as w and applied as 1 + w. */
bool arch_gain_plus_one(const arch *a, arch_part part, arch_role role);

/* The checkpoint stores this matrix with inputs as rows (Gemma 3's projector). */
bool arch_tensor_is_transposed(const arch *a, arch_part part, arch_role role);

/* The name in the checkpoint of a part's role (patches, positions and the projector belong to ARCH_TOWER), `layer`
 * ignored for roles outside layers; false when the model has no such tensor (a PaLM decoder has no ARCH_LAYER_Q_NORM)
 * or `size` is too small. */
bool arch_tensor_name(const arch *a, arch_part part, arch_role role, uint32_t layer, char *name, size_t size);

/* The shape that tensor must have; returns the number of dimensions: 2, 1 (shape[1] is 1 then), or 0 when the model has
 * no such tensor.  Depends on what is computed, not on the family's names. */
int arch_tensor_shape(const arch *a, arch_part part, arch_role role, uint64_t shape[2]);

#endif
