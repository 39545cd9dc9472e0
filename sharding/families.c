/* families.c - the table of model families, and how each fills an `arch` from its config.json.
 *
 * Ranges are generous for the largest published models (PaLM 540B: d 18432, f 73728, 118 layers, V 256000) and small
 * enough that no product of two of them leaves 64 bits. */
#include "sharding/families.h"

#include <math.h>
#include <string.h>

#include "sharding/json_read.h"

#define MAX_HIDDEN     (1u << 17)
#define MAX_MLP        (1u << 20)
#define MAX_HEADS      1024u
#define MAX_HEAD_DIM   1024u
#define MAX_LAYERS     1024u
#define MAX_VOCAB      (1u << 22)
#define MAX_POSITIONS  (1u << 22)
#define MAX_IMAGE_SIZE 4096u
#define MAX_PATCHES    (1u << 16)

static base_status unsupported(const char *file, const char *field, const char *known, base_error *error)
{
    return base_fail(error, BASE_EUNSUPPORTED, "'%s': this value of '%s' is not supported; known: %s", file, field,
                     known);
}

/* Sizes that every stack states under the same names. */
static void read_stack_sizes(shard_json *json, arch_stack *stack)
{
    stack->n_layers = shard_json_u32(json, "num_hidden_layers", 1, MAX_LAYERS);
    stack->d = shard_json_u32(json, "hidden_size", 1, MAX_HIDDEN);
    stack->h = shard_json_u32(json, "num_attention_heads", 1, MAX_HEADS);
    stack->dh = shard_json_u32(json, "head_dim", 1, MAX_HEAD_DIM);
    stack->f = shard_json_u32(json, "intermediate_size", 1, MAX_MLP);
    stack->norm_eps = (float)shard_json_number(json, "norm_eps", 1e-12, 0.1);
    stack->block = ARCH_BLOCK_PARALLEL;
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
        json->status = unsupported(json->file, "text_config.norm_type", "layernorm, rmsnorm", json->error);
    return json->status;
}

/* What the PaLM layer loop relies on beyond plain ranges. */
static base_status check_palm_decoder(shard_json *json, const arch_stack *stack)
{
    const char *act = shard_json_text(json, "hidden_act");
    bool is_tied = shard_json_bool(json, "tie_word_embeddings");
    bool is_interleaved = shard_json_has(json, "rope_interleaved") && shard_json_bool(json, "rope_interleaved");
    if (json->status != BASE_OK)
        return json->status;
    if (strcmp(act, "silu") != 0)
        return unsupported(json->file, "text_config.hidden_act", "silu", json->error);
    if (!is_tied)
        return unsupported(json->file, "text_config.tie_word_embeddings", "true", json->error);
    if (is_interleaved)
        return unsupported(json->file, "text_config.rope_interleaved", "false", json->error);
    if (stack->h % stack->kv != 0)
        return base_fail(json->error, BASE_EFORMAT,
                         "'%s': num_attention_heads %u is not a multiple of num_key_value_heads %u", json->file,
                         stack->h, stack->kv);
    if (stack->dh % 2 != 0)
        return base_fail(json->error, BASE_EFORMAT, "'%s': text_config.head_dim %u is odd; rotary positions need pairs",
                         json->file, stack->dh);
    return json->status;
}

static base_status fill_palm_decoder(const json_t *config, const char *file, arch_decoder *out, base_error *error)
{
    shard_json json = shard_json_over(config, file, "text_config.", error);
    arch_stack *stack = &out->stack;
    read_stack_sizes(&json, stack);
    stack->kv = shard_json_u32(&json, "num_key_value_heads", 1, MAX_HEADS);
    stack->mlp = ARCH_MLP_SWIGLU;
    stack->causal = true;
    stack->rope = true;
    stack->rope_theta = shard_json_number(&json, "rope_theta", 1.0, 1e12);
    out->vocab_size = shard_json_u32(&json, "vocab_size", 1, MAX_VOCAB);
    out->max_positions = shard_json_u32(&json, "max_position_embeddings", 1, MAX_POSITIONS);
    out->tied_embeddings = true;
    out->embedding_scale = 1.0f;
    out->logit_scale = (float)shard_json_number(&json, "logit_scale", 1e-6, 1e6);
    out->bos_id = (int32_t)shard_json_u32(&json, "bos_token_id", 0, out->vocab_size - 1);
    out->eos_id = (int32_t)shard_json_u32(&json, "eos_token_id", 0, out->vocab_size - 1);
    base_status status = read_norm_kind(&json, &stack->norm);
    return status != BASE_OK ? status : check_palm_decoder(&json, stack);
}

static base_status check_patches(const char *file, arch_tower *out, base_error *error)
{
    if (out->image_size % out->patch_size != 0)
        return base_fail(error, BASE_EFORMAT, "'%s': vision_config.image_size %u is not a multiple of patch_size %u",
                         file, out->image_size, out->patch_size);
    uint32_t side = out->image_size / out->patch_size;
    if (side > MAX_PATCHES / side)
        return base_fail(error, BASE_EFORMAT,
                         "'%s': vision_config gives %u x %u patches; at most %u in all are supported", file, side, side,
                         MAX_PATCHES);
    out->n_patches = side * side;
    return BASE_OK;
}

