#include "sharding/shards/shard_manifest.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sharding/arch_json.h"
#include "sharding/json_read.h"

/* More ranks than that, or files beside them, are not a manifest but an accident. */
#define MAX_GRID   65536u
#define MAX_EXTRAS 64u

shard_place shard_manifest_place(const shard_manifest *manifest, size_t i)
{
    shard_place place = {.tp = manifest->tp, .pp = manifest->pp};
    place.tp_rank = (uint32_t)(i % manifest->tp);
    place.stage = (uint32_t)(i / manifest->tp);
    snprintf(place.set, sizeof place.set, "%s", manifest->set);
    return place;
}

void shard_manifest_release(shard_manifest *manifest)
{
    for (size_t i = 0; i < manifest->n_files; i++)
        shard_file_release(&manifest->files[i]);
    free(manifest->files);
    free(manifest->extras);
    *manifest = (shard_manifest){0};
}

/* The sum of all but the field "sum". */
static bool sum_object(json_t *root, char out[SHARD_SUM_TEXT])
{
    json_t *copy = json_copy(root); /* shallow */
    json_object_del(copy, "sum");
    char *text = json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(copy);
    if (text == NULL)
        return false;
    shard_sum_of(text, strlen(text), out);
    free(text);
    return true;
}

/* --- writing --- */

static json_t *record_json(const shard_record *record)
{
    return json_pack("{s:s, s:[I,I], s:I, s:I, s:I, s:s}", "type", pack_type_name(record->type), "shape",
                     (json_int_t)shard_range_width(record->slice.rows),
                     (json_int_t)shard_range_width(record->slice.columns), "unit", (json_int_t)record->slice.unit,
                     "offset", (json_int_t)record->offset, "bytes", (json_int_t)record->bytes, "sum", record->sum);
}

static json_t *file_json(const shard_file *file)
{
    json_t *tensors = json_object();
    for (size_t i = 0; i < file->n_records; i++) {
        char name[SHARD_SLICE_NAME];
        shard_slice_name(&file->records[i].slice, name);
        json_object_set_new(tensors, name, record_json(&file->records[i]));
    }
    return json_pack("{s:s, s:I, s:I, s:I, s:s, s:o}", "name", file->name, "stage", (json_int_t)file->stage, "tp_rank",
                     (json_int_t)file->tp_rank, "bytes", (json_int_t)file->bytes, "header_sum", file->header_sum,
                     "tensors", tensors);
}

static json_t *extra_json(const shard_extra *extra)
{
    return json_pack("{s:s, s:I, s:s}", "name", extra->name, "bytes", (json_int_t)extra->bytes, "sum", extra->sum);
}

/* NULL when memory is out; jansson's setters take NULL for a failure, so the pieces need no checks of their own. */
static json_t *manifest_json(const shard_manifest *m)
{
    json_t *files = json_array(), *extras = json_array();
    bool good = files != NULL && extras != NULL;
    for (size_t i = 0; i < m->n_files && good; i++)
        good = json_array_append_new(files, file_json(&m->files[i])) == 0;
    for (size_t i = 0; i < m->n_extras && good; i++)
        good = json_array_append_new(extras, extra_json(&m->extras[i])) == 0;
    json_t *root = json_pack("{s:s, s:s, s:s, s:{s:s, s:s}, s:s, s:s?, s:I, s:I, s:o, s:o, s:o}", "format",
                             SHARD_FORMAT, "made_by", m->made_by, "set", m->set, "source", "path", m->source, "format",
                             m->source_format, "recipe", m->recipe, "importance",
                             m->importance[0] != '\0' ? m->importance : NULL, "tp", (json_int_t)m->tp, "pp",
                             (json_int_t)m->pp, "arch", arch_to_json(&m->a), "files", files, "extras", extras);
    char sum[SHARD_SUM_TEXT];
    good = good && root != NULL && sum_object(root, sum) && json_object_set_new(root, "sum", json_string(sum)) == 0;
    if (!good) {
        json_decref(root);
        return NULL;
    }
    return root;
}

base_status shard_manifest_put(const shard_manifest *manifest, base_buf *out, base_error *error)
{
    json_t *root = manifest_json(manifest);
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    if (text != NULL) {
        base_buf_put(out, text, strlen(text));
        base_buf_put_u8(out, '\n');
    }
    bool failed = text == NULL || out->failed;
    free(text);
    return failed ? base_fail(error, BASE_ENOMEM, "no memory for the manifest of %zu shards", manifest->n_files)
                  : BASE_OK;
}

/* --- reading --- */

