#include "sharding/shards/shard_write.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sharding/mapped_file.h"
#include "sharding/model_file.h"
#include "sharding/shards/shard_extras.h"
#include "sharding/shards/shard_journal.h"
#include "sharding/shards/shard_output.h"
#include "sharding/shards/shard_writer.h"

/* --- planning --- */

base_status shard_writer_tensor(const shard_writer *writer, const shard_slice *slice, shard_tensor *out,
                                base_error *error)
{
    const shard_checkpoint *from = writer->from;
    return shard_source_find_role(from->source, &from->a, slice->part, slice->role, slice->layer, out, error);
}

uint32_t shard_unit_rows(const shard_slice *slice)
{
    return slice->is_matrix ? PACK_PANEL : 1;
}

size_t shard_unit_bytes(const shard_record *record)
{
    const shard_slice *s = &record->slice;
    uint32_t k = shard_range_width(s->columns);
    return s->is_matrix ? pack_panel_bytes(record->type, k, s->unit) : k * sizeof(float);
}

/* Whole rows are in memory while a unit is read, also when only some of their columns are used: pages hold both. */
size_t shard_unit_source_bytes(const shard_slice *slice, const shard_tensor *tensor)
{
    uint32_t n_elements, n_bytes;
    shard_type_block(tensor->type, &n_elements, &n_bytes);
    size_t width = tensor->n_dims == 0 ? 1 : (size_t)tensor->shape[tensor->n_dims - 1];
    return shard_unit_rows(slice) * (width / n_elements * n_bytes);
}

static base_status type_by_recipe(void *context, const shard_slice *slice, pack_type *out, base_error *error)
{
    const shard_writer *w = context;
    shard_tensor tensor;
    base_status status = shard_writer_tensor(w, slice, &tensor, error);
    if (status == BASE_OK)
        *out = shard_recipe_type(w->options.recipe, &w->from->a, slice, tensor.type);
    return status;
}

static base_status plan_file(shard_writer *w, size_t i, base_error *error)
{
    base_buf header = {0};
    shard_place place = shard_manifest_place(&w->manifest, i);
    base_status status = shard_file_plan(&w->from->a, &place, type_by_recipe, w, &w->manifest.files[i], error);
    if (status == BASE_OK)
        status = shard_file_lay_out(&w->manifest.files[i], &place, &header, error);
    base_buf_release(&header);
    return status;
}

static base_status plan_files(shard_writer *w, base_error *error)
{
    shard_manifest *m = &w->manifest;
    shard_split split;
    base_status status = shard_split_of(&w->from->a, m->tp, m->pp, 0, 0, &split, error);
    if (status != BASE_OK)
        return status;
    size_t n = (size_t)m->tp * m->pp;
    m->files = calloc(n, sizeof *m->files);
    if (m->files == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a list of %zu shards", n);
    for (m->n_files = 0; m->n_files < n && status == BASE_OK; m->n_files++)
        status = plan_file(w, m->n_files, error);
    return status;
}

/* What a person may read of a path: its last part, printable. */
static void copy_name(const char *path, char *out, size_t size)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t begin = n;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    snprintf(out, size, "%.*s", (int)(n - begin), path + begin);
    for (char *at = out; *at != '\0'; at++)
        if (*at < ' ' || *at > '~')
            *at = '?';
}

static base_status describe(shard_writer *w, base_error *error)
{
    static const char *const formats[] = {"safetensors", "gguf", "shards", "synthetic"};
    shard_manifest *m = &w->manifest;
    const shard_write_options *o = &w->options;
    m->a = w->from->a;
    m->tp = o->tp;
    m->pp = o->pp;
    copy_name(o->made_by, m->made_by, sizeof m->made_by);
    copy_name(w->from->path, m->source, sizeof m->source);
    snprintf(m->source_format, sizeof m->source_format, "%s", formats[w->from->format]);
    snprintf(m->recipe, sizeof m->recipe, "%s", recipe_kind_name(o->recipe->kind));
    if (o->importance_file != NULL) {
        mapped_file file = {0};
        base_status status = mapped_file_open(o->importance_file, &file, error);
        if (status != BASE_OK)
            return status;
        shard_sum_of(file.map, file.bytes, m->importance);
        mapped_file_close(&file);
    }
    return shard_set_name(w->from, m, error);
}

/* --- memory --- */

#define FIXED_BYTES (64u << 20)  /* the program, its libraries and stacks */
#define FLUSH_BYTES (256u << 20) /* enough to keep a fast disk busy */
#define IN_FLIGHT   (96u << 20)

typedef struct memory_plan {
    size_t lists, unit, unit_in_flight; /* largest of all pieces: packed, and with what is read for it */
} memory_plan;

