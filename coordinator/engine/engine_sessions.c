/* engine_sessions.c - sessions in the engine's hands: admitted, scheduled, fed with tokens, ended.  Every way out of a
 * session goes through finish_session or fail_session, each of which sends exactly one final reply and frees it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/engine/engine_int.h"
#include "coordinator/session/request_log.h"
#include "proto/base/log.h"
#include "proto/base/quote.h"

enum { TRIM_AFTER_US = 500000 };

/* ---- the list ---- */

static void link_session(engine *e, session *s)
{
    s->control.previous = NULL;
    s->control.next = e->sessions;
    if (e->sessions != NULL)
        e->sessions->control.previous = s;
    e->sessions = s;
}

static void unlink_session(engine *e, session *s)
{
    if (s->control.previous != NULL)
        s->control.previous->control.next = s->control.next;
    else
        e->sessions = s->control.next;
    if (s->control.next != NULL)
        s->control.next->control.previous = s->control.previous;
    session_destroy(&s);
    if (e->sessions == NULL)
        e->trim_us = engine_now_us(e) + TRIM_AFTER_US;
}

/* ---- replies ---- */

/* Takes over the bytes.  False when memory is out: nothing was sent. */
bool engine_push_reply(engine *e, uint64_t number, base_buf *bytes, bool is_last)
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
    if (s->control.state == SESSION_RECEIVED)
        return &e->counts.requests_refused;
    return status == BASE_ECANCELED ? &e->counts.requests_canceled : &e->counts.requests_failed;
}

/* Final reply of a request that failed.  Its scheduler handle is gone already. */
static void fail_session(engine *e, session *s, base_status status, const char *text)
{
    base_buf bytes = {0};
    ++*counter_of_failure(e, s, status);
    session_move(s, status == BASE_ECANCELED ? SESSION_CANCELED : SESSION_FAILED);
    request_log_failure(s->request.request_id, "failed", status, text, e->parts.options->log_content);
    session_encode_error(s->request.request_id, status, text, &bytes);
    if (!engine_push_reply(e, s->number, &bytes, true))
        base_log_error("request %s cannot be answered: out of memory", base_quote(s->request.request_id).text);
    unlink_session(e, s);
}

static void end_session(engine *e, session *s, base_status status, const char *text)
{
    if (s->control.state == SESSION_PREPARING) {
        if (s->control.pending_status == BASE_OK) {
            s->control.pending_status = status;
            s->control.pending_text = text;
        }
        return;
    }
    if (s->answer.seq != NULL)
        sched_cancel(e->sched, s->answer.seq);
    fail_session(e, s, status, text);
}

void engine_fail_all(engine *e, base_status status, const char *text)
{
    for (session *s = e->sessions, *next; s != NULL; s = next) {
        next = s->control.next;
        end_session(e, s, status, text);
    }
}

void engine_cancel(engine *e, uint64_t number, const char *why)
{
    session *s = e->sessions;
    while (s != NULL && s->number != number)
        s = s->control.next;
    if (s != NULL)
        end_session(e, s, BASE_ECANCELED, why);
}

/* ---- acceptance ---- */

/* With --log-content only. */
static void log_prompt(const session *s)
{
    const wire_generate *g = &s->request.generate;
    const base_quoted id = base_quote(s->request.request_id);
    for (size_t i = 0; i < g->n_parts; i++) {
        const wire_part *part = &g->parts[i];
        if (part->kind == WIRE_PART_TEXT)
            base_log_info("request %s part %zu: text: %s", id.text, i, part->text);
        else if (part->kind == WIRE_PART_IMAGE)
            base_log_info("request %s part %zu: image of %zu bytes", id.text, i, part->image_bytes);
        else if (part->kind == WIRE_PART_VECTORS)
            base_log_info("request %s part %zu: %zu numbers in vectors of %u", id.text, i, part->n_values, part->width);
        for (size_t k = 0; part->kind == WIRE_PART_TASK && k < part->n_fields; k++)
            base_log_info("request %s part %zu: task %s: %s: %s", id.text, i, base_quote(part->task).text,
                          base_quote(part->fields[k].name).text, part->fields[k].value);
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
    return !s->request.generate.stream || !session_encode_delta(s, &bytes) ||
           engine_push_reply(e, s->number, &bytes, false);
}

/* Final reply of a request that succeeded. */
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
        session_encode_result(s, finish, &from, engine_now_us(e), &bytes);
    else
        bytes.failed = true;
    if (!engine_push_reply(e, s->number, &bytes, true)) {
        fail_session(e, s, BASE_ENOMEM, "no memory for the reply");
        return;
    }
    session_move(s, SESSION_FINISHED);
    e->counts.requests_finished++;
    e->counts.prompt_tokens += s->prepared.n_prompt_tokens;
    e->counts.completion_tokens +=
        s->answer.n_ids - (s->prepared.n_resumed < s->answer.n_ids ? s->prepared.n_resumed : s->answer.n_ids);
    if (e->parts.options->log_content)
        base_log_info("request %s answer: %.*s", base_quote(s->request.request_id).text, (int)s->answer.text.size,
                      (const char *)s->answer.text.data);
    unlink_session(e, s);
}

void engine_schedule_prepared(engine *e, session *s)
{
    base_error error = s->prepared.error;
    base_status status = s->control.pending_status != BASE_OK
                             ? base_fail(&error, s->control.pending_status, "%s", s->control.pending_text)
                             : error.status;
    if (status != BASE_OK) {
        sched_unreserve(e->sched);
        fail_session(e, s, status, error.text);
        return;
    }
    uint64_t now_us = engine_now_us(e);
    wire_finish finish = WIRE_FINISH_UNKNOWN;
    sched_request request = session_request_of(s, e->parts.stop_ids, e->parts.n_stop_ids);
    status = sched_check_resumed(&request, &error);
    if (status == BASE_OK)
        status = session_begin(s, e->parts.env->tokenizer, now_us, &finish, &error);
    if (status != BASE_OK || finish != WIRE_FINISH_UNKNOWN)
        sched_unreserve(e->sched);
    else
        status = sched_submit(e->sched, &request, now_us, &s->answer.seq, &error);
    session_free_prompt(s);
    if (status != BASE_OK)
        fail_session(e, s, status, error.text);
    else if (finish != WIRE_FINISH_UNKNOWN)
        finish_session(e, s, finish);
}

static void deliver_token(engine *e, session *s, const sched_event *event)
{
    bool stopped = session_add_token(s, event, engine_now_us(e));
    if (event->finish != SCHED_CONTINUE)
        s->answer.seq = NULL; /* the scheduler has ended it */
    if (s->answer.text.failed) {
        end_session(e, s, BASE_ENOMEM, "no memory for the answer's text");
    } else if (stopped) {
        if (s->answer.seq != NULL)
            sched_cancel(e->sched, s->answer.seq);
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
            deliver_token(e, s, &event);
        else if (event.status == BASE_EDEADLINE)
            fail_session(e, s, event.status, "the request's deadline passed; allow more time or ask for fewer tokens");
        else
            fail_session(e, s, event.status,
                         "an activation left the range of the fixed-point sums, or a logit is not finite; the input is "
                         "not one the model was made for, or its weights are damaged");
    }
}
