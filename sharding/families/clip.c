/* clip.c - CLIP and SigLIP towers as transformers describes and names them, and how pictures are fitted for them.
 *
 * Both are sequential: norm, attention, norm, MLP, with biases everywhere.  CLIP has a class token, a norm before the
 * layers (spelled pre_layrnorm), no bias of the patches and quick_gelu; SigLIP none of these, gelu_tanh and a norm
 * behind the layers. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sharding/families/config_fields.h"
#include "sharding/families/tower_fields.h"

const char *const hf_tower_prefixes[] = {"vision_tower.vision_model.", "model.vision_tower.vision_model.",
                                         "vision_tower.", "model.vision_tower.", NULL};

/* CLIPVisionConfig and SiglipVisionConfig of transformers. */
typedef struct tower_class {
    const char *model_type, *activation;
    uint32_t patch_size;
    double norm_eps;
    bool is_clip;
} tower_class;

static const tower_class classes[] = {{"clip_vision_model", "quick_gelu", 32, 1e-5, true},
                                      {"siglip_vision_model", "gelu_pytorch_tanh", 16, 1e-6, false}};

static const tower_class *class_of(shard_json *vision)
{
    const char *type = shard_json_text_or(vision, "model_type", classes[0].model_type);
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
        if (strcmp(type, classes[i].model_type) == 0)
            return &classes[i];
    config_unsupported_in(vision, "model_type", "clip_vision_model, siglip_vision_model");
    return &classes[0];
}

static arch_mlp_kind read_activation(shard_json *vision, const char *otherwise)
{
    static const struct {
        const char *name;
        arch_mlp_kind kind;
    } known[] = {{"quick_gelu", ARCH_MLP_QUICK_GELU},
                 {"gelu", ARCH_MLP_GELU},
                 {"gelu_pytorch_tanh", ARCH_MLP_GELU_TANH},
                 {"gelu_new", ARCH_MLP_GELU_TANH}};
    const char *name = shard_json_text_or(vision, "hidden_act", otherwise);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(name, known[i].name) == 0)
            return known[i].kind;
    config_unsupported_in(vision, "hidden_act", "quick_gelu, gelu, gelu_pytorch_tanh, gelu_new");
    return ARCH_MLP_GELU;
}

base_status tower_count_patches(const char *file, arch_tower *out, base_error *error)
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

static void read_sizes(shard_json *vision, const tower_class *class, arch_tower *out)
{
    arch_stack *s = &out->stack;
    s->n_layers = shard_json_u32_or(vision, "num_hidden_layers", 1, ARCH_MAX_LAYERS, 12);
    s->d = shard_json_u32_or(vision, "hidden_size", 1, MAX_HIDDEN, 768);
    s->f = shard_json_u32_or(vision, "intermediate_size", 1, MAX_MLP, 3072);
    s->h = shard_json_u32_or(vision, "num_attention_heads", 1, MAX_HEADS, 12);
    s->norm_eps = (float)shard_json_number_or(vision, "layer_norm_eps", MIN_EPS, MAX_EPS, class->norm_eps);
    out->image_size = shard_json_u32_or(vision, "image_size", 1, MAX_IMAGE_SIZE, 224);
    out->patch_size = shard_json_u32_or(vision, "patch_size", 1, MAX_IMAGE_SIZE, class->patch_size);
    shard_json_u32_or(vision, "num_channels", 3, 3, 3);
    if (vision->status == BASE_OK && (s->d % s->h != 0 || s->d / s->h > MAX_HEAD_DIM))
        shard_json_fail(vision, "num_attention_heads", "a divisor of hidden_size, heads of at most 1024");
}

base_status hf_tower_read(const family_config *config, shard_json *vision, arch_tower *out)
{
    const tower_class *class = class_of(vision);
    arch_stack *s = &out->stack;
    read_sizes(vision, class, out);
    s->mlp = read_activation(vision, class->activation);
    if (vision->status != BASE_OK)
        return vision->status;
    s->kv = s->h;
    s->dh = s->d / s->h;
    s->block = ARCH_BLOCK_SERIAL;
    s->norm = ARCH_NORM_LAYERNORM;
    s->norm_bias = s->qkv_bias = s->o_bias = s->mlp_bias = true;
    s->attn_scale = (float)(1.0 / sqrt((double)s->dh));
    out->pool = 1;
    out->class_token = out->pre_norm = class->is_clip;
    out->patch_bias = out->final_norm = !class->is_clip;
    return tower_count_patches(config->file, out, config->error);
}

/* --- pictures --- */

/* Pillow's numbers. */
static arch_filter read_filter(shard_json *json, arch_filter otherwise)
{
    uint32_t number = shard_json_u32_or(json, "resample", 0, 5, otherwise == ARCH_FILTER_BICUBIC ? 3 : 2);
    if (number != 2 && number != 3)
        config_unsupported_in(json, "resample", "2 (bilinear), 3 (bicubic)");
    return number == 3 ? ARCH_FILTER_BICUBIC : ARCH_FILTER_BILINEAR;
}

static void must_be_true(shard_json *json, const char *field)
{
    if (!shard_json_bool_or(json, field, true))
        config_unsupported_in(json, field, "true");
}

static void read_kind(shard_json *json, arch_fit *fit)
{
    shard_json size = shard_json_over(json_object_get(json->object, "size"), json->file, "size.", json->error);
    if (shard_json_bool_or(json, "do_pad", false))
        fit->kind = ARCH_FIT_SQUARE;
    else if (shard_json_bool_or(json, "do_center_crop", false) && json_is_object(size.object) &&
             shard_json_has(&size, "shortest_edge"))
        fit->kind = ARCH_FIT_CROP;
}

base_status hf_fit_read(const family_config *config, arch_tower *out)
{
    shard_json json = shard_json_over(config->preprocessor, "preprocessor_config.json", "", config->error);
    if (config->preprocessor == NULL)
        return BASE_OK;
    if (shard_json_has(&json, "image_mean"))
        shard_json_numbers(&json, "image_mean", 3, -10.0, 10.0, out->image_mean);
    if (shard_json_has(&json, "image_std"))
        shard_json_numbers(&json, "image_std", 3, 1e-6, 1e6, out->image_std);
    out->fit.filter = read_filter(&json, out->fit.filter);
    must_be_true(&json, "do_resize");
    must_be_true(&json, "do_rescale");
    must_be_true(&json, "do_normalize");
    hf_must_be_false(&json, "do_pan_and_scan");
    double factor = shard_json_number_or(&json, "rescale_factor", 0.0, 10.0, 1.0 / 255.0);
    if (fabs(factor * 255.0 - 1.0) > 1e-6)
        config_unsupported_in(&json, "rescale_factor", "1/255");
    read_kind(&json, &out->fit);
    return json.status;
}

/* --- names --- */

bool hf_prefix_choose(const family_config *config, const char *const *candidates, const char *name, char *out)
{
    snprintf(out, ARCH_MAX_PREFIX, "%s", candidates[0]);
    for (size_t i = 0; config->source != NULL && candidates[i] != NULL; i++) {
        char full[192];
        shard_tensor tensor;
        snprintf(full, sizeof full, "%s%s", candidates[i], name);
        if (shard_source_find(config->source, full, &tensor, NULL) == BASE_OK) {
            snprintf(out, ARCH_MAX_PREFIX, "%s", candidates[i]);
            return true;
        }
    }
    return config->source == NULL;
}
