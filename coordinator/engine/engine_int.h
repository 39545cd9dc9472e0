/* engine_int.h - the engine's state, and what its files call of each other.
 *
 *     engine_thread.c  -->  engine.c  -->  engine_link.c  -->  engine_sessions.c
 *     (zmq, the clock)      (a round)      (the replica)       (accept, deliver, end; replies)
 *                               +------->  engine_stats.c  ------------^ */
#ifndef PALMGROVE_ENGINE_INT_H
#define PALMGROVE_ENGINE_INT_H

#include "coordinator/engine/engine.h"
#include "coordinator/sched/sched.h"
#include "coordinator/session/session.h"
#include "proto/base/buf.h"
#include "proto/link/link.h"

typedef enum engine_state { ENGINE_STARTING, ENGINE_READY, ENGINE_DRAINING, ENGINE_FAILED } engine_state;

/* How the engine reaches its replica, and its clock. */
typedef struct engine_transport {
    void *context;
    base_status (*send)(void *context, const base_buf *message, base_error *error); /* never blocks */
    base_status (*receive)(void *context, base_buf *message, base_error *error);    /* BASE_EDEADLINE: none waits */
    uint64_t (*now_us)(void *context);
} engine_transport;

typedef struct engine {
    engine_parts parts;
    engine_transport transport;
    engine_state state;
    bool cancels_now; /* what runs is canceled, and the replica is not waited for */
    bool has_hello;
    base_error failure; /* of the replica, when FAILED */
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
} engine;

static inline uint64_t engine_now_us(const engine *e)
{
    return e->transport.now_us(e->transport.context);
}

/* ---- engine.c ---- */

/* Everything that can be done without waiting. */
void engine_work(engine *e);
/* When there is work by the clock alone; 0: never. */
uint64_t engine_due_us(const engine *e);
/* Drained or failed, and every session was answered. */
bool engine_is_over(const engine *e);
/* Free what it owns; all sessions have ended. */
void engine_release(engine *e);

/* ---- engine_link.c ---- */

/* Handle every link message that waits, dispatching plans after each. */
void engine_receive(engine *e);
/* Send plans until the scheduler has none. */
void engine_dispatch(engine *e);
/* Fail if the replica owes a result and was silent for too long. */
void engine_check_replica_timeout(engine *e, uint64_t now_us);
/* The replica is gone: as if it had reported a failure. */
void engine_replica_lost(engine *e, const char *why);
/* Does it owe a result, and has it sent nothing for `us`? */
bool engine_replica_is_silent(const engine *e, uint64_t us);
/* When engine_check_replica_timeout will fail; 0: the replica owes nothing. */
uint64_t engine_replica_due_us(const engine *e);

/* ---- engine_sessions.c ---- */

/* A Generate has arrived: to intake, or refused. */
void engine_accept_request(engine *e, session *s);
/* It comes back from intake: to the scheduler, or refused. */
void engine_schedule_prepared(engine *e, session *s);
/* End the session of request `number` (unknown: ended already). */
void engine_cancel(engine *e, uint64_t number, const char *why);
/* End every session with this status; those at intake when they come back. */
void engine_fail_all(engine *e, base_status status, const char *text);
/* Pass the scheduler's events on to their sessions. */
void engine_deliver_events(engine *e);
/* Send a reply; takes over the bytes.  False when memory is out: nothing was sent. */
bool engine_push_reply(engine *e, uint64_t number, base_buf *bytes, bool is_last);

/* ---- engine_stats.c ---- */

/* Answer Health or Stats. */
void engine_answer_query(engine *e, const thread_message *m);

#endif