static base_status measure(const shard_writer *w, memory_plan *out, base_error *error)
{
    *out = (memory_plan){0};
    for (size_t i = 0; i < w->manifest.n_files; i++)
        for (size_t k = 0; k < w->manifest.files[i].n_records; k++) {
            const shard_record *record = &w->manifest.files[i].records[k];
            shard_tensor tensor;
            base_status status = shard_writer_tensor(w, &record->slice, &tensor, error);
            if (status != BASE_OK)
                return status;
            size_t unit = shard_unit_bytes(record), both = unit + shard_unit_source_bytes(&record->slice, &tensor);
            out->unit = unit > out->unit ? unit : out->unit;
            out->unit_in_flight = both > out->unit_in_flight ? both : out->unit_in_flight;
            out->lists += 6 * sizeof *record; /* the record, its place in the work list, header and manifest text */
        }
    return BASE_OK;
}

static base_status plan_memory(shard_writer *w, base_error *error)
{
    memory_plan plan;
    base_status status = measure(w, &plan, error);
    if (status != BASE_OK)
        return status;
    uint64_t max = w->options.max_memory;
    w->flush_limit = max / 8 < FLUSH_BYTES ? max / 8 : FLUSH_BYTES;
    uint64_t base = FIXED_BYTES + plan.lists + w->flush_limit;
    uint64_t lane = shard_pack_scratch_bytes(shard_pack_widest(&w->from->a)) + plan.unit_in_flight;
    if (base + lane > max)
        return base_fail(
            error, BASE_EINVAL, "the widest rows of this model need %llu MiB of memory; --max-memory allows %llu MiB",
            (unsigned long long)((FIXED_BYTES + plan.lists + lane) * 8 / 7 >> 20) + 1, (unsigned long long)(max >> 20));
    uint64_t lanes = (max - base) / lane;
    w->n_lanes = (uint32_t)(lanes < w->options.n_threads ? lanes : w->options.n_threads);
    if (w->n_lanes == 0)
        w->n_lanes = 1;
    /* More panels a lane, while there is room: longer writes. */
    uint64_t scratch = (lane - plan.unit_in_flight) * w->n_lanes, room = max - base - scratch;
    uint64_t units = (room < IN_FLIGHT ? room : IN_FLIGHT) / plan.unit_in_flight;
    units = units > w->n_lanes ? units / w->n_lanes * w->n_lanes : w->n_lanes;
    w->buffer_bytes = (size_t)units * plan.unit;
    w->in_flight = (size_t)units * plan.unit_in_flight;
    w->memory = base + scratch + w->in_flight;
    return BASE_OK;
}

base_status shard_writer_open(const shard_checkpoint *from, const shard_write_options *options, shard_writer **out,
                              base_error *error)
{
    if (from->source == NULL)
        return base_fail(error, BASE_EINVAL, "'%s' is sharded already; shard the checkpoint that it came from",
                         from->path);
    shard_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory to shard '%s'", from->path);
    w->from = from;
    w->options = *options;
    base_status status = describe(w, error);
    if (status == BASE_OK)
        status = plan_files(w, error);
    if (status == BASE_OK)
        status = plan_memory(w, error);
    if (status == BASE_OK)
        *out = w;
    else
        shard_writer_close(&w);
    return status;
}

void shard_writer_close(shard_writer **writer)
{
    if (*writer == NULL)
        return;
    shard_manifest_release(&(*writer)->manifest);
    free(*writer);
    *writer = NULL;
}

uint64_t shard_writer_bytes(const shard_writer *writer)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < writer->manifest.n_files; i++)
        bytes += writer->manifest.files[i].bytes;
    return bytes;
}

uint64_t shard_writer_memory(const shard_writer *writer)
{
    return writer->memory;
}

uint32_t shard_writer_threads(const shard_writer *writer)
{
    return writer->n_lanes;
}

/* --- before --- */

static void note(const shard_writer *w, const char *text)
{
    if (w->options.note != NULL)
        w->options.note(w->options.context, text);
}

/* The set that a finished directory holds: BASE_ENOTFOUND when there is no manifest. */
static base_status read_set(const char *dir, char set[SHARD_SUM_TEXT], base_error *error)
{
    base_buf text = {0};
    shard_manifest found = {0};
    base_status status = shard_file_read(dir, SHARD_MANIFEST, &text, error);
    if (status == BASE_OK)
        status = shard_manifest_parse(SHARD_MANIFEST, text.data, text.size, &found, error);
    if (status == BASE_OK)
        memcpy(set, found.set, sizeof found.set);
    shard_manifest_release(&found);
    base_buf_release(&text);
    return status;
}

static bool has_all_files(const shard_writer *w)
{
    for (size_t i = 0; i < w->manifest.n_files; i++) {
        uint64_t bytes, allocated;
        if (!shard_output_size(w->options.dir, w->manifest.files[i].name, "", &bytes, &allocated) ||
            bytes != w->manifest.files[i].bytes)
            return false;
    }
    return true;
}

bool shard_writer_is_whole(const shard_writer *w)
{
    char set[SHARD_SUM_TEXT];
    return read_set(w->options.dir, set, NULL) == BASE_OK && strcmp(set, w->manifest.set) == 0 && has_all_files(w);
}

static void remove_file(const char *dir, const char *name, const char *tail)
{
    char path[4096];
    if (shard_output_path(dir, name, tail, path, NULL) == BASE_OK)
        (void)unlink(path);
}

