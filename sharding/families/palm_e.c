/* palm_e.c - PaLM and PaLM-E in this project's own checkpoint format (docs/PALM_E_CHECKPOINT.md): the decoder as in
 * arXiv 2204.02311 section 2, a tower, ViT-22B (arXiv 2302.05442) or ViT-e (arXiv 2209.06794), and an affine projector
 * (arXiv 2303.03378).  No original weights are public, so nothing that was there from the beginning has a default:
 * every choice that the papers leave open stands in config.json.
 *
 * Without a vision_config the model has no tower; vector_encoders are PaLM-E's other inputs.  With xpos_scale_base it
 * is one of conceptofmind's PaLM checkpoints, whose rotary positions carry xPos scales (arXiv 2212.10554), after
 * conversion. */
#include <math.h>
#include <string.h>

#include "sharding/families/config_fields.h"
#include "sharding/families/tower_fields.h"

/* Sizes that decoder and tower state under the same names. */
static void read_stack_sizes(shard_json *json, arch_stack *stack)
{
    stack->n_layers = shard_json_u32(json, "num_hidden_layers", 1, ARCH_MAX_LAYERS);
    stack->d = shard_json_u32(json, "hidden_size", 1, MAX_HIDDEN);
    stack->h = shard_json_u32(json, "num_attention_heads", 1, MAX_HEADS);
    stack->dh = shard_json_u32(json, "head_dim", 1, MAX_HEAD_DIM);
    stack->f = shard_json_u32(json, "intermediate_size", 1, MAX_MLP);
    stack->norm_eps = (float)shard_json_number(json, "norm_eps", 1e-12, 0.1);
    stack->attn_scale = (float)(1.0 / sqrt((double)stack->dh));
}

static base_status read_norm_kind(shard_json *json, arch_norm_kind *out)
{
    const char *kind = shard_json_text(json, "norm_type");
    if (strcmp(kind, "layernorm") == 0)
        *out = ARCH_NORM_LAYERNORM;
    else if (strcmp(kind, "rmsnorm") == 0)
        *out = ARCH_NORM_RMS;
    else if (json->status == BASE_OK)
        json->status = config_unsupported(json->file, "text_config.norm_type", "layernorm, rmsnorm", json->error);
    return json->status;
}

static base_status check_decoder(shard_json *json, const arch_stack *stack)
{
    const char *act = shard_json_text(json, "hidden_act");
    bool is_tied = shard_json_bool(json, "tie_word_embeddings");
    bool is_interleaved = shard_json_has(json, "rope_interleaved") && shard_json_bool(json, "rope_interleaved");
    if (json->status != BASE_OK)
        return json->status;
    if (strcmp(act, "silu") != 0)
        return config_unsupported(json->file, "text_config.hidden_act", "silu", json->error);
    if (!is_tied)
        return config_unsupported(json->file, "text_config.tie_word_embeddings", "true", json->error);
    if (is_interleaved)
        return config_unsupported(json->file, "text_config.rope_interleaved", "false", json->error);
    return config_check_heads(json->file, stack, json->error);
}

static base_status fill_decoder(const family_config *config, arch_decoder *out)
{
    shard_json json =
        shard_json_over(json_object_get(config->root, "text_config"), config->file, "text_config.", config->error);
    arch_stack *stack = &out->stack;
    read_stack_sizes(&json, stack);
    stack->block = ARCH_BLOCK_PARALLEL;
    stack->kv = shard_json_u32(&json, "num_key_value_heads", 1, MAX_HEADS);
    stack->mlp = ARCH_MLP_SWIGLU;
    stack->causal = true;
    stack->rope = true;
    stack->rope_global = config_rope_plain(shard_json_number(&json, "rope_theta", 1.0, 1e12));
    stack->rope_local = stack->rope_global;
    if (shard_json_has(&json, "xpos_scale_base"))
        stack->xpos_base = shard_json_number(&json, "xpos_scale_base", 0.0, 1e9);
    out->vocab_size = shard_json_u32(&json, "vocab_size", 1, MAX_VOCAB);
    out->max_positions = shard_json_u32(&json, "max_position_embeddings", 1, MAX_POSITIONS);
    out->tied_embeddings = true;
    out->embedding_scale = 1.0f;
    out->logit_scale = (float)shard_json_number(&json, "logit_scale", 1e-6, 1e6);
    out->bos_id = (int32_t)shard_json_u32(&json, "bos_token_id", 0, out->vocab_size - 1);
    out->eos_id = (int32_t)shard_json_u32(&json, "eos_token_id", 0, out->vocab_size - 1);
    config_add_stop(out, out->eos_id);
    base_status status = read_norm_kind(&json, &stack->norm);
    return status != BASE_OK ? status : check_decoder(&json, stack);
}

/* ViT-22B: parallel, norms without centring, QK norm, biases in the MLP alone; whether attention's output has one is
 * not known. ViT-e: sequential and ordinary, biases everywhere. */
