/* test_reuse.c - work that the scheduler saves does not show in the answers, on the real engine: KV blocks shared with
 * other sequences, draft tokens verified in one step (n-gram or draft model), answers resumed after a crash.
 *
 * Rank 0 drives a scheduler over the link, as the coordinator does.  A few requests, some of which begin alike or show
 * the same image, greedy and sampled, are answered one after another by a scheduler that saves nothing; every other
 * way of answering them must give the same tokens and the same bits of all logits they were sampled from. */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include <zmq.h>

#include "coordinator/sched/sched.h"
#include "proto/base/clock.h"
#include "proto/link/link.h"
#include "tests/mpi/check.h"
#include "tests/mpi/tiny_checkpoint.h"
#include "worker/worker.h"

#define ENDPOINT "inproc://test-link"

enum { N_JOBS = 6, MAX_SEQS = 12, N_ANSWER = 60, PROMPT_MAX = 160, RECEIVE_MS = 20000, IMAGE_SIDE = 98, VOCAB = 150 };

typedef struct job {
    int32_t prompt[PROMPT_MAX + N_ANSWER];
    uint32_t n_prompt, n_images;
    link_sampling sampling;
    const uint8_t *images[1];
    unsigned char digests[1][CONTENT_DIGEST_BYTES];
} job;

typedef struct answer {
    uint32_t n;
    int32_t tokens[N_ANSWER];
    uint64_t digests[N_ANSWER];
    bool ended;
    sched_reuse reuse;
} answer;

/* How a scheduler answers. */
typedef struct answer_mode {
    const char *name;
    bool reuse_prefixes;
    uint32_t speculate;
    bool together;     /* all at once, else one after another */
    uint32_t n_rounds; /* the last is compared */
} answer_mode;

typedef enum draft_kind { DRAFT_NONE, DRAFT_ITSELF, DRAFT_ROUNDED, N_DRAFTS } draft_kind;

typedef struct driver {
    draft_kind draft; /* draft model: the model itself, or the model in int8 */
    void *zmq;
    link_end *link;
    pthread_t thread;
    link_hello hello;
    base_buf message;
    bool sees_all;               /* what is being answered has no images, and it is alone */
    uint32_t n_drafted, n_right; /* tokens of the draft model for such requests */
    job jobs[N_JOBS];
    uint8_t pixels[IMAGE_SIDE * IMAGE_SIDE * 3];
} driver;

/* --- the requests --- */

/* Text that repeats itself after `period`, from place `from` on shifted by `salt`. */
static void add_text(job *j, uint32_t n, uint32_t period, uint32_t from, uint32_t salt)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = i % period;
        j->prompt[j->n_prompt++] = (int32_t)(3 + (at * at * 7 + at * 13 + (i >= from ? salt : 0)) % (VOCAB - 3));
    }
}

static void add_image(driver *f, job *j, uint32_t rows)
{
    for (uint32_t r = 0; r < rows; r++)
        j->prompt[j->n_prompt++] = -1 - (int32_t)r;
    j->images[0] = f->pixels;
    j->n_images = 1;
    memset(j->digests[0], 7, CONTENT_DIGEST_BYTES);
}

/* The greedy ones soon repeat themselves, which n-gram lookup finds; the sampled ones do not. */
static void make_jobs(driver *f)
{
    uint32_t rows = f->hello.limits.rows_per_image;
    for (size_t i = 0; i < sizeof f->pixels; i++)
        f->pixels[i] = (uint8_t)(i * 2654435761u >> 13);
    for (uint32_t i = 0; i < N_JOBS; i++) {
        job *j = &f->jobs[i];
        *j = (job){.sampling = {.temperature = i % 2 == 0 ? 0.0f : 1.5f,
                                .top_k = i == 3 ? 5 : 0,
                                .top_p = i == 1 ? 0.8f : 1.0f,
                                .seed = 11 + i}};
        if (i >= 4) {
            add_text(j, 9, 9, 9, 0);
            add_image(f, j, rows);
        }
        add_text(j, i >= 4 ? 40 : 100, 23, i >= 4 ? 30 : 70, i);
    }
}

