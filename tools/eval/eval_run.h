/* eval_run.h - ask a server all that a journal does not know yet, many requests in flight.
 *
 * Each worker thread has a connection of its own and takes the next request of the list; those of one case stand side
 * by side, so that their common prompt is computed once.  A busy server is asked again, with growing pauses.  What a
 * server refuses is recorded with its case and the run goes on; a server that cannot be reached, or that drains, ends
 * the run, which may be started again. */
#ifndef PALMGROVE_EVAL_RUN_H
#define PALMGROVE_EVAL_RUN_H

#include "tools/eval/eval_journal.h"

enum { EVAL_IN_FLIGHT_MAX = 256 };

typedef struct eval_progress {
    size_t n_done, n_total, n_failed; /* requests; of this run and of those before it */
    size_t n_asked;                   /* by this run */
    double seconds;
} eval_progress;

typedef struct eval_run {
    const task *task;
    const char *endpoint, *answer_begin;
    uint32_t timeout_ms, in_flight;
    uint64_t seed;
    bool scores; /* of each class, too */
    bool (*is_interrupted)(void);
    void (*on_progress)(void *context,
                        const eval_progress *progress); /* from the calling thread, some times a second */
    void *context;
} eval_run;

/* Ask what is missing.  `progress` is set in any case.
 * Errors: BASE_ECANCELED interrupted; BASE_EINVAL another model than the journal's; BASE_EIO the server is gone, or the
 * journal cannot be written; BASE_ENOMEM.  What was answered until then is in the journal. */
base_status eval_run_all(const eval_run *run, eval_journal *journal, eval_progress *progress, base_error *error);

#endif