static base_status fill_vit_22b(const json_t *config, const char *file, arch_tower *out, base_error *error)
{
    shard_json json = shard_json_over(config, file, "vision_config.", error);
    arch_stack *stack = &out->stack;
    read_stack_sizes(&json, stack);
    stack->kv = stack->h;
    stack->norm = ARCH_NORM_RMS;
    stack->mlp = ARCH_MLP_GELU_TANH;
    stack->mlp_bias = true;
    stack->qk_norm = true;
    out->image_size = shard_json_u32(&json, "image_size", 1, MAX_IMAGE_SIZE);
    out->patch_size = shard_json_u32(&json, "patch_size", 1, MAX_IMAGE_SIZE);
    shard_json_u32(&json, "num_channels", 3, 3);
    shard_json_numbers(&json, "image_mean", 3, -10.0, 10.0, out->image_mean);
    shard_json_numbers(&json, "image_std", 3, 1e-6, 1e6, out->image_std);
    const char *kind = shard_json_text(&json, "model_type");
    const char *act = shard_json_text(&json, "hidden_act");
    if (json.status != BASE_OK)
        return json.status;
    if (strcmp(kind, "vit_22b") != 0)
        return unsupported(file, "vision_config.model_type", "vit_22b", error);
    if (strcmp(act, "gelu_tanh") != 0)
        return unsupported(file, "vision_config.hidden_act", "gelu_tanh", error);
    return check_patches(file, out, error);
}

static base_status check_projector(const json_t *config, const char *file, base_error *error)
{
    shard_json json = shard_json_over(json_object_get(config, "projector_config"), file, "projector_config.", error);
    const char *type = shard_json_text(&json, "type");
    if (json.status == BASE_OK && strcmp(type, "affine") != 0)
        return unsupported(file, "projector_config.type", "affine", error);
    return json.status;
}

/* docs/PALM_E_CHECKPOINT.md.  Without a vision_config the model is a PaLM decoder alone. */
static base_status fill_palm_e(const json_t *config, const char *file, arch *out, base_error *error)
{
    base_status status = fill_palm_decoder(json_object_get(config, "text_config"), file, &out->decoder, error);
    if (status != BASE_OK)
        return status;
    shard_json json = shard_json_over(config, file, "", error);
    out->has_tower = shard_json_has(&json, "vision_config");
    if (!out->has_tower)
        return BASE_OK;
    status = fill_vit_22b(json_object_get(config, "vision_config"), file, &out->tower, error);
    return status != BASE_OK ? status : check_projector(config, file, error);
}

#define TEXT       "language_model."
#define TEXT_LAYER "language_model.layers.%u."
#define EYE        "vision_tower."
#define EYE_LAYER  "vision_tower.layers.%u."

static const arch_family families[] = {
    {
        .name = "palm_e",
        .fill = fill_palm_e,
        .names =
            {
                [ARCH_DECODER] =
                    {
                        [ARCH_EMBEDDING] = TEXT "embed_tokens.weight",
                        [ARCH_FINAL_NORM] = TEXT "norm.weight",
                        [ARCH_LAYER_NORM] = TEXT_LAYER "norm.weight",
                        [ARCH_LAYER_Q] = TEXT_LAYER "attn.q_proj.weight",
                        [ARCH_LAYER_K] = TEXT_LAYER "attn.k_proj.weight",
                        [ARCH_LAYER_V] = TEXT_LAYER "attn.v_proj.weight",
                        [ARCH_LAYER_O] = TEXT_LAYER "attn.o_proj.weight",
                        [ARCH_LAYER_GATE] = TEXT_LAYER "mlp.gate_proj.weight",
                        [ARCH_LAYER_UP] = TEXT_LAYER "mlp.up_proj.weight",
                        [ARCH_LAYER_DOWN] = TEXT_LAYER "mlp.down_proj.weight",
                    },
                [ARCH_TOWER] =
                    {
                        [ARCH_FINAL_NORM] = EYE "norm.weight",
                        [ARCH_LAYER_NORM] = EYE_LAYER "norm.weight",
                        [ARCH_LAYER_Q] = EYE_LAYER "attn.q_proj.weight",
                        [ARCH_LAYER_K] = EYE_LAYER "attn.k_proj.weight",
                        [ARCH_LAYER_V] = EYE_LAYER "attn.v_proj.weight",
                        [ARCH_LAYER_O] = EYE_LAYER "attn.o_proj.weight",
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
            },
    },
};

const arch_family *arch_family_find(const char *name)
{
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (strcmp(families[i].name, name) == 0)
            return &families[i];
    return NULL;
}

const char *arch_family_list(void)
{
    return "palm_e";
}
