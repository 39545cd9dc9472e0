/* engine_sessions.c - sessions in the engine's hands: admitted, scheduled, fed with tokens, ended.  Every way out of a
 * session goes through finish_session or fail_session, each of which sends exactly one last reply and frees it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/engine/engine_int.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

enum { TRIM_AFTER_US = 500000 };

/* ---- the list ---- */

static void link_session(engine *e, session *s)
{
    s->previous = NULL;
    s->next = e->sessions;
    if (e->sessions != NULL)
        e->sessions->previous = s;
    e->sessions = s;
}

static void drop_session(engine *e, session *s)
{
    if (s->previous != NULL)
        s->previous->next = s->next;
    else
        e->sessions = s->next;
    if (s->next != NULL)
        s->next->previous = s->previous;
    session_destroy(&s);
    if (e->sessions == NULL)
        e->trim_us = base_clock_us() + TRIM_AFTER_US;
}

/* ---- replies ---- */

/* Takes over the bytes.  False when memory is out: nothing was sent. */
static bool push_reply(engine *e, uint64_t number, base_buf *bytes, bool is_last)
{
    thread_message *m = bytes->failed ? NULL : thread_message_create(MESSAGE_REPLY, number);
    if (m == NULL) {
        base_buf_release(bytes);
        return false;
    }
    m->bytes = *bytes;
    m->is_last = is_last;
    *bytes = (base_buf){0};
    thread_queue_push(e->parts.gateway, m);
    return true;
}

/* One that was never admitted is refused, not failed. */
static uint64_t *counter_of_failure(engine *e, const session *s, base_status status)
{
    if (s->state == SESSION_RECEIVED)
        return &e->counts.requests_refused;
    return status == BASE_ECANCELED ? &e->counts.requests_canceled : &e->counts.requests_failed;
}

/* The last word of a request that failed.  Its scheduler handle is gone already. */
static void fail_session(engine *e, session *s, base_status status, const char *text)
{
    base_buf bytes = {0};
    ++*counter_of_failure(e, s, status);
    session_move(s, status == BASE_ECANCELED ? SESSION_CANCELED : SESSION_FAILED);
    base_log_warn("request '%s' failed: %s: %s", s->request.request_id, base_status_text(status), text);
    session_encode_error(s->request.request_id, status, text, &bytes);
    if (!push_reply(e, s->number, &bytes, true))
        base_log_error("request '%s' cannot be answered: out of memory", s->request.request_id);
    drop_session(e, s);
}

static void end_session(engine *e, session *s, base_status status, const char *text)
{
    if (s->state == SESSION_PREPARING) {
        if (s->pending_status == BASE_OK) {
            s->pending_status = status;
            s->pending_text = text;
        }
        return;
    }
    if (s->seq != NULL)
        sched_cancel(e->sched, s->seq);
    fail_session(e, s, status, text);
}

void engine_fail_all(engine *e, base_status status, const char *text)
{
    for (session *s = e->sessions, *next; s != NULL; s = next) {
        next = s->next;
        end_session(e, s, status, text);
    }
}

void engine_cancel(engine *e, uint64_t number, const char *why)
{
    session *s = e->sessions;
    while (s != NULL && s->number != number)
        s = s->next;
    if (s != NULL)
        end_session(e, s, BASE_ECANCELED, why);
}

/* ---- ways in ---- */

/* With --log-content only. */
static void log_prompt(const session *s)
{
    const wire_generate *g = &s->request.generate;
    for (size_t i = 0; i < g->n_parts; i++) {
        const wire_part *part = &g->parts[i];
        if (part->kind == WIRE_PART_TEXT)
            base_log_info("request '%s' part %zu: text: %s", s->request.request_id, i, part->text);
        else if (part->kind == WIRE_PART_IMAGE)
            base_log_info("request '%s' part %zu: image of %zu bytes", s->request.request_id, i, part->image_bytes);
        else if (part->kind == WIRE_PART_VECTORS)
            base_log_info("request '%s' part %zu: %zu numbers in vectors of %u", s->request.request_id, i,
                          part->n_values, part->width);
        for (size_t k = 0; part->kind == WIRE_PART_TASK && k < part->n_fields; k++)
            base_log_info("request '%s' part %zu: task '%s': %s: %s", s->request.request_id, i, part->task,
                          part->fields[k].name, part->fields[k].value);
    }
}

