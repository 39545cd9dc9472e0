/* qwen2.c - Qwen 2 and 2.5 (arXiv 2407.10671, 2412.15115): Llama's block with biases on q, k and v. */
#include <string.h>

#include "sharding/families/config_fields.h"
#include "sharding/families/decoder_names.h"
#include "sharding/families/gguf_fields.h"

/* Qwen2Config of transformers. */
static const hf_defaults defaults = {.kv = 32,
                                     .vocab_size = 151936,
                                     .positions = 32768,
                                     .norm_eps = 1e-6,
                                     .theta = 10000.0,
                                     .bos_id = -1,
                                     .eos_id = -1,
                                     .activation = "silu",
                                     .activation_field = "hidden_act"};

/* The window is off in every published model; where it is on, layers from max_window_layers have it, or those that
 * layer_types names. */
static void read_window(shard_json *json, arch_stack *stack)
{
    bool is_null = json_is_null(json_object_get(json->object, "sliding_window"));
    if (!shard_json_bool_or(json, "use_sliding_window", false) || is_null)
        return;
    stack->window = shard_json_u32_or(json, "sliding_window", 1, MAX_POSITIONS, 4096);
    if (shard_json_has(json, "layer_types")) {
        hf_layer_types_read(json, stack);
        return;
    }
    uint32_t first = shard_json_u32_or(json, "max_window_layers", 0, UINT32_MAX, 28);
    for (uint32_t il = first; il < stack->n_layers; il++)
        config_set_local(stack, il);
}

static base_status fill(const family_config *config, arch *out)
{
    shard_json json = shard_json_over(config->root, config->file, "", config->error);
    base_status status = hf_decoder_read(config, &json, &defaults, &out->decoder);
    if (status != BASE_OK)
        return status;
    out->decoder.stack.block = ARCH_BLOCK_SERIAL;
    out->decoder.stack.mlp = ARCH_MLP_SWIGLU;
    out->decoder.stack.qkv_bias = true;
    read_window(&json, &out->decoder.stack);
    return json.status;
}

static base_status fill_gguf(const family_gguf *gguf, arch *out)
{
    gguf_fields fields = gguf_fields_over(gguf);
    base_status status = gguf_decoder_read(&fields, &out->decoder);
    out->decoder.stack.block = ARCH_BLOCK_SERIAL;
    out->decoder.stack.mlp = ARCH_MLP_SWIGLU;
    out->decoder.stack.qkv_bias = true;
    return status;
}

const arch_family family_qwen2 = {
    .name = "qwen2",
    .model_types = {"qwen2"},
    .prefixes = HF_PREFIXES,
    .gguf_architecture = "qwen2",
    .fill = fill,
    .fill_gguf = fill_gguf,
    .names = {[ARCH_DECODER] = {HF_DECODER_NAMES, [ARCH_LAYER_MLP_NORM] = HF_LAYER "post_attention_layernorm.weight"}},
    .gguf_names = {GGUF_DECODER_NAMES},
};
