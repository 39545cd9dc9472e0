/* llama.c - Llama 1 to 3.3, Mistral 7B and what is built like them (SmolLM2, Vicuna, LLaVA-Med's decoder ...): serial blocks, RMS norms,
 * SwiGLU, grouped-query attention (arXiv 2302.13971, 2307.09288, 2310.06825, 2407.21783).
 *
 * GGUF files of this architecture hold the rows of q and k permuted, so that a head's rotated pairs stand side by side
 * (convert_hf_to_gguf.py, LlamaModel.permute): interleaved there, halves in safetensors.  Llama 3's scaled frequencies come as a table
 * of divisors in rope_freqs.weight. */
#include <string.h>

#include "sharding/families/config_fields.h"
#include "sharding/families/gguf_fields.h"

/* LlamaConfig and MistralConfig of transformers. */
static const hf_defaults llama = {.vocab_size = 32000, .positions = 2048, .norm_eps = 1e-6, .theta = 10000.0, .bos_id = 1,
                                  .eos_id = 2, .activation = "silu", .activation_field = "hidden_act"};
static const hf_defaults mistral = {.kv = 8, .vocab_size = 32000, .positions = 131072, .norm_eps = 1e-6, .theta = 10000.0,
                                    .bos_id = 1, .eos_id = 2, .activation = "silu", .activation_field = "hidden_act"};

/* null: none; a number: every layer has it; left out: the class's default. */
static void read_window(shard_json *json, arch_stack *stack)
{
    bool is_null = json_is_null(json_object_get(json->object, "sliding_window"));
    stack->window = is_null ? 0 : shard_json_u32_or(json, "sliding_window", 1, MAX_POSITIONS, 4096);
    for (uint32_t il = 0; il < stack->n_layers && stack->window != 0; il++)
        config_set_local(stack, il);
}

static base_status fill(const family_config *config, arch *out)
{
    shard_json json = shard_json_over(config->root, config->file, "", config->error);
    bool is_mistral = strcmp(shard_json_text(&json, "model_type"), "mistral") == 0;
    base_status status = hf_decoder_read(config, &json, is_mistral ? &mistral : &llama, &out->decoder);
    if (status != BASE_OK)
        return status;
    out->decoder.stack.block = ARCH_BLOCK_SERIAL;
    out->decoder.stack.mlp = ARCH_MLP_SWIGLU;
    hf_must_be_false(&json, "attention_bias");
    hf_must_be_false(&json, "mlp_bias");
    if (is_mistral)
        read_window(&json, &out->decoder.stack);
    return json.status;
}

static base_status fill_gguf(const family_gguf *gguf, arch *out)
{
    gguf_fields fields = gguf_fields_over(gguf);
    base_status status = gguf_decoder_read(&fields, &out->decoder);
    if (status != BASE_OK)
        return status;
    arch_stack *stack = &out->decoder.stack;
    stack->block = ARCH_BLOCK_SERIAL;
    stack->mlp = ARCH_MLP_SWIGLU;
    stack->rope_interleaved = true;
    stack->qkv_bias = gguf_fields_has_tensor(&fields, "blk.0.attn_q.bias");
    gguf_must_lack_tensor(&fields, "blk.0.attn_output.bias");
    gguf_must_lack_tensor(&fields, "blk.0.ffn_up.bias");
    gguf_must_lack_tensor(&fields, "blk.0.ffn_gate_inp.weight");
    return fields.status;
}

#define LAYER "layers.%u."

const arch_family family_llama = {
    .name = "llama",
    .model_types = {"llama", "mistral"},
    .prefixes = {"model.", "language_model.model.", "model.language_model.", ""},
    .gguf_architecture = "llama",
    .fill = fill,
    .fill_gguf = fill_gguf,
    .names =
        {
            [ARCH_DECODER] =
                {
                    [ARCH_EMBEDDING] = "embed_tokens.weight",
                    [ARCH_OUTPUT] = "/lm_head.weight",
                    [ARCH_FINAL_NORM] = "norm.weight",
                    [ARCH_LAYER_NORM] = LAYER "input_layernorm.weight",
                    [ARCH_LAYER_MLP_NORM] = LAYER "post_attention_layernorm.weight",
                    [ARCH_LAYER_Q] = LAYER "self_attn.q_proj.weight",
                    [ARCH_LAYER_K] = LAYER "self_attn.k_proj.weight",
                    [ARCH_LAYER_V] = LAYER "self_attn.v_proj.weight",
                    [ARCH_LAYER_O] = LAYER "self_attn.o_proj.weight",
                    [ARCH_LAYER_GATE] = LAYER "mlp.gate_proj.weight",
                    [ARCH_LAYER_UP] = LAYER "mlp.up_proj.weight",
                    [ARCH_LAYER_DOWN] = LAYER "mlp.down_proj.weight",
                },
        },
    .gguf_names =
        {
            [ARCH_EMBEDDING] = "token_embd.weight",
            [ARCH_OUTPUT] = "output.weight",
            [ARCH_ROPE_FREQUENCIES] = "rope_freqs.weight",
            [ARCH_FINAL_NORM] = "output_norm.weight",
            [ARCH_LAYER_NORM] = "blk.%u.attn_norm.weight",
            [ARCH_LAYER_MLP_NORM] = "blk.%u.ffn_norm.weight",
            [ARCH_LAYER_Q] = "blk.%u.attn_q.weight",
            [ARCH_LAYER_K] = "blk.%u.attn_k.weight",
            [ARCH_LAYER_V] = "blk.%u.attn_v.weight",
            [ARCH_LAYER_Q_BIAS] = "blk.%u.attn_q.bias",
            [ARCH_LAYER_K_BIAS] = "blk.%u.attn_k.bias",
            [ARCH_LAYER_V_BIAS] = "blk.%u.attn_v.bias",
            [ARCH_LAYER_O] = "blk.%u.attn_output.weight",
            [ARCH_LAYER_GATE] = "blk.%u.ffn_gate.weight",
            [ARCH_LAYER_UP] = "blk.%u.ffn_up.weight",
            [ARCH_LAYER_DOWN] = "blk.%u.ffn_down.weight",
        },
};
