/* llama.c - Llama 1 to 3.3, Mistral 7B and what is built like them (SmolLM2, Vicuna, LLaVA-Med's decoder ...): serial
 * blocks, RMS norms, SwiGLU, grouped-query attention (arXiv 2302.13971, 2307.09288, 2310.06825, 2407.21783).
 *
 * GGUF files of this architecture hold the rows of q and k permuted, so that a head's rotated pairs stand side by side
 * (convert_hf_to_gguf.py, LlamaModel.permute): interleaved there, halves in safetensors.  Llama 3's scaled frequencies
 * come as a table of divisors in rope_freqs.weight. */
#include <string.h>

#include "sharding/families/config_fields.h"
#include "sharding/families/decoder_names.h"
#include "sharding/families/gguf_fields.h"
#include "sharding/families/llama.h"

/* LlamaConfig and MistralConfig of transformers. */
static const hf_defaults llama = {.vocab_size = 32000,
                                  .positions = 2048,
                                  .norm_eps = 1e-6,
                                  .theta = 10000.0,
                                  .bos_id = 1,
                                  .eos_id = 2,
                                  .activation = "silu",
                                  .activation_field = "hidden_act"};
static const hf_defaults mistral = {.kv = 8,
                                    .vocab_size = 32000,
                                    .positions = 131072,
                                    .norm_eps = 1e-6,
                                    .theta = 10000.0,
                                    .bos_id = 1,
                                    .eos_id = 2,
                                    .activation = "silu",
                                    .activation_field = "hidden_act"};

/* null: none; a number: every layer has it; left out: the class's default. */
static void read_window(shard_json *json, arch_stack *stack)
{
    bool is_null = json_is_null(json_object_get(json->object, "sliding_window"));
    stack->window = is_null ? 0 : shard_json_u32_or(json, "sliding_window", 1, MAX_POSITIONS, 4096);
    for (uint32_t il = 0; il < stack->n_layers && stack->window != 0; il++)
        config_set_local(stack, il);
}

base_status llama_decoder_read(const family_config *config, shard_json *json, bool is_mistral, bool sizes_have_defaults,
                               arch_decoder *out)
{
    hf_defaults defaults = is_mistral ? mistral : llama;
    if (sizes_have_defaults) {
        defaults.hidden = 4096;
        defaults.mlp = is_mistral ? 14336 : 11008;
        defaults.layers = defaults.heads = 32;
    }
    base_status status = hf_decoder_read(config, json, &defaults, out);
    if (status != BASE_OK)
        return status;
    out->stack.block = ARCH_BLOCK_SERIAL;
    out->stack.mlp = ARCH_MLP_SWIGLU;
    hf_must_be_false(json, "attention_bias");
    hf_must_be_false(json, "mlp_bias");
    if (is_mistral)
        read_window(json, &out->stack);
    return json->status;
}

static base_status fill(const family_config *config, arch *out)
{
    shard_json json = shard_json_over(config->root, config->file, "", config->error);
    bool is_mistral = strcmp(shard_json_text(&json, "model_type"), "mistral") == 0;
    return llama_decoder_read(config, &json, is_mistral, false, &out->decoder);
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

const arch_family family_llama = {
    .name = "llama",
    .model_types = {"llama", "mistral"},
    .prefixes = HF_PREFIXES,
    .gguf_architecture = "llama",
    .fill = fill,
    .fill_gguf = fill_gguf,
    .names = {[ARCH_DECODER] = {HF_DECODER_NAMES, [ARCH_LAYER_MLP_NORM] = HF_LAYER "post_attention_layernorm.weight"}},
    .gguf_names = {GGUF_DECODER_NAMES},
};
