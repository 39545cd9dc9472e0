#include "sharding/arch.h"

#include <stdio.h>
#include <string.h>

#include "sharding/families.h"
#include "sharding/json_read.h"
#include "sharding/model_file.h"

base_status arch_parse(const char *file, const void *bytes, size_t size, arch *out, base_error *error)
{
    json_t *config = NULL;
    base_status status = shard_json_parse(file, bytes, size, &config, error);
    if (status != BASE_OK)
        return status;

    arch found = {0};
    shard_json json = shard_json_over(config, file, "", error);
    const char *name = shard_json_text(&json, "model_type");
    const arch_family *family = arch_family_find(name);
    if (json.status != BASE_OK)
        status = json.status;
    else if (family == NULL)
        status = base_fail(error, BASE_EUNSUPPORTED, "'%s': model_type '%s' is not supported; this build knows: %s",
                           file, name, arch_family_list());
    else
        status = family->fill(config, file, &found, error);
    if (status == BASE_OK) {
        snprintf(found.family, sizeof found.family, "%s", family->name);
        *out = found;
    }
    json_decref(config);
    return status;
}

base_status arch_load(const char *dir, arch *out, base_error *error)
{
    base_buf text = {0};
    char file[256];
    snprintf(file, sizeof file, "%.200s/config.json", dir);
    base_status status = shard_file_read(dir, "config.json", &text, error);
    if (status == BASE_OK)
        status = arch_parse(file, text.data, text.size, out, error);
    base_buf_release(&text);
    return status;
}

bool arch_role_is_layer(arch_role role)
{
    return role >= ARCH_LAYER_NORM && role <= ARCH_LAYER_DOWN_BIAS;
}

static const char *name_pattern(const arch *a, arch_part part, arch_role role)
{
    const arch_family *family = arch_family_find(a->family);
    if (family == NULL || (part == ARCH_TOWER && !a->has_tower))
        return NULL;
    return family->names[part][role];
}

bool arch_tensor_name(const arch *a, arch_part part, arch_role role, uint32_t layer, char *name, size_t size)
{
    const char *pattern = name_pattern(a, part, role);
    if (pattern == NULL)
        return false;
    const char *hole = strstr(pattern, "%u");
    int n;
    if (hole == NULL)
        n = snprintf(name, size, "%s", pattern);
    else
        n = snprintf(name, size, "%.*s%u%s", (int)(hole - pattern), pattern, layer, hole + 2);
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

int arch_tensor_shape(const arch *a, arch_part part, arch_role role, uint64_t shape[2])
{
    if (name_pattern(a, part, role) == NULL)
        return 0;
    const arch_tower *tower = &a->tower;
    const arch_stack *s = part == ARCH_TOWER ? &tower->stack : &a->decoder.stack;
    switch (role) {
    case ARCH_EMBEDDING:
        return shape_2(shape, a->decoder.vocab_size, s->d);
    case ARCH_FINAL_NORM:
    case ARCH_LAYER_NORM:
    case ARCH_LAYER_DOWN_BIAS:
    case ARCH_PATCH_BIAS:
        return shape_1(shape, s->d);
    case ARCH_LAYER_Q:
        return shape_2(shape, (uint64_t)s->h * s->dh, s->d);
    case ARCH_LAYER_K:
    case ARCH_LAYER_V:
        return shape_2(shape, (uint64_t)s->kv * s->dh, s->d);
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
    case ARCH_PATCH:
        return shape_2(shape, s->d, (uint64_t)3 * tower->patch_size * tower->patch_size);
    case ARCH_POSITION:
        return shape_2(shape, tower->n_patches, s->d);
    case ARCH_PROJECTOR:
        return shape_2(shape, a->decoder.stack.d, s->d);
    case ARCH_PROJECTOR_BIAS:
        return shape_1(shape, a->decoder.stack.d);
    case ARCH_N_ROLES:
        break;
    }
    return 0;
}
