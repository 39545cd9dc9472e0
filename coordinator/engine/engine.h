/* engine.h - the coordinator's main loop: sessions, scheduler, link.
 *
 * One thread.  It sleeps in zmq_poll on the link and its queue; whatever wakes it, it handles all messages and results,
 * ends what is past its deadline, and dispatches plans until the scheduler has none.  It never blocks on a client (the
 * gateway does not either) or on the replica (link_send does not), and decodes no image (intake does). */
#ifndef PALMGROVE_ENGINE_H
#define PALMGROVE_ENGINE_H

#include <stdatomic.h>

#include "coordinator/coord_options.h"
#include "coordinator/thread_queue.h"
#include "coordinator/session/prompt.h"

typedef struct engine_thread engine_thread;

/* All borrowed for the engine's life. */
typedef struct engine_parts {
    const coord_options *options;
    void *zmq;
    thread_queue *queue, *intake, *gateway; /* its own; where MESSAGE_PREPARE and MESSAGE_REPLY go */
    atomic_size_t *payload_bytes;
    prompt_env
        *env; /* the engine fills in `limits` when the replica has said hello, before any request goes to intake */
    const char *family;      /* "palm_e" */
    const char *model;       /* the checkpoint's directory name */
    const char *endpoints;   /* as bound by the gateway */
    const int32_t *stop_ids; /* [n_stop_ids] tokens that end an answer; outlives the engine */
    uint32_t n_stop_ids;
} engine_parts;

/* Bind the link and start the thread; returns when the link is bound.  Errors: link_bind's; BASE_ENOMEM, BASE_EIO. */
base_status engine_start(const engine_parts *parts, engine_thread **out, base_error *error);

/* Wait for the thread to end, which it does after MESSAGE_DRAIN or when the replica fails.  Returns BASE_OK after a
 * drain, else the replica's failure.  Every session it had was answered. */
base_status engine_finish(engine_thread **e, base_error *error);

#endif