/* A finished set of the same name is kept, one whose files are gone is made again, another one is not touched. */
static base_status check_manifest(const shard_writer *w, base_error *error)
{
    const char *dir = w->options.dir;
    char set[SHARD_SUM_TEXT];
    if (!shard_set_is_there(dir) || shard_writer_is_whole(w))
        return BASE_OK;
    if (read_set(dir, set, NULL) != BASE_OK || strcmp(set, w->manifest.set) != 0)
        return base_fail(
            error, BASE_EINVAL,
            "'%s' holds shards of another source or with other options; remove them, or write to another directory",
            dir);
    note(w, "files of the finished set are missing: they are written again");
    remove_file(dir, SHARD_MANIFEST, "");
    return BASE_OK;
}

static int is_journal(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name), tail = sizeof SHARD_JOURNAL_TAIL - 1;
    return strncmp(entry->d_name, "rank-", 5) == 0 && n > tail &&
           strcmp(entry->d_name + n - tail, SHARD_JOURNAL_TAIL) == 0;
}

/* What another source or other options have begun here. */
static base_status remove_stale(const shard_writer *w, base_error *error)
{
    const char *dir = w->options.dir;
    struct dirent **names = NULL;
    int n = scandir(dir, &names, is_journal, alphasort);
    if (n < 0)
        return base_fail(error, BASE_EIO, "cannot list '%s': %s", dir, strerror(errno));
    bool any = false;
    for (int i = 0; i < n; i++) {
        char *name = names[i]->d_name;
        name[strlen(name) - (sizeof SHARD_JOURNAL_TAIL - 1)] = '\0';
        if (!shard_journal_is_of(dir, name, w->manifest.set)) {
            any = true;
            remove_file(dir, name, SHARD_JOURNAL_TAIL);
            remove_file(dir, name, SHARD_PARTIAL_TAIL);
            remove_file(dir, name, "");
        }
        free(names[i]);
    }
    free(names);
    if (any)
        note(w, "what was begun here came from another source or with other options: beginning afresh");
    return BASE_OK;
}

/* What the disk still has to take. */
static uint64_t missing_bytes(const shard_writer *w)
{
    uint64_t missing = 0;
    for (size_t i = 0; i < w->manifest.n_files; i++) {
        const shard_file *file = &w->manifest.files[i];
        uint64_t bytes, allocated = 0;
        if (!shard_output_size(w->options.dir, file->name, SHARD_PARTIAL_TAIL, &bytes, &allocated))
            (void)shard_output_size(w->options.dir, file->name, "", &bytes, &allocated);
        missing += allocated < file->bytes ? file->bytes - allocated : 0;
    }
    return missing;
}

base_status shard_writer_prepare(shard_writer *w, base_error *error)
{
    const char *dir = w->options.dir;
    if (mkdir(dir, 0777) != 0 && errno != EEXIST)
        return base_fail(error, BASE_EIO, "cannot make the directory '%s': %s", dir, strerror(errno));
    base_status status = check_manifest(w, error);
    if (status == BASE_OK && shard_writer_is_whole(w)) {
        note(w, "the set is finished already");
        return BASE_OK;
    }
    if (status == BASE_OK)
        status = remove_stale(w, error);
    return status != BASE_OK ? status : shard_output_check_room(dir, missing_bytes(w), error);
}

/* --- after --- */

/* The sums that other processes have found, from their journals. */
static base_status complete_sums(shard_writer *w, base_error *error)
{
    for (size_t i = 0; i < w->manifest.n_files; i++) {
        shard_file *file = &w->manifest.files[i];
        bool found;
        base_status status = shard_journal_read(w->options.dir, w->manifest.set, file, &found, error);
        if (status != BASE_OK)
            return status;
        for (size_t k = 0; k < file->n_records; k++)
            if (!found || file->records[k].sum[0] == '\0')
                return base_fail(error, BASE_EIO, "'%s/%s' is not finished; run the same command again", w->options.dir,
                                 file->name);
    }
    return BASE_OK;
}

base_status shard_writer_finish(shard_writer *w, base_error *error)
{
    const char *dir = w->options.dir;
    base_buf text = {0};
    if (shard_writer_is_whole(w))
        return BASE_OK;
    base_status status = complete_sums(w, error);
    if (status == BASE_OK && !has_all_files(w))
        status = base_fail(error, BASE_EIO, "files of '%s' are missing; run the same command again", dir);
    if (status == BASE_OK)
        status = shard_extras_copy(w->from, dir, &w->manifest, error);
    if (status == BASE_OK)
        status = shard_manifest_put(&w->manifest, &text, error);
    if (status == BASE_OK)
        status = shard_output_put(dir, SHARD_MANIFEST SHARD_PARTIAL_TAIL, text.data, text.size, error);
    if (status == BASE_OK)
        status = shard_output_rename(dir, SHARD_MANIFEST, error);
    for (size_t i = 0; i < w->manifest.n_files && status == BASE_OK; i++)
        remove_file(dir, w->manifest.files[i].name, SHARD_JOURNAL_TAIL);
    base_buf_release(&text);
    return status;
}
