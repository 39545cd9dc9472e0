/* gemma3.c - Gemma 3 and MedGemma (arXiv 2503.19786, 2507.05201): a norm before and behind attention and MLP, norms of
 * q and k, GeGLU, tied embeddings scaled on the way in, and two rotary regimes: of six layers five see a window with
 * base 10000, the sixth sees everything with base 10^6, its positions divided by 8 from 4B up.  A SigLIP tower of 896
 * pixels (4B and up), whose 64 x 64 patches are averaged in blocks to 256 vectors that see each other in the decoder.
 *
 * safetensors hold a gain as w and apply 1 + w; GGUF files hold it added already.  transformers rounds the embedding's
 * scale to the type of the weights, llama.cpp does not; each checkpoint is computed as its own library does. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sharding/families/config_fields.h"
#include "sharding/families/decoder_names.h"
#include "sharding/families/gguf_fields.h"
#include "sharding/families/tower_fields.h"
#include "sharding/pack/half.h"

#define LOCAL_THETA   10000.0
#define LAYER_PATTERN 6u
/* The only size whose attention scale is that of d / heads; its head dimension is another (its technical report's 27B).
 */
#define LAYERS_27B 62u

/* Gemma3TextConfig of transformers; the published 4B relies on them. */
static const hf_defaults defaults = {.heads = 8,
                                     .kv = 4,
                                     .head_dim = 256,
                                     .vocab_size = 262208,
                                     .positions = 131072,
                                     .norm_eps = 1e-6,
                                     .theta = 1e6,
                                     .tied = true,
                                     .bos_id = 2,
                                     .eos_id = 1,
                                     .activation = "gelu_pytorch_tanh",
                                     .activation_field = "hidden_activation"};

static void set_common(arch_decoder *out)
{
    arch_stack *stack = &out->stack;
    stack->block = ARCH_BLOCK_POST_NORM;
    stack->mlp = ARCH_MLP_GEGLU_TANH;
    stack->qk_norm = true;
    out->embedding_scale = (float)sqrt((double)stack->d);
}

void family_gemma3_tower(arch_tower *out)
{
    out->projector = ARCH_PROJECTOR_GEMMA3;
    out->images_see_all = true;
    out->fit = (arch_fit){.kind = ARCH_FIT_STRETCH, .filter = ARCH_FILTER_BILINEAR};
}

/* --- config.json --- */

/* Old: rope_local_base_freq.  New: rope_parameters with an object for either kind of layer. */
static base_status read_regimes(shard_json *json, arch_decoder *out)
{
    arch_stack *stack = &out->stack;
    stack->rope_local =
        config_rope_plain(shard_json_number_or(json, "rope_local_base_freq", 1.0, MAX_THETA, LOCAL_THETA));
    const json_t *both = json_object_get(json->object, "rope_parameters");
    if (!json_is_object(both))
        return json->status;
    const json_t *global = json_object_get(both, "full_attention"), *local = json_object_get(both, "sliding_attention");
    if (!json_is_object(global) || !json_is_object(local)) {
        config_unsupported_in(json, "rope_parameters", "an object with full_attention and sliding_attention");
        return json->status;
    }
    base_status status = hf_rope_read(json, global, "rope_parameters.full_attention.", defaults.theta,
                                      out->max_positions, &stack->rope_global);
    if (status == BASE_OK)
        status = hf_rope_read(json, local, "rope_parameters.sliding_attention.", LOCAL_THETA, out->max_positions,
                              &stack->rope_local);
    return status;
}

static void read_window(shard_json *json, arch_stack *stack)
{
    stack->window = shard_json_u32_or(json, "sliding_window", 1, MAX_POSITIONS, 4096);
    const char *field =
        shard_json_has(json, "sliding_window_pattern") ? "sliding_window_pattern" : "_sliding_window_pattern";
    uint32_t pattern = shard_json_u32_or(json, field, 1, ARCH_MAX_LAYERS, LAYER_PATTERN);
    if (shard_json_has(json, "layer_types"))
        hf_layer_types_read(json, stack);
    else
        config_set_pattern(stack, pattern);
}

