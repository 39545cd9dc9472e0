/* trace.h - what a rank did when, for `--trace FILE`.
 *
 * Spans of the main thread (and of the whole team: it works between the main thread's spans) go into a ring that is
 * allocated before the first step; when it is full the oldest are lost.  Off, a span costs one test of a pointer.  Rank
 * 0 writes all ranks' spans in Chrome's trace format (JSON array format,
 * https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU), which Perfetto reads. No request
 * content: names are constants, arguments are numbers. */
#ifndef PALMGROVE_TRACE_H
#define PALMGROVE_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/clock.h"
#include "proto/base/status.h"

typedef enum trace_kind {
    TRACE_STEP,    /* a whole plan; argument: rows */
    TRACE_TOWER,   /* one image */
    TRACE_LAYER,   /* argument: layer of the model */
    TRACE_HEAD,    /* norm, logits, sampling; argument: rows sampled */
    TRACE_REDUCE,  /* summing over the tensor group, waiting for partners included; argument: bytes */
    TRACE_SEND,    /* to the next stage; argument: bytes */
    TRACE_RECEIVE, /* from the stage before, waiting included; argument: bytes */
    TRACE_GATHER,  /* logits to tensor rank 0; argument: bytes */
    TRACE_DRAFT,   /* the draft model's passes before a plan, which are steps of its own; argument: passes */
    TRACE_IDLE,    /* no plan to run: between the end of one and the start of the next */
    TRACE_N_KINDS,
} trace_kind;

typedef struct trace trace;

/* The process's trace; NULL while tracing is off. */
extern trace *trace_active;

/* Start to record into a ring of n_spans.  `rank` labels the process.  Errors: BASE_ENOMEM. */
base_status trace_start(uint32_t rank, uint32_t n_spans, base_error *error);
void trace_stop(void);

/* Microseconds for trace_end; 0 when off.  Main thread only. */
static inline uint64_t trace_begin(void)
{
    return trace_active != NULL ? base_clock_us() : 0;
}

void trace_record(trace_kind kind, uint64_t begin_us, uint64_t argument);

static inline void trace_end(trace_kind kind, uint64_t begin_us, uint64_t argument)
{
    if (trace_active != NULL)
        trace_record(kind, begin_us, argument);
}

/* This rank's spans, oldest first, as JSON objects with a comma after each, appended to `out`.  `offset_us` is added to
 * times: it brings this rank's clock to rank 0's (par_world_clock_offset_us).  The first object names the
 * process: "rank 2 (`where`)"; `where` needs no escaping.  Nothing while tracing is off. */
void trace_encode(int64_t offset_us, const char *where, base_buf *out);

/* Where the time went since the first step began, lost spans included. */
typedef struct trace_totals {
    uint64_t n_steps, n_lost;
    uint64_t total_us;               /* from the first step's begin to the last span's end */
    uint64_t kind_us[TRACE_N_KINDS]; /* time inside spans of a kind; layers, reductions ... lie inside steps */
    uint64_t compute_us;             /* steps without reductions, sends, receives and gathers */
} trace_totals;

trace_totals trace_totals_get(void);

#endif
