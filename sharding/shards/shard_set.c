#include "sharding/shards/shard_set.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "sharding/formats/safetensors.h"
#include "sharding/json_read.h"
#include "sharding/mapped_file.h"
#include "sharding/model_file.h"
#include "sharding/shards/shard_manifest.h"

struct shard_set {
    char dir[4096];
    shard_manifest manifest;
    char digest[65];
};

struct shard_rank_file {
    const shard_set *set;
    const shard_file *planned; /* what the manifest says of it */
    mapped_file mapped;
};

/* --- the set --- */

bool shard_set_is_there(const char *dir)
{
    char path[4096];
    struct stat st;
    int n = snprintf(path, sizeof path, "%s/" SHARD_MANIFEST, dir);
    return n > 0 && (size_t)n < sizeof path && stat(path, &st) == 0;
}

static void digest_of(const base_buf *text, char out[65])
{
    unsigned char digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(digest, text->data, text->size);
    sodium_bin2hex(out, 65, digest, sizeof digest);
}

static base_status read_manifest(shard_set *set, base_error *error)
{
    base_buf text = {0};
    char file[256];
    snprintf(file, sizeof file, "%.200s/" SHARD_MANIFEST, set->dir);
    base_status status = shard_file_read(set->dir, SHARD_MANIFEST, &text, error);
    if (status == BASE_OK)
        status = shard_manifest_parse(file, text.data, text.size, &set->manifest, error);
    if (status == BASE_OK)
        digest_of(&text, set->digest);
    base_buf_release(&text);
    return status;
}

