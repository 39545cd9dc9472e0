/* decoder_names.h - inside sharding: the tensor names that the Llama-shaped families share, as initialisers of their
 * tables.  What a family's descriptor has no use for (biases, say) is never looked up. */
#ifndef PALMGROVE_SHARDING_DECODER_NAMES_H
#define PALMGROVE_SHARDING_DECODER_NAMES_H

/* Of Hugging Face; the prefix of a checkpoint stands before them, "/" means none. */
#define HF_PREFIXES                                                    \
    {                                                                  \
        "model.", "language_model.model.", "model.language_model.", "" \
    }
#define HF_LAYER "layers.%u."
/* clang-format off */
#define HF_DECODER_NAMES                                                       \
    [ARCH_EMBEDDING] = "embed_tokens.weight",                                  \
    [ARCH_OUTPUT] = "/lm_head.weight",                                         \
    [ARCH_FINAL_NORM] = "norm.weight",                                         \
    [ARCH_LAYER_NORM] = HF_LAYER "input_layernorm.weight",                     \
    [ARCH_LAYER_Q] = HF_LAYER "self_attn.q_proj.weight",                       \
    [ARCH_LAYER_K] = HF_LAYER "self_attn.k_proj.weight",                       \
    [ARCH_LAYER_V] = HF_LAYER "self_attn.v_proj.weight",                       \
    [ARCH_LAYER_Q_BIAS] = HF_LAYER "self_attn.q_proj.bias",                    \
    [ARCH_LAYER_K_BIAS] = HF_LAYER "self_attn.k_proj.bias",                    \
    [ARCH_LAYER_V_BIAS] = HF_LAYER "self_attn.v_proj.bias",                    \
    [ARCH_LAYER_O] = HF_LAYER "self_attn.o_proj.weight",                       \
    [ARCH_LAYER_GATE] = HF_LAYER "mlp.gate_proj.weight",                       \
    [ARCH_LAYER_UP] = HF_LAYER "mlp.up_proj.weight",                           \
    [ARCH_LAYER_DOWN] = HF_LAYER "mlp.down_proj.weight"

/* Of llama.cpp. */
#define GGUF_LAYER "blk.%u."
#define GGUF_DECODER_NAMES                                                     \
    [ARCH_EMBEDDING] = "token_embd.weight",                                    \
    [ARCH_OUTPUT] = "output.weight",                                           \
    [ARCH_ROPE_FREQUENCIES] = "rope_freqs.weight",                             \
    [ARCH_FINAL_NORM] = "output_norm.weight",                                  \
    [ARCH_LAYER_NORM] = GGUF_LAYER "attn_norm.weight",                         \
    [ARCH_LAYER_MLP_NORM] = GGUF_LAYER "ffn_norm.weight",                      \
    [ARCH_LAYER_Q] = GGUF_LAYER "attn_q.weight",                               \
    [ARCH_LAYER_K] = GGUF_LAYER "attn_k.weight",                               \
    [ARCH_LAYER_V] = GGUF_LAYER "attn_v.weight",                               \
    [ARCH_LAYER_Q_BIAS] = GGUF_LAYER "attn_q.bias",                            \
    [ARCH_LAYER_K_BIAS] = GGUF_LAYER "attn_k.bias",                            \
    [ARCH_LAYER_V_BIAS] = GGUF_LAYER "attn_v.bias",                            \
    [ARCH_LAYER_O] = GGUF_LAYER "attn_output.weight",                          \
    [ARCH_LAYER_GATE] = GGUF_LAYER "ffn_gate.weight",                          \
    [ARCH_LAYER_UP] = GGUF_LAYER "ffn_up.weight",                              \
    [ARCH_LAYER_DOWN] = GGUF_LAYER "ffn_down.weight"
/* clang-format on */

#endif
