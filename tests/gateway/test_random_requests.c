/* test_random_requests.c - the engine and the scheduler together under random requests: every answer equals the one
 * that is computed token by token without them, cut at its stop string.
 *
 *     random_case.c  --request-->  engine (real)  --plan-->  fake_model.h
 *                    <--reply----  sched, session <-result-
 *
 * One thread and a simulated clock.  Requests are prepared in any order; results arrive late and several at once;
 * clients cancel or vanish at any time; requests have deadlines, resume answers, bring answers to score.  The cache is
 * small, so sequences are preempted; n-grams, a draft model or both draft.  A round is one engine with options and
 * limits drawn at random; it is drained, or stopped, or its replica fails or falls silent.
 *
 *     test_random_requests [--requests N] [--seed S]
 *
 * An error names the seed of its round: --seed S --requests 1 repeats that round alone. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/engine/engine_int.h"
#include "coordinator/sched/sched_int.h"
#include "proto/base/log.h"
#include "tests/gateway/gateway_harness.h"
#include "tests/gateway/random_case.h"

enum { ROUND_REQUESTS = 256, PLANS_MAX = 16, PREPARING_MAX = 64, STEPS_MAX = 1000000, STALLED_MAX = 20 };

/* How a round ends. */
typedef enum round_end { END_DRAIN, END_DRAIN_EARLY, END_DRAIN_NOW, END_REPLICA_FAILS, END_REPLICA_SILENT } round_end;

/* What happened at all: a run in which something never happens tests less than it says. */
typedef struct coverage {
    uint64_t requests, eos, stop, length, resumed, scored, canceled, too_late, busy, refused, overflowed, preempted,
        accepted, reused, images_reused, given_up;
} coverage;

/* What all rounds share. */
typedef struct bench {
    harness *files; /* a checkpoint */
    text_tokenizer *tokenizer;
    task_set *tasks;
    exemplars *exemplars;
    prompt_env env;
    thread_queue engine_queue, intake_queue, gateway_queue;
    coverage seen;
} bench;

typedef struct simulation {
    bench *bench;
    uint64_t seed, now_us;
    random_state random;
    coord_options options;
    link_limits limits;
    uint32_t max_tokens;                /* of a request, at most */
    uint32_t eos_every, overflow_every; /* one token in that many; 0: none */
    round_end end;
    uint32_t n_wanted, n_submitted, n_open, open_max, cancel_every;
    uint32_t n_stalled; /* steps in which requests are open and nothing is on its way for them */
    bool is_draining, replica_is_gone;
    atomic_size_t payload_bytes;
    engine engine;
    fake_model model;
    base_buf plans[PLANS_MAX], results[PLANS_MAX]; /* rings */
    uint32_t first_plan, n_plans, first_result, n_results;
    session *preparing[PREPARING_MAX];
    uint32_t n_preparing;
    thread_message drain;
    random_case cases[ROUND_REQUESTS];
} simulation;

static void broken(const simulation *s, const random_case *c, const char *what)
{
    fprintf(stderr, "round --seed %" PRIu64 ", request %td: %s\n", s->seed, c != NULL ? c - s->cases : -1, what);
    if (c != NULL)
        random_case_print(c);
    exit(1);
}

/* ---- the replica ---- */

static base_status send_plan(void *context, const base_buf *message, base_error *error)
{
    simulation *s = context;
    (void)error;
    base_buf *plan = &s->plans[(s->first_plan + s->n_plans++) % PLANS_MAX];
    base_buf_clear(plan);
    base_buf_put(plan, message->data, message->size);
    if (s->n_plans > PLANS_MAX)
        broken(s, NULL, "more plans in flight than allowed");
    return BASE_OK;
}

static base_status receive_result(void *context, base_buf *message, base_error *error)
{
    simulation *s = context;
    (void)error;
    if (s->n_results == 0)
        return BASE_EDEADLINE;
    const base_buf *result = &s->results[s->first_result];
    base_buf_clear(message);
    base_buf_put(message, result->data, result->size);
    s->first_result = (s->first_result + 1) % PLANS_MAX;
    s->n_results--;
    return BASE_OK;
}

static uint64_t simulated_us(void *context)
{
    return ((const simulation *)context)->now_us;
}