base_status shard_set_open(const char *dir, shard_set **out, base_error *error)
{
    shard_set *set = calloc(1, sizeof *set);
    if (set == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory to open '%s'", dir);
    int n = snprintf(set->dir, sizeof set->dir, "%s", dir);
    base_status status = n >= 0 && (size_t)n < sizeof set->dir - 64
                             ? read_manifest(set, error)
                             : base_fail(error, BASE_EINVAL, "the path '%.80s...' is too long", dir);
    if (status == BASE_OK)
        *out = set;
    else
        shard_set_close(&set);
    return status;
}

void shard_set_close(shard_set **set)
{
    if (*set == NULL)
        return;
    shard_manifest_release(&(*set)->manifest);
    free(*set);
    *set = NULL;
}

const arch *shard_set_arch(const shard_set *set)
{
    return &set->manifest.a;
}

const char *shard_set_recipe(const shard_set *set)
{
    return set->manifest.recipe;
}

void shard_set_layout(const shard_set *set, uint32_t *tp, uint32_t *pp)
{
    *tp = set->manifest.tp;
    *pp = set->manifest.pp;
}

void shard_set_digest(const shard_set *set, char out[65])
{
    memcpy(out, set->digest, sizeof set->digest);
}

static const shard_file *file_of(const shard_set *set, uint32_t tp_rank, uint32_t stage)
{
    const shard_manifest *m = &set->manifest;
    return tp_rank < m->tp && stage < m->pp ? &m->files[(size_t)stage * m->tp + tp_rank] : NULL;
}

uint64_t shard_set_rank_bytes(const shard_set *set, uint32_t tp_rank, uint32_t stage)
{
    const shard_file *file = file_of(set, tp_rank, stage);
    return file != NULL ? file->bytes : 0;
}

bool shard_set_tensor(const shard_set *set, uint32_t tp_rank, uint32_t stage, size_t i, shard_slice *slice,
                      pack_type *type, uint64_t *bytes)
{
    const shard_file *file = file_of(set, tp_rank, stage);
    if (file == NULL || i >= file->n_records)
        return false;
    *slice = file->records[i].slice;
    *type = file->records[i].type;
    *bytes = file->records[i].bytes;
    return true;
}

/* --- one file against its manifest --- */

/* A field of `__metadata__`, "?" when it is not there. */
static const char *metadata_text(const json_t *metadata, const char *field)
{
    const char *text = json_string_value(json_object_get(metadata, field));
    return text != NULL && shard_name_is_plain(text, 40) ? text : "?";
}

static bool is_number(const char *text, uint32_t number)
{
    char expected[16];
    snprintf(expected, sizeof expected, "%u", number);
    return strcmp(text, expected) == 0;
}

/* The file's own words about where it belongs come first: they tell swapped from damaged. */
static base_status check_metadata(const shard_set *set, const shard_file *planned, const json_t *metadata,
                                  const char *path, base_error *error)
{
    const shard_manifest *m = &set->manifest;
    const char *stage = metadata_text(metadata, "stage"), *tp_rank = metadata_text(metadata, "tp_rank");
    const char *tp = metadata_text(metadata, "tp"), *pp = metadata_text(metadata, "pp");
    if (strcmp(metadata_text(metadata, "format"), SHARD_FORMAT) != 0)
        return base_fail(error, BASE_EFORMAT, "'%s' is not a shard of this format (" SHARD_FORMAT ")", path);
    if (strcmp(metadata_text(metadata, "set"), m->set) != 0)
        return base_fail(error, BASE_EFORMAT, "'%s' belongs to another set of shards (%s, the manifest is of %s)", path,
                         metadata_text(metadata, "set"), m->set);
    if (!is_number(tp, m->tp) || !is_number(pp, m->pp) || !is_number(stage, planned->stage) ||
        !is_number(tp_rank, planned->tp_rank))
        return base_fail(error, BASE_EFORMAT,
                         "'%s' holds the shard of stage %s, tensor rank %s of a layout of --tp %s --pp %s; were files "
                         "swapped or renamed?",
                         path, stage, tp_rank, tp, pp);
    return BASE_OK;
}

/* Every tensor of the manifest is in the header, at its place and of its size. */
static base_status check_entries(const shard_file *planned, const safetensors_entry *entries, size_t n, const void *map,
                                 const char *path, base_error *error)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (strncmp(entries[i].name, SHARD_PADDING, sizeof SHARD_PADDING - 1) == 0)
            continue;
        const shard_record *record = at < planned->n_records ? &planned->records[at++] : NULL;
        char name[SHARD_SLICE_NAME] = "";
        if (record != NULL)
            shard_slice_name(&record->slice, name);
        uint64_t offset = (uint64_t)((const char *)entries[i].tensor.data - (const char *)map);
        if (record == NULL || strcmp(name, entries[i].name) != 0 || offset != record->offset ||
            entries[i].tensor.bytes != record->bytes)
            return base_fail(error, BASE_EFORMAT, "'%s': tensor '%s' is not where the manifest has it", path,
                             entries[i].name);
    }
    if (at != planned->n_records)
        return base_fail(error, BASE_EFORMAT, "'%s' has %zu tensors; the manifest lists %zu", path, at,
                         planned->n_records);
    return BASE_OK;
}

/* Whatever the blanks and the metadata may hide. */
static base_status check_header_sum(const shard_file *planned, const void *map, const char *path, base_error *error)
{
    char sum[SHARD_SUM_TEXT];
    shard_sum_of(map, (size_t)planned->data_offset, sum);
    if (strcmp(sum, planned->header_sum) != 0)
        return base_fail(error, BASE_EFORMAT, "'%s' is damaged: the checksum of its header does not match", path);
    return BASE_OK;
}

static base_status check_size(const shard_file *planned, const mapped_file *mapped, const char *path, base_error *error)
{
    if (mapped->bytes == planned->bytes)
        return BASE_OK;
    return base_fail(error, BASE_EFORMAT, "'%s' has %zu bytes; the manifest says %llu: it was %s", path, mapped->bytes,
                     (unsigned long long)planned->bytes, mapped->bytes < planned->bytes ? "cut short" : "changed");
}

/* The JSON of a header that safetensors_parse has accepted. */
static base_status header_json(const mapped_file *mapped, const char *path, json_t **out, base_error *error)
{
    base_reader reader = base_reader_over(mapped->map, mapped->bytes);
    size_t length = (size_t)base_reader_u64(&reader);
    return shard_json_parse(path, reader.at, length, out, error);
}

