/* source.c - tensors in one sorted list: of the mapped safetensors files of a directory, or of whoever lists them. */
#include "sharding/source.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/size.h"
#include "sharding/json_read.h"
#include "sharding/mapped_file.h"
#include "sharding/model_file.h"
#include "sharding/source_entries.h"

#define SINGLE_FILE   "model.safetensors"
#define INDEX_FILE    "model.safetensors.index.json"
#define MAX_FILES     4096u
#define MAX_FILE_NAME 200u

typedef struct source_file {
    char *name; /* owned; relative to the directory */
    mapped_file mapped;
} source_file;

struct shard_source {
    source_file *files; /* none when somebody else keeps the data */
    size_t n_files;
    source_entry *entries; /* sorted by name, bytewise */
    size_t n_entries;
};

const source_entry *shard_source_entries(const shard_source *source, size_t *n)
{
    *n = source->n_entries;
    return source->entries;
}

/* Move the tensors of a parsed file to the source's list; `entries` is freed. */
static base_status take_entries(shard_source *source, uint32_t file, safetensors_entry **entries, size_t n,
                                base_error *error)
{
    source_entry *grown = realloc(source->entries, (source->n_entries + n + 1) * sizeof *grown);
    if (grown == NULL) {
        safetensors_release(entries, n);
        return base_fail(error, BASE_ENOMEM, "no memory for a list of %zu tensors", source->n_entries + n);
    }
    source->entries = grown;
    for (size_t i = 0; i < n; i++)
        grown[source->n_entries + i] = (source_entry){.parsed = (*entries)[i], .file = file};
    source->n_entries += n;
    safetensors_release(entries, 0); /* the names have moved */
    return BASE_OK;
}

/* Map files[i] and add its tensors. */
static base_status load_file(shard_source *source, const char *dir, uint32_t i, base_error *error)
{
    source_file *file = &source->files[i];
    char path[4096];
    int length = snprintf(path, sizeof path, "%s/%s", dir, file->name);
    if (length < 0 || (size_t)length >= sizeof path)
        return base_fail(error, BASE_EINVAL, "the path '%.80s...' is too long", dir);
    base_status status = mapped_file_open(path, &file->mapped, error);
    if (status != BASE_OK)
        return status;
    safetensors_entry *entries = NULL;
    size_t n = 0;
    status = safetensors_parse(path, file->mapped.map, file->mapped.bytes, &entries, &n, error);
    return status != BASE_OK ? status : take_entries(source, i, &entries, n, error);
}

static int compare_names(const void *left, const void *right)
{
    const source_entry *a = left, *b = right;
    return strcmp(a->parsed.name, b->parsed.name);
}

static const char *file_of(const shard_source *source, const source_entry *entry)
{
    return entry->file < source->n_files ? source->files[entry->file].name : "the model";
}

/* `what` is the directory or file that errors name. */
static base_status sort_entries(shard_source *source, const char *what, base_error *error)
{
    if (source->n_entries == 0)
        return base_fail(error, BASE_EFORMAT, "'%s' holds no tensors", what);
    qsort(source->entries, source->n_entries, sizeof *source->entries, compare_names);
    for (size_t i = 1; i < source->n_entries; i++) {
        const source_entry *a = &source->entries[i - 1], *b = &source->entries[i];
        if (strcmp(a->parsed.name, b->parsed.name) == 0)
            return base_fail(error, BASE_EFORMAT, "tensor '%s' is in both '%s' and '%s' of '%s'", a->parsed.name,
                             file_of(source, a), file_of(source, b), what);
    }
    return BASE_OK;
}

