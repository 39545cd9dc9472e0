/* A replica's life as its coordinator sees it: hello, plans dispatched ahead with feedback, results in order, stop; and
 * how it ends when something is wrong.  Rank 0 runs a small coordinator on a thread, as the embedded one does. */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include <zmq.h>

#include "proto/link/link.h"
#include "tests/mpi/check.h"
#include "tests/mpi/tiny_checkpoint.h"
#include "worker/worker.h"

#define ENDPOINT "inproc://test-link"

enum { N_SEQS = 2, N_STEPS = 40, RECEIVE_MS = 20000, BLOCKS_OF_SEQ = 2 };

typedef enum script { SERVE, BAD_PLAN, BAD_FEEDBACK, NOTHING } script;

typedef struct coordinator {
    script script;
    void *zmq;
    link_end *link;
    pthread_t thread;
    link_hello hello;
    uint64_t digest; /* over all tokens */
    uint32_t n_results;
    base_error failed; /* what LINK_FAILED said */
} coordinator;

/* --- the coordinator's side --- */

/* One token of each sequence a plan; the first is given, the others are fed back. */
static void send_plan(coordinator *f, uint32_t k, bool feedback)
{
    link_slice slices[N_SEQS] = {0};
    int32_t tokens[N_SEQS];
    uint32_t blocks[N_SEQS * BLOCKS_OF_SEQ];
    link_plan plan = {.step = k + 1, .slices = slices, .tokens = tokens, .blocks = blocks};
    for (uint32_t s = 0; s < N_SEQS; s++) {
        slices[s] =
            (link_slice){.seq = s, .pos = k, .n_tokens = 1, .first_token = plan.n_tokens, .first_block = plan.n_blocks};
        slices[s].n_sampled = 1;
        slices[s].flags = LINK_SLICE_DIGEST | (feedback ? LINK_SLICE_FEEDBACK : 0u);
        slices[s].sampling = (link_sampling){.temperature = 1.0f, .top_p = 1.0f, .seed = s};
        tokens[plan.n_tokens++] = (int32_t)(7 + s);
        for (uint32_t b = 0; b < BLOCKS_OF_SEQ; b++)
            blocks[plan.n_blocks++] = s * BLOCKS_OF_SEQ + b;
        plan.n_slices++;
    }
    base_buf message = {0};
    link_plan_encode(&plan, &message);
    CHECK(link_send(f->link, &message, NULL) == BASE_OK);
    base_buf_release(&message);
}

static void send_stop(coordinator *f)
{
    base_buf message = {0};
    link_stop_encode(&message);
    CHECK(link_send(f->link, &message, NULL) == BASE_OK);
    base_buf_release(&message);
}

static void take_result(coordinator *f, const base_buf *message)
{
    link_result result;
    CHECK(link_message_type(message->data, message->size) == LINK_RESULT);
    bool readable = link_result_decode(message->data, message->size, &result, NULL) == BASE_OK;
    CHECK(readable);
    if (!readable)
        return;
    CHECK(result.step == ++f->n_results);
    CHECK(result.n_tokens == N_SEQS);
    for (uint32_t i = 0; i < result.n_tokens; i++) {
        CHECK(result.tokens[i].pos == result.step - 1);
        f->digest = (f->digest ^ result.tokens[i].logits_digest ^ (uint64_t)result.tokens[i].token) * 0x100000001b3u;
    }
    link_result_release(&result);
}

/* All plans at once, far more than may be under way: the replica takes them as it can. */
static void coordinator_serve(coordinator *f, base_buf *message)
{
    for (uint32_t k = 0; k < N_STEPS; k++)
        send_plan(f, k, k > 0);
    send_stop(f); /* after the plans: all results come first */
    while (f->n_results < N_STEPS && link_receive(f->link, message, RECEIVE_MS, NULL) == BASE_OK)
        take_result(f, message);
    CHECK(f->n_results == N_STEPS);
}

static void coordinator_break(coordinator *f, base_buf *message)
{
    uint32_t n_good = f->script == BAD_PLAN ? 3 : 0;
    for (uint32_t k = 0; k < n_good; k++)
        send_plan(f, k, k > 0);
    /* a position past the end; or the token of a slot that has none */
    send_plan(f, f->script == BAD_PLAN ? 100000 : 0, true);
    while (link_receive(f->link, message, RECEIVE_MS, NULL) == BASE_OK) {
        if (link_message_type(message->data, message->size) == LINK_FAILED) {
            CHECK(link_failed_decode(message->data, message->size, &f->failed, NULL) == BASE_OK);
            break;
        }
        take_result(f, message);
    }
    CHECK(f->n_results == n_good);
}

static void *coordinator_run(void *context)
{
    coordinator *f = context;
    base_buf message = {0};
    CHECK(link_receive(f->link, &message, RECEIVE_MS, NULL) == BASE_OK);
    CHECK(link_hello_decode(message.data, message.size, &f->hello, NULL) == BASE_OK);
    if (f->script == SERVE)
        coordinator_serve(f, &message);
    else
        coordinator_break(f, &message);
    base_buf_release(&message);
    return NULL;
}

/* --- both sides --- */

static void coordinator_start(coordinator *f)
{
    f->zmq = zmq_ctx_new();
    CHECK(link_bind(f->zmq, ENDPOINT, &f->link, NULL) == BASE_OK);
    if (f->script != NOTHING)
        CHECK(pthread_create(&f->thread, NULL, coordinator_run, f) == 0);
}

static void coordinator_stop(coordinator *f)
{
    if (f->script != NOTHING)
        pthread_join(f->thread, NULL);
    link_close(&f->link);
    zmq_ctx_term(f->zmq);
}

