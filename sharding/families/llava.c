/* llava.c - LLaVA and LLaVA-Med (arXiv 2304.08485, 2306.00890): a CLIP tower whose features leave a layer before the
 * last without the class token, a projector, and a Llama or Mistral decoder.
 *
 * Two forms.  The authors' own directory (model_type llava_mistral, llava_llama, or llava without a text_config) holds
 * decoder and projector and names its tower, mm_vision_tower.  Their loader always takes that one, never the fine-tuned
 * copy that some checkpoints carry as model.vision_tower (LLaVA-Med's issue 105).  So: the tower is the directory of
 * that name, absolute or inside the model's; only when there is none the copy is read.  The other form is transformers'
 * LlavaForConditionalGeneration. */
#include <stdio.h>
#include <string.h>

#include "sharding/families/config_fields.h"
#include "sharding/families/decoder_names.h"
#include "sharding/families/llama.h"
#include "sharding/families/tower_fields.h"

static void set_openai(arch_tower *out)
{
    static const float mean[] = ARCH_CLIP_MEAN, std[] = ARCH_CLIP_STD;
    memcpy(out->image_mean, mean, sizeof mean);
    memcpy(out->image_std, std, sizeof std);
    out->fit = (arch_fit){.kind = ARCH_FIT_SQUARE, .filter = ARCH_FILTER_BICUBIC};
}

/* int(255 * mean) around a picture that is made square. */
static void set_padding(arch_tower *out)
{
    for (int i = 0; i < 3; i++) {
        float level = out->image_mean[i] * 255.0f;
        out->fit.pad_value[i] = level > 0.0f && level < 65536.0f ? (uint32_t)level & 255u : 0;
    }
}

void family_llava_tower(arch_tower *out)
{
    out->projector = ARCH_PROJECTOR_MLP2;
    out->fit = (arch_fit){.kind = ARCH_FIT_SQUARE, .filter = ARCH_FILTER_BICUBIC};
    set_padding(out);
    snprintf(out->close, sizeof out->close, "\n");
}

/* The features behind layer `select` of hidden_states: -1 is the last.  The norm behind the layers is not a part of
 * them. */
static void select_layer(shard_json *json, const char *field, arch_tower *out)
{
    double number = shard_json_number_or(json, field, -(double)ARCH_MAX_LAYERS, ARCH_MAX_LAYERS, -2.0);
    int select = (int)number, n = (int)out->stack.n_layers;
    int kept = select < 0 ? n + 1 + select : select;
    if ((double)select != number || kept < 1 || kept > n)
        shard_json_fail(json, field, "a layer of the vision tower behind its first");
    else
        out->stack.n_layers = (uint32_t)kept;
    out->final_norm = false;
}

static bool text_is(const char *text, const char *a, const char *b)
{
    return strcmp(text, a) == 0 || strcmp(text, b) == 0;
}

/* --- transformers' form --- */

static base_status fill_text(const family_config *config, arch *out)
{
    shard_json json =
        shard_json_over(json_object_get(config->root, "text_config"), config->file, "text_config.", config->error);
    const char *type = shard_json_text_or(&json, "model_type", "llama");
    if (!text_is(type, "llama", "mistral"))
        config_unsupported_in(&json, "model_type", "llama, mistral");
    if (json.status != BASE_OK)
        return json.status;
    return llama_decoder_read(config, &json, strcmp(type, "mistral") == 0, true, &out->decoder);
}

static base_status fill_vision(const family_config *config, arch_tower *out)
{
    shard_json root = shard_json_over(config->root, config->file, "", config->error);
    shard_json vision =
        shard_json_over(json_object_get(config->root, "vision_config"), config->file, "vision_config.", config->error);
    base_status status = hf_tower_read(config, &vision, out);
    if (status != BASE_OK)
        return status;
    select_layer(&root, "vision_feature_layer", out);
    const char *strategy = shard_json_text_or(&root, "vision_feature_select_strategy", "default");
    if (strcmp(strategy, out->class_token ? "default" : "full") != 0)
        config_unsupported_in(&root, "vision_feature_select_strategy", out->class_token ? "default" : "full");
    if (strcmp(shard_json_text_or(&root, "projector_hidden_act", "gelu"), "gelu") != 0)
        config_unsupported_in(&root, "projector_hidden_act", "gelu");
    if (!shard_json_bool_or(&root, "multimodal_projector_bias", true))
        config_unsupported_in(&root, "multimodal_projector_bias", "true");
    out->projector = ARCH_PROJECTOR_MLP2;
    return root.status;
}

