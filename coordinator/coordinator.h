/* coordinator.h - the front of a cluster: gateway, sessions, scheduler.  Never calls MPI; drives a replica through the
 * link.
 *
 * Threads of its own (coord_start): gateway (client sockets, limits), intake (image decoding, tokenizing), engine
 * (scheduler, link, detokenizing).  They meet in queues of owned messages; see README.md in this folder for the
 * picture. */
#ifndef PALMGROVE_COORDINATOR_H
#define PALMGROVE_COORDINATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

#define COORD_SPECULATE_AUTO UINT32_MAX
#define COORD_SPECULATE_MAX  15u

typedef struct coord_options {
    const char *model_dir;
    const char *const *endpoints; /* client endpoints to bind: tcp://127.0.0.1:PORT, ipc:///path ... */
    size_t n_endpoints;
    const char *draft_model; /* the ranks' draft model, or NULL: its vocabulary must be that of model_dir */
    const char *link;        /* link endpoint to bind */
    const char *task_dir;    /* a site's own tasks (task/task.h); NULL: none */
    const char *chat;     /* template of chat requests by name (session/chat_template.h); NULL or "auto": the model's */
    bool insecure;        /* allow a non-loopback tcp address without CURVE */
    uint32_t max_queue;   /* requests admitted but not yet running; further ones are refused BASE_EBUSY */
    uint32_t max_plans;   /* plans in flight; 0: stages + 1 */
    uint32_t step_tokens; /* token budget of one plan; at most the replica's max_step_tokens */
    uint32_t max_message_bytes;
    uint64_t max_image_pixels;
    uint32_t intake_threads;
    bool no_prefix_cache; /* compute every prompt anew (sched.h, rule 4) */
    uint32_t speculate;   /* tokens drafted for a sequence at most; 0: none, COORD_SPECULATE_AUTO: what pays (sched.h,
                             rule 5) */
    uint32_t
        replica_timeout_ms; /* a replica that owes results and is silent for so long counts as dead; 0: two minutes */
    bool log_content;       /* allow prompts and replies in logs */
    /* Called once on the engine thread when the replica has said hello and every endpoint is bound: the ready line. */
    void (*ready)(void *context, const char *line);
    void *ready_context;
} coord_options;

typedef struct coord coord;

/* Load tokenizer and templates, bind every endpoint, start the threads.  `zmq` is the process's ZeroMQ context
 * (borrowed). `options` and the strings in it are read during the call only; `ready` and its context are used later.
 * Errors name their subject: tokenizer file, endpoint in use (BASE_EBUSY), insecure address (BASE_EINVAL),
 * a draft model with another vocabulary (BASE_EINVAL). */
base_status coord_start(const coord_options *options, void *zmq, coord **out, base_error *error);

/* Stop admitting (BASE_ESHUTDOWN to clients), finish what is admitted, stop the replica, then the threads end.  Returns
 * at once; any thread; idempotent.  A second call with `now` cancels what is still running. */
void coord_drain(coord *c, bool now);

/* Wait for the threads to end (after coord_drain, or a failed replica) and free everything.  Returns why it ended:
 * BASE_OK after a drain, else the replica's failure. */
base_status coord_finish(coord **c, base_error *error);

#endif
