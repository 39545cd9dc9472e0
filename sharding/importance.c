#include "sharding/importance.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sharding/formats/safetensors.h"
#include "sharding/mapped_file.h"

struct shard_importance {
    mapped_file file;
    safetensors_entry *entries;
    size_t n_entries;
};

static const safetensors_entry *find(const shard_importance *importance, const shard_slice *slice)
{
    char name[SHARD_SLICE_NAME];
    shard_slice_name(slice, name);
    for (size_t i = 0; i < importance->n_entries; i++)
        if (strcmp(importance->entries[i].name, name) == 0)
            return &importance->entries[i];
    return NULL;
}

typedef struct check {
    const shard_importance *importance;
    const char *path;
} check;

/* Every width that is in the file is the matrix's, and every weight is a finite number from 0 on. */
static base_status check_slice(void *context, const shard_slice *slice, base_error *error)
{
    const check *c = context;
    const safetensors_entry *entry = slice->is_matrix ? find(c->importance, slice) : NULL;
    if (entry == NULL)
        return BASE_OK;
    uint32_t width = shard_range_width(slice->columns);
    const shard_tensor *tensor = &entry->tensor;
    if (tensor->type != SHARD_F32 || tensor->n_dims != 1 || tensor->shape[0] != width)
        return base_fail(error, BASE_EINVAL,
                         "'%s': '%s' is not F32 [%u]; was it measured on another model? run `palmgrove calibrate` again", c->path,
                         entry->name, width);
    if ((uintptr_t)tensor->data % sizeof(float) != 0)
        return base_fail(error, BASE_EFORMAT, "'%s': '%s' does not start at a multiple of 4 bytes", c->path, entry->name);
    const float *values = tensor->data;
    for (uint32_t i = 0; i < width; i++) {
        if (!(values[i] >= 0.0f && values[i] <= 3e38f))
            return base_fail(error, BASE_EFORMAT, "'%s': column %u of '%s' is not a mean square", c->path, i, entry->name);
    }
    return BASE_OK;
}

base_status shard_importance_open(const char *path, const arch *a, shard_importance **out, base_error *error)
{
    shard_importance *importance = calloc(1, sizeof *importance);
    if (importance == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory to open '%s'", path);
    base_status status = mapped_file_open(path, &importance->file, error);
    if (status == BASE_OK)
        status = safetensors_parse(path, importance->file.map, importance->file.bytes, &importance->entries, &importance->n_entries,
                                   error);
    shard_split whole;
    if (status == BASE_OK)
        status = shard_split_of(a, 1, 1, 0, 0, &whole, error);
    check c = {importance, path};
    if (status == BASE_OK)
        status = shard_slices_visit(a, &whole, check_slice, &c, error);
    if (status != BASE_OK) {
        shard_importance_close(&importance);
        return status;
    }
    *out = importance;
    return BASE_OK;
}

void shard_importance_close(shard_importance **importance)
{
    shard_importance *i = *importance;
    if (i == NULL)
        return;
    safetensors_release(&i->entries, i->n_entries);
    mapped_file_close(&i->file);
    free(i);
    *importance = NULL;
}

const float *shard_importance_of(const shard_importance *importance, const shard_slice *slice)
{
    const safetensors_entry *entry = importance != NULL ? find(importance, slice) : NULL;
    if (entry == NULL)
        return NULL;
    return (const float *)entry->tensor.data + slice->columns.begin;
}
