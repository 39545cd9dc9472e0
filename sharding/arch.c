/* arch.c - descriptors read from a directory, and the names and shapes of the tensors that a descriptor asks for. */
#include "sharding/arch.h"

#include <stdio.h>
#include <string.h>

#include "sharding/families.h"
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
    snprintf(found.family, sizeof found.family, "%s", family->name);
    base_status status = choose_prefix(config, family, &found);
    if (status == BASE_OK)
        status = family->fill(config, &found);
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

base_status arch_load_with(const char *dir, const shard_source *source, arch *out, base_error *error)
{
    json_t *root = NULL, *generation = NULL;
    char file[256];
    snprintf(file, sizeof file, "%.200s/config.json", dir);
    base_status status = load_json(dir, "config.json", false, &root, error);
    if (status == BASE_OK)
        status = load_json(dir, "generation_config.json", true, &generation, error);
    if (status == BASE_OK)
        status = fill(&(family_config){.file = file, .root = root, .generation = generation, .source = source,
                                       .error = error},
                      out);
    json_decref(root);
    json_decref(generation);
    return status;
}

base_status arch_load(const char *dir, arch *out, base_error *error)
{
    return arch_load_with(dir, NULL, out, error);
}

base_status arch_load_gguf(const gguf_file *gguf, const char *file, const shard_source *source, arch *out, base_error *error)
{
    gguf_string name = {0};
    char architecture[32] = "";
    if (gguf_get_string(gguf, "general.architecture", &name) && name.size < sizeof architecture)
        memcpy(architecture, name.bytes, name.size);
    if (!shard_name_is_plain(architecture, sizeof architecture))
        return base_fail(error, BASE_EFORMAT, "'%s': key 'general.architecture' is missing or not a short text", file);
    const arch_family *family = arch_family_of_gguf(architecture);
    if (family == NULL)
        return base_fail(error, BASE_EUNSUPPORTED, "'%s': architecture '%s' is not supported; this build knows: %s", file,
                         architecture, arch_gguf_list());
    arch found = {.gguf = true};
    snprintf(found.family, sizeof found.family, "%s", family->name);
    base_status status = family->fill_gguf(&(family_gguf){.file = file, .gguf = gguf, .source = source,
                                                          .architecture = family->gguf_architecture, .error = error},
                                           &found);
    if (status == BASE_OK)
        *out = found;
    return status;
}

/* --- names and shapes --- */

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
        return true;
    default:
        return false;
    }
}

static bool stack_has(const arch_stack *s, arch_role role)
{
    switch (role) {
    case ARCH_LAYER_POST_ATTN_NORM:
    case ARCH_LAYER_POST_MLP_NORM:
        return s->block == ARCH_BLOCK_POST_NORM;
    case ARCH_LAYER_MLP_NORM:
        return s->block != ARCH_BLOCK_PARALLEL;
    case ARCH_LAYER_Q_BIAS:
    case ARCH_LAYER_K_BIAS:
    case ARCH_LAYER_V_BIAS:
        return s->qkv_bias;
    case ARCH_LAYER_Q_NORM:
    case ARCH_LAYER_K_NORM:
        return s->qk_norm;
    case ARCH_LAYER_GATE:
        return s->mlp != ARCH_MLP_GELU_TANH;
    case ARCH_LAYER_UP_BIAS:
    case ARCH_LAYER_DOWN_BIAS:
        return s->mlp_bias;
    default:
        return true;
    }
}

/* Does the model compute with such a tensor? */
static bool has_role(const arch *a, arch_part part, arch_role role)
{
    bool is_tower = part == ARCH_TOWER;
    if (is_tower && !a->has_tower)
        return false;
    switch (role) {
    case ARCH_EMBEDDING:
        return !is_tower;
    case ARCH_OUTPUT:
        return !is_tower && !a->decoder.tied_embeddings;
    case ARCH_ROPE_FREQUENCIES:
        return !is_tower && a->decoder.stack.rope && a->decoder.stack.rope_global.scaling == ARCH_ROPE_DIVISORS;
    case ARCH_PATCH:
    case ARCH_PATCH_BIAS:
    case ARCH_POSITION:
    case ARCH_PROJECTOR:
    case ARCH_PROJECTOR_BIAS:
        return is_tower;
    default:
        return stack_has(is_tower ? &a->tower.stack : &a->decoder.stack, role);
    }
}

/* The name with its "%u", and what stands before it. */
static const char *name_pattern(const arch *a, arch_part part, arch_role role, const char **prefix)
{
    const arch_family *family = arch_family_find(a->family);
    *prefix = "";
    if (family == NULL || !has_role(a, part, role))
        return NULL;
    if (a->gguf)
        return part == ARCH_DECODER ? family->gguf_names[role] : NULL;
    const char *pattern = family->names[part][role];
    if (pattern != NULL && pattern[0] == '/')
        return pattern + 1;
    if (part == ARCH_DECODER)
        *prefix = a->prefix;
    return pattern;
}

bool arch_tensor_name(const arch *a, arch_part part, arch_role role, uint32_t layer, char *name, size_t size)
{
    const char *prefix, *pattern = name_pattern(a, part, role, &prefix);
    if (pattern == NULL)
        return false;
    const char *hole = strstr(pattern, "%u");
    int n;
    if (hole == NULL)
        n = snprintf(name, size, "%s%s", prefix, pattern);
    else
        n = snprintf(name, size, "%s%.*s%u%s", prefix, (int)(hole - pattern), pattern, layer, hole + 2);
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
    default: /* norms, and the bias of the MLP's output */
        return shape_1(shape, s->d);
    }
}

int arch_tensor_shape(const arch *a, arch_part part, arch_role role, uint64_t shape[2])
{
    if (!has_role(a, part, role))
        return 0;
    const arch_tower *tower = &a->tower;
    const arch_stack *s = part == ARCH_TOWER ? &tower->stack : &a->decoder.stack;
    switch (role) {
    case ARCH_EMBEDDING:
    case ARCH_OUTPUT:
        return shape_2(shape, a->decoder.vocab_size, s->d);
    case ARCH_ROPE_FREQUENCIES:
        return shape_1(shape, s->dh / 2);
    case ARCH_FINAL_NORM:
    case ARCH_PATCH_BIAS:
        return shape_1(shape, s->d);
    case ARCH_PATCH:
        return shape_2(shape, s->d, (uint64_t)3 * tower->patch_size * tower->patch_size);
    case ARCH_POSITION:
        return shape_2(shape, tower->n_patches, s->d);
    case ARCH_PROJECTOR:
        return shape_2(shape, a->decoder.stack.d, s->d);
    case ARCH_PROJECTOR_BIAS:
        return shape_1(shape, a->decoder.stack.d);
    case ARCH_N_ROLES:
        return 0;
    default:
        return layer_shape(s, role, shape);
    }
}