/* --- answering --- */

static void submit(const driver *f, sched *s, uint32_t i, const answer *resumed, uint32_t n_resumed, answer *out)
{
    job j = f->jobs[i];
    *out = (answer){0};
    for (uint32_t k = 0; k < n_resumed; k++)
        j.prompt[j.n_prompt++] = resumed->tokens[k];
    sched_request request = {.user = out,
                             .tokens = j.prompt,
                             .n_tokens = j.n_prompt,
                             .n_resumed = n_resumed,
                             .images = j.images,
                             .n_images = j.n_images,
                             .image_digests = (const unsigned char(*)[CONTENT_DIGEST_BYTES])j.digests,
                             .max_tokens = N_ANSWER,
                             .sampling = j.sampling,
                             .digest = true};
    sched_seq *seq;
    base_error error = {0};
    bool taken =
        sched_reserve(s, &error) == BASE_OK && sched_submit(s, &request, base_clock_us(), &seq, &error) == BASE_OK;
    if (!taken)
        fprintf(stderr, "%s\n", error.text);
    CHECK(taken);
    out->ended = !taken;
    /* the images' pixels are those of f, which outlives this copy */
}

static void take_events(sched *s)
{
    sched_event event;
    while (sched_next_event(s, &event)) {
        answer *a = event.user;
        CHECK(event.finish != SCHED_FAILED && a->n < N_ANSWER);
        if (event.finish != SCHED_FAILED && a->n < N_ANSWER) {
            a->tokens[a->n] = event.token.token;
            a->digests[a->n++] = event.token.logits_digest;
        }
        a->reuse = event.reuse;
        a->ended = event.finish != SCHED_CONTINUE;
    }
}

/* One sequence's result: how many of the draft model's tokens equal what was sampled. */
static void count_draft_tokens(driver *f, const link_result *result)
{
    for (uint32_t i = 0; f->sees_all && i < result->n_draft_tokens && i < result->n_tokens; i++) {
        f->n_drafted++;
        f->n_right += result->draft_tokens[i] == result->tokens[i].token;
    }
}

/* Until nothing is in flight; false if the replica is gone. */
static bool run_dry(driver *f, sched *s)
{
    for (;;) {
        const link_plan *plan;
        while ((plan = sched_next_plan(s, base_clock_us())) != NULL) {
            base_buf_clear(&f->message);
            link_plan_encode(plan, &f->message);
            CHECK(link_send(f->link, &f->message, NULL) == BASE_OK);
        }
        if (sched_stats_of(s).n_plans == 0)
            return true;
        link_result result;
        base_error error = {0};
        bool readable = link_receive(f->link, &f->message, RECEIVE_MS, &error) == BASE_OK &&
                        link_result_decode(f->message.data, f->message.size, &result, &error) == BASE_OK;
        CHECK(readable);
        if (!readable)
            return false;
        CHECK(sched_process_result(s, &result, base_clock_us(), &error) == BASE_OK);
        count_draft_tokens(f, &result);
        link_result_release(&result);
        take_events(s);
    }
}

static sched *open_sched(const driver *f, const answer_mode *w)
{
    sched_options options = {.limits = f->hello.limits,
                             .n_stages = f->hello.pp,
                             .max_queue = 2 * N_JOBS,
                             .policy = &sched_policy_fcfs,
                             .reuse_prefixes = w->reuse_prefixes,
                             .speculate = w->speculate};
    sched *s = NULL;
    CHECK(sched_create(&options, &s, NULL) == BASE_OK);
    return s;
}

