#include "coordinator/engine/engine.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "coordinator/engine/engine_int.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#define REPLICA_TIMEOUT_MS 120000u

/* ---- the replica ---- */

/* The replica cannot go on, so nor can we: every session gets its last word, and the thread ends. */
static void fail(engine *e, const base_error *error)
{
    if (e->state == ENGINE_FAILED)
        return;
    e->state = ENGINE_FAILED;
    e->failure = *error;
    base_log_error("the replica failed: %s: %s", base_status_text(error->status), error->text);
    engine_fail_all(e, BASE_EINTERNAL, "the model's ranks failed; the server's log says why");
}

/* Pieces that a tokenizer may know beyond the model's rows; prompts that spell one are refused (session/prompt.c). */
enum { ADDED_PIECES = 64 };

_Static_assert(COORD_SPECULATE_AUTO == SCHED_SPECULATE_AUTO && COORD_SPECULATE_MAX == SCHED_DRAFT_MAX,
               "one meaning in both headers");

static base_status begin_sched(engine *e, base_error *error)
{
    const coord_options *options = e->parts.options;
    uint32_t pieces = text_vocab_size(e->parts.env->tokenizer);
    if (pieces > e->hello.limits.vocab_size + ADDED_PIECES)
        return base_fail(error, BASE_EFORMAT, "the tokenizer has %u pieces, the model %u; do they belong together?",
                         pieces, e->hello.limits.vocab_size);
    sched_options wanted = {.limits = e->hello.limits,
                            .n_stages = e->hello.pp,
                            .max_plans = options->max_plans,
                            .step_tokens = options->step_tokens,
                            .max_queue = options->max_queue,
                            .policy = &sched_policy_fcfs,
                            .reuse_prefixes = !options->no_prefix_cache,
                            .speculate = options->speculate};
    e->tokens = calloc(e->hello.limits.max_seqs, sizeof *e->tokens);
    e->draft_tokens = calloc(e->hello.limits.max_seqs, sizeof *e->draft_tokens);
    if (e->tokens == NULL || e->draft_tokens == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for results of %u tokens", e->hello.limits.max_seqs);
    return sched_create(&wanted, &e->sched, error);
}

static void report_ready(engine *e)
{
    const link_hello *hello = &e->hello;
    uint64_t bytes = hello->weights_bytes_max + hello->kv_bytes_max + hello->workspace_bytes_max;
    char line[2048];
    snprintf(line, sizeof line,
             "ready: %s model '%s', layout %s, kernels %s, memory per rank at most %" PRIu64
             " MiB, context %u tokens, cache %" PRIu64 " tokens, endpoint%s %s",
             e->parts.family, e->parts.model, e->layout, hello->isa, (bytes + (1u << 20) - 1) >> 20,
             hello->limits.max_positions, (uint64_t)hello->limits.n_kv_blocks * LINK_KV_BLOCK_TOKENS,
             strchr(e->parts.endpoints, ',') != NULL ? "s" : "", e->parts.endpoints);
    if (e->parts.options->ready != NULL)
        e->parts.options->ready(e->parts.options->ready_context, line);
}

static base_status handle_hello(engine *e, base_error *error)
{
    if (e->has_hello)
        return base_fail(error, BASE_EIO, "the replica started anew in the middle of its work");
    base_status status = link_hello_decode(e->message.data, e->message.size, &e->hello, error);
    if (status != BASE_OK)
        return status;
    e->has_hello = true;
    e->parts.env->limits = e->hello.limits;
    snprintf(e->layout, sizeof e->layout, "tp%u x pp%u", e->hello.tp, e->hello.pp);
    status = begin_sched(e, error);
    if (status == BASE_OK && e->state == ENGINE_STARTING) {
        e->state = ENGINE_READY;
        report_ready(e);
    }
    return status;
}

static base_status take_result(engine *e, base_error *error)
{
    link_result result;
    if (e->sched == NULL)
        return base_fail(error, BASE_EFORMAT, "the replica sent a result before its hello");
    base_status status = link_result_decode_into(e->message.data, e->message.size, e->tokens, e->draft_tokens,
                                                 e->hello.limits.max_seqs, &result, error);
    if (status == BASE_OK)
        status = sched_process_result(e->sched, &result, base_clock_us(), error);
    if (status == BASE_OK)
        engine_deliver_events(e);
    return status;
}

static base_status handle_failed(engine *e, base_error *error)
{
    base_error failure = {0};
    base_status status = link_failed_decode(e->message.data, e->message.size, &failure, error);
    if (status == BASE_OK && error != NULL)
        *error = failure;
    return status == BASE_OK ? failure.status : status;
}

static base_status handle_link_message(engine *e, base_error *error)
{
    switch (link_message_type(e->message.data, e->message.size)) {
    case LINK_HELLO:
        return handle_hello(e, error);
    case LINK_RESULT:
        return take_result(e, error);
    case LINK_FAILED:
        return handle_failed(e, error);
    case LINK_PLAN:
    case LINK_STOP:
        break;
    }
    return base_fail(error, BASE_EFORMAT,
                     "the replica sent a message that only a coordinator sends, or none that is known");
}

/* Send plans until there is none; called after every result, so that the pipeline never waits for the rest of a turn.
 */
static void dispatch(engine *e)
{
    base_error error = {0};
    const link_plan *plan;
    uint64_t now_us = base_clock_us();
    if (e->sched == NULL || e->state == ENGINE_FAILED)
        return;
    while ((plan = sched_next_plan(e->sched, now_us)) != NULL) {
        if (sched_stats_of(e->sched).n_plans == 1)
            e->last_heard_us = now_us; /* after a pause the silence starts to count now */
        base_buf_clear(&e->message);
        link_plan_encode(plan, &e->message);
        if (link_send(e->link, &e->message, &error) != BASE_OK) {
            fail(e, &error);
            return;
        }
    }
}

static void receive_link(engine *e)
{
    base_error error = {0};
    base_status status;
    while (e->state != ENGINE_FAILED && (status = link_receive(e->link, &e->message, 0, &error)) != BASE_EDEADLINE) {
        e->last_heard_us = base_clock_us();
        if (status == BASE_OK)
            status = handle_link_message(e, &error);
        if (status != BASE_OK)
            fail(e, &error);
        dispatch(e);
    }
}

static uint64_t replica_timeout_us(const engine *e)
{
    uint32_t ms = e->parts.options->replica_timeout_ms;
    return (uint64_t)(ms == 0 ? REPLICA_TIMEOUT_MS : ms) * 1000u;
}

static void check_replica_timeout(engine *e, uint64_t now_us)
{
    if (e->sched == NULL || sched_stats_of(e->sched).n_plans == 0 || now_us < e->last_heard_us + replica_timeout_us(e))
        return;
    base_error error = {0};
    base_error_set(&error, BASE_EIO, "no result from the replica for %.1f s; is a rank dead or stopped?",
                   (double)(now_us - e->last_heard_us) / 1e6);
    fail(e, &error);
}

/* ---- mail ---- */

static void drain(engine *e, bool now)
{
    if (e->state == ENGINE_READY) /* a start that failed has nothing to drain */
        base_log_info("draining: no new requests are taken");
    if (e->state != ENGINE_FAILED)
        e->state = ENGINE_DRAINING;
    if (now && !e->cancels_now) {
        e->cancels_now = true;
        engine_fail_all(e, BASE_ECANCELED, "the server was told to stop at once");
    }
}

static void handle_messages(engine *e)
{
    thread_message *m;
    while ((m = thread_queue_pop(e->parts.box)) != NULL) {
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
        case MESSAGE_PREPARE:
        case MESSAGE_REPLY:
        case MESSAGE_STOP:
        case MESSAGE_STARTED:
            thread_message_destroy(&m); /* never sent here */
            break;
        }
    }
}