extern const arch_family family_llava_original;

static base_status fill(const family_config *config, arch *out)
{
    static const char *const projectors[] = {"multi_modal_projector.", "model.multi_modal_projector.", NULL};
    if (!json_is_object(json_object_get(config->root, "text_config"))) {
        snprintf(out->family, sizeof out->family, "%s", family_llava_original.name);
        return family_llava_original.fill(config, out);
    }
    base_status status = fill_text(config, out);
    out->has_tower = true;
    set_openai(&out->tower);
    if (status == BASE_OK)
        status = fill_vision(config, &out->tower);
    if (status == BASE_OK)
        status = hf_fit_read(config, &out->tower);
    set_padding(&out->tower);
    snprintf(out->tower.close, sizeof out->tower.close, "\n");
    hf_prefix_choose(config, hf_tower_prefixes, HF_TOWER_FIRST, out->tower_prefix);
    hf_prefix_choose(config, projectors, "linear_1.weight", out->projector_prefix);
    return status;
}

/* --- the authors' form --- */

/* The towers that the published checkpoints name, for those that carry a copy and no description. */
static base_status fill_known(shard_json *json, const char *name, arch_tower *out)
{
    bool is_336 = strstr(name, "clip-vit-large-patch14-336") != NULL;
    if (!is_336 && strstr(name, "clip-vit-large-patch14") == NULL)
        config_unsupported_in(json, "mm_vision_tower",
                              "a directory beside the model, openai/clip-vit-large-patch14, "
                              "openai/clip-vit-large-patch14-336");
    out->image_size = is_336 ? 336 : 224;
    return json->status;
}

/* In order: vision_config of the model, config.json of the tower's own directory, a known name. */
static base_status fill_named(const family_config *config, shard_json *json, arch_tower *out)
{
    static const char large[] = "{\"hidden_size\": 1024, \"intermediate_size\": 4096, \"num_hidden_layers\": 24,"
                                " \"num_attention_heads\": 16, \"patch_size\": 14}";
    const char *name = shard_json_text(json, "mm_vision_tower");
    const json_t *own = json_object_get(config->root, "vision_config"),
                 *beside = json_object_get(config->tower_root, "vision_config");
    const json_t *object = json_is_object(own) ? own : json_is_object(beside) ? beside : config->tower_root;
    if (json->status != BASE_OK)
        return json->status;
    json_t *known = object == NULL ? json_loads(large, 0, NULL) : NULL;
    shard_json vision = shard_json_over(object != NULL ? object : known, config->file, "vision_config.", config->error);
    base_status status = hf_tower_read(config, &vision, out);
    json_decref(known);
    if (status == BASE_OK && object == NULL)
        status = fill_known(json, name, out);
    return status != BASE_OK ? status : tower_count_patches(config->file, out, config->error);
}

static void read_projector(const family_config *config, shard_json *json, arch *out)
{
    const char *type = shard_json_text_or(json, "mm_projector_type", "linear");
    bool is_mlp = strcmp(type, "mlp2x_gelu") == 0;
    if (!is_mlp && strcmp(type, "linear") != 0)
        config_unsupported_in(json, "mm_projector_type", "linear, mlp2x_gelu");
    static const char *const first[] = {"model.mm_projector.0.", NULL}, *const only[] = {"model.mm_projector.", NULL};
    out->tower.projector = is_mlp ? ARCH_PROJECTOR_MLP2 : ARCH_PROJECTOR_AFFINE;
    hf_prefix_choose(config, is_mlp ? first : only, "weight", out->projector_prefix);
}