static base_buf *next_result(simulation *s)
{
    if (s->n_results == PLANS_MAX)
        broken(s, NULL, "results are not received");
    base_buf *result = &s->results[(s->first_result + s->n_results++) % PLANS_MAX];
    base_buf_clear(result);
    return result;
}

static void say_hello(simulation *s)
{
    link_hello hello = {
        .protocol = LINK_PROTOCOL, .tp = 1, .pp = 1 + random_below(&s->random, 3), .limits = s->limits, .isa = "fake"};
    memset(hello.model_digest, 'a', 64);
    link_hello_encode(&hello, next_result(s));
}

/* The oldest plan is done. */
static void complete_plan(simulation *s)
{
    link_plan plan;
    link_result result;
    base_error error = {0};
    const base_buf *message = &s->plans[s->first_plan];
    if (link_plan_decode(message->data, message->size, &s->limits, &plan, &error) != BASE_OK)
        broken(s, NULL, error.text);
    s->first_plan = (s->first_plan + 1) % PLANS_MAX;
    s->n_plans--;
    fake_model_step(&s->model, &plan, &result);
    for (uint32_t i = 0; s->overflow_every != 0 && i < result.n_tokens; i++)
        if (random_one_in(&s->random, s->overflow_every))
            result.tokens[i].token = LINK_TOKEN_OVERFLOW;
    link_plan_release(&plan);
    link_result_encode(&result, next_result(s));
}

/* ---- intake ---- */

/* Sessions wait to be prepared and come back in any order. */
static void run_intake(simulation *s)
{
    thread_message *m;
    while (s->n_preparing < PREPARING_MAX && (m = thread_queue_pop(&s->bench->intake_queue)) != NULL)
        s->preparing[s->n_preparing++] = m->session;
    while (s->n_preparing > 0 && !random_one_in(&s->random, 3)) {
        uint32_t i = random_below(&s->random, s->n_preparing);
        session *prepared = s->preparing[i];
        s->preparing[i] = s->preparing[--s->n_preparing];
        session_prepare(prepared, &s->bench->env);
        atomic_fetch_sub(&s->payload_bytes, prepared->payload_bytes);
        prepared->message.kind = MESSAGE_PREPARED;
        thread_queue_push(&s->bench->engine_queue, &prepared->message);
    }
}

/* ---- clients ---- */

static void submit(simulation *s)
{
    random_case *c = &s->cases[s->n_submitted];
    random_case_draw(c, &s->random, &s->limits, s->eos_every, s->max_tokens);
    c->may_be_busy = s->n_open >= s->options.max_queue;
    wire_request request = random_case_request(c, s->n_submitted);
    session *created = session_create(&request, 100, s->n_submitted, s->now_us);
    if (created == NULL)
        broken(s, c, "no memory");
    atomic_fetch_add(&s->payload_bytes, 100);
    thread_queue_push(&s->bench->engine_queue, &created->message);
    s->n_submitted++;
    s->n_open++;
    s->bench->seen.requests++;
}

/* Canceled, or the client is gone: to the engine it is the same. */
static void cancel_one(simulation *s)
{
    uint32_t i = random_below(&s->random, s->n_submitted);
    if (!s->cases[i].is_open)
        return;
    thread_message *m = thread_message_create(MESSAGE_CANCEL, i);
    m->text = "canceled";
    s->cases[i].is_canceled = true;
    thread_queue_push(&s->bench->engine_queue, m);
}

static void query(simulation *s)
{
    thread_message *m = thread_message_create(MESSAGE_QUERY, ROUND_REQUESTS);
    m->query = random_one_in(&s->random, 2) ? WIRE_REQUEST_HEALTH : WIRE_REQUEST_STATS;
    snprintf(m->request_id, sizeof m->request_id, "query");
    thread_queue_push(&s->bench->engine_queue, m);
}

