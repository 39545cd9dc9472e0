/* shard_stream.c - the data of shards: from each tensor of the source to every file that holds a piece of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "sharding/shards/shard_journal.h"
#include "sharding/shards/shard_output.h"
#include "sharding/shards/shard_writer.h"

/* Finished tensors go to the journals when that much was written since, or so long ago. */
#define COMMIT_BYTES (512u << 20)
#define COMMIT_US    (20u * 1000000u)

/* One file of ours. */
typedef struct output {
    shard_file *file;
    int fd;          /* -1: finished before */
    bool *journaled; /* owned; [n_records] */
} output;

/* A tensor of a file that is to be written. */
typedef struct job {
    shard_slice slice;
    uint32_t output;
    size_t record;
} job;

/* Equal slices: packed once, written to each of their files. */
typedef struct piece {
    const job *jobs; /* borrowed */
    size_t n_jobs;
    pack_matrix matrix;
    size_t unit_bytes;
    uint32_t n_units, unit_rows;
    uint64_t at;    /* bytes written */
    shard_sum *sum; /* borrowed */
} piece;

typedef struct lane {
    shard_pack_scratch scratch;
    base_status status;
    base_error error;
} lane;

typedef struct stream {
    shard_writer *writer;
    output *outputs;
    size_t n_outputs;
    job *jobs;
    size_t n_jobs;
    lane *lanes;
    char *buffer;  /* on a cache line */
    piece *pieces; /* of one tensor; at most one for each output */
    shard_sum **sums;
    shard_flush flush;
    uint64_t done, total, uncommitted, committed_us;
} stream;

/* --- the work list --- */

/* The way of the data: the tower, the encoders, then the decoder; before, in and behind the layers. */
static int position_of(const shard_slice *s)
{
    if (s->part >= ARCH_ENCODERS)
        return 3 + (int)s->part - ARCH_ENCODERS;
    int part = s->part == ARCH_TOWER ? 0 : 3 + (int)ARCH_MAX_ENCODERS;
    if (arch_role_is_layer(s->role))
        return part + 1;
    bool before = s->role == ARCH_EMBEDDING || s->role == ARCH_ROPE_FREQUENCIES || s->role == ARCH_PATCH ||
                  s->role == ARCH_PATCH_BIAS || s->role == ARCH_CLASS || s->role == ARCH_POSITION ||
                  s->role == ARCH_PRE_NORM || s->role == ARCH_PRE_NORM_BIAS;
    return part + (before ? 0 : 2);
}

static int order_of(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int compare_slices(const shard_slice *a, const shard_slice *b)
{
    int order = position_of(a) - position_of(b);
    order = order != 0 ? order : order_of(a->layer, b->layer);
    order = order != 0 ? order : order_of(a->role, b->role);
    order = order != 0 ? order : order_of(a->rows.begin, b->rows.begin);
    order = order != 0 ? order : order_of(a->rows.end, b->rows.end);
    order = order != 0 ? order : order_of(a->columns.begin, b->columns.begin);
    return order != 0 ? order : order_of(a->columns.end, b->columns.end);
}

static int compare_jobs(const void *left, const void *right)
{
    const job *a = left, *b = right;
    int order = compare_slices(&a->slice, &b->slice);
    return order != 0 ? order : order_of(a->output, b->output);
}

static base_status list_jobs(stream *s, base_error *error)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_outputs; i++)
        n += s->outputs[i].file->n_records;
    s->jobs = calloc(n + 1, sizeof *s->jobs);
    if (s->jobs == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a list of %zu tensors", n);
    for (size_t i = 0; i < s->n_outputs; i++)
        for (size_t k = 0; k < s->outputs[i].file->n_records; k++) {
            const shard_record *record = &s->outputs[i].file->records[k];
            uint64_t bytes = shard_padded(record->bytes);
            s->total += bytes;
            if (record->sum[0] == '\0')
                s->jobs[s->n_jobs++] = (job){.slice = record->slice, .output = (uint32_t)i, .record = k};
            else
                s->done += bytes;
        }
    qsort(s->jobs, s->n_jobs, sizeof *s->jobs, compare_jobs);
    return BASE_OK;
}

/* --- files --- */