/* Marks around an image, and what the features are. */
static void read_switches(shard_json *json, arch_tower *out)
{
    if (shard_json_bool_or(json, "mm_use_im_start_end", false)) {
        snprintf(out->open, sizeof out->open, "<im_start>");
        snprintf(out->close, sizeof out->close, "<im_end>\n");
    } else {
        snprintf(out->close, sizeof out->close, "\n");
    }
    if (strcmp(shard_json_text_or(json, "mm_vision_select_feature", "patch"), "patch") != 0)
        config_unsupported_in(json, "mm_vision_select_feature", "patch");
    if (strcmp(shard_json_text_or(json, "mm_patch_merge_type", "flat"), "flat") != 0)
        config_unsupported_in(json, "mm_patch_merge_type", "flat");
    const char *aspect = shard_json_text_or(json, "image_aspect_ratio", "square");
    if (!text_is(aspect, "pad", "square"))
        config_unsupported_in(json, "image_aspect_ratio", "pad, square");
    out->fit.kind = strcmp(aspect, "pad") == 0 ? ARCH_FIT_SQUARE : ARCH_FIT_CROP;
}

static base_status fill_original(const family_config *config, arch *out)
{
    static const char *const beside[] = {FAMILY_TOWER_PREFIX "vision_model.", FAMILY_TOWER_PREFIX, NULL};
    static const char *const copies[] = {"model.vision_tower.vision_tower.vision_model.",
                                         "model.vision_tower.vision_tower.", NULL};
    shard_json json = shard_json_over(config->root, config->file, "", config->error);
    bool is_mistral = strcmp(shard_json_text(&json, "model_type"), "llava_mistral") == 0;
    base_status status = llama_decoder_read(config, &json, is_mistral, false, &out->decoder);
    if (status != BASE_OK)
        return status;
    out->has_tower = true;
    set_openai(&out->tower);
    status = fill_named(config, &json, &out->tower);
    if (status != BASE_OK)
        return status;
    select_layer(&json, "mm_vision_select_layer", &out->tower);
    read_projector(config, &json, out);
    read_switches(&json, &out->tower);
    set_padding(&out->tower);
    bool found =
        hf_prefix_choose(config, config->tower_root != NULL ? beside : copies, HF_TOWER_FIRST, out->tower_prefix);
    if (json.status == BASE_OK && !found)
        return base_fail(config->error, BASE_ENOTFOUND,
                         "'%s': there is neither a directory '%s' inside the model's nor a tower in the checkpoint; "
                         "download the tower to there",
                         config->file, shard_json_text(&json, "mm_vision_tower"));
    return json.status;
}

const arch_family family_llava = {
    .name = "llava",
    .model_types = {"llava"},
    .prefixes = HF_PREFIXES,
    .fill = fill,
    .names =
        {
            [ARCH_DECODER] = {HF_DECODER_NAMES, [ARCH_LAYER_MLP_NORM] = HF_LAYER "post_attention_layernorm.weight"},
            [ARCH_TOWER] =
                {HF_TOWER_NAMES, [ARCH_PROJECTOR] = "linear_1.weight", [ARCH_PROJECTOR_BIAS] = "linear_1.bias",
                 [ARCH_PROJECTOR_2] = "linear_2.weight", [ARCH_PROJECTOR_2_BIAS] = "linear_2.bias"},
        },
};

const arch_family family_llava_original = {
    .name = "llava_original",
    .model_types = {"llava_mistral", "llava_llama"},
    .prefixes = HF_PREFIXES,
    .fill = fill_original,
    .names =
        {
            [ARCH_DECODER] = {HF_DECODER_NAMES, [ARCH_LAYER_MLP_NORM] = HF_LAYER "post_attention_layernorm.weight"},
            [ARCH_TOWER] = {HF_TOWER_NAMES, [ARCH_PROJECTOR] = "weight", [ARCH_PROJECTOR_BIAS] = "bias",
                            [ARCH_PROJECTOR_2] = "/model.mm_projector.2.weight",
                            [ARCH_PROJECTOR_2_BIAS] = "/model.mm_projector.2.bias"},
        },
};