static base_status admit(engine *e, base_error *error)
{
    switch (e->state) {
    case ENGINE_STARTING:
        return base_fail(error, BASE_EBUSY, "the model is still loading; try again when health says 'ready'");
    case ENGINE_READY:
        return sched_reserve(e->sched, error);
    case ENGINE_DRAINING:
    case ENGINE_FAILED:
        break;
    }
    return base_fail(error, BASE_ESHUTDOWN, "the server is shutting down and takes no new requests");
}

void engine_accept_request(engine *e, session *s)
{
    base_error error = {0};
    link_session(e, s);
    if (e->parts.options->log_content)
        log_prompt(s);
    base_status status = admit(e, &error);
    if (status == BASE_OK) {
        e->counts.requests_admitted++;
        session_move(s, SESSION_PREPARING);
        s->message.kind = MESSAGE_PREPARE;
        thread_queue_push(e->parts.intake, &s->message);
        return;
    }
    atomic_fetch_sub(e->parts.payload_bytes, s->payload_bytes);
    fail_session(e, s, status, error.text);
}

/* ---- tokens ---- */

/* False: memory is out. */
static bool send_delta(engine *e, session *s)
{
    base_buf bytes = {0};
    return !s->request.generate.stream || !session_encode_delta(s, &bytes) || push_reply(e, s->number, &bytes, false);
}

/* The last word of a request that succeeded. */
static void finish_session(engine *e, session *s, wire_finish finish)
{
    session_provenance from = {.model = e->parts.model,
                               .model_digest = e->hello.model_digest,
                               .version = PALMGROVE_VERSION,
                               .layout = e->layout,
                               .isa = e->hello.isa};
    base_buf bytes = {0};
    session_flush_text(s);
    if (send_delta(e, s))
        session_encode_result(s, finish, &from, base_clock_us(), &bytes);
    else
        bytes.failed = true;
    if (!push_reply(e, s->number, &bytes, true)) {
        fail_session(e, s, BASE_ENOMEM, "no memory for the reply");
        return;
    }
    session_move(s, SESSION_FINISHED);
    e->counts.requests_finished++;
    e->counts.prompt_tokens += s->n_prompt_tokens;
    e->counts.completion_tokens += s->n_ids - (s->n_resumed < s->n_ids ? s->n_resumed : s->n_ids);
    if (e->parts.options->log_content)
        base_log_info("request '%s' answer: %.*s", s->request.request_id, (int)s->text.size,
                      (const char *)s->text.data);
    drop_session(e, s);
}

void engine_schedule_prepared(engine *e, session *s)
{
    base_error error = s->error;
    base_status status =
        s->pending_status != BASE_OK ? base_fail(&error, s->pending_status, "%s", s->pending_text) : error.status;
    if (status != BASE_OK) {
        sched_unreserve(e->sched);
        fail_session(e, s, status, error.text);
        return;
    }
    uint64_t now_us = base_clock_us();
    wire_finish finish = WIRE_FINISH_UNKNOWN;
    sched_request request = session_request_of(s, e->parts.stop_ids, e->parts.n_stop_ids);
    status = sched_check_resumed(&request, &error);
    if (status == BASE_OK)
        status = session_begin(s, e->parts.env->tokenizer, now_us, &finish, &error);
    if (status != BASE_OK || finish != WIRE_FINISH_UNKNOWN)
        sched_unreserve(e->sched);
    else
        status = sched_submit(e->sched, &request, now_us, &s->seq, &error);
    session_free_prompt(s);
    if (status != BASE_OK)
        fail_session(e, s, status, error.text);
    else if (finish != WIRE_FINISH_UNKNOWN)
        finish_session(e, s, finish);
}

