/* arch.c - descriptors read from a directory, and the names and shapes of the tensors that a descriptor asks for. */
#include "sharding/arch.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "sharding/families.h"
#include "sharding/families/tower_fields.h"
#include "sharding/json_read.h"
#include "sharding/model_file.h"

/* --- reading --- */

/* The prefix whose embedding exists; the usual one when the tensors are not known. */
static base_status choose_prefix(const family_config *config, const arch_family *family, arch *out)
{
    const char *embedding = family->names[ARCH_DECODER][ARCH_EMBEDDING];
    snprintf(out->prefix, sizeof out->prefix, "%s", family->prefixes[0]);
    if (config->source == NULL)
        return BASE_OK;
    for (size_t i = 0; family->prefixes[i] != NULL; i++) {
        char name[128];
        shard_tensor tensor;
        snprintf(name, sizeof name, "%s%s", family->prefixes[i], embedding);
        if (shard_source_find(config->source, name, &tensor, NULL) == BASE_OK) {
            snprintf(out->prefix, sizeof out->prefix, "%s", family->prefixes[i]);
            return BASE_OK;
        }
    }
    return base_fail(config->error, BASE_ENOTFOUND,
                     "tensor '%s%s' is missing; is this checkpoint complete and of this family?", out->prefix,
                     embedding);
}

static base_status fill(const family_config *config, arch *out)
{
    shard_json json = shard_json_over(config->root, config->file, "", config->error);
    const char *model_type = shard_json_text(&json, "model_type");
    if (json.status != BASE_OK)
        return json.status;
    const arch_family *family = arch_family_of_model_type(model_type);
    if (family == NULL)
        return base_fail(config->error, BASE_EUNSUPPORTED,
                         "'%s': model_type '%s' is not supported; this build knows: %s", config->file, model_type,
                         arch_model_type_list());
    arch found = {0};
    family_config chosen = *config;
    chosen.prefix = found.prefix;
    snprintf(found.family, sizeof found.family, "%s", family->name);
    base_status status = choose_prefix(config, family, &found);
    if (status == BASE_OK)
        status = family->fill(&chosen, &found);
    if (status == BASE_OK)
        *out = found;
    return status;
}

base_status arch_parse(const char *file, const void *bytes, size_t size, arch *out, base_error *error)
{
    json_t *root = NULL;
    base_status status = shard_json_parse(file, bytes, size, &root, error);
    if (status != BASE_OK)
        return status;
    status = fill(&(family_config){.file = file, .root = root, .error = error}, out);
    json_decref(root);
    return status;
}

/* DIR/NAME parsed; a missing file is *out == NULL when it is optional. */
static base_status load_json(const char *dir, const char *name, bool optional, json_t **out, base_error *error)
{
    base_buf text = {0};
    char file[256];
    snprintf(file, sizeof file, "%.200s/%s", dir, name);
    base_status status = shard_file_read(dir, name, &text, error);
    if (status == BASE_OK)
        status = shard_json_parse(file, text.data, text.size, out, error);
    else if (status == BASE_ENOTFOUND && optional)
        status = BASE_OK;
    base_buf_release(&text);
    return status;
}