static base_status add_file_name(shard_source *source, const char *name, base_error *error)
{
    for (size_t i = 0; i < source->n_files; i++)
        if (strcmp(source->files[i].name, name) == 0)
            return BASE_OK;
    if (source->n_files == MAX_FILES)
        return base_fail(error, BASE_ETOOBIG, "'" INDEX_FILE "' names more than %u files", MAX_FILES);
    source_file *grown = realloc(source->files, (source->n_files + 1) * sizeof *grown);
    if (grown != NULL)
        source->files = grown;
    char *copy = grown == NULL ? NULL : strdup(name);
    if (copy == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the file list of '" INDEX_FILE "'");
    source->files[source->n_files++] = (source_file){.name = copy};
    return BASE_OK;
}

/* A file of an index stays inside its directory: no separators, no dot files. */
static bool is_shard_file_name(const char *name)
{
    size_t n = name == NULL ? 0 : strlen(name);
    const char *tail = ".safetensors";
    return n > strlen(tail) && name[0] != '.' && shard_name_is_plain(name, MAX_FILE_NAME) &&
           strchr(name, '/') == NULL && strcmp(name + n - strlen(tail), tail) == 0;
}

static base_status list_files(shard_source *source, json_t *map, base_error *error)
{
    const char *tensor;
    json_t *value;
    json_object_foreach(map, tensor, value)
    {
        const char *file = json_string_value(value);
        if (!shard_name_is_plain(tensor, SAFETENSORS_MAX_NAME))
            return base_fail(error, BASE_EFORMAT, "'" INDEX_FILE "' has a tensor name that is not plain ASCII");
        if (!is_shard_file_name(file))
            return base_fail(error, BASE_EFORMAT,
                             "'" INDEX_FILE "' does not give tensor '%s' the plain name of a .safetensors file",
                             tensor);
        base_status status = add_file_name(source, file, error);
        if (status != BASE_OK)
            return status;
    }
    return BASE_OK;
}

static const source_entry *find_entry(const shard_source *source, const char *name)
{
    size_t low = 0, high = source->n_entries;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(source->entries[middle].parsed.name, name);
        if (order == 0)
            return &source->entries[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* Every tensor of the index must be in the file the index names. */
static base_status check_map(const shard_source *source, json_t *map, base_error *error)
{
    const char *tensor;
    json_t *value;
    json_object_foreach(map, tensor, value)
    {
        const char *file = json_string_value(value);
        const source_entry *entry = find_entry(source, tensor);
        if (entry == NULL || strcmp(source->files[entry->file].name, file) != 0)
            return base_fail(error, BASE_EFORMAT, "'" INDEX_FILE "' says that tensor '%s' is in '%s', but it is not",
                             tensor, file);
    }
    return BASE_OK;
}

static base_status load_files(shard_source *source, const char *dir, base_error *error)
{
    base_status status = BASE_OK;
    for (uint32_t i = 0; i < source->n_files && status == BASE_OK; i++)
        status = load_file(source, dir, i, error);
    return status != BASE_OK ? status : sort_entries(source, dir, error);
}

static base_status load_indexed(shard_source *source, const char *dir, const base_buf *text, base_error *error)
{
    json_t *index = NULL;
    base_status status = shard_json_parse(INDEX_FILE, text->data, text->size, &index, error);
    if (status != BASE_OK)
        return status;
    json_t *map = json_object_get(index, "weight_map");
    if (!json_is_object(map))
        status = base_fail(error, BASE_EFORMAT, "'" INDEX_FILE "' has no weight_map");
    if (status == BASE_OK)
        status = list_files(source, map, error);
    if (status == BASE_OK)
        status = load_files(source, dir, error);
    if (status == BASE_OK)
        status = check_map(source, map, error);
    json_decref(index);
    return status;
}

static base_status load_dir(shard_source *source, const char *dir, base_error *error)
{
    base_status status = add_file_name(source, SINGLE_FILE, error);
    if (status == BASE_OK)
        status = load_files(source, dir, error);
    if (status != BASE_ENOTFOUND)
        return status;

    base_buf text = {0};
    if (shard_file_read(dir, INDEX_FILE, &text, error) == BASE_OK) {
        free(source->files[0].name);
        source->n_files = 0;
        status = load_indexed(source, dir, &text, error);
    } else {
        status =
            base_fail(error, BASE_ENOTFOUND, "neither '" SINGLE_FILE "' nor a readable '" INDEX_FILE "' in '%s'", dir);
    }
    base_buf_release(&text);
    return status;
}

base_status shard_source_open(const char *dir, shard_source **out, base_error *error)
{
    shard_source *source = calloc(1, sizeof *source);
    if (source == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory to open '%s'", dir);
    base_status status = load_dir(source, dir, error);
    if (status != BASE_OK) {
        shard_source_close(&source);
        return status;
    }
    *out = source;
    return BASE_OK;
}

static base_status check_names(const shard_source *source, base_error *error)
{
    for (size_t i = 0; i < source->n_entries; i++)
        if (!shard_name_is_plain(source->entries[i].parsed.name, SAFETENSORS_MAX_NAME))
            return base_fail(error, BASE_EFORMAT, "the name of tensor %zu is empty, too long or not plain ASCII", i);
    return BASE_OK;
}

static void release_entries(source_entry *entries, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(entries[i].parsed.name);
    free(entries);
}

base_status shard_source_from_entries(source_entry *entries, size_t n, shard_source **out, base_error *error)
{
    shard_source *source = calloc(1, sizeof *source);
    if (source == NULL) {
        release_entries(entries, n);
        return base_fail(error, BASE_ENOMEM, "no memory for a list of %zu tensors", n);
    }
    source->entries = entries;
    source->n_entries = n;
    base_status status = check_names(source, error);
    if (status == BASE_OK)
        status = sort_entries(source, "the model", error);
    if (status != BASE_OK) {
        shard_source_close(&source);
        return status;
    }
    *out = source;
    return BASE_OK;
}

static base_status rename_entries(source_entry *entries, size_t n, const char *prefix, size_t first_file,
                                  base_error *error)
{
    for (size_t i = 0; i < n; i++) {
        char name[2 * SAFETENSORS_MAX_NAME];
        snprintf(name, sizeof name, "%s%s", prefix, entries[i].parsed.name);
        char *copy = strdup(name);
        if (copy == NULL)
            return base_fail(error, BASE_ENOMEM, "no memory for a list of %zu tensors", n);
        free(entries[i].parsed.name);
        entries[i].parsed.name = copy;
        entries[i].file += (uint32_t)first_file;
    }
    return BASE_OK;
}

/* Files and entries of `from` behind those of `to`; `from` is empty then. */
static base_status move_tensors(shard_source *to, shard_source *from, base_error *error)
{
    source_file *files = realloc(to->files, (to->n_files + from->n_files + 1) * sizeof *files);
    if (files != NULL)
        to->files = files;
    source_entry *entries = realloc(to->entries, (to->n_entries + from->n_entries + 1) * sizeof *entries);
    if (entries != NULL)
        to->entries = entries;
    if (files == NULL || entries == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a list of %zu tensors", to->n_entries + from->n_entries);
    if (from->n_files > 0)
        memcpy(files + to->n_files, from->files, from->n_files * sizeof *files);
    memcpy(entries + to->n_entries, from->entries, from->n_entries * sizeof *entries);
    to->n_files += from->n_files;
    to->n_entries += from->n_entries;
    from->n_files = from->n_entries = 0;
    return BASE_OK;
}

base_status shard_source_add(shard_source *source, shard_source **added, const char *prefix, base_error *error)
{
    base_status status = rename_entries((*added)->entries, (*added)->n_entries, prefix, source->n_files, error);
    if (status == BASE_OK)
        status = move_tensors(source, *added, error);
    if (status == BASE_OK)
        status = sort_entries(source, "the model", error);
    shard_source_close(added);
    return status;
}

static base_status list_gguf(const gguf_file *gguf, source_entry *entries, size_t n, base_error *error)
{
    for (size_t i = 0; i < n; i++) {
        gguf_string name;
        shard_tensor tensor;
        gguf_tensor(gguf, i, &name, &tensor);
        char *copy = strndup(name.bytes, name.size);
        if (copy == NULL)
            return base_fail(error, BASE_ENOMEM, "no memory for a list of %zu tensors", n);
        entries[i].parsed = (safetensors_entry){.name = copy, .dtype = shard_type_name(tensor.type), .tensor = tensor};
    }
    return BASE_OK;
}

base_status shard_source_from_gguf(const gguf_file *gguf, shard_source **out, base_error *error)
{
    size_t n = gguf_n_tensors(gguf);
    source_entry *entries = calloc(n + 1, sizeof *entries);
    if (entries == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a list of %zu tensors", n);
    base_status status = list_gguf(gguf, entries, n, error);
    if (status == BASE_OK)
        return shard_source_from_entries(entries, n, out, error);
    release_entries(entries, n);
    return status;
}

void shard_source_close(shard_source **source)
{
    shard_source *s = *source;
    if (s == NULL)
        return;
    release_entries(s->entries, s->n_entries);
    for (size_t i = 0; i < s->n_files; i++) {
        mapped_file_close(&s->files[i].mapped);
        free(s->files[i].name);
    }
    free(s->files);
    free(s);
    *source = NULL;
}

base_status shard_source_find(const shard_source *source, const char *name, shard_tensor *out, base_error *error)
{
    const source_entry *entry = find_entry(source, name);
    if (entry == NULL)
        return base_fail(error, BASE_ENOTFOUND,
                         "tensor '%s' is missing; is this checkpoint complete and of this family?", name);
    *out = entry->parsed.tensor;
    return BASE_OK;
}

/* The dimensions behind the first as one; false when their product does not fit. */
static bool flatten(shard_tensor *tensor)
{
    for (; tensor->n_dims > 2; tensor->n_dims--)
        if (!base_size_mul(tensor->shape[1], tensor->shape[tensor->n_dims - 1], &tensor->shape[1]))
            return false;
    return true;
}

base_status shard_source_find_role(const shard_source *source, const arch *a, arch_part part, arch_role role,
                                   uint32_t layer, shard_tensor *out, base_error *error)
{
    char name[SAFETENSORS_MAX_NAME + 1];
    shard_tensor tensor;
    if (!arch_tensor_name(a, part, role, layer, name, sizeof name))
        return base_fail(error, BASE_EINTERNAL,
                         "family '%s' has no name for a tensor of this model, or one that is too long", a->family);
    base_status status = shard_source_find(source, name, &tensor, error);
    if (status != BASE_OK)
        return status;
    if (!flatten(&tensor))
        return base_fail(error, BASE_ETOOBIG, "tensor '%s' is too large", name);
    if (arch_tensor_is_transposed(a, part, role) && tensor.n_dims == 2) {
        uint64_t rows = tensor.shape[0];
        tensor.shape[0] = tensor.shape[1];
        tensor.shape[1] = rows;
        tensor.transposed = true;
    }
    *out = tensor;
    return BASE_OK;
}

/* "[512, 64]" into `text`. */
static void shape_text(const uint64_t *shape, int n_dims, char *text, size_t size)
{
    int at = snprintf(text, size, "[");
    for (int i = 0; i < n_dims; i++)
        at += snprintf(text + at, size - (size_t)at, "%s%" PRIu64, i > 0 ? ", " : "", shape[i]);
    snprintf(text + at, size - (size_t)at, "]");
}

static base_status check_tensor(const char *name, const shard_tensor *tensor, const uint64_t *shape, int n_dims,
                                base_error *error)
{
    bool same = tensor->n_dims == n_dims;
    for (int i = 0; same && i < n_dims; i++)
        same = tensor->shape[i] == shape[i];
    if (!same) {
        char found[96], expected[96];
        shape_text(tensor->shape, tensor->n_dims, found, sizeof found);
        shape_text(shape, n_dims, expected, sizeof expected);
        return base_fail(error, BASE_EFORMAT, "tensor '%s' has shape %s; the model's description asks for %s", name,
                         found, expected);
    }
    if (tensor->type == SHARD_OTHER)
        return base_fail(error, BASE_EUNSUPPORTED,
                         "tensor '%s' has an element type that is not computed with; known: floats of 8 to 64 bits",
                         name);
    return BASE_OK;
}

static base_status check_role(const shard_source *source, const arch *a, arch_part part, arch_role role,
                              base_error *error)
{
    uint64_t shape[2];
    int n_dims = arch_tensor_shape(a, part, role, shape);
    const arch_stack *stack = part == ARCH_TOWER ? &a->tower.stack : &a->decoder.stack;
    uint32_t n = n_dims == 0 ? 0 : arch_role_is_layer(role) ? stack->n_layers : 1;
    for (uint32_t il = 0; il < n; il++) {
        char name[SAFETENSORS_MAX_NAME + 1] = "";
        shard_tensor tensor;
        base_status status = shard_source_find_role(source, a, part, role, il, &tensor, error);
        if (status == BASE_OK && arch_tensor_name(a, part, role, il, name, sizeof name))
            status = check_tensor(name, &tensor, shape, n_dims, error);
        if (status != BASE_OK)
            return status;
    }
    return BASE_OK;
}

base_status shard_source_check(const shard_source *source, const arch *a, base_error *error)
{
    for (int part = ARCH_DECODER; part < ARCH_N_PARTS; part++)
        for (int role = 0; role < ARCH_N_ROLES; role++) {
            base_status status = check_role(source, a, (arch_part)part, (arch_role)role, error);
            if (status != BASE_OK)
                return status;
        }
    return BASE_OK;
}
