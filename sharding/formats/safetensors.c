#include "sharding/formats/safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/buf.h"
#include "proto/base/size.h"
#include "sharding/json_read.h"

static const struct dtype_row {
    const char *name;
    uint32_t bytes;
    shard_type type;
} dtypes[] = {
    {"F32", 4, SHARD_F32},         {"F16", 2, SHARD_F16},         {"BF16", 2, SHARD_BF16},  {"F64", 8, SHARD_F64},
    {"F8_E4M3", 1, SHARD_F8_E4M3}, {"F8_E5M2", 1, SHARD_F8_E5M2}, {"I64", 8, SHARD_OTHER},  {"U64", 8, SHARD_OTHER},
    {"I32", 4, SHARD_OTHER},       {"U32", 4, SHARD_OTHER},       {"I16", 2, SHARD_OTHER},  {"U16", 2, SHARD_OTHER},
    {"I8", 1, SHARD_OTHER},        {"U8", 1, SHARD_OTHER},        {"BOOL", 1, SHARD_OTHER},
};

/* The parts of a file, once its length field has been believed. */
typedef struct parsed_file {
    const char *name;
    const char *header;
    size_t header_bytes;
    const uint8_t *data;
    size_t data_bytes;
} parsed_file;

static base_status find_header(const char *file, const void *bytes, size_t size, parsed_file *out, base_error *error)
{
    base_reader reader = base_reader_over(bytes, size);
    uint64_t length = base_reader_u64(&reader);
    if (reader.failed)
        return base_fail(error, BASE_EFORMAT,
                         "'%s' has %zu bytes, too few for a safetensors file; is the download complete?", file, size);
    if (length > SAFETENSORS_MAX_HEADER)
        return base_fail(error, BASE_ETOOBIG,
                         "'%s': header of %llu bytes; at most %u are allowed; is this a safetensors file?", file,
                         (unsigned long long)length, SAFETENSORS_MAX_HEADER);
    const char *header = base_reader_take(&reader, (size_t)length);
    if (header == NULL)
        return base_fail(error, BASE_EFORMAT, "'%s' is cut short inside its header (%llu bytes, the file has %zu)",
                         file, (unsigned long long)length, size);
    *out = (parsed_file){.name = file,
                         .header = header,
                         .header_bytes = (size_t)length,
                         .data = reader.at,
                         .data_bytes = base_reader_left(&reader)};
    return BASE_OK;
}

