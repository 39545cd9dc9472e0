/* engine_link.c - the engine and its replica: what the replica sends, and the plans that go to it.
 *
 *     replica      HELLO -> the scheduler is created for its limits, sessions are taken from now on
 *                  RESULT -> scheduler -> events -> sessions; then plans until the scheduler has none
 *                  FAILED, silence, anything unexpected -> every session is answered, the engine ends
 *
 * Messages pass through engine_transport, so that a test can be the replica without a socket. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/engine/engine_int.h"
#include "proto/base/log.h"

#define REPLICA_TIMEOUT_MS 120000u

/* Pieces that a tokenizer may know beyond the model's rows; prompts that spell one are refused (prompt_tokens.c). */
enum { ADDED_PIECES = 64 };

_Static_assert(COORD_SPECULATE_AUTO == SCHED_SPECULATE_AUTO && COORD_SPECULATE_MAX == SCHED_DRAFT_MAX,
               "one meaning in both headers");

/* The replica failed: answer every open session with an error, then stop. */
static void fail(engine *e, const base_error *error)
{
    if (e->state == ENGINE_FAILED)
        return;
    e->state = ENGINE_FAILED;
    e->failure = *error;
    base_log_error("the replica failed: %s: %s", base_status_text(error->status), error->text);
    engine_fail_all(e, BASE_EIO, "the model's ranks failed; the server's log says why");
}

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
        return base_fail(error, BASE_EIO, "the replica restarted in the middle of its work");
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

static base_status handle_result(engine *e, base_error *error)
{
    link_result result;
    if (e->sched == NULL)
        return base_fail(error, BASE_EFORMAT, "the replica sent a result before its hello");
    base_status status = link_result_decode_into(e->message.data, e->message.size, e->tokens, e->draft_tokens,
                                                 e->hello.limits.max_seqs, &result, error);
    if (status == BASE_OK)
        status = sched_process_result(e->sched, &result, engine_now_us(e), error);
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
        return handle_result(e, error);
    case LINK_FAILED:
        return handle_failed(e, error);
    case LINK_PLAN:
    case LINK_STOP:
        break;
    }
    return base_fail(error, BASE_EFORMAT,
                     "the replica sent a message that only a coordinator sends, or none that is known");
}

/* Send plans until there is none; called after every result, so that the pipeline never waits for the rest of a poll.
 */
void engine_dispatch(engine *e)
{
    base_error error = {0};
    const link_plan *plan;
    uint64_t now_us = engine_now_us(e);
    if (e->sched == NULL || e->state == ENGINE_FAILED)
        return;
    while ((plan = sched_next_plan(e->sched, now_us)) != NULL) {
        if (sched_stats_of(e->sched).n_plans == 1)
            e->last_heard_us = now_us; /* after a pause the timeout starts now */
        base_buf_clear(&e->message);
        link_plan_encode(plan, &e->message);
        if (e->transport.send(e->transport.context, &e->message, &error) != BASE_OK) {
            fail(e, &error);
            return;
        }
    }
}

void engine_receive(engine *e)
{
    base_error error = {0};
    base_status status;
    while (e->state != ENGINE_FAILED &&
           (status = e->transport.receive(e->transport.context, &e->message, &error)) != BASE_EDEADLINE) {
        e->last_heard_us = engine_now_us(e);
        if (status == BASE_OK)
            status = handle_link_message(e, &error);
        if (status != BASE_OK)
            fail(e, &error);
        engine_dispatch(e);
    }
}

static uint64_t replica_timeout_us(const engine *e)
{
    uint32_t ms = e->parts.options->replica_timeout_ms;
    return (uint64_t)(ms == 0 ? REPLICA_TIMEOUT_MS : ms) * 1000u;
}

void engine_replica_lost(engine *e, const char *why)
{
    base_error error = {0};
    base_error_set(&error, BASE_EIO, "%s", why);
    if (e->sched != NULL) /* else it was never ready, and nothing is open */
        fail(e, &error);
}

bool engine_replica_is_silent(const engine *e, uint64_t us)
{
    return e->sched != NULL && sched_stats_of(e->sched).n_plans > 0 && engine_now_us(e) >= e->last_heard_us + us;
}

void engine_check_replica_timeout(engine *e, uint64_t now_us)
{
    if (e->sched == NULL || sched_stats_of(e->sched).n_plans == 0 || now_us < e->last_heard_us + replica_timeout_us(e))
        return;
    base_error error = {0};
    base_error_set(&error, BASE_EIO, "no result from the replica for %.1f s; is a rank dead or stopped?",
                   (double)(now_us - e->last_heard_us) / 1e6);
    fail(e, &error);
}

uint64_t engine_replica_due_us(const engine *e)
{
    if (e->sched == NULL || sched_stats_of(e->sched).n_plans == 0)
        return 0;
    return e->last_heard_us + replica_timeout_us(e);
}