/* The directory that `root`, the configuration of DIR, names as its tower; "" when it names none or there is none. */
static void find_tower_dir(const char *dir, const json_t *root, char *path, size_t size)
{
    struct stat st;
    path[0] = '\0';
    const char *name = json_string_value(json_object_get(root, "mm_vision_tower"));
    if (name == NULL || !shard_name_is_plain(name, 512))
        return;
    int n = name[0] == '/' ? snprintf(path, size, "%s", name) : snprintf(path, size, "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= size || stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        path[0] = '\0';
}

base_status arch_tower_dir(const char *dir, char *path, size_t size, base_error *error)
{
    json_t *root = NULL;
    base_status status = load_json(dir, "config.json", false, &root, error);
    find_tower_dir(dir, root, path, size);
    json_decref(root);
    return status;
}

/* The files that describe a model. */
typedef struct descriptions {
    json_t *root, *generation, *preprocessor, *processor, *tower;
} descriptions;

static base_status load_descriptions(const char *dir, descriptions *out, base_error *error)
{
    char tower[4096];
    base_status status = load_json(dir, "config.json", false, &out->root, error);
    if (status == BASE_OK)
        status = load_json(dir, "generation_config.json", true, &out->generation, error);
    if (status == BASE_OK)
        status = load_json(dir, "preprocessor_config.json", true, &out->preprocessor, error);
    if (status == BASE_OK)
        status = load_json(dir, "processor_config.json", true, &out->processor, error);
    find_tower_dir(dir, out->root, tower, sizeof tower);
    if (status == BASE_OK && tower[0] != '\0')
        status = load_json(tower, "config.json", false, &out->tower, error);
    return status;
}

base_status arch_load_with(const char *dir, const shard_source *source, arch *out, base_error *error)
{
    descriptions all = {0};
    char file[256];
    snprintf(file, sizeof file, "%.200s/config.json", dir);
    base_status status = load_descriptions(dir, &all, error);
    const json_t *images =
        all.preprocessor != NULL ? all.preprocessor : json_object_get(all.processor, "image_processor");
    if (status == BASE_OK)
        status = fill(&(family_config){.file = file,
                                       .root = all.root,
                                       .generation = all.generation,
                                       .preprocessor = images,
                                       .tower_root = all.tower,
                                       .source = source,
                                       .error = error},
                      out);
    json_decref(all.root);
    json_decref(all.generation);
    json_decref(all.preprocessor);
    json_decref(all.processor);
    json_decref(all.tower);
    return status;
}

base_status arch_load(const char *dir, arch *out, base_error *error)
{
    return arch_load_with(dir, NULL, out, error);
}

base_status arch_load_gguf(const gguf_file *gguf, const char *file, const shard_source *source, arch *out,
                           base_error *error)
{
    gguf_string name = {0};
    char architecture[32] = "";
    if (gguf_get_string(gguf, "general.architecture", &name) && name.size < sizeof architecture)
        memcpy(architecture, name.bytes, name.size);
    if (!shard_name_is_plain(architecture, sizeof architecture))
        return base_fail(error, BASE_EFORMAT, "'%s': key 'general.architecture' is missing or not a short text", file);
    const arch_family *family = arch_family_of_gguf(architecture);
    if (family == NULL)
        return base_fail(error, BASE_EUNSUPPORTED, "'%s': architecture '%s' is not supported; this build knows: %s",
                         file, architecture, arch_gguf_list());
    arch found = {.gguf = true};
    snprintf(found.family, sizeof found.family, "%s", family->name);
    base_status status = family->fill_gguf(
        &(family_gguf){
            .file = file, .gguf = gguf, .source = source, .architecture = family->gguf_architecture, .error = error},
        &found);
    if (status == BASE_OK)
        *out = found;
    return status;
}

void arch_widest_encoder(const arch *a, uint32_t *width, uint32_t *hidden)
{
    *width = *hidden = 0;
    for (uint32_t e = 0; e < a->n_encoders; e++) {
        *width = a->encoders[e].width > *width ? a->encoders[e].width : *width;
        *hidden = a->encoders[e].hidden > *hidden ? a->encoders[e].hidden : *hidden;
    }
}

/* --- names and shapes --- */

base_status arch_load_mmproj(const gguf_file *gguf, const char *file, const shard_source *source, arch *a,
                             base_error *error)
{
    gguf_string name = {0};
    if (!gguf_get_string(gguf, "general.architecture", &name) || name.size != 4 || memcmp(name.bytes, "clip", 4) != 0)
        return base_fail(error, BASE_EFORMAT, "'%s' is no mmproj file: key 'general.architecture' is not clip", file);
    arch_tower tower = {0};
    const family_gguf of = {.file = file, .gguf = gguf, .source = source, .architecture = "clip", .error = error};
    base_status status = gguf_tower_read(&of, strcmp(a->family, "gemma3") == 0, &tower);
    if (status != BASE_OK)
        return status;
    a->tower = tower;
    a->has_tower = true;
    return BASE_OK;
}

bool arch_role_is_layer(arch_role role)
{
    return role >= ARCH_LAYER_NORM && role <= ARCH_LAYER_DOWN_BIAS;
}

bool arch_role_is_gain(arch_role role)
{
    switch (role) {
    case ARCH_FINAL_NORM:
    case ARCH_LAYER_NORM:
    case ARCH_LAYER_POST_ATTN_NORM:
    case ARCH_LAYER_MLP_NORM:
    case ARCH_LAYER_POST_MLP_NORM:
    case ARCH_LAYER_Q_NORM:
    case ARCH_LAYER_K_NORM:
    case ARCH_PRE_NORM:
    case ARCH_PROJECTOR_NORM:
        return true;
    default:
        return false;
    }
}

bool arch_gain_plus_one(const arch *a, arch_part part, arch_role role)
{
    if (!arch_role_is_gain(role))
        return false;
    if (role == ARCH_PROJECTOR_NORM)
        return a->tower.projector_plus_one;
    return part == ARCH_TOWER ? a->tower.stack.norm_plus_one : a->decoder.stack.norm_plus_one;
}

bool arch_tensor_is_transposed(const arch *a, arch_part part, arch_role role)
{
    return part == ARCH_TOWER && role == ARCH_PROJECTOR && a->tower.projector == ARCH_PROJECTOR_GEMMA3;
}

static bool stack_has(const arch_stack *s, arch_role role)
{
    switch (role) {
    case ARCH_LAYER_POST_ATTN_NORM:
    case ARCH_LAYER_POST_MLP_NORM:
        return s->block == ARCH_BLOCK_POST_NORM;
    case ARCH_LAYER_MLP_NORM:
        return s->block != ARCH_BLOCK_PARALLEL;
    case ARCH_LAYER_NORM_BIAS:
        return s->norm_bias;
    case ARCH_LAYER_MLP_NORM_BIAS:
        return s->norm_bias && s->block != ARCH_BLOCK_PARALLEL;
    case ARCH_LAYER_O_BIAS:
        return s->o_bias;
    case ARCH_LAYER_Q_BIAS:
    case ARCH_LAYER_K_BIAS:
    case ARCH_LAYER_V_BIAS:
        return s->qkv_bias;
    case ARCH_LAYER_Q_NORM:
    case ARCH_LAYER_K_NORM:
        return s->qk_norm;
    case ARCH_LAYER_GATE:
        return arch_mlp_is_gated(s->mlp);
    case ARCH_LAYER_UP_BIAS:
    case ARCH_LAYER_DOWN_BIAS:
        return s->mlp_bias;
    default:
        return true;
    }
}

/* What stands outside the layers of a tower. */
static bool tower_has(const arch_tower *tower, arch_role role)
{
    switch (role) {
    case ARCH_EMBEDDING:
    case ARCH_OUTPUT:
    case ARCH_ROPE_FREQUENCIES:
        return false;
    case ARCH_PATCH:
    case ARCH_POSITION:
    case ARCH_PROJECTOR:
        return true;
    case ARCH_PATCH_BIAS:
        return tower->patch_bias;
    case ARCH_CLASS:
        return tower->class_token;
    case ARCH_PRE_NORM:
        return tower->pre_norm;
    case ARCH_PRE_NORM_BIAS:
        return tower->pre_norm && tower->stack.norm_bias;
    case ARCH_FINAL_NORM:
        return tower->final_norm;
    case ARCH_FINAL_NORM_BIAS:
        return tower->final_norm && tower->stack.norm_bias;
    case ARCH_PROJECTOR_NORM:
        return tower->projector == ARCH_PROJECTOR_GEMMA3;
    case ARCH_PROJECTOR_BIAS:
        return tower->projector != ARCH_PROJECTOR_GEMMA3;
    case ARCH_PROJECTOR_2:
    case ARCH_PROJECTOR_2_BIAS:
        return tower->projector == ARCH_PROJECTOR_MLP2;
    default:
        return stack_has(&tower->stack, role);
    }
}

static bool decoder_has(const arch_decoder *decoder, arch_role role)
{
    switch (role) {
    case ARCH_OUTPUT:
        return !decoder->tied_embeddings;
    case ARCH_ROPE_FREQUENCIES:
        return decoder->stack.rope && decoder->stack.rope_global.scaling == ARCH_ROPE_DIVISORS;
    case ARCH_EMBEDDING:
    case ARCH_FINAL_NORM:
        return true;
    default:
        return arch_role_is_layer(role) && stack_has(&decoder->stack, role);
    }
}

static bool is_encoder(arch_role role)
{
    return role >= ARCH_ENCODER_IN && role <= ARCH_ENCODER_OUT_BIAS;
}

/* Does the model compute with such a tensor? */
static bool has_role(const arch *a, arch_part part, arch_role role)
{
    if (is_encoder(role) || part >= ARCH_ENCODERS)
        return is_encoder(role) && part >= ARCH_ENCODERS && (uint32_t)part - ARCH_ENCODERS < a->n_encoders;
    if (part == ARCH_TOWER)
        return a->has_tower && tower_has(&a->tower, role);
    return decoder_has(&a->decoder, role);
}

static bool is_projector(arch_role role)
{
    return role >= ARCH_PROJECTOR_NORM && role <= ARCH_PROJECTOR_2_BIAS;
}

/* The name with its "%u", and the length of what stands before it in *prefix.  '/' stands where a decoder's "model."
 * would. */
static const char *name_pattern(const arch *a, arch_part part, arch_role role, const char **prefix, int *prefix_size)
{
    const arch_family *family = arch_family_find(a->family);
    *prefix = "";
    *prefix_size = 0;
    if (family == NULL || !has_role(a, part, role))
        return NULL;
    if (a->gguf)
        return part == ARCH_DECODER ? family->gguf_names[role] : family_gguf_tower_name(&a->tower, role);
    if (part >= ARCH_ENCODERS)
        return family->names[ARCH_ENCODERS][role];
    const char *pattern = family->names[part][role];
    bool is_outside = pattern != NULL && pattern[0] == '/';
    if (is_outside && part == ARCH_TOWER)
        return pattern + 1;
    *prefix = part == ARCH_DECODER ? a->prefix : is_projector(role) ? a->projector_prefix : a->tower_prefix;
    *prefix_size = is_outside ? (int)arch_prefix_outside(a->prefix) : (int)strlen(*prefix);
    return is_outside ? pattern + 1 : pattern;
}

size_t arch_prefix_outside(const char *prefix)
{
    static const char last[] = "model.";
    size_t n = strlen(prefix), cut = sizeof last - 1;
    if (n <= cut || strcmp(prefix + n - cut, last) != 0 || prefix[n - cut - 1] != '.')
        return 0;
    return n - cut;
}

bool arch_tensor_name(const arch *a, arch_part part, arch_role role, uint32_t layer, char *name, size_t size)
{
    int prefix_size;
    const char *prefix, *pattern = name_pattern(a, part, role, &prefix, &prefix_size);
    if (pattern == NULL)
        return false;
    const char *hole = strstr(pattern, "%u");
    uint32_t number = part >= ARCH_ENCODERS ? (uint32_t)part - ARCH_ENCODERS : layer;
    int n;
    if (hole == NULL)
        n = snprintf(name, size, "%.*s%s", prefix_size, prefix, pattern);
    else
        n = snprintf(name, size, "%.*s%.*s%u%s", prefix_size, prefix, (int)(hole - pattern), pattern, number, hole + 2);
    return n >= 0 && (size_t)n < size;
}

static int shape_1(uint64_t shape[2], uint64_t n)
{
    shape[0] = n;
    shape[1] = 1;
    return 1;
}

static int shape_2(uint64_t shape[2], uint64_t rows, uint64_t columns)
{
    shape[0] = rows;
    shape[1] = columns;
    return 2;
}

static int layer_shape(const arch_stack *s, arch_role role, uint64_t shape[2])
{
    switch (role) {
    case ARCH_LAYER_Q:
        return shape_2(shape, (uint64_t)s->h * s->dh, s->d);
    case ARCH_LAYER_K:
    case ARCH_LAYER_V:
        return shape_2(shape, (uint64_t)s->kv * s->dh, s->d);
    case ARCH_LAYER_Q_BIAS:
        return shape_1(shape, (uint64_t)s->h * s->dh);
    case ARCH_LAYER_K_BIAS:
    case ARCH_LAYER_V_BIAS:
        return shape_1(shape, (uint64_t)s->kv * s->dh);
    case ARCH_LAYER_O:
        return shape_2(shape, s->d, (uint64_t)s->h * s->dh);
    case ARCH_LAYER_Q_NORM:
    case ARCH_LAYER_K_NORM:
        return shape_1(shape, s->dh);
    case ARCH_LAYER_GATE:
    case ARCH_LAYER_UP:
        return shape_2(shape, s->f, s->d);
    case ARCH_LAYER_UP_BIAS:
        return shape_1(shape, s->f);
    case ARCH_LAYER_DOWN:
        return shape_2(shape, s->d, s->f);
    default: /* norms, and the biases of what is added to x */
        return shape_1(shape, s->d);
    }
}

static int encoder_shape(const arch *a, const arch_encoder *encoder, arch_role role, uint64_t shape[2])
{
    switch (role) {
    case ARCH_ENCODER_IN:
        return shape_2(shape, encoder->hidden, encoder->width);
    case ARCH_ENCODER_IN_BIAS:
        return shape_1(shape, encoder->hidden);
    case ARCH_ENCODER_OUT:
        return shape_2(shape, a->decoder.stack.d, encoder->hidden);
    default:
        return shape_1(shape, a->decoder.stack.d);
    }
}

int arch_tensor_shape(const arch *a, arch_part part, arch_role role, uint64_t shape[2])
{
    if (!has_role(a, part, role))
        return 0;
    if (part >= ARCH_ENCODERS)
        return encoder_shape(a, &a->encoders[part - ARCH_ENCODERS], role, shape);
    const arch_tower *tower = &a->tower;
    const arch_stack *s = part == ARCH_TOWER ? &tower->stack : &a->decoder.stack;
    switch (role) {
    case ARCH_EMBEDDING:
    case ARCH_OUTPUT:
        return shape_2(shape, a->decoder.vocab_size, s->d);
    case ARCH_ROPE_FREQUENCIES:
        return shape_1(shape, s->dh / 2);
    case ARCH_FINAL_NORM:
    case ARCH_FINAL_NORM_BIAS:
    case ARCH_PATCH_BIAS:
    case ARCH_CLASS:
    case ARCH_PRE_NORM:
    case ARCH_PRE_NORM_BIAS:
    case ARCH_PROJECTOR_NORM:
        return shape_1(shape, s->d);
    case ARCH_PATCH:
        return shape_2(shape, s->d, (uint64_t)3 * tower->patch_size * tower->patch_size);
    case ARCH_POSITION:
        return shape_2(shape, arch_tower_rows(tower), s->d);
    case ARCH_PROJECTOR:
        return shape_2(shape, a->decoder.stack.d, s->d);
    case ARCH_PROJECTOR_2:
        return shape_2(shape, a->decoder.stack.d, a->decoder.stack.d);
    case ARCH_PROJECTOR_BIAS:
    case ARCH_PROJECTOR_2_BIAS:
        return shape_1(shape, a->decoder.stack.d);
    case ARCH_N_ROLES:
        return 0;
    default:
        return layer_shape(s, role, shape);
    }
}
