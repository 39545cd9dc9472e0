/* engine_int.h - the engine's state, shared by engine.c (the loop and the link) and engine_sessions.c (what happens to
 * sessions). Nobody else includes it. */
#ifndef PALMGROVE_ENGINE_INT_H
#define PALMGROVE_ENGINE_INT_H

#include "coordinator/engine/engine.h"
#include "coordinator/sched/sched.h"
#include "coordinator/session/session.h"
#include "proto/link/link.h"

typedef enum engine_state { ENGINE_STARTING, ENGINE_READY, ENGINE_DRAINING, ENGINE_FAILED } engine_state;

struct engine {
    engine_parts parts;
    engine_state state;
    bool cancels_now; /* what runs is canceled, and nobody waits for the replica */
    bool has_hello;
    base_error failure; /* of the replica, when FAILED */
    link_end *link;
    link_hello hello;
    char layout[32];
    sched *sched;                       /* NULL before hello */
    session *sessions;                  /* all, newest first */
    wire_stats counts;                  /* the counters among its fields */
    uint64_t started_us, last_heard_us; /* heard: the replica, or the first plan after a pause */
    uint64_t trim_us;                   /* when to give free memory back to the system; 0: nothing to give */
    base_buf message;                   /* one link message, in or out */
    link_token *tokens;                 /* [max_seqs] of the result being read */
    int32_t *draft_tokens;              /* [max_seqs] in it */
    thread_queue started_queue;
    thread_message started;
    pthread_t thread;
};

/* engine_sessions.c */

/* A Generate has arrived: to intake, or refused. */
void engine_accept_request(engine *e, session *s);
/* It comes back from intake: to the scheduler, or refused. */
void engine_schedule_prepared(engine *e, session *s);
/* End the session numbered so (unknown: ended already). */
void engine_cancel(engine *e, uint64_t number, const char *why);
/* End every session with this status; those at intake when they come back. */
void engine_fail_all(engine *e, base_status status, const char *text);
/* Pass the scheduler's events on to their sessions. */
void engine_deliver_events(engine *e);
/* Answer Health or Stats. */
void engine_answer_query(engine *e, const thread_message *m);

#endif
