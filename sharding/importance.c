/* importance.c - reading and writing the file that `palmgrove calibrate` makes.
 *
 * The file is small (a float per column of each matrix), so it is read whole into aligned memory and its map is closed
 * again.  Rows are kept sorted by name. */
#include "sharding/importance.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/buf.h"
#include "proto/base/file.h"
#include "proto/base/size.h"
#include "sharding/formats/safetensors.h"
#include "sharding/mapped_file.h"

typedef struct row {
    char name[SHARD_SLICE_NAME];
    size_t width;
    float *values; /* owned */
} row;

struct shard_importance {
    row *rows; /* owned, sorted by name */
    size_t n_rows;
};

static int compare_rows(const void *left, const void *right)
{
    const row *a = left, *b = right;
    return strcmp(a->name, b->name);
}

static row *find_row(const shard_importance *importance, const char *name)
{
    row key;
    snprintf(key.name, sizeof key.name, "%s", name);
    return bsearch(&key, importance->rows, importance->n_rows, sizeof key, compare_rows);
}

/* --- reading --- */

static base_status check_values(const row *r, const char *path, base_error *error)
{
    for (size_t i = 0; i < r->width; i++)
        if (!isfinite(r->values[i]) || r->values[i] < 0.0f)
            return base_fail(error, BASE_EFORMAT, "'%s': column %zu of '%s' is not a number of 0 or more", path, i,
                             r->name);
    return BASE_OK;
}