static void read_kind(shard_json *json, arch_stack *stack)
{
    const char *kind = shard_json_text(json, "model_type");
    bool is_22b = strcmp(kind, "vit_22b") == 0;
    if (!is_22b && strcmp(kind, "vit_e") != 0)
        config_unsupported_in(json, "model_type", "vit_22b, vit_e");
    stack->block = is_22b ? ARCH_BLOCK_PARALLEL : ARCH_BLOCK_SERIAL;
    stack->norm = is_22b ? ARCH_NORM_RMS : ARCH_NORM_LAYERNORM;
    stack->qk_norm = is_22b;
    stack->norm_bias = stack->qkv_bias = !is_22b;
    stack->o_bias = shard_json_bool_or(json, "out_proj_bias", !is_22b);
    stack->mlp_bias = true;
}

/* One of `names` by its index; `otherwise` when the field is left out. */
static uint32_t read_switch(shard_json *json, const char *field, const char *const *names, const char *known,
                            uint32_t otherwise)
{
    const char *text = shard_json_text_or(json, field, names[otherwise]);
    for (uint32_t i = 0; names[i] != NULL; i++)
        if (strcmp(text, names[i]) == 0)
            return i;
    config_unsupported_in(json, field, known);
    return otherwise;
}

/* How pictures are fitted: Med-PaLM M's paper says only that the aspect is kept and padding is added. */
static void read_fit(shard_json *json, arch_fit *out)
{
    out->kind =
        (arch_fit_kind)read_switch(json, "image_fit", arch_fit_names, "pad, square, stretch, crop", ARCH_FIT_PAD);
    out->filter = (arch_filter)read_switch(json, "interpolation", arch_filter_names,
                                           "bilinear_float, bilinear, bicubic", ARCH_FILTER_BILINEAR_FLOAT);
    out->pad_side = (arch_pad_side)read_switch(json, "padding_side", arch_pad_side_names, "centre, behind, before",
                                               ARCH_PAD_CENTRE);
    if (out->filter == ARCH_FILTER_BILINEAR_FLOAT && (out->kind == ARCH_FIT_SQUARE || out->kind == ARCH_FIT_CROP))
        config_unsupported_in(json, "interpolation", "bilinear, bicubic with this image_fit");
    uint32_t value = shard_json_u32_or(json, "padding_value", 0, 255, 0);
    for (int i = 0; i < 3; i++)
        out->pad_value[i] = value;
}

static base_status fill_tower(const family_config *config, arch_tower *out)
{
    shard_json json =
        shard_json_over(json_object_get(config->root, "vision_config"), config->file, "vision_config.", config->error);
    arch_stack *stack = &out->stack;
    read_stack_sizes(&json, stack);
    read_kind(&json, stack);
    stack->kv = stack->h;
    stack->mlp = ARCH_MLP_GELU_TANH;
    out->pool = 1;
    out->patch_bias = true;
    out->final_norm = shard_json_bool_or(&json, "final_norm", true);
    out->image_size = shard_json_u32(&json, "image_size", 1, MAX_IMAGE_SIZE);
    out->patch_size = shard_json_u32(&json, "patch_size", 1, MAX_IMAGE_SIZE);
    shard_json_u32(&json, "num_channels", 3, 3);
    shard_json_numbers(&json, "image_mean", 3, -10.0, 10.0, out->image_mean);
    shard_json_numbers(&json, "image_std", 3, 1e-6, 1e6, out->image_std);
    read_fit(&json, &out->fit);
    const char *act = shard_json_text(&json, "hidden_act");
    if (json.status == BASE_OK && strcmp(act, "gelu_tanh") != 0)
        config_unsupported_in(&json, "hidden_act", "gelu_tanh");
    return json.status != BASE_OK ? json.status : tower_count_patches(config->file, out, config->error);
}

static base_status check_projector(const family_config *config)
{
    shard_json json = shard_json_over(json_object_get(config->root, "projector_config"), config->file,
                                      "projector_config.", config->error);
    const char *type = shard_json_text(&json, "type");
    if (json.status == BASE_OK && strcmp(type, "affine") != 0)
        return config_unsupported(config->file, "projector_config.type", "affine", config->error);
    return json.status;
}

/* "vector_encoders": [{"name", "input_size", "hidden_size", "hidden_act"}]. */
static base_status fill_encoders(const family_config *config, arch *out)
{
    const json_t *list = json_object_get(config->root, "vector_encoders");
    if (list == NULL)
        return BASE_OK;
    if (!json_is_array(list) || json_array_size(list) > ARCH_MAX_ENCODERS)
        return base_fail(config->error, BASE_EFORMAT, "'%s': vector_encoders is no list of at most %u", config->file,
                         ARCH_MAX_ENCODERS);
    out->n_encoders = (uint32_t)json_array_size(list);
    for (uint32_t e = 0; e < out->n_encoders; e++) {
        shard_json json = shard_json_over(json_array_get(list, e), config->file, "vector_encoders.", config->error);
        arch_encoder *encoder = &out->encoders[e];
        encoder->width = shard_json_u32(&json, "input_size", 1, MAX_HIDDEN);
        encoder->hidden = shard_json_u32(&json, "hidden_size", 1, MAX_MLP);
        const char *name = shard_json_text(&json, "name"), *act = shard_json_text(&json, "hidden_act");
        if (json.status == BASE_OK && strcmp(act, "gelu_tanh") != 0)
            config_unsupported_in(&json, "hidden_act", "gelu_tanh");
        if (json.status == BASE_OK && strlen(name) >= sizeof encoder->name)
            shard_json_fail(&json, "name", "a short text");
        if (json.status != BASE_OK)
            return json.status;
        memcpy(encoder->name, name, strlen(name) + 1);
    }
    return config_check_encoders(config->file, out, config->error);
}

