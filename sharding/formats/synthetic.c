#include "sharding/formats/synthetic.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sharding/planner/presets.h"
#include "sharding/source_entries.h"

/* --- values --- */

/* The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit of the result depends on every bit of x. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* The sums of the bytes of both halves: 0 to 1020 each, the mean 510. */
static uint64_t byte_sums(uint64_t bits)
{
    uint64_t pairs = (bits & UINT64_C(0x00ff00ff00ff00ff)) + (bits >> 8 & UINT64_C(0x00ff00ff00ff00ff));
    return (pairs & UINT64_C(0x0000ffff0000ffff)) + (pairs >> 16 & UINT64_C(0x0000ffff0000ffff));
}

#define SUM_MEAN 510.0f
#define SUM_STD  147.8016f /* sqrt(4 (256^2 - 1) / 12) */

/* Columns 2 i and 2 i + 1 of a row. */
static void read_pair(uint64_t key, uint64_t i, float scale, float out[2])
{
    uint64_t sums = byte_sums(mix(key + i * UINT64_C(0x9e3779b97f4a7c15)));
    out[0] = ((float)(uint32_t)sums - SUM_MEAN) * scale;
    out[1] = ((float)(uint32_t)(sums >> 32) - SUM_MEAN) * scale;
}

void synthetic_read(const shard_tensor *tensor, uint64_t row, uint64_t column, uint64_t n_columns, float *out)
{
    if (tensor->spread == 0.0f) {
        for (uint64_t i = 0; i < n_columns; i++)
            out[i] = 1.0f;
        return;
    }
    uint64_t key = mix(tensor->seed + mix(row + 1)), end = column + n_columns;
    float scale = tensor->spread / SUM_STD, pair[2];
    if (column % 2 != 0 && column < end) {
        read_pair(key, column / 2, scale, pair);
        *out++ = pair[1];
        column++;
    }
    for (; column + 2 <= end; column += 2, out += 2)
        read_pair(key, column / 2, scale, out);
    if (column < end) {
        read_pair(key, column / 2, scale, pair);
        *out = pair[0];
    }
}

/* --- the tensors of a model --- */

typedef struct entry_list {
    source_entry *entries; /* owned */
    size_t n;
} entry_list;

static void release_list(entry_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->entries[i].parsed.name);
    free(list->entries);
    *list = (entry_list){0};
}

/* FNV-1a: a layer's values do not depend on how many layers there are. */
static uint64_t seed_of(const char *name)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (; *name != '\0'; name++)
        hash = (hash ^ (uint8_t)*name) * UINT64_C(1099511628211);
    return hash;
}

/* Matrices keep the variance of what they multiply; vectors that are added are small. */
static float spread_of(const arch *a, arch_role role, int n_dims, const uint64_t shape[2])
{
    if (arch_role_is_gain(role) || role == ARCH_ROPE_FREQUENCIES)
        return 0.0f;
    if (role == ARCH_EMBEDDING)
        return 1.0f / a->decoder.embedding_scale;
    bool is_added = n_dims == 1 || role == ARCH_POSITION;
    return is_added ? 0.02f : (float)(1.0 / sqrt((double)shape[1]));
}