/* ---- the loop ---- */

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

/* Milliseconds until something is due by the clock alone; -1: nothing is. */
static long wait_ms(const engine *e, uint64_t now_us)
{
    uint64_t due_us = e->trim_us;
    if (e->sched != NULL) {
        due_us = sooner(due_us, sched_next_deadline(e->sched));
        if (sched_stats_of(e->sched).n_plans > 0)
            due_us = sooner(due_us, e->last_heard_us + replica_timeout_us(e));
    }
    if (due_us == 0)
        return -1;
    return due_us <= now_us ? 0 : (long)((due_us - now_us) / 1000u + 1u);
}

/* Large messages and images leave free memory in many arenas; give it back when nobody works. */
static void trim(engine *e, uint64_t now_us)
{
    if (e->trim_us == 0 || now_us < e->trim_us)
        return;
    e->trim_us = 0;
    if (e->sessions == NULL)
        malloc_trim(0);
}

static bool is_over(const engine *e)
{
    if (e->sessions != NULL)
        return false;
    if (e->state == ENGINE_FAILED)
        return true;
    if (e->state != ENGINE_DRAINING)
        return false;
    /* A replica that is still loading is waited for, so that it can be told to leave. */
    return e->cancels_now || (e->has_hello && sched_stats_of(e->sched).n_plans == 0);
}

