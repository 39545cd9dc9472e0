#include "sharding/shards/shard_layout.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/grow.h"
#include "proto/base/size.h"
#include "sharding/formats/safetensors.h"
#include "sharding/split.h"

void shard_file_name(const shard_place *place, char name[64])
{
    snprintf(name, 64, "rank-%u-%u-of-%ux%u.safetensors", place->stage, place->tp_rank, place->pp, place->tp);
}

size_t shard_slice_bytes(const shard_slice *slice, pack_type type)
{
    uint32_t n = shard_range_width(slice->rows), k = shard_range_width(slice->columns);
    if (slice->is_matrix)
        return pack_bytes(type, n, k, slice->unit);
    size_t bytes;
    return base_size_mul((size_t)n * k, sizeof(float), &bytes) ? bytes : 0;
}

/* --- the records of a rank --- */

typedef struct planning {
    shard_file *file;
    size_t capacity;
    shard_type_of *type_of;
    void *context;
} planning;

static base_status plan_slice(void *context, const shard_slice *slice, base_error *error)
{
    planning *p = context;
    shard_file *file = p->file;
    if (!base_grow(&file->records, &p->capacity, file->n_records + 1, sizeof *file->records))
        return base_fail(error, BASE_ENOMEM, "no memory for the tensor list of '%s'", file->name);
    shard_record record = {.slice = *slice, .type = PACK_F32};
    base_status status = slice->is_matrix ? p->type_of(p->context, slice, &record.type, error) : BASE_OK;
    if (status == BASE_OK)
        file->records[file->n_records++] = record;
    return status;
}

base_status shard_file_plan(const arch *a, const shard_place *place, shard_type_of *type_of, void *context,
                            shard_file *out, base_error *error)
{
    shard_file file = {.stage = place->stage, .tp_rank = place->tp_rank};
    shard_file_name(place, file.name);
    planning p = {.file = &file, .type_of = type_of, .context = context};
    shard_split split;
    base_status status = shard_split_of(a, place->tp, place->pp, place->tp_rank, place->stage, &split, error);
    if (status == BASE_OK)
        status = shard_slices_visit(a, &split, plan_slice, &p, error);
    if (status == BASE_OK)
        *out = file;
    else
        shard_file_release(&file);
    return status;
}

void shard_file_release(shard_file *file)
{
    free(file->records);
    *file = (shard_file){0};
}

/* --- the header --- */

static void put_text(base_buf *out, const char *text)
{
    base_buf_put(out, text, strlen(text));
}

static void put_tensor(base_buf *out, const char *name, const char *dtype, const uint64_t *shape, int n_dims,
                       uint64_t begin, uint64_t end)
{
    char text[256];
    snprintf(text, sizeof text, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", name, dtype);
    put_text(out, text);
    for (int i = 0; i < n_dims; i++) {
        snprintf(text, sizeof text, "%s%" PRIu64, i > 0 ? "," : "", shape[i]);
        put_text(out, text);
    }
    snprintf(text, sizeof text, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin, end);
    put_text(out, text);
}

static void put_record(base_buf *out, const shard_record *record, uint64_t begin)
{
    static const char *const dtypes[PACK_N_TYPES] = {"F32", "F16", "BF16", "U8", "U8"};
    const shard_slice *s = &record->slice;
    uint32_t n = shard_range_width(s->rows), k = shard_range_width(s->columns);
    uint64_t shape[3] = {n, k};
    int n_dims = 2;
    if (!s->is_matrix && n == 1) {
        shape[0] = k;
        n_dims = 1;
    } else if (s->is_matrix && pack_type_is_quantised(record->type)) {
        shape[0] = pack_n_panels(n);
        shape[1] = pack_panel_bytes(record->type, k, s->unit);
    } else if (s->is_matrix) {
        shape[0] = pack_n_panels(n);
        shape[2] = PACK_PANEL;
        n_dims = 3;
    }
    char name[SHARD_SLICE_NAME];
    shard_slice_name(s, name);
    put_tensor(out, name, dtypes[record->type], shape, n_dims, begin, begin + record->bytes);
}

static void put_metadata(base_buf *out, const shard_place *place)
{
    char text[320];
    snprintf(text, sizeof text,
             "{\"__metadata__\":{\"format\":\"" SHARD_FORMAT
             "\",\"set\":\"%s\",\"stage\":\"%u\",\"tp_rank\":\"%u\",\"pp\":\"%u\","
             "\"tp\":\"%u\",\"content\":\"weights packed for palmgrove; " SHARD_MANIFEST " says what they are\"}",
             place->set, place->stage, place->tp_rank, place->pp, place->tp);
    put_text(out, text);
}

/* Give each record its place in the data and describe it; returns the size of the data. */
static uint64_t put_records(shard_file *file, base_buf *out)
{
    uint64_t at = 0;
    for (size_t i = 0; i < file->n_records; i++) {
        shard_record *record = &file->records[i];
        record->bytes = shard_slice_bytes(&record->slice, record->type);
        record->offset = at;
        put_record(out, record, at);
        uint64_t end = at + record->bytes, rest = shard_padded(end) - end;
        if (rest != 0) {
            char name[32];
            snprintf(name, sizeof name, SHARD_PADDING "%zu", i);
            put_tensor(out, name, "U8", &rest, 1, end, end + rest);
        }
        at = end + rest;
    }
    return at;
}

base_status shard_file_lay_out(shard_file *file, const shard_place *place, base_buf *header, base_error *error)
{
    base_buf text = {0};
    put_metadata(&text, place);
    uint64_t data_bytes = put_records(file, &text);
    put_text(&text, "}");
    uint64_t padded = shard_padded(sizeof(uint64_t) + text.size) - sizeof(uint64_t);
    while (!text.failed && text.size < padded)
        base_buf_put_u8(&text, ' ');
    base_buf_put_u64(header, text.size);
    base_buf_put(header, text.data, text.size);
    size_t header_bytes = text.size;
    bool failed = text.failed || header->failed;
    base_buf_release(&text);
    if (failed)
        return base_fail(error, BASE_ENOMEM, "no memory for the header of '%s'", file->name);
    if (header_bytes > SAFETENSORS_MAX_HEADER)
        return base_fail(error, BASE_ETOOBIG, "'%s' would have a header of %zu bytes; at most %u are allowed",
                         file->name, header_bytes, SAFETENSORS_MAX_HEADER);
    file->data_offset = sizeof(uint64_t) + header_bytes;
    file->bytes = file->data_offset + data_bytes;
    for (size_t i = 0; i < file->n_records; i++)
        file->records[i].offset += file->data_offset;
    shard_sum_of(header->data + header->size - file->data_offset, (size_t)file->data_offset, file->header_sum);
    return BASE_OK;
}