static base_status begin_file(const stream *s, const shard_place *place, output *out, base_error *error)
{
    const char *dir = s->writer->options.dir;
    base_buf header = {0};
    for (size_t k = 0; k < out->file->n_records; k++)
        out->file->records[k].sum[0] = '\0';
    base_status status = shard_output_open(dir, out->file->name, out->file->bytes, true, &out->fd, error);
    if (status == BASE_OK)
        status = shard_file_lay_out(out->file, place, &header, error);
    shard_flush own = {.limit = UINT64_MAX};
    if (status == BASE_OK)
        status = shard_output_write(&own, dir, out->file->name, out->fd, 0, header.data, header.size, error);
    if (status == BASE_OK)
        status = shard_output_drain(&own, dir, error);
    if (status == BASE_OK)
        status = shard_journal_start(dir, place->set, out->file, error);
    base_buf_release(&header);
    return status;
}

/* Go on where an earlier run stopped, or begin. */
static base_status open_file(const stream *s, size_t index, output *out, base_error *error)
{
    shard_writer *w = s->writer;
    const char *dir = w->options.dir;
    shard_place place = shard_manifest_place(&w->manifest, index);
    shard_file *file = &w->manifest.files[index];
    *out = (output){.file = file, .fd = -1, .journaled = calloc(file->n_records + 1, sizeof *out->journaled)};
    if (out->journaled == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the journal of '%s'", file->name);
    bool found = false;
    uint64_t bytes, allocated;
    base_status status = shard_journal_read(dir, w->manifest.set, file, &found, error);
    if (status != BASE_OK)
        return status;
    bool complete = found;
    for (size_t k = 0; k < file->n_records; k++) {
        out->journaled[k] = found && file->records[k].sum[0] != '\0';
        complete = complete && out->journaled[k];
    }
    if (complete && shard_output_size(dir, file->name, "", &bytes, &allocated) && bytes == file->bytes)
        return BASE_OK;
    if (found && shard_output_size(dir, file->name, SHARD_PARTIAL_TAIL, &bytes, &allocated) && bytes == file->bytes)
        return shard_output_open(dir, file->name, file->bytes, false, &out->fd, error);
    memset(out->journaled, 0, file->n_records * sizeof *out->journaled);
    return begin_file(s, &place, out, error);
}

static base_status finish_file(const stream *s, output *out, base_error *error)
{
    if (out->fd < 0)
        return BASE_OK;
    bool good = fsync(out->fd) == 0;
    close(out->fd);
    out->fd = -1;
    if (!good)
        return base_fail(error, BASE_EIO, "cannot write '%s/%s' to the disk", s->writer->options.dir, out->file->name);
    return shard_output_rename(s->writer->options.dir, out->file->name, error);
}

/* Everything that was written is on the disk before a journal says so. */
static base_status commit(stream *s, base_error *error)
{
    const char *dir = s->writer->options.dir;
    base_status status = shard_output_drain(&s->flush, dir, error);
    for (size_t i = 0; i < s->n_outputs && status == BASE_OK; i++) {
        output *out = &s->outputs[i];
        if (out->fd < 0)
            continue;
        if (fdatasync(out->fd) != 0)
            status = base_fail(error, BASE_EIO, "cannot write '%s/%s' to the disk", dir, out->file->name);
        else
            status = shard_journal_append(dir, s->writer->manifest.set, out->file, out->journaled, error);
    }
    s->uncommitted = 0;
    s->committed_us = base_clock_us();
    return status;
}

/* --- one piece --- */

static base_status emit(stream *s, piece *p, const void *bytes, size_t size, base_error *error)
{
    base_status status = BASE_OK;
    shard_sum_update(p->sum, bytes, size);
    for (size_t i = 0; i < p->n_jobs && status == BASE_OK; i++) {
        const output *out = &s->outputs[p->jobs[i].output];
        uint64_t offset = out->file->records[p->jobs[i].record].offset + p->at;
        status =
            shard_output_write(&s->flush, s->writer->options.dir, out->file->name, out->fd, offset, bytes, size, error);
        s->done += size;
        s->uncommitted += size;
    }
    p->at += size;
    return status;
}

/* Panels [first, first + n) of a matrix into the buffer, dealt out to the lanes. */
static base_status pack_panels(stream *s, const piece *p, const shard_tensor *tensor, uint32_t first, uint32_t n,
                               base_error *error)
{
    const shard_writer *w = s->writer;
#pragma omp parallel for num_threads((int)w->n_lanes) schedule(static, 1)
    for (uint32_t i = 0; i < w->n_lanes; i++) {
        lane *own = &s->lanes[i];
        own->status = BASE_OK;
        for (uint32_t panel = i; panel < n && own->status == BASE_OK; panel += w->n_lanes) {
            pack_matrix matrix = p->matrix;
            matrix.data = s->buffer + panel * p->unit_bytes;
            own->status = shard_pack_slice(&p->jobs->slice, tensor, w->options.recipe, &matrix, first + panel, 1,
                                           &own->scratch, &own->error);
        }
    }
    for (uint32_t i = 0; i < w->n_lanes; i++)
        if (s->lanes[i].status != BASE_OK)
            return base_fail(error, s->lanes[i].status, "%s", s->lanes[i].error.text);
    return BASE_OK;
}

static base_status write_units(stream *s, piece *p, const shard_tensor *tensor, uint32_t first, uint32_t n,
                               base_error *error)
{
    base_status status = BASE_OK;
    if (p->jobs->slice.is_matrix) {
        status = pack_panels(s, p, tensor, first, n, error);
    } else {
        shard_slice rows = p->jobs->slice;
        rows.rows = (shard_range){rows.rows.begin + first, rows.rows.begin + first + n};
        shard_read_vector(&s->writer->from->a, &rows, tensor, (float *)(void *)s->buffer);
    }
    return status != BASE_OK ? status : emit(s, p, s->buffer, n * p->unit_bytes, error);
}

static base_status end_piece(stream *s, piece *p, base_error *error)
{
    static const char zeros[SHARD_ALIGNMENT];
    base_status status = emit(s, p, zeros, (size_t)(shard_padded(p->at) - p->at), error);
    if (status != BASE_OK)
        return status;
    for (size_t i = 0; i < p->n_jobs; i++)
        shard_sum_text(p->sum, s->outputs[p->jobs[i].output].file->records[p->jobs[i].record].sum);
    return BASE_OK;
}

/* --- one tensor --- */

/* Pieces of the same rows side by side, so that a row is read once; then its pages are let go. */
static base_status stream_rows(stream *s, piece *pieces, size_t n_pieces, const shard_tensor *tensor, base_error *error)
{
    const piece *p = pieces;
    size_t in_flight = shard_unit_source_bytes(&p->jobs->slice, tensor), widest = 0;
    for (size_t i = 0; i < n_pieces; i++)
        widest = pieces[i].unit_bytes > widest ? pieces[i].unit_bytes : widest;
    size_t fits = s->writer->in_flight / (in_flight + widest), packed = s->writer->buffer_bytes / widest;
    uint32_t chunk = (uint32_t)(fits < packed ? fits : packed);
    base_status status = BASE_OK;
    for (uint32_t first = 0; first < p->n_units && status == BASE_OK; first += chunk) {
        uint32_t n = p->n_units - first < chunk ? p->n_units - first : chunk;
        for (size_t i = 0; i < n_pieces && status == BASE_OK; i++)
            status = write_units(s, &pieces[i], tensor, first, n, error);
        uint64_t row = p->jobs->slice.rows.begin + (uint64_t)first * p->unit_rows, left = p->jobs->slice.rows.end - row;
        uint64_t n_rows = (uint64_t)n * p->unit_rows;
        shard_tensor_forget(tensor, row, n_rows < left ? n_rows : left);
        if (s->writer->options.progress != NULL)
            s->writer->options.progress(s->writer->options.context, s->done, s->total);
    }
    for (size_t i = 0; i < n_pieces && status == BASE_OK; i++)
        status = end_piece(s, &pieces[i], error);
    return status;
}

/* Cut a tensor's jobs into pieces; returns their number. */
static size_t cut_pieces(stream *s, const job *jobs, size_t n_jobs)
{
    size_t n = 0;
    for (size_t i = 0; i < n_jobs; i++) {
        if (n > 0 && compare_slices(&s->pieces[n - 1].jobs->slice, &jobs[i].slice) == 0) {
            s->pieces[n - 1].n_jobs++;
            continue;
        }
        const shard_record *record = &s->outputs[jobs[i].output].file->records[jobs[i].record];
        const shard_slice *slice = &record->slice;
        uint32_t rows = shard_range_width(slice->rows), unit_rows = shard_unit_rows(slice);
        shard_sum_reset(s->sums[n]);
        s->pieces[n] = (piece){.jobs = &jobs[i],
                               .n_jobs = 1,
                               .matrix = {record->type, rows, shard_range_width(slice->columns), slice->unit, NULL},
                               .unit_bytes = shard_unit_bytes(record),
                               .n_units = rows / unit_rows + (rows % unit_rows != 0),
                               .unit_rows = unit_rows,
                               .sum = s->sums[n]};
        n++;
    }
    return n;
}

static base_status stream_tensor(stream *s, const job *jobs, size_t n_jobs, base_error *error)
{
    shard_tensor tensor;
    base_status status = shard_writer_tensor(s->writer, &jobs->slice, &tensor, error);
    size_t n = status == BASE_OK ? cut_pieces(s, jobs, n_jobs) : 0;
    for (size_t i = 0; i < n && status == BASE_OK;) {
        const shard_range rows = s->pieces[i].jobs->slice.rows;
        size_t same = 1;
        while (i + same < n && s->pieces[i + same].jobs->slice.rows.begin == rows.begin &&
               s->pieces[i + same].jobs->slice.rows.end == rows.end)
            same++;
        status = stream_rows(s, &s->pieces[i], same, &tensor, error);
        i += same;
    }
    return status;
}

/* --- all --- */

static base_status stream_all(stream *s, base_error *error)
{
    base_status status = BASE_OK;
    uint64_t most = s->writer->options.commit_bytes != 0 ? s->writer->options.commit_bytes : COMMIT_BYTES;
    s->committed_us = base_clock_us();
    for (size_t i = 0; i < s->n_jobs && status == BASE_OK;) {
        size_t n = 1;
        while (i + n < s->n_jobs && shard_slice_is_same(&s->jobs[i].slice, &s->jobs[i + n].slice))
            n++;
        status = stream_tensor(s, &s->jobs[i], n, error);
        i += n;
        bool due = s->uncommitted >= most || base_clock_us() - s->committed_us >= COMMIT_US;
        if (status == BASE_OK && (due || i == s->n_jobs))
            status = commit(s, error);
    }
    return status;
}

static base_status init_lanes(stream *s, base_error *error)
{
    const shard_writer *w = s->writer;
    s->lanes = calloc(w->n_lanes, sizeof *s->lanes);
    s->buffer = aligned_alloc(SHARD_ALIGNMENT, (size_t)shard_padded(w->buffer_bytes));
    s->pieces = calloc(s->n_outputs + 1, sizeof *s->pieces);
    s->sums = calloc(s->n_outputs + 1, sizeof(shard_sum *));
    bool good = s->lanes != NULL && s->buffer != NULL && s->pieces != NULL && s->sums != NULL;
    for (size_t i = 0; i < s->n_outputs && good; i++)
        good = (s->sums[i] = shard_sum_create()) != NULL;
    if (!good)
        return base_fail(error, BASE_ENOMEM, "no memory for %zu bytes of panels", w->buffer_bytes);
    base_status status = BASE_OK;
    for (uint32_t i = 0; i < w->n_lanes && status == BASE_OK; i++)
        status = shard_pack_scratch_init(&s->lanes[i].scratch, shard_pack_widest(&w->from->a), error);
    return status;
}

static void release(stream *s)
{
    for (uint32_t i = 0; i < s->writer->n_lanes && s->lanes != NULL; i++)
        shard_pack_scratch_release(&s->lanes[i].scratch);
    for (size_t i = 0; i < s->n_outputs; i++) {
        if (s->sums != NULL)
            shard_sum_destroy(&s->sums[i]);
        if (s->outputs[i].fd >= 0)
            close(s->outputs[i].fd);
        free(s->outputs[i].journaled);
    }
    free(s->outputs);
    free(s->jobs);
    free(s->lanes);
    free(s->buffer);
    free(s->pieces);
    free(s->sums);
}

/* A file of each rank is open at the same time. */
static void allow_files(size_t n)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= n + 64)
        return;
    limit.rlim_cur = limit.rlim_max < n + 64 ? limit.rlim_max : n + 64;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* opening says so when it is still too low */
}

static base_status open_files(stream *s, uint32_t part, uint32_t n_parts, base_error *error)
{
    size_t n = s->writer->manifest.n_files;
    s->outputs = calloc(n + 1, sizeof *s->outputs);
    if (s->outputs == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a list of %zu files", n);
    allow_files(n / n_parts + 1);
    base_status status = BASE_OK;
    for (size_t i = part; i < n && status == BASE_OK; i += n_parts)
        status = open_file(s, i, &s->outputs[s->n_outputs++], error);
    return status;
}

base_status shard_writer_run(shard_writer *w, uint32_t part, uint32_t n_parts, base_error *error)
{
    if (shard_writer_is_whole(w))
        return BASE_OK;
    stream s = {.writer = w, .flush = {.limit = w->flush_limit}};
    base_status status = open_files(&s, part, n_parts, error);
    if (status == BASE_OK)
        status = list_jobs(&s, error);
    if (status == BASE_OK)
        status = init_lanes(&s, error);
    if (status == BASE_OK)
        status = stream_all(&s, error);
    for (size_t i = 0; i < s.n_outputs && status == BASE_OK; i++)
        status = finish_file(&s, &s.outputs[i], error);
    release(&s);
    return status;
}