static bool read_u64(const json_t *object, const char *field, uint64_t *out)
{
    const json_t *value = json_object_get(object, field);
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static bool is_size(const json_t *object, const char *field, uint64_t expected)
{
    uint64_t value;
    return read_u64(object, field, &value) && value == expected;
}

static bool read_sum(const json_t *object, const char *field, char out[SHARD_SUM_TEXT])
{
    const char *text = json_string_value(json_object_get(object, field));
    if (text == NULL || !shard_sum_is_text(text))
        return false;
    memcpy(out, text, SHARD_SUM_TEXT);
    return true;
}

typedef struct file_reading {
    const char *manifest; /* names it in errors */
    const char *name;     /* the file that is described */
    const json_t *tensors;
} file_reading;

/* The type of a slice as the manifest has it. */
static base_status type_in_manifest(void *context, const shard_slice *slice, pack_type *out, base_error *error)
{
    const file_reading *r = context;
    char name[SHARD_SLICE_NAME];
    shard_slice_name(slice, name);
    const json_t *tensor = json_object_get(r->tensors, name);
    if (tensor == NULL)
        return base_fail(error, BASE_EFORMAT, "'%s': '%s' has no tensor '%s'", r->manifest, r->name, name);
    const char *type = json_string_value(json_object_get(tensor, "type"));
    if (type == NULL || !pack_type_find(type, out))
        return base_fail(error, BASE_EFORMAT, "'%s': tensor '%s' of '%s' has no known type", r->manifest, name,
                         r->name);
    return BASE_OK;
}

/* Shape, unit and size follow from the slice; offset and sum are taken. */
static base_status read_record(const file_reading *r, shard_record *record, uint64_t offset, base_error *error)
{
    char name[SHARD_SLICE_NAME];
    shard_slice_name(&record->slice, name);
    const json_t *tensor = json_object_get(r->tensors, name), *shape = json_object_get(tensor, "shape");
    uint32_t n = shard_range_width(record->slice.rows), k = shard_range_width(record->slice.columns);
    record->bytes = shard_slice_bytes(&record->slice, record->type);
    record->offset = offset;
    const char *type = json_string_value(json_object_get(tensor, "type"));
    bool good = type != NULL && strcmp(type, pack_type_name(record->type)) == 0 && json_array_size(shape) == 2 &&
                json_integer_value(json_array_get(shape, 0)) == n &&
                json_integer_value(json_array_get(shape, 1)) == k && is_size(tensor, "unit", record->slice.unit) &&
                is_size(tensor, "bytes", record->bytes);
    if (!good)
        return base_fail(error, BASE_EFORMAT,
                         "'%s': tensor '%s' of '%s' is not what the architecture and the layout ask for", r->manifest,
                         name, r->name);
    if (!is_size(tensor, "offset", offset) || !read_sum(tensor, "sum", record->sum))
        return base_fail(error, BASE_EFORMAT, "'%s': tensor '%s' of '%s' has a wrong offset or checksum", r->manifest,
                         name, r->name);
    return BASE_OK;
}

/* The first tensor begins where the header ends; each one where the one before it ends. */
static base_status read_records(const file_reading *r, const json_t *object, shard_file *file, base_error *error)
{
    if (json_object_size(r->tensors) != file->n_records || file->n_records == 0)
        return base_fail(error, BASE_EFORMAT, "'%s': '%s' has %zu tensors; its rank holds %zu", r->manifest, r->name,
                         json_object_size(r->tensors), file->n_records);
    char first[SHARD_SLICE_NAME];
    shard_slice_name(&file->records[0].slice, first);
    if (!read_u64(json_object_get(r->tensors, first), "offset", &file->data_offset) ||
        file->data_offset % SHARD_ALIGNMENT != 0 || file->data_offset > INT64_MAX / 2)
        return base_fail(error, BASE_EFORMAT, "'%s': tensor '%s' of '%s' has a wrong offset", r->manifest, first,
                         r->name);
    uint64_t at = file->data_offset;
    for (size_t i = 0; i < file->n_records; i++) {
        base_status status = read_record(r, &file->records[i], at, error);
        if (status != BASE_OK)
            return status;
        at += shard_padded(file->records[i].bytes);
    }
    file->bytes = at;
    if (!is_size(object, "bytes", file->bytes) || !read_sum(object, "header_sum", file->header_sum))
        return base_fail(error, BASE_EFORMAT, "'%s': '%s' has a wrong size or checksum of its header", r->manifest,
                         r->name);
    return BASE_OK;
}

static base_status read_file(const char *manifest, const json_t *object, const arch *a, const shard_place *place,
                             shard_file *out, base_error *error)
{
    char name[64];
    shard_file_name(place, name);
    const char *stated = json_string_value(json_object_get(object, "name"));
    if (stated == NULL || strcmp(stated, name) != 0 || !is_size(object, "stage", place->stage) ||
        !is_size(object, "tp_rank", place->tp_rank))
        return base_fail(error, BASE_EFORMAT, "'%s' does not list '%s' in its place", manifest, name);
    file_reading r = {.manifest = manifest, .name = name, .tensors = json_object_get(object, "tensors")};
    base_status status = shard_file_plan(a, place, type_in_manifest, &r, out, error);
    return status != BASE_OK ? status : read_records(&r, object, out, error);
}

static base_status read_files(const char *file, const json_t *files, shard_manifest *out, base_error *error)
{
    size_t n = (size_t)out->tp * out->pp;
    if (json_array_size(files) != n)
        return base_fail(error, BASE_EFORMAT, "'%s' lists %zu files; a layout of %u x %u has %zu", file,
                         json_array_size(files), out->tp, out->pp, n);
    out->files = calloc(n, sizeof *out->files);
    if (out->files == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a list of %zu shards", n);
    out->n_files = n;
    for (size_t i = 0; i < n; i++) {
        shard_place place = shard_manifest_place(out, i);
        base_status status = read_file(file, json_array_get(files, i), &out->a, &place, &out->files[i], error);
        if (status != BASE_OK)
            return status;
    }
    return BASE_OK;
}

static base_status read_extras(const char *file, const json_t *extras, shard_manifest *out, base_error *error)
{
    size_t n = json_array_size(extras);
    if (n > MAX_EXTRAS)
        return base_fail(error, BASE_EFORMAT, "'%s' lists %zu files beside the shards; at most %u are allowed", file, n,
                         MAX_EXTRAS);
    out->extras = calloc(n + 1, sizeof *out->extras);
    if (out->extras == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a list of %zu files", n);
    for (; out->n_extras < n; out->n_extras++) {
        shard_extra *extra = &out->extras[out->n_extras];
        const json_t *object = json_array_get(extras, out->n_extras);
        const char *name = json_string_value(json_object_get(object, "name"));
        if (name == NULL || !shard_name_is_plain(name, sizeof extra->name - 1) || strchr(name, '/') != NULL ||
            !read_u64(object, "bytes", &extra->bytes) || !read_sum(object, "sum", extra->sum))
            return base_fail(error, BASE_EFORMAT, "'%s': entry %zu of 'extras' is wrong", file, out->n_extras);
        snprintf(extra->name, sizeof extra->name, "%s", name);
    }
    return BASE_OK;
}

/* Is this text whole and of our format? */
static base_status check_envelope(const char *file, json_t *root, base_error *error)
{
    const char *format = json_string_value(json_object_get(root, "format"));
    if (format == NULL)
        return base_fail(error, BASE_EFORMAT, "'%s' is not the manifest of a shard directory", file);
    if (strcmp(format, SHARD_FORMAT) != 0)
        return base_fail(error, BASE_EUNSUPPORTED,
                         "'%s' has format '%.40s'; this build reads " SHARD_FORMAT ": run 'palmgrove shard' again",
                         file, shard_name_is_plain(format, 40) ? format : "?");
    char stated[SHARD_SUM_TEXT], sum[SHARD_SUM_TEXT];
    if (!read_sum(root, "sum", stated) || !sum_object(root, sum) || strcmp(stated, sum) != 0)
        return base_fail(error, BASE_EFORMAT, "'%s' is damaged: its checksum does not match", file);
    return BASE_OK;
}

static base_status read_root(const char *file, json_t *root, shard_manifest *out, base_error *error)
{
    base_status status = check_envelope(file, root, error);
    if (status != BASE_OK)
        return status;
    shard_json json = shard_json_over(root, file, "", error);
    out->tp = shard_json_u32(&json, "tp", 1, MAX_GRID);
    out->pp = shard_json_u32(&json, "pp", 1, MAX_GRID / out->tp);
    snprintf(out->recipe, sizeof out->recipe, "%s", shard_json_text(&json, "recipe"));
    if (json.status != BASE_OK)
        return json.status;
    if (!read_sum(root, "set", out->set))
        return base_fail(error, BASE_EFORMAT, "'%s' does not name its set", file);
    status = arch_from_json(json_object_get(root, "arch"), file, &out->a, error);
    if (status == BASE_OK)
        status = read_files(file, json_object_get(root, "files"), out, error);
    if (status == BASE_OK)
        status = read_extras(file, json_object_get(root, "extras"), out, error);
    return status;
}

base_status shard_manifest_parse(const char *file, const void *bytes, size_t size, shard_manifest *out,
                                 base_error *error)
{
    json_t *root = NULL;
    base_status status = shard_json_parse(file, bytes, size, &root, error);
    if (status != BASE_OK)
        return status;
    shard_manifest found = {0};
    status = read_root(file, root, &found, error);
    json_decref(root);
    if (status == BASE_OK)
        *out = found;
    else
        shard_manifest_release(&found);
    return status;
}