static bool answer_all(driver *f, const answer_mode *w, answer answers[N_JOBS], sched_stats *numbers)
{
    sched *s = open_sched(f, w);
    bool alive = s != NULL;
    for (uint32_t round = 0; alive && round < w->n_rounds; round++)
        for (uint32_t i = 0; alive && i < N_JOBS; i++) {
            f->sees_all = !w->together && f->jobs[i].n_images == 0;
            submit(f, s, i, NULL, 0, &answers[i]);
            if (!w->together || i + 1 == N_JOBS)
                alive = run_dry(f, s);
        }
    if (s != NULL)
        *numbers = sched_stats_of(s);
    sched_destroy(&s);
    return alive;
}

/* --- comparing --- */

static void compare(const char *name, const answer *a, const answer *expected, uint32_t from)
{
    bool same = a->ended && a->n == expected->n - from &&
                memcmp(a->tokens, expected->tokens + from, a->n * sizeof *a->tokens) == 0 &&
                memcmp(a->digests, expected->digests + from, a->n * sizeof *a->digests) == 0;
    if (!same)
        fprintf(stderr, "%s: %u of %u tokens, or other bits\n", name, a->n, expected->n - from);
    CHECK(same);
}

static const answer_mode modes[] = {
    {"together", false, 0, true, 1},
    {"prefixes", true, 0, false, 1},
    {"prefixes, twice", true, 0, true, 2},
    {"speculation", false, SCHED_SPECULATE_AUTO, false, 1},
    {"four drafted", false, 4, true, 1},
    {"all drafted", false, SCHED_DRAFT_MAX, false, 1},
    {"everything", true, SCHED_SPECULATE_AUTO, true, 2},
    {"everything, forced", true, 6, true, 2},
};
enum { N_WAYS = sizeof modes / sizeof *modes };

/* A new scheduler resumes from the middle. */
static bool check_resume(driver *f, const answer expected[N_JOBS])
{
    static const answer_mode saving = {"resumed", true, SCHED_SPECULATE_AUTO, true, 1};
    static const uint32_t places[] = {1, 17, N_ANSWER - 1};
    bool alive = true;
    for (size_t p = 0; alive && p < sizeof places / sizeof *places; p++) {
        sched *s = open_sched(f, &saving);
        answer answers[N_JOBS];
        for (uint32_t i = 0; i < N_JOBS; i++)
            submit(f, s, i, &expected[i], places[p], &answers[i]);
        alive = run_dry(f, s);
        for (uint32_t i = 0; alive && i < N_JOBS; i++)
            compare("resumed", &answers[i], &expected[i], places[p]);
        sched_destroy(&s);
    }
    return alive;
}

/* The answers of the first layout without a draft model, that of all. */
static answer expected[N_JOBS];

static const answer_mode draft_modes[] = {
    {"draft model", false, SCHED_SPECULATE_AUTO, false, 1},
    {"draft model, forced", true, 3, true, 2},
    {"draft model, long", false, SCHED_DRAFT_MAX, false, 1},
};
enum { N_DRAFT_WAYS = sizeof draft_modes / sizeof *draft_modes };

static void check_draft_modes(driver *f)
{
    static answer answers[N_JOBS];
    sched_stats numbers = {0};
    bool alive = true;
    CHECK(f->hello.limits.n_draft_blocks > 0);
    for (size_t w = 0; alive && w < N_DRAFT_WAYS; w++) {
        alive = answer_all(f, &draft_modes[w], answers, &numbers);
        for (uint32_t i = 0; alive && i < N_JOBS; i++)
            compare(draft_modes[w].name, &answers[i], &expected[i], 0);
        CHECK(numbers.accepted_tokens > 0);
    }
    /* as its own draft model it is always right, at any temperature; rounded to 8 bits it often is */
    CHECK(f->n_drafted > 20);
    CHECK(f->draft == DRAFT_ITSELF ? f->n_right == f->n_drafted : 2 * f->n_right > f->n_drafted);
    fprintf(stderr, "draft tokens of the %s: %u of %u right\n",
            f->draft == DRAFT_ITSELF ? "model itself" : "model in int8", f->n_right, f->n_drafted);
}