static base_status run(par_world *world, const char *dir, worker_options options, coordinator *f, base_error *error)
{
    bool is_rank_0 = par_world_rank(world) == 0;
    *error = (base_error){0};
    options.model = dir;
    options.isa = "auto";
    if (options.max_seqs == 0)
        options.max_seqs = N_SEQS;
    options.max_step_tokens = 16;
    options.n_image_slots = 1;
    options.link = ENDPOINT;
    if (is_rank_0) {
        coordinator_start(f);
        options.zmq = f->zmq;
    }
    base_status status = worker_run(world, &options, error);
    if (is_rank_0)
        coordinator_stop(f);
    if (status != BASE_OK && is_rank_0)
        fprintf(stderr, "as expected: %s\n", error->text);
    return status;
}

static void with_checkpoint(par_world *world, void (*check)(par_world *world, const char *dir))
{
    char dir[64];
    CHECK(tiny_checkpoint_create(world, true, dir));
    check(world, dir);
    tiny_checkpoint_remove(world, dir);
}

/* The tokens and the bits of the logits do not depend on the layout. */
static void check_serves(par_world *world, const char *dir)
{
    static uint64_t expected; /* rank 0's, of the first layout */
    uint32_t n = (uint32_t)par_world_size(world);
    for (uint32_t tp = 1; tp <= n; tp++) {
        coordinator f = {.script = SERVE};
        base_error error;
        if (n % tp != 0)
            continue;
        CHECK(run(world, dir, (worker_options){.tp = tp, .pp = n / tp, .pin = tp == n}, &f, &error) == BASE_OK);
        if (par_world_rank(world) != 0)
            continue;
        CHECK(f.hello.tp == tp && f.hello.pp == n / tp && f.hello.limits.max_seqs == N_SEQS &&
              f.hello.limits.vocab_size == 150);
        CHECK(f.hello.limits.n_kv_blocks == N_SEQS * 8 && f.hello.weights_bytes_max > 0 && f.hello.n_threads >= 1);
        CHECK(expected == 0 || f.digest == expected);
        expected = f.digest;
    }
}

static void case_serves(par_world *world)
{
    with_checkpoint(world, check_serves);
}

static void check_bad_plan(par_world *world, const char *dir)
{
    coordinator f = {.script = BAD_PLAN};
    base_error error;
    CHECK(run(world, dir, (worker_options){0}, &f, &error) == BASE_EFORMAT);
    CHECK(strstr(error.text, "position") != NULL);
    CHECK(par_world_rank(world) != 0 || (f.failed.status == BASE_EFORMAT && strcmp(f.failed.text, error.text) == 0));
}

static void case_bad_plan(par_world *world)
{
    with_checkpoint(world, check_bad_plan);
}

static void check_bad_feedback(par_world *world, const char *dir)
{
    coordinator f = {.script = BAD_FEEDBACK};
    base_error error;
    CHECK(run(world, dir, (worker_options){0}, &f, &error) == BASE_EFORMAT);
    CHECK(strstr(error.text, "sampled none") != NULL);
}

static void case_bad_feedback(par_world *world)
{
    with_checkpoint(world, check_bad_feedback);
}

static void case_no_model(par_world *world)
{
    coordinator f = {.script = NOTHING};
    base_error error;
    CHECK(run(world, "/nonexistent/palmgrove", (worker_options){0}, &f, &error) == BASE_ENOTFOUND);
    CHECK(strstr(error.text, "/nonexistent/palmgrove") != NULL);
}

static void check_bad_layout(par_world *world, const char *dir)
{
    coordinator f = {.script = NOTHING};
    base_error error;
    CHECK(run(world, dir, (worker_options){.tp = 5, .pp = 1}, &f, &error) == BASE_EINVAL);
    CHECK(run(world, dir, (worker_options){.tp = 99}, &f, &error) == BASE_EINVAL);
    CHECK(run(world, dir, (worker_options){.max_seqs = 1000000}, &f, &error) == BASE_EINVAL);
}

static void check_bad_draft(par_world *world, const char *dir)
{
    coordinator f = {.script = NOTHING};
    base_error error;
    CHECK(run(world, dir, (worker_options){.draft = "/nonexistent/draft"}, &f, &error) == BASE_ENOTFOUND);
    CHECK(strstr(error.text, "draft model '/nonexistent/draft'") != NULL);
}

static void case_bad_draft(par_world *world)
{
    with_checkpoint(world, check_bad_draft);
}

static void case_bad_layout(par_world *world)
{
    with_checkpoint(world, check_bad_layout);
}

static void check_too_large(par_world *world, const char *dir)
{
    coordinator f = {.script = NOTHING};
    base_error error;
    base_status status = run(world, dir, (worker_options){.kv_tokens = UINT32_MAX}, &f, &error);
    CHECK(status == BASE_ENOMEM && strstr(error.text, "--kv-tokens") != NULL);
    status = run(world, dir, (worker_options){.draft = "synthetic:llama-3.1-405b"}, &f, &error);
    CHECK(status == BASE_ENOMEM && strstr(error.text, "serve without --draft") != NULL);
}

static void case_too_large(par_world *world)
{
    with_checkpoint(world, check_too_large);
}

int main(int argc, char **argv)
{
    static const check_case cases[] = {
        {"serves", case_serves},       {"bad_plan", case_bad_plan},     {"bad_feedback", case_bad_feedback},
        {"no_model", case_no_model},   {"bad_layout", case_bad_layout}, {"too_large", case_too_large},
        {"bad_draft", case_bad_draft},
    };
    return check_main(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