/* An Error: may this request end so? */
static void check_error(simulation *s, const random_case *c, const wire_error *error)
{
    coverage *seen = &s->bench->seen;
    base_status status = (base_status)error->code;
    if (status == c->refusal)
        seen->refused++;
    else if (status == BASE_ECANCELED && (c->is_canceled || (s->is_draining && s->end == END_DRAIN_NOW)))
        seen->canceled++;
    else if (status == BASE_EDEADLINE && c->deadline_ms > 0)
        seen->too_late++;
    else if (status == BASE_EBUSY && c->may_be_busy)
        seen->busy++;
    else if (status == BASE_ENUMERIC && s->overflow_every != 0)
        seen->overflowed++;
    else if ((status == BASE_EIO && s->replica_is_gone) || (status == BASE_ESHUTDOWN && s->is_draining))
        seen->given_up++;
    else
        broken(s, c, error->message);
}

static void count_result(simulation *s, const random_case *c, const wire_result *result)
{
    coverage *seen = &s->bench->seen;
    seen->eos += result->finish == WIRE_FINISH_EOS;
    seen->stop += result->finish == WIRE_FINISH_STOP;
    seen->length += result->finish == WIRE_FINISH_LENGTH;
    seen->resumed += c->n_resumed > 0;
    seen->scored += c->scores;
    seen->accepted += result->accepted_tokens;
    seen->reused += result->reused_tokens;
}

static void take_reply(simulation *s, const thread_message *m)
{
    wire_reply reply;
    base_error error = {0};
    if (wire_reply_decode(m->bytes.data, m->bytes.size, &reply, &error) != BASE_OK)
        broken(s, NULL, error.text);
    if (m->number == ROUND_REQUESTS) {
        wire_reply_release(&reply);
        return;
    }
    random_case *c = &s->cases[m->number];
    const char *wrong = NULL;
    if (!c->is_open)
        broken(s, c, "a reply after the final reply");
    if (m->is_last != (reply.kind == WIRE_REPLY_RESULT || reply.kind == WIRE_REPLY_ERROR))
        broken(s, c, "a final reply is not marked as such, or another is");
    if (reply.kind == WIRE_REPLY_ERROR)
        check_error(s, c, &reply.error);
    else if ((wrong = random_case_check(c, &reply)) != NULL)
        broken(s, c, wrong);
    if (reply.kind == WIRE_REPLY_RESULT)
        count_result(s, c, &reply.result);
    c->is_open = !m->is_last;
    s->n_open -= m->is_last;
    wire_reply_release(&reply);
}

static void take_replies(simulation *s)
{
    thread_message *m;
    while ((m = thread_queue_pop(&s->bench->gateway_queue)) != NULL) {
        take_reply(s, m);
        thread_message_destroy(&m);
    }
}

/* ---- a round ---- */

static const link_limits LIMITS = {.max_positions = 256,
                                   .n_image_slots = 2,
                                   .rows_per_image = CASE_ROWS,
                                   .image_size = CASE_SIDE,
                                   .vocab_size = FAKE_VOCAB};

static void draw_round(simulation *s)
{
    static const uint32_t speculates[] = {0, 3, SCHED_DRAFT_MAX, SCHED_SPECULATE_AUTO, SCHED_SPECULATE_AUTO};
    static const uint32_t eos[] = {0, 12, 40, FAKE_PHRASES, FAKE_PHRASES | 30};
    random_state *r = &s->random;
    s->limits = LIMITS;
    s->limits.max_seqs = 2 + random_below(r, 20);
    s->limits.max_step_tokens = 16 + random_below(r, 80);
    bool is_tight = random_one_in(r, 4); /* so that sequences are preempted */
    s->limits.n_kv_blocks = is_tight ? 8 + random_below(r, 8) : 4 + random_below(r, 40);
    s->max_tokens = is_tight ? CASE_TOKENS_MAX : CASE_TOKENS_MAX / 4;
    s->limits.whole_images = random_one_in(r, 2);
    if (random_one_in(r, 2)) {
        s->limits.n_draft_blocks = 2 + random_below(r, 40);
        s->limits.draft_positions = 32 + random_below(r, 224);
    }
    s->options = (coord_options){.max_queue = 1 + random_below(r, 24),
                                 .max_plans = random_below(r, 5),
                                 .step_tokens = random_one_in(r, 2) ? 0 : 8 + random_below(r, 40),
                                 .no_prefix_cache = random_one_in(r, 4),
                                 .speculate = speculates[random_below(r, 5)],
                                 .replica_timeout_ms = 10000};
    s->eos_every = eos[random_below(r, 5)];
    s->overflow_every = random_one_in(r, 8) ? 200 : 0;
    s->cancel_every = random_one_in(r, 4) ? 3 : 50;
    s->open_max = 1 + random_below(r, s->options.max_queue + s->limits.max_seqs / 2);
    s->end = random_one_in(r, 2) ? END_DRAIN : (round_end)random_below(r, END_REPLICA_SILENT + 1);
}