static base_status read_row(const safetensors_entry *entry, const char *path, row *out, base_error *error)
{
    const shard_tensor *tensor = &entry->tensor;
    if (strlen(entry->name) >= sizeof out->name)
        return base_fail(error, BASE_EFORMAT, "'%s': tensor '%s' is no matrix of a model", path, entry->name);
    if (tensor->type != SHARD_F32 || tensor->n_dims != 1)
        return base_fail(error, BASE_EFORMAT, "'%s': tensor '%s' must be F32 of one dimension", path, entry->name);
    memcpy(out->name, entry->name, strlen(entry->name) + 1);
    out->width = tensor->shape[0];
    out->values = malloc(tensor->bytes + 1);
    if (out->values == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for '%s' of '%s'", entry->name, path);
    memcpy(out->values, tensor->data, tensor->bytes);
    return check_values(out, path, error);
}

static base_status read_rows(const char *path, const mapped_file *file, shard_importance *importance, base_error *error)
{
    safetensors_entry *entries = NULL;
    size_t n = 0;
    base_status status = safetensors_parse(path, file->map, file->bytes, &entries, &n, error);
    if (status != BASE_OK)
        return status;
    importance->rows = calloc(n + 1, sizeof *importance->rows);
    if (importance->rows == NULL)
        status = base_fail(error, BASE_ENOMEM, "no memory for the %zu tensors of '%s'", n, path);
    for (size_t i = 0; status == BASE_OK && i < n; i++) {
        importance->n_rows = i + 1;
        status = read_row(&entries[i], path, &importance->rows[i], error);
    }
    if (status == BASE_OK)
        qsort(importance->rows, n, sizeof *importance->rows, compare_rows);
    safetensors_release(&entries, n);
    return status;
}

typedef struct width_check {
    const shard_importance *importance;
    const char *path;
    size_t n_known; /* rows that are a matrix of the model */
} width_check;

static base_status check_width(void *context, const shard_slice *slice, base_error *error)
{
    width_check *check = context;
    char name[SHARD_SLICE_NAME];
    shard_slice_name(slice, name);
    const row *r = slice->is_matrix ? find_row(check->importance, name) : NULL;
    if (r == NULL)
        return BASE_OK;
    check->n_known++;
    if (r->width == shard_range_width(slice->columns))
        return BASE_OK;
    return base_fail(error, BASE_EINVAL,
                     "'%s': '%s' has %zu columns, the model's has %u; was it calibrated with this model?", check->path,
                     name, r->width, shard_range_width(slice->columns));
}

/* Every row must be a matrix of the model, as wide as it. */
static base_status check_model(const shard_importance *importance, const char *path, const arch *a, base_error *error)
{
    width_check check = {.importance = importance, .path = path};
    shard_split whole;
    base_status status = shard_split_of(a, 1, 1, 0, 0, &whole, error);
    if (status == BASE_OK)
        status = shard_slices_visit(a, &whole, check_width, &check, error);
    if (status == BASE_OK && check.n_known != importance->n_rows)
        return base_fail(error, BASE_EINVAL, "'%s': %zu of its %zu tensors are no matrices of this model", path,
                         importance->n_rows - check.n_known, importance->n_rows);
    return status;
}

base_status shard_importance_open(const char *path, const arch *a, shard_importance **out, base_error *error)
{
    mapped_file file = {0};
    base_status status = mapped_file_open(path, &file, error);
    if (status != BASE_OK)
        return status;
    shard_importance *importance = calloc(1, sizeof *importance);
    if (importance == NULL)
        status = base_fail(error, BASE_ENOMEM, "no memory to read '%s'", path);
    else
        status = read_rows(path, &file, importance, error);
    mapped_file_close(&file);
    if (status == BASE_OK)
        status = check_model(importance, path, a, error);
    if (status != BASE_OK) {
        shard_importance_close(&importance);
        return status;
    }
    *out = importance;
    return BASE_OK;
}

void shard_importance_close(shard_importance **importance)
{
    if (*importance == NULL)
        return;
    for (size_t i = 0; i < (*importance)->n_rows; i++)
        free((*importance)->rows[i].values);
    free((*importance)->rows);
    free(*importance);
    *importance = NULL;
}

const float *shard_importance_of(const shard_importance *importance, const shard_slice *slice)
{
    char name[SHARD_SLICE_NAME];
    shard_slice_name(slice, name);
    const row *r = find_row(importance, name);
    return r != NULL && slice->columns.end <= r->width ? r->values + slice->columns.begin : NULL;
}

/* --- writing --- */

/* The safetensors header: names are ours, so nothing in them needs escaping. */
static void put_header(base_buf *out, const shard_importance_row *rows, size_t n_rows)
{
    base_buf text = {0};
    uint64_t at = 0;
    for (size_t i = 0; i < n_rows; i++) {
        char line[SHARD_SLICE_NAME + 128];
        uint64_t bytes = (uint64_t)rows[i].width * sizeof(float);
        int n = snprintf(line, sizeof line,
                         "%c\"%s\":{\"dtype\":\"F32\",\"shape\":[%u],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}",
                         i == 0 ? '{' : ',', rows[i].name, rows[i].width, at, at + bytes);
        base_buf_put(&text, line, (size_t)n);
        at += bytes;
    }
    base_buf_put(&text, n_rows == 0 ? "{}" : "}", n_rows == 0 ? 2 : 1);
    while (text.size % sizeof(uint64_t) != 0 && !text.failed) /* the floats start aligned */
        base_buf_put_u8(&text, ' ');
    base_buf_put_u64(out, text.size);
    base_buf_put(out, text.data, text.size);
    out->failed = out->failed || text.failed;
    base_buf_release(&text);
}

base_status shard_importance_write(const char *path, const shard_importance_row *rows, size_t n_rows, base_error *error)
{
    base_buf bytes = {0};
    put_header(&bytes, rows, n_rows);
    for (size_t i = 0; i < n_rows; i++)
        for (uint32_t column = 0; column < rows[i].width; column++)
            base_buf_put_f32(&bytes, rows[i].values[column]);
    base_status status = base_file_replace(path, &bytes, error);
    base_buf_release(&bytes);
    return status;
}

bool shard_importance_row_at(const shard_importance *importance, size_t i, shard_importance_row *out)
{
    if (i >= importance->n_rows)
        return false;
    const row *r = &importance->rows[i];
    *out = (shard_importance_row){.width = (uint32_t)r->width, .values = r->values};
    memcpy(out->name, r->name, sizeof out->name);
    return true;
}