/* The type of the weights, as the writer of the checkpoint noted it; f32 where nobody did. */
static float round_as_weights(const family_config *config, shard_json *json, float scale)
{
    static const char *const fields[] = {"dtype", "torch_dtype"};
    shard_json root = shard_json_over(config->root, config->file, "", config->error);
    const char *type = "";
    for (size_t i = 0; i < 2 && type[0] == '\0'; i++) {
        type = shard_json_text_or(&root, fields[i], "");
        if (type[0] == '\0')
            type = shard_json_text_or(json, fields[i], "");
    }
    if (strcmp(type, "bfloat16") == 0)
        return half_from_bf16(half_to_bf16(scale));
    if (strcmp(type, "float16") == 0)
        return half_from_f16(half_to_f16(scale));
    return scale;
}

static void must_be_zero(shard_json *json, const char *field)
{
    if (shard_json_number_or(json, field, 0.0, 1e6, 0.0) != 0.0)
        config_unsupported_in(json, field, "null");
}

/* mm_tokens_per_image vectors in a square; the patches a side are a multiple of its side. */
static void read_pool(shard_json *root, arch_tower *out)
{
    uint32_t n = shard_json_u32_or(root, "mm_tokens_per_image", 1, MAX_PATCHES, 256);
    uint32_t side = out->image_size / out->patch_size, tokens_side = (uint32_t)lround(sqrt((double)n));
    if (root->status == BASE_OK && (tokens_side * tokens_side != n || side % tokens_side != 0))
        shard_json_fail(root, "mm_tokens_per_image", "a square whose side divides the patches a side");
    else
        out->pool = side / tokens_side;
}

static base_status fill_tower(const family_config *config, arch *out)
{
    static const char *const projectors[] = {"multi_modal_projector.", "model.multi_modal_projector.", NULL};
    arch_tower *tower = &out->tower;
    shard_json root = shard_json_over(config->root, config->file, "", config->error);
    shard_json vision =
        shard_json_over(json_object_get(config->root, "vision_config"), config->file, "vision_config.", config->error);
    base_status status = hf_tower_read(config, &vision, tower);
    if (status != BASE_OK)
        return status;
    read_pool(&root, tower);
    family_gemma3_tower(tower);
    for (int i = 0; i < 3; i++)
        tower->image_mean[i] = tower->image_std[i] = 0.5f;
    tower->projector_plus_one = true;
    snprintf(tower->open, sizeof tower->open, "\n\n<start_of_image>");
    snprintf(tower->close, sizeof tower->close, "<end_of_image>\n\n");
    hf_prefix_choose(config, projectors, "mm_soft_emb_norm.weight", out->projector_prefix);
    return root.status != BASE_OK ? root.status : hf_fit_read(config, tower);
}

/* A checkpoint of the decoder alone may keep the configuration of both. */
static base_status fill_vision(const family_config *config, arch *out)
{
    if (!json_is_object(json_object_get(config->root, "vision_config")) ||
        !hf_prefix_choose(config, hf_tower_prefixes, HF_TOWER_FIRST, out->tower_prefix)) {
        out->tower_prefix[0] = '\0';
        return BASE_OK;
    }
    out->has_tower = true;
    return fill_tower(config, out);
}

static base_status fill_text(const family_config *config, arch *out)
{
    shard_json json = shard_json_over(config->root, config->file, "", config->error);
    if (strcmp(shard_json_text(&json, "model_type"), "gemma3") == 0)
        json =
            shard_json_over(json_object_get(config->root, "text_config"), config->file, "text_config.", config->error);
    arch_decoder *decoder = &out->decoder;
    base_status status = hf_decoder_read(config, &json, &defaults, decoder);
    if (status != BASE_OK)
        return status;
    set_common(decoder);
    decoder->stack.norm_plus_one = true;
    decoder->embedding_scale = round_as_weights(config, &json, decoder->embedding_scale);
    double scalar = shard_json_number_or(&json, "query_pre_attn_scalar", 1e-3, 1e6, 256.0);
    decoder->stack.attn_scale = (float)(1.0 / sqrt(scalar));
    read_window(&json, &decoder->stack);
    hf_must_be_false(&json, "attention_bias");
    hf_must_be_false(&json, "use_bidirectional_attention");
    must_be_zero(&json, "attn_logit_softcapping");
    must_be_zero(&json, "final_logit_softcapping");
    return json.status != BASE_OK ? json.status : read_regimes(&json, decoder);
}