static const struct dtype_row *find_dtype(const json_t *object)
{
    const char *name = json_string_value(json_object_get(object, "dtype"));
    for (size_t i = 0; name != NULL && i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (strcmp(dtypes[i].name, name) == 0)
            return &dtypes[i];
    return NULL;
}

static bool read_size(const json_t *value, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

/* Shape and element count in bytes. */
static base_status read_shape(const parsed_file *file, const char *name, const json_t *shape, size_t element_bytes,
                              shard_tensor *out, base_error *error)
{
    if (!json_is_array(shape))
        return base_fail(error, BASE_EFORMAT, "'%s': tensor '%s' has no shape", file->name, name);
    if (json_array_size(shape) > 4)
        return base_fail(error, BASE_ETOOBIG, "'%s': tensor '%s' has %zu dimensions; at most 4 are supported",
                         file->name, name, json_array_size(shape));
    size_t bytes = element_bytes;
    out->n_dims = (int)json_array_size(shape);
    for (int i = 0; i < out->n_dims; i++) {
        uint64_t n;
        if (!read_size(json_array_get(shape, (size_t)i), &n))
            return base_fail(error, BASE_EFORMAT, "'%s': tensor '%s' has a dimension that is not a size", file->name,
                             name);
        if (!base_size_mul(bytes, (size_t)n, &bytes))
            return base_fail(error, BASE_EFORMAT, "'%s': tensor '%s' has a shape whose size exceeds 64 bits",
                             file->name, name);
        out->shape[i] = n;
    }
    out->bytes = bytes;
    return BASE_OK;
}

static base_status read_offsets(const parsed_file *file, const char *name, const json_t *offsets, shard_tensor *out,
                                base_error *error)
{
    uint64_t begin, end;
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 || !read_size(json_array_get(offsets, 0), &begin) ||
        !read_size(json_array_get(offsets, 1), &end) || begin > end)
        return base_fail(error, BASE_EFORMAT, "'%s': tensor '%s' has wrong data_offsets", file->name, name);
    if (end > file->data_bytes)
        return base_fail(
            error, BASE_EFORMAT,
            "'%s' is cut short: tensor '%s' ends at byte %llu of the data, which has %zu; is the download complete?",
            file->name, name, (unsigned long long)end, file->data_bytes);
    if (end - begin != out->bytes)
        return base_fail(error, BASE_EFORMAT,
                         "'%s': tensor '%s' needs %llu bytes by its shape but its data_offsets span %llu", file->name,
                         name, (unsigned long long)out->bytes, (unsigned long long)(end - begin));
    out->data = file->data + begin;
    return BASE_OK;
}

static base_status read_entry(const parsed_file *file, const char *name, const json_t *object, safetensors_entry *out,
                              base_error *error)
{
    if (!shard_name_is_plain(name, SAFETENSORS_MAX_NAME))
        return base_fail(error, BASE_EFORMAT, "'%s': a tensor's name is empty, too long or not plain ASCII",
                         file->name);
    if (!json_is_object(object))
        return base_fail(error, BASE_EFORMAT, "'%s': tensor '%s' is not described by an object", file->name, name);
    const struct dtype_row *dtype = find_dtype(object);
    if (dtype == NULL)
        return base_fail(error, BASE_EUNSUPPORTED, "'%s': tensor '%s' has a missing or unknown dtype", file->name,
                         name);
    shard_tensor tensor = {.type = dtype->type};
    base_status status = read_shape(file, name, json_object_get(object, "shape"), dtype->bytes, &tensor, error);
    if (status == BASE_OK)
        status = read_offsets(file, name, json_object_get(object, "data_offsets"), &tensor, error);
    if (status != BASE_OK)
        return status;
    char *copy = strdup(name);
    if (copy == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the tensor list of '%s'", file->name);
    *out = (safetensors_entry){.name = copy, .dtype = dtype->name, .tensor = tensor};
    return BASE_OK;
}

/* By offset; among equal offsets the empty tensors first, so that the tiling check reads on. */
static int compare_offsets(const void *left, const void *right)
{
    const shard_tensor *a = &((const safetensors_entry *)left)->tensor;
    const shard_tensor *b = &((const safetensors_entry *)right)->tensor;
    if (a->data != b->data)
        return (const uint8_t *)a->data < (const uint8_t *)b->data ? -1 : 1;
    return (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

static base_status check_tiling(const parsed_file *file, const safetensors_entry *entries, size_t n, base_error *error)
{
    const uint8_t *at = file->data;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *begin = entries[i].tensor.data;
        if (begin < at)
            return base_fail(error, BASE_EFORMAT, "'%s': tensors '%s' and '%s' overlap", file->name,
                             entries[i - 1].name, entries[i].name);
        if (begin > at)
            return base_fail(error, BASE_EFORMAT, "'%s': %zu bytes before tensor '%s' belong to no tensor", file->name,
                             (size_t)(begin - at), entries[i].name);
        at = begin + entries[i].tensor.bytes;
    }
    size_t left = file->data_bytes - (size_t)(at - file->data);
    if (left != 0)
        return base_fail(error, BASE_EFORMAT, "'%s': %zu bytes behind the last tensor belong to none", file->name,
                         left);
    return BASE_OK;
}

static base_status read_entries(const parsed_file *file, json_t *header, safetensors_entry **out, size_t *n_out,
                                base_error *error)
{
    safetensors_entry *entries = calloc(json_object_size(header) + 1, sizeof *entries);
    if (entries == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the tensor list of '%s'", file->name);
    size_t n = 0;
    base_status status = BASE_OK;
    const char *name;
    json_t *object;
    json_object_foreach(header, name, object)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        status = read_entry(file, name, object, &entries[n], error);
        if (status != BASE_OK)
            break;
        n++;
    }
    if (status == BASE_OK) {
        qsort(entries, n, sizeof *entries, compare_offsets);
        status = check_tiling(file, entries, n, error);
    }
    if (status != BASE_OK) {
        safetensors_release(&entries, n);
        return status;
    }
    *out = entries;
    *n_out = n;
    return BASE_OK;
}

base_status safetensors_parse(const char *name, const void *bytes, size_t size, safetensors_entry **entries,
                              size_t *n_entries, base_error *error)
{
    parsed_file file = {0};
    base_status status = find_header(name, bytes, size, &file, error);
    if (status != BASE_OK)
        return status;
    json_t *header = NULL;
    status = shard_json_parse(name, file.header, file.header_bytes, &header, error);
    if (status != BASE_OK) {
        base_error_prefix(error, "bad safetensors header: ");
        return status;
    }
    status = read_entries(&file, header, entries, n_entries, error);
    json_decref(header);
    return status;
}

void safetensors_release(safetensors_entry **entries, size_t n_entries)
{
    if (*entries == NULL)
        return;
    for (size_t i = 0; i < n_entries; i++)
        free((*entries)[i].name);
    free(*entries);
    *entries = NULL;
}