static void poll_once(engine *e)
{
    zmq_pollitem_t items[2] = {{.socket = link_socket(e->link), .events = ZMQ_POLLIN},
                               {.fd = e->parts.box->fd, .events = ZMQ_POLLIN}};
    zmq_poll(items, 2, wait_ms(e, base_clock_us()));
    receive_link(e);
    handle_messages(e);
    uint64_t now_us = base_clock_us();
    if (e->sched != NULL) {
        sched_expire(e->sched, now_us);
        engine_deliver_events(e);
    }
    dispatch(e);
    check_replica_timeout(e, now_us);
    trim(e, now_us);
}

static void send_stop(engine *e)
{
    base_error error = {0};
    base_buf_clear(&e->message);
    link_stop_encode(&e->message);
    if (e->has_hello && link_send(e->link, &e->message, &error) != BASE_OK && e->state != ENGINE_FAILED)
        base_log_warn("the replica cannot be told to stop: %s", error.text);
}

static void *engine_run(void *argument)
{
    engine *e = argument;
    base_status status = link_bind(e->parts.zmq, e->parts.options->link, &e->link, &e->started.error);
    thread_queue_push(&e->started_queue, &e->started);
    if (status != BASE_OK)
        return NULL;
    while (!is_over(e))
        poll_once(e);
    send_stop(e);
    link_close(&e->link);
    if (e->has_hello)
        base_log_info("ended after %.1f s: %" PRIu64 " requests finished, %" PRIu64 " failed, %" PRIu64
                      " canceled, %" PRIu64 " refused",
                      (double)(base_clock_us() - e->started_us) / 1e6, e->counts.requests_finished,
                      e->counts.requests_failed, e->counts.requests_canceled, e->counts.requests_refused);
    return NULL;
}

/* ---- start and finish ---- */

static void engine_free(engine **out)
{
    engine *e = *out;
    sched_destroy(&e->sched);
    base_buf_release(&e->message);
    free(e->tokens);
    free(e->draft_tokens);
    thread_queue_release(&e->started_queue);
    free(e);
    *out = NULL;
}

static base_status run_thread(engine *e, base_error *error)
{
    int code = pthread_create(&e->thread, NULL, engine_run, e);
    if (code != 0)
        return base_fail(error, BASE_EIO, "cannot start the engine's thread: %s", strerror(code));
    thread_queue_wait(&e->started_queue);
    if (e->started.error.status == BASE_OK)
        return BASE_OK;
    pthread_join(e->thread, NULL);
    if (error != NULL)
        *error = e->started.error;
    return e->started.error.status;
}

base_status engine_start(const engine_parts *parts, engine **out, base_error *error)
{
    engine *e = calloc(1, sizeof *e);
    if (e == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the engine");
    *e = (engine){
        .parts = *parts, .started_us = base_clock_us(), .started = {.kind = MESSAGE_STARTED, .is_embedded = true}};
    base_status status = thread_queue_init(&e->started_queue, error);
    if (status != BASE_OK) {
        free(e);
        return status;
    }
    status = run_thread(e, error);
    if (status != BASE_OK) {
        engine_free(&e);
        return status;
    }
    *out = e;
    return BASE_OK;
}

base_status engine_finish(engine **out, base_error *error)
{
    engine *e = *out;
    pthread_join(e->thread, NULL);
    base_status status = e->failure.status;
    if (status != BASE_OK && error != NULL)
        *error = e->failure;
    engine_free(out);
    return status;
}