/* The end of the round has come: half of the requests are submitted, or all have been answered. */
static void begin_end(simulation *s)
{
    s->is_draining = true;
    if (s->end == END_REPLICA_FAILS)
        link_failed_encode(BASE_EIO, "rank 1 died", next_result(s));
    if (s->end == END_REPLICA_FAILS || s->end == END_REPLICA_SILENT) {
        s->replica_is_gone = true;
        return;
    }
    s->drain = (thread_message){.kind = MESSAGE_DRAIN, .is_embedded = true, .is_last = s->end == END_DRAIN_NOW};
    thread_queue_push(&s->bench->engine_queue, &s->drain);
}

static bool has_ended(const simulation *s)
{
    return s->is_draining && s->n_open == 0 && s->n_preparing == 0 &&
           (s->replica_is_gone || engine_is_over(&s->engine));
}

static bool should_end(const simulation *s)
{
    if (s->is_draining)
        return false;
    return s->end == END_DRAIN ? s->n_submitted == s->n_wanted && s->n_open == 0 : s->n_submitted >= s->n_wanted / 2;
}

/* Any of what may happen next. */
static void step(simulation *s)
{
    random_state *r = &s->random;
    while (s->n_submitted < s->n_wanted && s->n_open < s->open_max && random_one_in(r, 2))
        submit(s);
    if (should_end(s))
        begin_end(s);
    if (s->n_submitted > 0 && random_one_in(r, s->cancel_every))
        cancel_one(s);
    if (random_one_in(r, 200))
        query(s);
    run_intake(s);
    while (s->n_plans > 0 && !s->replica_is_gone && !random_one_in(r, 3))
        complete_plan(s);
    s->now_us += s->replica_is_gone ? 1000000 : 50 + random_below(r, 400);
    engine_work(&s->engine);
    take_replies(s);
    bool is_stalled = s->n_open > 0 && s->n_plans + s->n_results + s->n_preparing == 0 && !s->replica_is_gone;
    s->n_stalled = is_stalled ? s->n_stalled + 1 : 0;
    if (s->n_stalled > STALLED_MAX)
        broken(s, NULL, "requests are open, and no plan is sent for them");
}

/* Sequences that wait although they ran before. */
static void count_preempted(simulation *s)
{
    const sched *scheduler = s->engine.sched;
    for (uint32_t i = 0; scheduler != NULL && i < scheduler->waiting.n; i++)
        s->bench->seen.preempted += scheduler->waiting.items[i]->started_us != 0;
}

/* A round that ends well leaves nothing in the scheduler, and counts every request once. */
static void check_end(simulation *s)
{
    const wire_stats *counts = &s->engine.counts;
    sched_stats stats = sched_stats_of(s->engine.sched);
    s->bench->seen.images_reused += stats.images_reused;
    if (counts->requests_finished + counts->requests_failed + counts->requests_canceled + counts->requests_refused !=
        s->n_submitted)
        broken(s, NULL, "the statistics count other requests");
    if (stats.n_waiting + stats.n_running > 0 && !s->replica_is_gone && s->end != END_DRAIN_NOW)
        broken(s, NULL, "sequences are left");
    if (stats.n_plans == 0 && stats.n_running == 0 && stats.kv_blocks_free != stats.kv_blocks_total)
        broken(s, NULL, "cache blocks are lost");
}

