/* engine.c - one round of the engine's work: whatever lies ready is handled, nothing is waited for.
 *
 *     link messages     results -> tokens -> replies; plans follow each result at once
 *     thread messages   requests in, prepared requests back from intake, cancels, queries, drains
 *     clock             deadlines, a replica that is silent for too long, free memory to give back
 *     plans             until the scheduler has none
 *
 * The thread that calls it and sleeps in between is in engine_thread.c; a test calls it on a simulated clock. */
#include <malloc.h>
#include <stdlib.h>

#include "coordinator/engine/engine_int.h"
#include "proto/base/log.h"

/* A launcher ends a job in the same way when it is told to and when a rank died on another node: then no result came
 * since.  Half of the second that mpirun grants between its signals. */
#define SILENT_RANKS_US 500000u

static void drain(engine *e, bool now)
{
    if (e->state == ENGINE_READY) /* a start that failed has nothing to drain */
        base_log_info("draining: no new requests are taken");
    if (e->state != ENGINE_FAILED)
        e->state = ENGINE_DRAINING;
    if (!now || e->cancels_now)
        return;
    e->cancels_now = true;
    if (e->hello.tp * e->hello.pp > 1 && engine_replica_is_silent(e, SILENT_RANKS_US))
        engine_fail_all(e, BASE_EIO, "the server was told to stop at once, and its ranks do not answer");
    else
        engine_fail_all(e, BASE_ECANCELED, "the server was told to stop at once");
}

static void handle_messages(engine *e)
{
    thread_message *m;
    while ((m = thread_queue_pop(e->parts.queue)) != NULL) {
        switch (m->kind) {
        case MESSAGE_REQUEST:
            engine_accept_request(e, m->session);
            break;
        case MESSAGE_PREPARED:
            engine_schedule_prepared(e, m->session);
            break;
        case MESSAGE_CANCEL:
            engine_cancel(e, m->number, m->text);
            thread_message_destroy(&m);
            break;
        case MESSAGE_QUERY:
            engine_answer_query(e, m);
            thread_message_destroy(&m);
            break;
        case MESSAGE_DRAIN:
            drain(e, m->is_last);
            break;
        case MESSAGE_LOST:
            engine_replica_lost(e, m->text);
            break;
        case MESSAGE_PREPARE:
        case MESSAGE_REPLY:
        case MESSAGE_STOP:
        case MESSAGE_STARTED:
            thread_message_destroy(&m); /* never sent here */
            break;
        }
    }
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

uint64_t engine_due_us(const engine *e)
{
    uint64_t due_us = sooner(e->trim_us, engine_replica_due_us(e));
    return e->sched != NULL ? sooner(due_us, sched_next_deadline(e->sched)) : due_us;
}

/* Large messages and images leave free memory in many arenas; give it back when no request is open. */
static void trim(engine *e, uint64_t now_us)
{
    if (e->trim_us == 0 || now_us < e->trim_us)
        return;
    e->trim_us = 0;
    if (e->sessions == NULL)
        malloc_trim(0);
}

bool engine_is_over(const engine *e)
{
    if (e->sessions != NULL)
        return false;
    if (e->state == ENGINE_FAILED)
        return true;
    if (e->state != ENGINE_DRAINING)
        return false;
    /* A replica that is still loading is waited for, so that it can be told to stop. */
    return e->cancels_now || (e->has_hello && sched_stats_of(e->sched).n_plans == 0);
}

void engine_work(engine *e)
{
    engine_receive(e);
    handle_messages(e);
    uint64_t now_us = engine_now_us(e);
    if (e->sched != NULL) {
        sched_expire(e->sched, now_us);
        engine_deliver_events(e);
    }
    engine_dispatch(e);
    engine_check_replica_timeout(e, now_us);
    trim(e, now_us);
}

void engine_release(engine *e)
{
    sched_destroy(&e->sched);
    base_buf_release(&e->message);
    free(e->tokens);
    free(e->draft_tokens);
}