static void take_token(engine *e, session *s, const sched_event *event)
{
    bool stopped = session_add_token(s, event, base_clock_us());
    if (event->finish != SCHED_CONTINUE)
        s->seq = NULL; /* the scheduler has ended it */
    if (s->text.failed) {
        end_session(e, s, BASE_ENOMEM, "no memory for the answer's text");
    } else if (stopped) {
        if (s->seq != NULL)
            sched_cancel(e->sched, s->seq);
        finish_session(e, s, WIRE_FINISH_STOP);
    } else if (event->finish != SCHED_CONTINUE) {
        finish_session(e, s, event->finish == SCHED_EOS ? WIRE_FINISH_EOS : WIRE_FINISH_LENGTH);
    } else if (!send_delta(e, s)) {
        end_session(e, s, BASE_ENOMEM, "no memory for a reply");
    }
}

void engine_deliver_events(engine *e)
{
    sched_event event;
    while (sched_next_event(e->sched, &event)) {
        session *s = event.user;
        if (event.finish != SCHED_FAILED)
            take_token(e, s, &event);
        else if (event.status == BASE_EDEADLINE)
            fail_session(e, s, event.status, "the request's deadline passed; allow more time or ask for fewer tokens");
        else
            fail_session(e, s, event.status,
                         "an activation left the range of the fixed-point sums; the input is not one the model "
                         "was made for");
    }
}

/* ---- questions ---- */

static uint64_t resident_bytes(void)
{
    unsigned long long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%llu %llu", &size, &resident) != 2)
        resident = 0;
    fclose(file);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static wire_stats stats_of(const engine *e, const thread_message *m)
{
    wire_stats stats = e->counts;
    stats.requests_refused += m->n_refused;
    stats.malformed_messages = m->n_malformed;
    stats.resident_bytes = resident_bytes();
    if (e->sched != NULL) {
        sched_stats numbers = sched_stats_of(e->sched);
        stats.queued = numbers.n_waiting;
        stats.running = numbers.n_running;
        stats.kv_blocks_total = numbers.kv_blocks_total;
        stats.kv_blocks_free = numbers.kv_blocks_free;
        stats.kv_blocks_kept = numbers.kv_blocks_cached;
        stats.steps = numbers.steps;
        stats.prefix_requests = numbers.prefix_requests;
        stats.prefix_tokens = numbers.prefix_tokens;
        stats.drafted_tokens = numbers.drafted_tokens;
        stats.accepted_tokens = numbers.accepted_tokens;
        stats.images_reused = numbers.images_reused;
    }
    return stats;
}

void engine_answer_query(engine *e, const thread_message *m)
{
    static const char *const names[] = {[ENGINE_STARTING] = "starting",
                                        [ENGINE_READY] = "ready",
                                        [ENGINE_DRAINING] = "draining",
                                        [ENGINE_FAILED] = "failed"};
    wire_reply reply = {.version = WIRE_VERSION};
    base_buf bytes = {0};
    memcpy(reply.request_id, m->request_id, sizeof reply.request_id);
    if (m->query == WIRE_REQUEST_HEALTH) {
        reply.kind = WIRE_REPLY_HEALTH;
        reply.health = (wire_health){.state = names[e->state],
                                     .build = PALMGROVE_VERSION,
                                     .model = e->parts.model,
                                     .layout = e->layout,
                                     .uptime_s = (double)(base_clock_us() - e->started_us) / 1e6};
    } else {
        reply.kind = WIRE_REPLY_STATS;
        reply.stats = stats_of(e, m);
    }
    if (wire_reply_encode(&reply, &bytes, NULL) != BASE_OK)
        bytes.failed = true;
    if (!push_reply(e, m->number, &bytes, true))
        base_log_error("query '%s' cannot be answered: out of memory", m->request_id);
}
