/* trace.c - the ring of spans, their totals, and both as text.
 *
 * A span is 24 bytes and is recorded when it ends, so spans are in the order of their ends: a step after its layers.
 * The totals are summed when a span is recorded, so they stay right when the ring has lost its oldest.  Waiting for
 * the very first plan is no bubble: nothing counts before the first step. */
#include "worker/trace/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct span {
    uint64_t begin_us;
    uint64_t argument;
    uint32_t length_us;
    uint32_t kind;
} span;

struct trace {
    uint32_t rank, n_spans;
    uint64_t n_recorded; /* span i lies at i % n_spans */
    bool begun;          /* a step has been recorded, or something in it */
    uint64_t first_us, last_us;
    trace_totals totals;
    span spans[];
};

trace *trace_active = NULL;

/* The name of a kind, of its argument (NULL: it has none), and the group that Perfetto colours it by. */
static const struct {
    const char *name, *argument, *group;
} kinds[TRACE_N_KINDS] = {
    [TRACE_STEP] = {"step", "rows", "step"},        [TRACE_TOWER] = {"tower", "image", "compute"},
    [TRACE_LAYER] = {"layer", "layer", "compute"},  [TRACE_HEAD] = {"head", "rows", "compute"},
    [TRACE_REDUCE] = {"reduce", "bytes", "wait"},   [TRACE_SEND] = {"send", "bytes", "send"},
    [TRACE_RECEIVE] = {"receive", "bytes", "wait"}, [TRACE_GATHER] = {"gather", "bytes", "wait"},
    [TRACE_DRAFT] = {"draft", "passes", "step"},    [TRACE_IDLE] = {"idle", NULL, "idle"},
};

base_status trace_start(uint32_t rank, uint32_t n_spans, base_error *error)
{
    size_t bytes = sizeof(trace) + (size_t)n_spans * sizeof(span);
    trace *t = malloc(bytes);
    if (t == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a trace of %u spans", n_spans);
    memset(t, 0, bytes); /* touched now: recording meets no page fault */
    t->rank = rank;
    t->n_spans = n_spans;
    trace_stop();
    trace_active = t;
    return BASE_OK;
}

void trace_stop(void)
{
    free(trace_active);
    trace_active = NULL;
}

static void add_to_totals(trace *t, trace_kind kind, uint64_t begin_us, uint64_t end_us)
{
    if (!t->begun && kind == TRACE_IDLE)
        return;
    if (!t->begun || begin_us < t->first_us) /* what lies in the first step is recorded before it */
        t->first_us = begin_us;
    t->begun = true;
    t->last_us = end_us > t->last_us ? end_us : t->last_us;
    t->totals.kind_us[kind] += end_us - begin_us;
    t->totals.n_steps += kind == TRACE_STEP;
}

void trace_record(trace_kind kind, uint64_t begin_us, uint64_t argument)
{
    trace *t = trace_active;
    uint64_t now_us = base_clock_us(), length_us = now_us - begin_us;
    add_to_totals(t, kind, begin_us, now_us);
    if (t->n_spans == 0)
        return;
    t->spans[t->n_recorded++ % t->n_spans] =
        (span){.begin_us = begin_us,
               .argument = argument,
               .length_us = length_us < UINT32_MAX ? (uint32_t)length_us : UINT32_MAX,
               .kind = (uint32_t)kind};
}

trace_totals trace_totals_get(void)
{
    const trace *t = trace_active;
    if (t == NULL)
        return (trace_totals){0};
    trace_totals totals = t->totals;
    const uint64_t *us = totals.kind_us;
    uint64_t outside_us = us[TRACE_REDUCE] + us[TRACE_SEND] + us[TRACE_RECEIVE] + us[TRACE_GATHER];
    totals.total_us = t->last_us - t->first_us;
    totals.compute_us = us[TRACE_STEP] > outside_us ? us[TRACE_STEP] - outside_us : 0;
    totals.n_lost = t->n_recorded > t->n_spans ? t->n_recorded - t->n_spans : 0;
    return totals;
}

static void encode_span(const trace *t, const span *s, int64_t offset_us, base_buf *out)
{
    char text[256];
    int64_t at_us = (int64_t)s->begin_us + offset_us;
    int n = snprintf(text, sizeof text,
                     "{\"name\":\"%s\",\"cat\":\"%s\",\"ph\":\"X\",\"ts\":%" PRId64 ",\"dur\":%u,\"pid\":%u,\"tid\":0",
                     kinds[s->kind].name, kinds[s->kind].group, at_us, s->length_us, t->rank);
    base_buf_put(out, text, (size_t)n);
    if (kinds[s->kind].argument != NULL) {
        n = snprintf(text, sizeof text, ",\"args\":{\"%s\":%" PRIu64 "}", kinds[s->kind].argument, s->argument);
        base_buf_put(out, text, (size_t)n);
    }
    base_buf_put(out, "},\n", 3);
}

void trace_encode(int64_t offset_us, const char *where, base_buf *out)
{
    const trace *t = trace_active;
    if (t == NULL)
        return;
    char text[256];
    int n = snprintf(
        text, sizeof text,
        "{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%u,\"tid\":0,\"args\":{\"name\":\"rank %u (%.100s)\"}},\n"
        "{\"name\":\"process_sort_index\",\"ph\":\"M\",\"pid\":%u,\"tid\":0,\"args\":{\"sort_index\":%u}},\n",
        t->rank, t->rank, where, t->rank, t->rank);
    base_buf_put(out, text, (size_t)n);
    uint64_t first = t->n_recorded > t->n_spans ? t->n_recorded - t->n_spans : 0;
    for (uint64_t i = first; i < t->n_recorded; i++)
        encode_span(t, &t->spans[i % t->n_spans], offset_us, out);
}