static base_status fill(const family_config *config, arch *out)
{
    base_status status = fill_decoder(config, &out->decoder);
    if (status == BASE_OK)
        status = fill_encoders(config, out);
    if (status != BASE_OK)
        return status;
    shard_json json = shard_json_over(config->root, config->file, "", config->error);
    out->has_tower = shard_json_has(&json, "vision_config");
    if (!out->has_tower)
        return BASE_OK;
    status = fill_tower(config, &out->tower);
    return status != BASE_OK ? status : check_projector(config);
}

#define LAYER     "layers.%u."
#define EYE       "vision_tower."
#define EYE_LAYER EYE LAYER

const arch_family family_palm_e = {
    .name = "palm_e",
    .model_types = {"palm_e"},
    .prefixes = {"language_model."},
    .fill = fill,
    .names =
        {
            [ARCH_DECODER] =
                {
                    [ARCH_EMBEDDING] = "embed_tokens.weight",
                    [ARCH_FINAL_NORM] = "norm.weight",
                    [ARCH_LAYER_NORM] = LAYER "norm.weight",
                    [ARCH_LAYER_Q] = LAYER "attn.q_proj.weight",
                    [ARCH_LAYER_K] = LAYER "attn.k_proj.weight",
                    [ARCH_LAYER_V] = LAYER "attn.v_proj.weight",
                    [ARCH_LAYER_O] = LAYER "attn.o_proj.weight",
                    [ARCH_LAYER_GATE] = LAYER "mlp.gate_proj.weight",
                    [ARCH_LAYER_UP] = LAYER "mlp.up_proj.weight",
                    [ARCH_LAYER_DOWN] = LAYER "mlp.down_proj.weight",
                },
            [ARCH_TOWER] =
                {
                    [ARCH_FINAL_NORM] = EYE "norm.weight",
                    [ARCH_FINAL_NORM_BIAS] = EYE "norm.bias",
                    [ARCH_LAYER_NORM] = EYE_LAYER "norm.weight",
                    [ARCH_LAYER_NORM_BIAS] = EYE_LAYER "norm.bias",
                    [ARCH_LAYER_MLP_NORM] = EYE_LAYER "mlp_norm.weight",
                    [ARCH_LAYER_MLP_NORM_BIAS] = EYE_LAYER "mlp_norm.bias",
                    [ARCH_LAYER_Q] = EYE_LAYER "attn.q_proj.weight",
                    [ARCH_LAYER_K] = EYE_LAYER "attn.k_proj.weight",
                    [ARCH_LAYER_V] = EYE_LAYER "attn.v_proj.weight",
                    [ARCH_LAYER_Q_BIAS] = EYE_LAYER "attn.q_proj.bias",
                    [ARCH_LAYER_K_BIAS] = EYE_LAYER "attn.k_proj.bias",
                    [ARCH_LAYER_V_BIAS] = EYE_LAYER "attn.v_proj.bias",
                    [ARCH_LAYER_O] = EYE_LAYER "attn.o_proj.weight",
                    [ARCH_LAYER_O_BIAS] = EYE_LAYER "attn.o_proj.bias",
                    [ARCH_LAYER_Q_NORM] = EYE_LAYER "attn.q_norm.weight",
                    [ARCH_LAYER_K_NORM] = EYE_LAYER "attn.k_norm.weight",
                    [ARCH_LAYER_UP] = EYE_LAYER "mlp.fc1.weight",
                    [ARCH_LAYER_UP_BIAS] = EYE_LAYER "mlp.fc1.bias",
                    [ARCH_LAYER_DOWN] = EYE_LAYER "mlp.fc2.weight",
                    [ARCH_LAYER_DOWN_BIAS] = EYE_LAYER "mlp.fc2.bias",
                    [ARCH_PATCH] = EYE "patch_embed.weight",
                    [ARCH_PATCH_BIAS] = EYE "patch_embed.bias",
                    [ARCH_POSITION] = EYE "pos_embed",
                    [ARCH_PROJECTOR] = "projector.weight",
                    [ARCH_PROJECTOR_BIAS] = "projector.bias",
                },
            [ARCH_ENCODERS] =
                {
                    [ARCH_ENCODER_IN] = "vector_encoders.%u.fc1.weight",
                    [ARCH_ENCODER_IN_BIAS] = "vector_encoders.%u.fc1.bias",
                    [ARCH_ENCODER_OUT] = "vector_encoders.%u.fc2.weight",
                    [ARCH_ENCODER_OUT_BIAS] = "vector_encoders.%u.fc2.bias",
                },
        },
};
