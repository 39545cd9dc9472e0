/* trace_file.c - one Chrome trace of all ranks.
 *
 * Each rank encodes its ring as text and sends it to rank 0 in chunks, so rank 0 holds one chunk at a time, however
 * long the run was.  Format: trace.h. */
#include "worker/trace_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/trace/trace.h"

/* 24 bytes each on every rank, about 100 bytes each in the file.  A step of 16 layers is some 50 spans on a rank of a
 * tensor group. */
#define N_SPANS (1u << 18)

struct worker_trace {
    par_world *world;
    par_place place;
    const char *path; /* borrowed */
    FILE *file;       /* rank 0 */
};

static base_status open_file(worker_trace *t, base_error *error)
{
    if (par_world_rank(t->world) == 0) {
        t->file = fopen(t->path, "w");
        if (t->file == NULL)
            return base_fail(error, BASE_EIO, "cannot write the trace '%s': %s", t->path, strerror(errno));
    }
    return trace_start(t->place.rank, N_SPANS, error);
}

base_status worker_trace_open(par_world *world, const par_place *place, const char *path, worker_trace **out,
                              base_error *error)
{
    *out = NULL;
    if (path == NULL)
        return BASE_OK;
    worker_trace *t = calloc(1, sizeof *t);
    base_status status = t != NULL ? BASE_OK : base_fail(error, BASE_ENOMEM, "no memory for a trace");
    if (status == BASE_OK) {
        *t = (worker_trace){.world = world, .place = *place, .path = path};
        status = open_file(t, error);
    }
    status = par_world_agree(world, status, error);
    if (status != BASE_OK)
        worker_trace_abandon(&t);
    else
        *out = t;
    return status;
}

void worker_trace_abandon(worker_trace **t)
{
    if (*t == NULL)
        return;
    trace_stop();
    if ((*t)->file != NULL)
        fclose((*t)->file);
    free(*t);
    *t = NULL;
}

static void write_piece(void *context, int rank, const void *bytes, size_t size)
{
    (void)rank;
    worker_trace *t = context;
    fwrite(bytes, 1, size, t->file); /* errors stick in the stream */
}

static base_status write_spans(worker_trace *t, base_error *error)
{
    char where[64];
    base_buf text = {0};
    snprintf(where, sizeof where, "stage %u, tensor %u", t->place.stage, t->place.tp_rank);
    trace_encode(par_world_clock_offset_us(t->world), where, &text);
    base_status status = text.failed ? base_fail(error, BASE_ENOMEM, "no memory to write the trace") : BASE_OK;
    status = par_world_agree(t->world, status, error);
    if (t->file != NULL)
        fputs("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n", t->file);
    if (status == BASE_OK)
        status = par_world_gather_bytes(t->world, text.data, text.size, write_piece, t, error);
    if (t->file != NULL) /* the last object has no comma after it */
        fprintf(t->file, "{\"name\":\"palmgrove\",\"ph\":\"M\",\"pid\":0,\"tid\":0,\"args\":{\"ranks\":%d}}\n]}\n",
                par_world_size(t->world));
    base_buf_release(&text);
    return status;
}

static base_status close_file(worker_trace *t, base_error *error)
{
    if (t->file == NULL)
        return BASE_OK;
    bool failed = ferror(t->file) != 0;
    failed |= fclose(t->file) != 0;
    t->file = NULL;
    return failed ? base_fail(error, BASE_EIO, "cannot write the trace '%s': %s", t->path, strerror(errno)) : BASE_OK;
}

static double percent(uint64_t part, uint64_t whole)
{
    return whole > 0 ? 100.0 * (double)part / (double)whole : 0.0;
}

static void summarise(const worker_trace *t, char *text, size_t size)
{
    trace_totals totals = trace_totals_get();
    uint64_t all = totals.total_us, steps = totals.kind_us[TRACE_STEP];
    uint64_t exchange = totals.kind_us[TRACE_SEND] + totals.kind_us[TRACE_RECEIVE] + totals.kind_us[TRACE_GATHER];
    int n = snprintf(text, size,
                     "rank %u (stage %u, tensor %u): %llu steps in %.3f s: compute %.1f %%, reduce %.1f %%, send and "
                     "receive %.1f %%, idle %.1f %%",
                     t->place.rank, t->place.stage, t->place.tp_rank, (unsigned long long)totals.n_steps,
                     (double)all * 1e-6, percent(totals.compute_us, all), percent(totals.kind_us[TRACE_REDUCE], all),
                     percent(exchange, all), percent(all > steps ? all - steps : 0, all));
    if (totals.n_lost > 0 && n > 0 && (size_t)n < size)
        snprintf(text + n, size - (size_t)n, "; the oldest %llu spans are not in the file",
                 (unsigned long long)totals.n_lost);
}

base_status worker_trace_close(worker_trace **t, void (*line)(void *context, int rank, const char *text), void *context,
                               base_error *error)
{
    if (*t == NULL)
        return BASE_OK;
    char text[PAR_TEXT_MAX];
    base_status status = write_spans(*t, error);
    if (status == BASE_OK)
        status = close_file(*t, error);
    status = par_world_agree((*t)->world, status, error);
    summarise(*t, text, sizeof text);
    par_world_collect_text((*t)->world, text, line, context);
    worker_trace_abandon(t);
    return status;
}
