/* coord_options.h - how a coordinator is to serve: filled in by the program, read by gateway, intake and engine. */
#ifndef PALMGROVE_COORD_OPTIONS_H
#define PALMGROVE_COORD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COORD_SPECULATE_AUTO UINT32_MAX
#define COORD_SPECULATE_MAX  15u

typedef struct coord_options {
    const char *model_dir;
    const char *const *endpoints; /* client endpoints to bind: tcp://127.0.0.1:PORT, ipc:///path ... */
    size_t n_endpoints;
    const char *draft_model; /* the ranks' draft model, or NULL: its vocabulary must be that of model_dir */
    const char *link;        /* link endpoint to bind */
    const char *task_dir;    /* a site's tasks (task/task.h); NULL: none */
    const char *chat;     /* template of chat requests by name (session/chat_template.h); NULL or "auto": the model's */
    bool insecure;        /* allow a non-loopback tcp address without CURVE */
    uint32_t max_queue;   /* requests admitted but not yet running; further ones are refused BASE_EBUSY */
    uint32_t max_plans;   /* plans in flight; 0: stages + 1 */
    uint32_t step_tokens; /* token budget of one plan; at most the replica's max_step_tokens */
    uint32_t max_message_bytes;
    uint64_t max_image_pixels;
    uint32_t intake_threads;
    bool no_prefix_cache; /* compute every prompt in full (sched.h, rule 4) */
    uint32_t speculate;   /* draft tokens per sequence and step, at most; 0: none, COORD_SPECULATE_AUTO: as many as pay
                             (sched.h,   rule 5) */
    uint32_t replica_timeout_ms; /* a replica that owes results and sends nothing for this long counts as dead; 0: two
                                    minutes */
    bool log_content;            /* allow prompts and replies in logs */
    /* Called once on the engine thread when the replica has said hello and every endpoint is bound: the ready line. */
    void (*ready)(void *context, const char *line);
    void *ready_context;
} coord_options;

#endif