static void run_round(bench *b, uint64_t seed, uint32_t n_requests)
{
    static simulation s; /* large */
    memset(&s, 0, sizeof s);
    s = (simulation){.bench = b,
                     .seed = seed,
                     .now_us = 1000,
                     .random = {seed * 2654435761u + 88172645463325252u},
                     .n_wanted = n_requests};
    draw_round(&s);
    fake_model_init(&s.model, &s.limits, s.eos_every);
    static const int32_t stop_ids[] = {FAKE_EOS};
    s.engine = (engine){.parts = {.options = &s.options,
                                  .queue = &b->engine_queue,
                                  .intake = &b->intake_queue,
                                  .gateway = &b->gateway_queue,
                                  .payload_bytes = &s.payload_bytes,
                                  .env = &b->env,
                                  .family = "fake",
                                  .model = "fake",
                                  .endpoints = "",
                                  .stop_ids = stop_ids,
                                  .n_stop_ids = 1},
                        .transport = {&s, send_plan, receive_result, simulated_us},
                        .started_us = s.now_us};
    say_hello(&s);
    engine_work(&s.engine);
    for (uint32_t i = 0; !has_ended(&s); i++) {
        if (i == STEPS_MAX)
            broken(&s, NULL, "the round does not end");
        step(&s);
        count_preempted(&s);
    }
    check_end(&s);
    engine_release(&s.engine);
    fake_model_release(&s.model);
    for (uint32_t i = 0; i < PLANS_MAX; i++) {
        base_buf_release(&s.plans[i]);
        base_buf_release(&s.results[i]);
    }
}

/* ---- the run ---- */

static void bench_open(bench *b)
{
    base_error error = {0};
    *b = (bench){.files = harness_create()};
    if (text_tokenizer_open(b->files->dir, &b->tokenizer, &error) != BASE_OK ||
        exemplars_open(b->files->dir, &b->exemplars, &error) != BASE_OK ||
        task_set_open(NULL, &b->tasks, &error) != BASE_OK || thread_queue_init(&b->engine_queue, &error) != BASE_OK ||
        thread_queue_init(&b->intake_queue, &error) != BASE_OK ||
        thread_queue_init(&b->gateway_queue, &error) != BASE_OK) {
        fprintf(stderr, "%s\n", error.text);
        exit(1);
    }
    b->env = (prompt_env){.tokenizer = b->tokenizer,
                          .tasks = b->tasks,
                          .exemplars = b->exemplars,
                          .bos_id = FAKE_BOS,
                          .max_image_pixels = 1 << 20};
}

static void bench_close(bench *b)
{
    thread_queue_release(&b->engine_queue);
    thread_queue_release(&b->intake_queue);
    thread_queue_release(&b->gateway_queue);
    task_set_close(&b->tasks);
    exemplars_close(&b->exemplars);
    text_tokenizer_close(&b->tokenizer);
    harness_free(b->files);
}

/* Everything that a few thousand requests meet. */
static bool is_covered(const coverage *c)
{
    const uint64_t counts[] = {c->eos,       c->stop,     c->length, c->resumed,       c->scored,
                               c->canceled,  c->too_late, c->busy,   c->refused,       c->overflowed,
                               c->preempted, c->accepted, c->reused, c->images_reused, c->given_up};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (counts[i] == 0)
            return false;
    return true;
}

int main(int argc, char **argv)
{
    uint64_t n = 5000, seed = 1;
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t value = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--requests") == 0)
            n = value;
        else if (strcmp(argv[i], "--seed") == 0)
            seed = value;
    }
    bench b;
    bench_open(&b);
    for (uint64_t round = 0; b.seen.requests < n; round++)
        run_round(&b, seed + round, ROUND_REQUESTS);
    const coverage *c = &b.seen;
    printf("%" PRIu64 " requests: ended by eos %" PRIu64 ", stop string %" PRIu64 ", length %" PRIu64 " (%" PRIu64
           " resumed, %" PRIu64 " scored); canceled %" PRIu64 ", past the deadline %" PRIu64 ", queue full %" PRIu64
           ", refused %" PRIu64 ", overflowed %" PRIu64 ", given up with the replica or the server %" PRIu64
           "; preempted sequences waited for %" PRIu64 " steps; draft tokens accepted %" PRIu64
           ", prompt tokens reused %" PRIu64 ", images reused %" PRIu64 "\n",
           c->requests, c->eos, c->stop, c->length, c->resumed, c->scored, c->canceled, c->too_late, c->busy,
           c->refused, c->overflowed, c->given_up, c->preempted, c->accepted, c->reused, c->images_reused);
    bench_close(&b);
    if (n >= 5000 && !is_covered(c)) {
        fprintf(stderr, "something never happened\n");
        return 1;
    }
    return 0;
}