static base_status check_file(const shard_set *set, const shard_file *planned, const mapped_file *mapped,
                              const char *path, base_error *error)
{
    safetensors_entry *entries = NULL;
    size_t n = 0;
    json_t *header = NULL;
    base_status status = safetensors_parse(path, mapped->map, mapped->bytes, &entries, &n, error);
    if (status == BASE_OK)
        status = header_json(mapped, path, &header, error);
    if (status == BASE_OK)
        status = check_metadata(set, planned, json_object_get(header, "__metadata__"), path, error);
    if (status == BASE_OK)
        status = check_size(planned, mapped, path, error);
    if (status == BASE_OK)
        status = check_entries(planned, entries, n, mapped->map, path, error);
    if (status == BASE_OK)
        status = check_header_sum(planned, mapped->map, path, error);
    json_decref(header);
    safetensors_release(&entries, n);
    return status;
}

/* --- opening one file --- */

static base_status open_planned(const shard_set *set, const shard_file *planned, shard_rank_file **out,
                                base_error *error)
{
    char path[sizeof set->dir + sizeof planned->name];
    snprintf(path, sizeof path, "%s/%s", set->dir, planned->name);
    shard_rank_file *file = calloc(1, sizeof *file);
    if (file == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory to open '%s'", path);
    file->set = set;
    file->planned = planned;
    base_status status = mapped_file_open(path, &file->mapped, error);
    if (status == BASE_OK)
        status = check_file(set, planned, &file->mapped, path, error);
    if (status == BASE_OK)
        *out = file;
    else
        shard_rank_file_close(&file);
    return status;
}

base_status shard_rank_file_open(const shard_set *set, uint32_t tp, uint32_t pp, uint32_t tp_rank, uint32_t stage,
                                 shard_rank_file **out, base_error *error)
{
    const shard_manifest *m = &set->manifest;
    if (tp != m->tp || pp != m->pp)
        return base_fail(error, BASE_EINVAL,
                         "'%s' was sharded for --tp %u --pp %u, not for --tp %u --pp %u; start that layout, or shard "
                         "the model again",
                         set->dir, m->tp, m->pp, tp, pp);
    const shard_file *planned = file_of(set, tp_rank, stage);
    if (planned == NULL)
        return base_fail(error, BASE_EINVAL, "tensor rank %u, stage %u is outside the layout of %u x %u", tp_rank,
                         stage, tp, pp);
    return open_planned(set, planned, out, error);
}

void shard_rank_file_close(shard_rank_file **file)
{
    if (*file == NULL)
        return;
    mapped_file_close(&(*file)->mapped);
    free(*file);
    *file = NULL;
}

uint64_t shard_rank_file_bytes(const shard_rank_file *file)
{
    return file->planned->bytes;
}

/* --- tensors --- */

/* NULL when the file does not hold the slice as it is asked for. */
static const shard_record *find_record(const shard_rank_file *file, const shard_slice *slice, base_error *error)
{
    const shard_file *planned = file->planned;
    for (size_t i = 0; i < planned->n_records; i++) {
        const shard_slice *s = &planned->records[i].slice;
        if (!shard_slice_is_same(s, slice))
            continue;
        bool same = s->rows.begin == slice->rows.begin && s->rows.end == slice->rows.end &&
                    s->columns.begin == slice->columns.begin && s->columns.end == slice->columns.end &&
                    s->unit == slice->unit && s->is_matrix == slice->is_matrix;
        if (!same)
            break;
        return &planned->records[i];
    }
    char name[SHARD_SLICE_NAME];
    shard_slice_name(slice, name);
    base_error_set(error, BASE_ENOTFOUND, "'%s/%s' does not hold '%s' as this layout needs it", file->set->dir,
                   planned->name, name);
    return NULL;
}

base_status shard_rank_file_matrix(const shard_rank_file *file, const shard_slice *slice, pack_matrix *out,
                                   base_error *error)
{
    const shard_record *record = find_record(file, slice, error);
    if (record == NULL)
        return BASE_ENOTFOUND;
    *out = (pack_matrix){.type = record->type,
                         .n = shard_range_width(slice->rows),
                         .k = shard_range_width(slice->columns),
                         .unit = slice->unit,
                         .data = (char *)file->mapped.map + record->offset};
    return BASE_OK;
}

base_status shard_rank_file_vector(const shard_rank_file *file, const shard_slice *slice, float **out,
                                   base_error *error)
{
    const shard_record *record = find_record(file, slice, error);
    if (record == NULL)
        return BASE_ENOTFOUND;
    *out = (float *)(void *)((char *)file->mapped.map + record->offset);
    return BASE_OK;
}

/* --- bringing it into memory --- */

/* What is read at a time: long enough for the disk, short enough for the cache that the checksum reads it from. */
#define STRIDE (4u << 20)

typedef struct loading {
    shard_rank_file *file;
    shard_sum *sum; /* NULL: unchecked */
    shard_progress *progress;
    void *context;
    uint64_t done, total;
} loading;

/* Pages of [offset, offset + size); the next stride is asked for while this one is used. */
static base_status bring(const loading *l, uint64_t offset, size_t size, base_error *error)
{
    const mapped_file *mapped = &l->file->mapped;
    uint64_t begin = offset / 4096 * 4096, end = offset + size, ahead = end / 4096 * 4096;
    char *map = mapped->map;
    if (ahead + STRIDE <= mapped->bytes)
        (void)madvise(map + ahead, STRIDE, MADV_WILLNEED);
    if (madvise(map + begin, (size_t)(end - begin), MADV_POPULATE_READ) != 0) {
        if (errno != EINVAL) /* EFAULT: the disk, or a file that was cut meanwhile */
            return base_fail(error, BASE_EIO, "cannot read '%s/%s' at byte %llu", l->file->set->dir,
                             l->file->planned->name, (unsigned long long)begin);
        for (uint64_t at = begin; at < end; at += 4096) /* a kernel before 5.14 */
            (void)*(volatile const char *)(map + at);
    }
    return BASE_OK;
}

/* Bring one range and sum it. */
static base_status load_range(loading *l, uint64_t offset, uint64_t size, base_error *error)
{
    for (uint64_t at = offset, end = offset + size; at < end;) {
        size_t n = (size_t)(end - at < STRIDE ? end - at : STRIDE);
        base_status status = bring(l, at, n, error);
        if (status != BASE_OK)
            return status;
        if (l->sum != NULL)
            shard_sum_update(l->sum, (const char *)l->file->mapped.map + at, n);
        at += n;
        l->done += n;
        if (l->progress != NULL)
            l->progress(l->context, l->done, l->total);
    }
    return BASE_OK;
}

static base_status load_record(loading *l, const shard_record *record, base_error *error)
{
    if (l->sum != NULL)
        shard_sum_reset(l->sum);
    base_status status = load_range(l, record->offset, shard_padded(record->bytes), error);
    if (status != BASE_OK || l->sum == NULL)
        return status;
    char sum[SHARD_SUM_TEXT], name[SHARD_SLICE_NAME];
    shard_sum_text(l->sum, sum);
    if (strcmp(sum, record->sum) == 0)
        return BASE_OK;
    shard_slice_name(&record->slice, name);
    return base_fail(error, BASE_EFORMAT,
                     "'%s/%s' is damaged: the checksum of tensor '%s' does not match; copy or write the file again",
                     l->file->set->dir, l->file->planned->name, name);
}

static base_status load_file(loading *l, base_error *error)
{
    const shard_file *planned = l->file->planned;
    base_status status = BASE_OK;
    for (size_t i = 0; i < planned->n_records && status == BASE_OK; i++)
        status = load_record(l, &planned->records[i], error);
    return status;
}

base_status shard_rank_file_load_unchecked(shard_rank_file *file, shard_progress *progress, void *context,
                                           base_error *error)
{
    loading l = {.file = file, .progress = progress, .context = context};
    l.total = file->planned->bytes - file->planned->data_offset;
    return load_file(&l, error);
}

base_status shard_rank_file_load(shard_rank_file *file, shard_progress *progress, void *context, base_error *error)
{
    loading l = {.file = file, .sum = shard_sum_create(), .progress = progress, .context = context};
    l.total = file->planned->bytes - file->planned->data_offset;
    if (l.sum == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a checksum");
    base_status status = load_file(&l, error);
    shard_sum_destroy(&l.sum);
    return status;
}

/* --- verifying a set --- */

typedef struct verifying {
    loading l;
    void (*fault)(void *context, const char *text);
    size_t n_faults;
} verifying;

static void note_fault(verifying *v, const base_error *error)
{
    v->n_faults++;
    v->fault(v->l.context, error->text);
}

/* Pages that were checked are given back: a set is larger than memory. */
static void verify_file(verifying *v, const shard_set *set, const shard_file *planned)
{
    base_error error = {0};
    uint64_t after = v->l.done + planned->bytes - planned->data_offset;
    if (open_planned(set, planned, &v->l.file, &error) != BASE_OK) {
        note_fault(v, &error);
        v->l.done = after;
        return;
    }
    for (size_t i = 0; i < planned->n_records; i++) {
        const shard_record *record = &planned->records[i];
        if (load_record(&v->l, record, &error) != BASE_OK)
            note_fault(v, &error);
        uint64_t begin = record->offset / 4096 * 4096, end = (record->offset + record->bytes) / 4096 * 4096;
        if (begin < end)
            (void)madvise((char *)v->l.file->mapped.map + begin, (size_t)(end - begin), MADV_DONTNEED);
    }
    v->l.done = after;
    shard_rank_file_close(&v->l.file);
}

static void verify_extra(verifying *v, const shard_set *set, const shard_extra *extra)
{
    base_buf text = {0};
    base_error error = {0};
    char sum[SHARD_SUM_TEXT];
    if (shard_file_read(set->dir, extra->name, &text, &error) != BASE_OK) {
        note_fault(v, &error);
    } else {
        shard_sum_of(text.data, text.size, sum);
        if (text.size != extra->bytes || strcmp(sum, extra->sum) != 0) {
            base_error_set(&error, BASE_EFORMAT, "'%s/%s' is damaged: its size or checksum does not match", set->dir,
                           extra->name);
            note_fault(v, &error);
        }
    }
    base_buf_release(&text);
}

base_status shard_set_verify(const char *dir, shard_progress *progress, void (*fault)(void *context, const char *text),
                             void *context, base_error *error)
{
    shard_set *set = NULL;
    base_status status = shard_set_open(dir, &set, error);
    if (status != BASE_OK)
        return status;
    verifying v = {.l = {.sum = shard_sum_create(), .progress = progress, .context = context}, .fault = fault};
    const shard_manifest *m = &set->manifest;
    for (size_t i = 0; i < m->n_files; i++)
        v.l.total += m->files[i].bytes - m->files[i].data_offset;
    if (v.l.sum == NULL)
        status = base_fail(error, BASE_ENOMEM, "no memory for a checksum");
    for (size_t i = 0; i < m->n_files && status == BASE_OK; i++)
        verify_file(&v, set, &m->files[i]);
    for (size_t i = 0; i < m->n_extras && status == BASE_OK; i++)
        verify_extra(&v, set, &m->extras[i]);
    if (status == BASE_OK && v.n_faults > 0)
        status = base_fail(error, BASE_EFORMAT, "'%s' is not sound: %zu thing%s wrong", dir, v.n_faults,
                           v.n_faults == 1 ? " is" : "s are");
    shard_sum_destroy(&v.l.sum);
    shard_set_close(&set);
    return status;
}