static void check_modes(driver *f)
{
    static const answer_mode alone = {"alone", false, 0, false, 1};
    static answer answers[N_JOBS];
    sched_stats numbers = {0};
    uint64_t n_drafted = 0, n_accepted = 0;
    CHECK(f->hello.limits.n_draft_blocks == 0);
    bool alive = answer_all(f, &alone, expected, &numbers);
    CHECK(numbers.prefix_tokens == 0 && numbers.drafted_tokens == 0);
    for (size_t w = 0; alive && w < N_WAYS; w++) {
        alive = answer_all(f, &modes[w], answers, &numbers);
        for (uint32_t i = 0; alive && i < N_JOBS; i++)
            compare(modes[w].name, &answers[i], &expected[i], 0);
        CHECK((numbers.prefix_tokens > 0) == modes[w].reuse_prefixes);
        CHECK(modes[w].speculate != 0 || numbers.drafted_tokens == 0);
        n_drafted += numbers.drafted_tokens;
        n_accepted += numbers.accepted_tokens;
    }
    CHECK(n_accepted > 0 && n_accepted < n_drafted); /* right and wrong draft tokens were verified */
    if (alive)
        check_resume(f, expected);
}

/* --- both sides --- */

static void *driver_run(void *context)
{
    driver *f = context;
    bool greeted = link_receive(f->link, &f->message, RECEIVE_MS, NULL) == BASE_OK &&
                   link_hello_decode(f->message.data, f->message.size, &f->hello, NULL) == BASE_OK;
    CHECK(greeted && f->hello.limits.image_size == IMAGE_SIDE && f->hello.limits.vocab_size == VOCAB);
    if (greeted) {
        make_jobs(f);
        if (f->draft == DRAFT_NONE)
            check_modes(f);
        else
            check_draft_modes(f);
    }
    base_buf_clear(&f->message);
    link_stop_encode(&f->message);
    CHECK(link_send(f->link, &f->message, NULL) == BASE_OK);
    base_buf_release(&f->message);
    return NULL;
}

static void run_layout(par_world *world, const char *dir, uint32_t tp, uint32_t pp, draft_kind draft)
{
    bool is_rank_0 = par_world_rank(world) == 0;
    driver *f = calloc(1, sizeof *f);
    f->draft = draft;
    base_error error = {0};
    worker_options options = {.model = dir,
                              .isa = "auto",
                              .tp = tp,
                              .pp = pp,
                              .n_threads = 1,
                              .max_seqs = MAX_SEQS,
                              .max_step_tokens = 48,
                              .n_image_slots = 3,
                              .link = ENDPOINT,
                              .draft = draft != DRAFT_NONE ? dir : NULL,
                              .draft_recipe = {.kind = draft == DRAFT_ROUNDED ? RECIPE_INT8 : RECIPE_AUTO}};
    if (is_rank_0) {
        options.zmq = f->zmq = zmq_ctx_new();
        CHECK(link_bind(f->zmq, ENDPOINT, &f->link, NULL) == BASE_OK);
        CHECK(pthread_create(&f->thread, NULL, driver_run, f) == 0);
    }
    CHECK(worker_run(world, &options, &error) == BASE_OK);
    if (is_rank_0) {
        pthread_join(f->thread, NULL);
        link_close(&f->link);
        zmq_ctx_term(f->zmq);
    }
    free(f);
}

static void case_answers(par_world *world)
{
    char dir[64];
    CHECK(tiny_checkpoint_create(world, true, dir));
    uint32_t n = (uint32_t)par_world_size(world);
    for (uint32_t tp = 1; tp <= n; tp++)
        for (draft_kind draft = DRAFT_NONE; n % tp == 0 && draft < N_DRAFTS; draft++)
            run_layout(world, dir, tp, n / tp, draft);
    tiny_checkpoint_remove(world, dir);
}

int main(int argc, char **argv)
{
    static const check_case cases[] = {{"answers", case_answers}};
    return check_main(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