static base_status add_tensor(entry_list *list, const arch *a, arch_part part, arch_role role, uint32_t layer,
                              base_error *error)
{
    char name[SAFETENSORS_MAX_NAME + 1];
    shard_tensor tensor = {.type = SHARD_SYNTHETIC};
    uint64_t shape[2];
    tensor.n_dims = arch_tensor_shape(a, part, role, shape);
    if (!arch_tensor_name(a, part, role, layer, name, sizeof name))
        return base_fail(error, BASE_EINTERNAL, "family '%s' does not name tensor %d of part %d", a->family, (int)role,
                         (int)part);
    bool is_transposed = arch_tensor_is_transposed(a, part, role);
    for (int i = 0; i < tensor.n_dims; i++)
        tensor.shape[i] = shape[is_transposed ? 1 - i : i];
    tensor.seed = seed_of(name);
    tensor.spread = spread_of(a, role, tensor.n_dims, shape);
    char *copy = strdup(name);
    if (copy == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the tensor list of a synthetic model");
    list->entries[list->n++] = (source_entry){.parsed = {.name = copy, .dtype = "SYNTHETIC", .tensor = tensor}};
    return BASE_OK;
}

static uint32_t n_of_role(const arch *a, arch_part part, arch_role role)
{
    uint64_t shape[2];
    if (arch_tensor_shape(a, part, role, shape) == 0)
        return 0;
    const arch_stack *stack = part == ARCH_TOWER ? &a->tower.stack : &a->decoder.stack;
    return arch_role_is_layer(role) ? stack->n_layers : 1;
}

static base_status list_tensors(entry_list *list, const arch *a, base_error *error)
{
    size_t n = 0;
    for (int i = 0; i < ARCH_N_PARTS * ARCH_N_ROLES; i++)
        n += n_of_role(a, (arch_part)(i / ARCH_N_ROLES), (arch_role)(i % ARCH_N_ROLES));
    list->entries = calloc(n + 1, sizeof *list->entries);
    if (list->entries == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a list of %zu tensors", n);
    for (int i = 0; i < ARCH_N_PARTS * ARCH_N_ROLES; i++) {
        arch_part part = (arch_part)(i / ARCH_N_ROLES);
        arch_role role = (arch_role)(i % ARCH_N_ROLES);
        for (uint32_t il = 0; il < n_of_role(a, part, role); il++) {
            base_status status = add_tensor(list, a, part, role, il, error);
            if (status != BASE_OK)
                return status;
        }
    }
    return BASE_OK;
}

/* --- the spec --- */

/* ",layers=N" or nothing. */
static base_status cut_layers(const char *spec, const char *options, arch *a, base_error *error)
{
    if (*options == '\0')
        return BASE_OK;
    static const char layers[] = ",layers=";
    char *end = NULL;
    unsigned long n =
        strncmp(options, layers, sizeof layers - 1) == 0 ? strtoul(options + sizeof layers - 1, &end, 10) : 0;
    if (end == NULL || *end != '\0' || end == options + sizeof layers - 1)
        return base_fail(error, BASE_EINVAL, "'%.100s' is not of the form " SYNTHETIC_PREFIX "MODEL[,layers=N]", spec);
    if (n < 1 || n > a->decoder.stack.n_layers)
        return base_fail(error, BASE_EINVAL, "'%.100s': the model has 1 to %u layers", spec, a->decoder.stack.n_layers);
    a->decoder.stack.n_layers = (uint32_t)n;
    return BASE_OK;
}

static base_status read_spec(const char *spec, arch *a, base_error *error)
{
    size_t skip = strncmp(spec, SYNTHETIC_PREFIX, sizeof SYNTHETIC_PREFIX - 1) == 0 ? sizeof SYNTHETIC_PREFIX - 1 : 0;
    const char *name = spec + skip;
    size_t n = strcspn(name, ",");
    char preset[64];
    if (skip == 0 || n >= sizeof preset)
        return base_fail(error, BASE_EINVAL, "'%.100s' is not of the form " SYNTHETIC_PREFIX "MODEL[,layers=N]", spec);
    snprintf(preset, sizeof preset, "%.*s", (int)n, name);
    base_status status = preset_arch(preset, a, error);
    return status != BASE_OK ? status : cut_layers(spec, name + n, a, error);
}

base_status synthetic_open(const char *spec, arch *a, shard_source **source, base_error *error)
{
    arch found = {0};
    entry_list list = {0};
    base_status status = read_spec(spec, &found, error);
    found.decoder.stack.norm_plus_one = found.tower.stack.norm_plus_one = found.tower.projector_plus_one = false;
    if (status == BASE_OK)
        status = list_tensors(&list, &found, error);
    if (status != BASE_OK) {
        release_list(&list);
        return status;
    }
    status = shard_source_from_entries(list.entries, list.n, source, error); /* takes the list over, come what may */
    if (status == BASE_OK)
        *a = found;
    return status;
}