static base_status fill(const family_config *config, arch *out)
{
    base_status status = fill_text(config, out);
    return status != BASE_OK ? status : fill_vision(config, out);
}

/* --- GGUF --- */

/* Without a window every layer is global (other models ship under this architecture).  The pattern is a number, or a
 * flag a layer. */
static void read_gguf_window(gguf_fields *fields, arch_stack *stack)
{
    stack->window = gguf_fields_u32_or(fields, "attention.sliding_window", 0, MAX_POSITIONS, 0);
    if (stack->window == 0)
        return;
    if (!gguf_fields_flags(fields, "attention.sliding_window_pattern", stack->n_layers, stack->local_layers))
        config_set_pattern(
            stack, gguf_fields_u32_or(fields, "attention.sliding_window_pattern", 1, ARCH_MAX_LAYERS, LAYER_PATTERN));
}

static base_status fill_gguf(const family_gguf *gguf, arch *out)
{
    gguf_fields fields = gguf_fields_over(gguf);
    base_status status = gguf_decoder_read(&fields, &out->decoder);
    if (status != BASE_OK)
        return status;
    set_common(&out->decoder);
    arch_stack *stack = &out->decoder.stack;
    if (stack->n_layers == LAYERS_27B)
        stack->attn_scale = (float)(1.0 / sqrt((double)stack->d / (double)stack->h));
    stack->rope_local =
        config_rope_plain(gguf_fields_number_or(&fields, "rope.freq_base_swa", 1.0, MAX_THETA, LOCAL_THETA));
    read_gguf_window(&fields, stack);
    if (gguf_fields_number_or(&fields, "final_logit_softcapping", 0.0, 1e6, 0.0) != 0.0)
        gguf_fields_unsupported(&fields, "final_logit_softcapping", "0");
    return fields.status;
}

const arch_family family_gemma3 = {
    .name = "gemma3",
    .model_types = {"gemma3_text", "gemma3"},
    .prefixes = HF_PREFIXES,
    .gguf_architecture = "gemma3",
    .fill = fill,
    .fill_gguf = fill_gguf,
    .names =
        {[ARCH_DECODER] = {HF_DECODER_NAMES, [ARCH_LAYER_POST_ATTN_NORM] = HF_LAYER "post_attention_layernorm.weight",
                           [ARCH_LAYER_MLP_NORM] = HF_LAYER "pre_feedforward_layernorm.weight",
                           [ARCH_LAYER_POST_MLP_NORM] = HF_LAYER "post_feedforward_layernorm.weight",
                           [ARCH_LAYER_Q_NORM] = HF_LAYER "self_attn.q_norm.weight",
                           [ARCH_LAYER_K_NORM] = HF_LAYER "self_attn.k_norm.weight"},
         [ARCH_TOWER] = {HF_TOWER_NAMES, [ARCH_PROJECTOR_NORM] = "mm_soft_emb_norm.weight",
                         [ARCH_PROJECTOR] = "mm_input_projection_weight"}},
    .gguf_names =
        {GGUF_DECODER_NAMES, [ARCH_LAYER_POST_ATTN_NORM] = "blk.%u.post_attention_norm.weight",
         [ARCH_LAYER_POST_MLP_NORM] = "blk.%u.post_ffw_norm.weight", [ARCH_LAYER_Q_NORM] = "blk.%u.attn_q_norm.weight",
         [ARCH_LAYER_K_NORM] = "blk.%u.attn_k_norm.weight"},
};
