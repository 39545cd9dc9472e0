/* The scheduler on a simulated clock, driving a simulated pipeline (fake_model.h) whose tokens depend on every cache block, slot and
 * feedback id: an answer that equals fake_expect was scheduled rightly.  After every call the bookkeeping is recounted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "coordinator/sched/sched.h"
#include "coordinator/sched/sched_impl.h"
#include "tests/gateway/fake_model.h"

/* The end is not the first of them. */
static const int32_t fake_stops[] = {FAKE_VOCAB, FAKE_EOS};

enum { IMAGE_SIZE = 4, PIXELS = IMAGE_SIZE * IMAGE_SIZE * 3, TOKENS_MAX = 512, JOBS_MAX = 64, FLIGHTS_MAX = 16 };

typedef struct job {
    bool is_alive;
    sched_seq *seq;
    int32_t prompt[TOKENS_MAX];
    uint32_t n_prompt, n_images, max_tokens;
    uint8_t pixels[4][PIXELS];
    const uint8_t *images[4];
    unsigned char digests[4][PREFIX_IMAGES_BYTES];
    uint32_t n_resumed; /* tokens at the end of prompt that are the answer's first */
    link_sampling sampling;
    int32_t answer[TOKENS_MAX];
    uint32_t n_answer;
    sched_finish finish;
    base_status status;
    uint64_t first_us, started_us;
    sched_savings savings;
} job;

typedef struct rig {
    sched *s;
    link_limits limits;
    fake_model model;
    uint64_t now_us;
    base_buf flights[FLIGHTS_MAX]; /* encoded plans on their way, oldest at head */
    uint32_t head, n_flights;
    link_plan last; /* counts of the last plan sent */
    uint32_t last_decodes, last_prefill_tokens;
    job jobs[JOBS_MAX];
} rig;

static const link_limits SMALL = {.max_seqs = 8, .max_positions = 400, .max_step_tokens = 64, .n_kv_blocks = 40,
                                  .n_image_slots = 4, .rows_per_image = 6, .image_size = IMAGE_SIZE, .vocab_size = FAKE_VOCAB};

/* What a scheduler may spare its ranks. */
typedef struct thrift {
    bool keep_prefixes;
    uint32_t speculate;
} thrift;

static rig *rig_create_thrifty(link_limits limits, uint32_t n_stages, uint32_t step_tokens, uint32_t max_queue, uint32_t eos_every,
                               thrift with)
{
    rig *r = calloc(1, sizeof *r);
    r->limits = limits;
    r->now_us = 1000;
    fake_model_init(&r->model, &limits, eos_every);
    sched_options options = {.limits = limits, .n_stages = n_stages, .step_tokens = step_tokens, .max_queue = max_queue,
                             .policy = &sched_policy_fcfs, .keep_prefixes = with.keep_prefixes, .speculate = with.speculate};
    assert_int_equal(sched_create(&options, &r->s, NULL), BASE_OK);
    return r;
}

static rig *rig_create(link_limits limits, uint32_t n_stages, uint32_t step_tokens, uint32_t max_queue, uint32_t eos_every)
{
    return rig_create_thrifty(limits, n_stages, step_tokens, max_queue, eos_every, (thrift){0});
}

static void rig_destroy(rig *r)
{
    sched_destroy(&r->s);
    fake_model_release(&r->model);
    for (uint32_t i = 0; i < FLIGHTS_MAX; i++)
        base_buf_release(&r->flights[i]);
    free(r);
}

/* ---- the invariant checker ---- */

static void count_ids(const sched_pool *pool, uint8_t *seen, const uint32_t *ids, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        assert_true(ids[i] < pool->n_total);
        assert_int_equal(seen[ids[i]], 0); /* lent twice */
        seen[ids[i]] = 1;
    }
}

/* A sequence's blocks: its own are nobody else's, the others are nodes of the prefix cache, whose uses are counted in refs. */
static void count_table(const prefix_cache *cache, const kv_table *table, uint8_t *seen, uint32_t *refs, uint32_t *n_own)
{
    for (uint32_t b = 0; b < table->n_blocks; b++) {
        bool is_known = b < table->n_known;
        if (is_known)
            refs[table->nodes[b]]++;
        if (is_known && table->nodes[b] == table->blocks[b])
            continue;
        count_ids(&cache->pool, seen, &table->blocks[b], 1);
        (*n_own)++;
    }
}

/* Every block is free, or some table's own, or a node with the right count of uses; the unused nodes are those of the list. */
static void check_blocks(const rig *r)
{
    const sched *s = r->s;
    const prefix_cache *cache = &s->blocks;
    uint32_t n = cache->pool.n_total, n_accounted = cache->pool.n_free, n_idle = 0;
    uint8_t *seen = calloc(n, 1);
    uint32_t *refs = calloc(n, sizeof *refs);
    count_ids(&cache->pool, seen, cache->pool.free_ids, cache->pool.n_free);
    for (uint32_t i = 0; i < s->running.n; i++)
        count_table(cache, &s->running.items[i]->table, seen, refs, &n_accounted);
    for (uint32_t at = cache->oldest; cache->n_idle > 0 && at != PREFIX_NONE; at = cache->nodes[at].newer, n_idle++) {
        count_ids(&cache->pool, seen, &at, 1);
        assert_int_equal(refs[at], 0);
    }
    assert_int_equal(n_idle, cache->n_idle);
    for (uint32_t id = 0; id < n; id++) {
        if (refs[id] == 0)
            continue;
        count_ids(&cache->pool, seen, &id, 1);
        assert_int_equal(cache->nodes[id].refs, refs[id]);
        n_accounted++;
    }
    assert_int_equal(n_accounted + n_idle, n);
    free(seen);
    free(refs);
}

static void check_sequence(const sched_seq *seq)
{
    assert_int_not_equal(seq->state, SEQ_WAITING);
    assert_true(seq->n_sampling <= SCHED_AHEAD);
    assert_true(seq->n_draft == 0 || (seq->n_sampling == 1 && seq->n_planned == seq->n_known + seq->n_draft));
    assert_true(seq->n_plans > 0 || (seq->state != SEQ_DRAINING && seq->state != SEQ_PREEMPTED));
    assert_true(seq->table.n_blocks >= kv_blocks_for(seq->n_planned));
    assert_true(seq->table.n_known * LINK_KV_BLOCK_TOKENS <= seq->n_done);
}

static void check_invariants(const rig *r)
{
    const sched *s = r->s;
    uint8_t *slots = calloc(s->slots.n_total, 1), *images = calloc(s->images.n_total + 1, 1);
    uint32_t n_slots = s->slots.n_free, n_images = s->images.n_free;
    count_ids(&s->slots, slots, s->slots.free_ids, s->slots.n_free);
    count_ids(&s->images, images, s->images.free_ids, s->images.n_free);
    uint32_t n_entries = 0, n_seq_plans = 0;
    for (uint32_t i = 0; i < s->running.n; i++) {
        const sched_seq *seq = s->running.items[i];
        check_sequence(seq);
        count_ids(&s->slots, slots, &seq->slot, 1);
        n_slots++;
        for (uint32_t k = 0; k < seq->n_images; k++) {
            if (seq->images[k].slot == SEQ_NO_SLOT)
                continue;
            count_ids(&s->images, images, &seq->images[k].slot, 1);
            n_images++;
        }
        n_seq_plans += seq->n_plans;
    }
    for (uint32_t i = 0; i < s->waiting.n; i++) {
        assert_int_equal(s->waiting.items[i]->state, SEQ_WAITING);
        assert_int_equal(s->waiting.items[i]->table.n_blocks, 0);
        assert_int_equal(s->waiting.items[i]->n_plans, 0);
    }
    for (uint32_t i = 0; i < s->n_flights; i++)
        n_entries += s->flights[(s->first_flight + i) % s->options.max_plans].n_entries;
    assert_int_equal(n_entries, n_seq_plans);
    assert_int_equal(n_slots, s->slots.n_total);
    assert_int_equal(n_images, s->images.n_total);
    check_blocks(r);
    free(slots);
    free(images);
}

static void check_nothing_held(const rig *r)
{
    assert_int_equal(prefix_cache_available(&r->s->blocks), r->s->blocks.pool.n_total);
    assert_int_equal(r->s->slots.n_free, r->s->slots.n_total);
    assert_int_equal(r->s->images.n_free, r->s->images.n_total);
    assert_int_equal(r->s->waiting.n + r->s->running.n, 0);
}

/* ---- driving ---- */

/* A job with `n_text` tokens that differ by `salt`, images in front of the text. */
static job *job_make(rig *r, uint32_t index, uint32_t n_text, uint32_t n_images, uint32_t max_tokens, uint32_t salt)
{
    job *j = &r->jobs[index];
    *j = (job){.max_tokens = max_tokens, .n_images = n_images, .sampling.top_p = 1.0f};
    j->prompt[j->n_prompt++] = FAKE_BOS;
    for (uint32_t k = 0; k < n_images && k < 4; k++) {
        memset(j->pixels[k], (int)(salt * 7 + k), PIXELS);
        j->images[k] = j->pixels[k];
        memset(j->digests[k], (int)(salt * 7 + k), PREFIX_IMAGES_BYTES); /* names them as well as the pixels above do */
        for (uint32_t row = 0; row < r->limits.rows_per_image; row++)
            j->prompt[j->n_prompt++] = -1 - (int32_t)(k * r->limits.rows_per_image + row);
    }
    for (; j->n_prompt < n_text; j->n_prompt++)
        j->prompt[j->n_prompt] = FAKE_FIRST_CHAR + (int32_t)((salt * 31 + j->n_prompt) % 250);
    return j;
}

static base_status submit(rig *r, job *j, uint32_t priority, uint64_t deadline_us, base_error *error)
{
    base_status status = sched_reserve(r->s, error);
    if (status != BASE_OK)
        return status;
    sched_request request = {.user = j, .tokens = j->prompt, .n_tokens = j->n_prompt, .n_resumed = j->n_resumed, .images = j->images, .n_images = j->n_images,
                             .image_digests = (const unsigned char (*)[PREFIX_IMAGES_BYTES])j->digests,
                             .max_tokens = j->max_tokens, .stop_ids = fake_stops, .n_stop_ids = 2, .priority = priority, .deadline_us = deadline_us,
                             .sampling = j->sampling};
    status = sched_submit(r->s, &request, r->now_us, &j->seq, error);
    j->is_alive = status == BASE_OK;
    return status;
}

/* Send one plan into the pipeline; false when there is none. */
static bool send_plan(rig *r)
{
    const link_plan *plan = sched_next_plan(r->s, r->now_us);
    check_invariants(r);
    if (plan == NULL)
        return false;
    r->last = *plan;
    r->last_decodes = r->last_prefill_tokens = 0;
    for (uint32_t i = 0; i < plan->n_slices; i++) {
        bool is_decode = plan->slices[i].n_tokens == plan->slices[i].n_sampled;
        r->last_decodes += is_decode;
        r->last_prefill_tokens += is_decode ? 0 : plan->slices[i].n_tokens;
    }
    base_buf *buf = &r->flights[(r->head + r->n_flights++) % FLIGHTS_MAX];
    base_buf_clear(buf);
    link_plan_encode(plan, buf);
    assert_false(buf->failed);
    return true;
}

static void take_events(rig *r)
{
    sched_event event;
    while (sched_take_event(r->s, &event)) {
        job *j = event.user;
        assert_true(j->is_alive);
        j->started_us = event.started_us;
        if (event.finish != SCHED_FAILED) {
            if (j->n_answer == 0)
                j->first_us = r->now_us;
            j->answer[j->n_answer++] = event.token.token;
            j->savings = event.savings;
        }
        if (event.finish != SCHED_GOES_ON) {
            j->is_alive = false;
            j->finish = event.finish;
            j->status = event.status;
        }
    }
}

/* The oldest plan leaves the pipeline. */
static void complete_plan(rig *r)
{
    base_buf *buf = &r->flights[r->head];
    r->head = (r->head + 1) % FLIGHTS_MAX;
    r->n_flights--;
    link_plan plan;
    base_error error = {0};
    if (link_plan_decode(buf->data, buf->size, &r->limits, &plan, &error) != BASE_OK)
        fail_msg("plan refused: %s", error.text);
    link_result result;
    fake_model_step(&r->model, &plan, &result);
    link_plan_release(&plan);
    assert_int_equal(sched_take_result(r->s, &result, r->now_us, &error), BASE_OK);
    check_invariants(r);
    take_events(r);
}

/* Run until nothing is left to do; every turn is a millisecond. */
static void run_dry(rig *r)
{
    for (;;) {
        while (send_plan(r))
            ;
        if (r->n_flights == 0)
            return;
        r->now_us += 1000;
        complete_plan(r);
    }
}

static void check_answer(const rig *r, const job *j)
{
    int32_t expected[TOKENS_MAX];
    uint32_t n_prompt = j->n_prompt - j->n_resumed;
    uint32_t n = fake_expect(&r->limits, r->model.eos_every, j->prompt, n_prompt, j->images, &j->sampling, j->max_tokens, expected);
    assert_memory_equal(j->prompt + n_prompt, expected, j->n_resumed * sizeof *expected);
    assert_false(j->is_alive);
    assert_int_equal(j->n_resumed + j->n_answer, n);
    assert_memory_equal(j->answer, expected + j->n_resumed, j->n_answer * sizeof *expected);
    assert_int_equal(j->finish, expected[n - 1] == FAKE_EOS ? SCHED_EOS : SCHED_LENGTH);
}

/* Hand in the first part of an answer, as after a crash. */
static void resume_at(const rig *r, job *j, uint32_t n)
{
    int32_t answer[TOKENS_MAX];
    uint32_t n_answer = fake_expect(&r->limits, r->model.eos_every, j->prompt, j->n_prompt, j->images, &j->sampling, j->max_tokens, answer);
    j->n_resumed = n < n_answer ? n : n_answer - 1;
    memcpy(j->prompt + j->n_prompt, answer, j->n_resumed * sizeof *answer);
    j->n_prompt += j->n_resumed;
}

/* ---- cases ---- */

static void one_request(void **state)
{
    (void)state;
    for (uint32_t n_stages = 1; n_stages <= 4; n_stages++) {
        rig *r = rig_create(SMALL, n_stages, 0, 4, 0);
        job *j = job_make(r, 0, 100, 2, 50, 1);
        assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
        run_dry(r);
        check_answer(r, j);
        check_nothing_held(r);
        rig_destroy(r);
    }
}

/* A request of one token to make, and one that meets the end of text. */
static void ends(void **state)
{
    (void)state;
    rig *r = rig_create(SMALL, 2, 0, 8, 5);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(submit(r, job_make(r, i, 3 + i, 0, i == 0 ? 1 : 100, i), 0, 0, NULL), BASE_OK);
    run_dry(r);
    uint32_t n_eos = 0;
    for (uint32_t i = 0; i < 8; i++) {
        check_answer(r, &r->jobs[i]);
        n_eos += r->jobs[i].finish == SCHED_EOS;
    }
    assert_true(n_eos >= 4);
    check_nothing_held(r);
    rig_destroy(r);
}

/* The budget holds in every plan, and prompts do not stop those who decode. */
static void budget(void **state)
{
    (void)state;
    rig *r = rig_create(SMALL, 1, 16, 8, 0);
    assert_int_equal(submit(r, job_make(r, 0, 4, 0, 60, 1), 0, 0, NULL), BASE_OK);
    assert_true(send_plan(r));
    complete_plan(r);
    assert_int_equal(submit(r, job_make(r, 1, 200, 0, 10, 2), 0, 0, NULL), BASE_OK);
    for (int i = 0; i < 10; i++) {
        assert_true(send_plan(r));
        assert_int_equal(r->last.n_tokens, 16);
        assert_int_equal(r->last_decodes, 1);
        assert_int_equal(r->last_prefill_tokens, 15);
        complete_plan(r);
    }
    run_dry(r);
    check_answer(r, &r->jobs[0]);
    check_answer(r, &r->jobs[1]);
    rig_destroy(r);
}

/* Two stages: the sequences split into two groups that take turns, and as many plans as stages + 1 are in flight. */
static void groups_take_turns(void **state)
{
    (void)state;
    rig *r = rig_create(SMALL, 2, 64, 8, 0);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(submit(r, job_make(r, i, 10, 0, 40, i), 0, 0, NULL), BASE_OK);
    run_dry(r);
    for (uint32_t i = 0; i < 4; i++)
        check_answer(r, &r->jobs[i]);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(submit(r, job_make(r, i, 10, 0, 60, i), 0, 0, NULL), BASE_OK);
    while (send_plan(r))
        ;
    for (int i = 0; i < 6; i++) {
        complete_plan(r);
        send_plan(r);
    }
    uint32_t counts[6];
    for (int i = 0; i < 6; i++) {
        complete_plan(r);
        assert_true(send_plan(r));
        assert_int_equal(r->n_flights, 3);
        counts[i] = r->last.n_slices;
    }
    for (int i = 0; i + 1 < 6; i++)
        assert_int_equal(counts[i] + counts[i + 1], 3); /* 2, 1, 2, 1 ... */
    run_dry(r);
    rig_destroy(r);
}

/* While one plan is in flight the next carries the same sequence's token as feedback, but not a third. */
static void dispatches_ahead(void **state)
{
    (void)state;
    rig *r = rig_create(SMALL, 1, 64, 8, 0);
    assert_int_equal(submit(r, job_make(r, 0, 10, 0, 20, 3), 0, 0, NULL), BASE_OK);
    assert_true(send_plan(r));
    assert_true(send_plan(r));
    assert_int_equal(r->s->plan.slices[0].flags & LINK_SLICE_FEEDBACK, LINK_SLICE_FEEDBACK);
    assert_int_equal(r->s->plan.slices[0].pos, 10);
    assert_false(send_plan(r));
    run_dry(r);
    check_answer(r, &r->jobs[0]);
    rig_destroy(r);
}

static void stat_goes_first(void **state)
{
    (void)state;
    link_limits limits = SMALL;
    limits.max_seqs = 1;
    rig *r = rig_create(limits, 1, 64, 8, 0);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(submit(r, job_make(r, i, 10, 0, 5, i), i >= 2, 0, NULL), BASE_OK);
    run_dry(r);
    for (uint32_t i = 0; i < 4; i++)
        check_answer(r, &r->jobs[i]);
    assert_true(r->jobs[2].first_us < r->jobs[3].first_us);
    assert_true(r->jobs[3].first_us < r->jobs[0].first_us);
    assert_true(r->jobs[0].first_us < r->jobs[1].first_us);
    rig_destroy(r);
}

/* Fairness: with equal work, answers come in the order of arrival, and nobody waits for more than those before it. */
static void first_come_first_served(void **state)
{
    (void)state;
    rig *r = rig_create(SMALL, 2, 32, 40, 0);
    for (uint32_t i = 0; i < 30; i++)
        assert_int_equal(submit(r, job_make(r, i, 20, 0, 12, i), 0, 0, NULL), BASE_OK);
    run_dry(r);
    for (uint32_t i = 0; i < 30; i++) {
        check_answer(r, &r->jobs[i]);
        if (i > 0)
            assert_true(r->jobs[i - 1].first_us <= r->jobs[i].first_us);
    }
    rig_destroy(r);
}

/* Twelve sequences that want 96 blocks together on 24: the last are thrown out, computed anew, and answer the same. */
static void preemption_keeps_the_answer(void **state)
{
    (void)state;
    for (uint32_t n_stages = 1; n_stages <= 3; n_stages++) {
        link_limits limits = SMALL;
        limits.n_kv_blocks = 24;
        rig *r = rig_create(limits, n_stages, 64, 16, 0);
        for (uint32_t i = 0; i < 12; i++)
            assert_int_equal(submit(r, job_make(r, i, 20, i % 2, 236, i), 0, 0, NULL), BASE_OK);
        uint32_t n_thrown_out = 0;
        for (;;) {
            uint32_t n_running = r->s->running.n;
            while (send_plan(r))
                ;
            for (uint32_t i = 0; i < r->s->waiting.n; i++)
                n_thrown_out += r->s->waiting.items[i]->started_us != 0;
            if (r->n_flights == 0)
                break;
            assert_true(n_running <= limits.max_seqs);
            complete_plan(r);
        }
        for (uint32_t i = 0; i < 12; i++)
            check_answer(r, &r->jobs[i]);
        assert_true(n_thrown_out > 0);
        check_nothing_held(r);
        rig_destroy(r);
    }
}

/* Blocks of a canceled sequence come back only when its plans have left the pipeline. */
static void cancel_waits_for_the_pipeline(void **state)
{
    (void)state;
    rig *r = rig_create(SMALL, 2, 64, 8, 0);
    job *j = job_make(r, 0, 50, 1, 50, 4);
    assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
    assert_true(send_plan(r));
    assert_true(send_plan(r));
    uint32_t n_free = prefix_cache_available(&r->s->blocks);
    sched_cancel(r->s, j->seq);
    j->is_alive = false;
    check_invariants(r);
    assert_int_equal(prefix_cache_available(&r->s->blocks), n_free);
    complete_plan(r);
    assert_int_equal(prefix_cache_available(&r->s->blocks), n_free);
    complete_plan(r);
    check_nothing_held(r);
    assert_int_equal(j->n_answer, 0);
    rig_destroy(r);
}

static void cancel_in_the_queue(void **state)
{
    (void)state;
    rig *r = rig_create(SMALL, 1, 64, 8, 0);
    job *j = job_make(r, 0, 50, 0, 50, 4);
    assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
    sched_cancel(r->s, j->seq);
    j->is_alive = false;
    check_nothing_held(r);
    assert_false(send_plan(r));
    rig_destroy(r);
}

static void deadlines(void **state)
{
    (void)state;
    link_limits limits = SMALL;
    limits.max_seqs = 1;
    rig *r = rig_create(limits, 2, 64, 8, 0);
    assert_int_equal(submit(r, job_make(r, 0, 10, 0, 100, 1), 0, 21000, NULL), BASE_OK);
    assert_int_equal(submit(r, job_make(r, 1, 10, 0, 100, 2), 0, 11000, NULL), BASE_OK);
    assert_int_equal(sched_next_deadline(r->s), 11000);
    for (int i = 0; i < 30; i++) {
        while (send_plan(r))
            ;
        r->now_us += 1000;
        if (r->n_flights > 0)
            complete_plan(r);
        sched_expire(r->s, r->now_us);
        take_events(r);
        check_invariants(r);
    }
    assert_int_equal(r->jobs[0].status, BASE_EDEADLINE);
    assert_true(r->jobs[0].n_answer > 5);
    assert_int_equal(r->jobs[1].status, BASE_EDEADLINE);
    assert_int_equal(r->jobs[1].started_us, 0);
    run_dry(r);
    check_nothing_held(r);
    assert_int_equal(sched_next_deadline(r->s), 0);
    assert_int_equal(submit(r, job_make(r, 2, 10, 0, 10, 2), 0, r->now_us, NULL), BASE_EDEADLINE);
    rig_destroy(r);
}

static void refusals(void **state)
{
    (void)state;
    rig *r = rig_create(SMALL, 1, 64, 2, 0);
    base_error error;
    assert_int_equal(submit(r, job_make(r, 0, 300, 0, 101, 1), 0, 0, &error), BASE_ETOOBIG);
    assert_non_null(strstr(error.text, "context of 400"));
    assert_int_equal(submit(r, job_make(r, 0, 100, 4, 10, 1), 0, 0, &error), BASE_OK);
    r->jobs[1] = (job){.n_prompt = 1, .prompt = {FAKE_BOS}, .n_images = 5, .max_tokens = 1};
    assert_int_equal(submit(r, &r->jobs[1], 0, 0, &error), BASE_ETOOBIG);
    assert_non_null(strstr(error.text, "5 images"));
    job *j = job_make(r, 1, 20, 0, 10, 1);
    j->prompt[3] = FAKE_VOCAB;
    assert_int_equal(submit(r, j, 0, 0, &error), BASE_EINVAL);
    j->prompt[3] = -1;
    assert_int_equal(submit(r, j, 0, 0, &error), BASE_EINVAL);
    assert_int_equal(submit(r, job_make(r, 1, 20, 0, 10, 1), 0, 0, &error), BASE_OK);
    assert_int_equal(submit(r, job_make(r, 2, 20, 0, 10, 1), 0, 0, &error), BASE_EBUSY);
    assert_non_null(strstr(error.text, "2 requests wait"));
    run_dry(r);
    check_answer(r, &r->jobs[0]);
    check_answer(r, &r->jobs[1]);
    check_nothing_held(r);
    rig_destroy(r);

    link_limits limits = SMALL;
    limits.n_kv_blocks = 3;
    r = rig_create(limits, 1, 64, 2, 0);
    assert_int_equal(submit(r, job_make(r, 0, 90, 0, 7, 1), 0, 0, &error), BASE_ETOOBIG);
    assert_non_null(strstr(error.text, "cache of 96"));
    assert_int_equal(submit(r, job_make(r, 0, 90, 0, 6, 1), 0, 0, &error), BASE_OK);
    run_dry(r);
    check_answer(r, &r->jobs[0]);
    rig_destroy(r);
}

/* Slots for all images of a request are taken together; the next request waits until rows are consumed. */
static void image_slots(void **state)
{
    (void)state;
    rig *r = rig_create(SMALL, 1, 8, 8, 0); /* a chunk of 8 holds one image of 6 rows */
    assert_int_equal(submit(r, job_make(r, 0, 60, 3, 10, 1), 0, 0, NULL), BASE_OK);
    assert_int_equal(submit(r, job_make(r, 1, 60, 2, 10, 2), 0, 0, NULL), BASE_OK);
    assert_true(send_plan(r));
    assert_int_equal(r->last.n_images, 2); /* 1 + 6 rows of the first, 1 row of the second */
    assert_int_equal(r->s->images.n_free, 1);
    assert_int_equal(r->s->running.n, 1);
    complete_plan(r);
    assert_int_equal(r->s->images.n_free, 2); /* the first image was consumed */
    run_dry(r);
    check_answer(r, &r->jobs[0]);
    check_answer(r, &r->jobs[1]);
    check_nothing_held(r);
    rig_destroy(r);
}

/* A prompt of 10 tokens in two chunks of 8 and 2: the first, which samples nothing, overflows already. */
static void overflow_ends_its_sequence(void **state)
{
    (void)state;
    rig *r = rig_create(SMALL, 1, 8, 8, 0);
    job *j = job_make(r, 0, 10, 0, 20, 1);
    assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
    assert_true(send_plan(r));
    assert_true(send_plan(r));
    link_token token = {.seq = 0, .pos = 7, .token = LINK_TOKEN_OVERFLOW};
    link_result result = {.step = 1, .n_tokens = 1, .tokens = &token};
    assert_int_equal(sched_take_result(r->s, &result, r->now_us, NULL), BASE_OK);
    take_events(r);
    assert_int_equal(j->status, BASE_ENUMERIC);
    result.step = 2;
    token.pos = 9;
    assert_int_equal(sched_take_result(r->s, &result, r->now_us, NULL), BASE_OK);
    take_events(r);
    check_nothing_held(r);
    rig_destroy(r);
}

static void overflow_spares_the_mates(void **state)
{
    (void)state;
    rig *r = rig_create(SMALL, 1, 64, 8, 0);
    job *bad = job_make(r, 0, 10, 0, 20, 1), *good = job_make(r, 1, 12, 0, 20, 1);
    assert_int_equal(submit(r, bad, 0, 0, NULL), BASE_OK);
    assert_int_equal(submit(r, good, 0, 0, NULL), BASE_OK);
    assert_true(send_plan(r));
    link_token tokens[] = {{.seq = 0, .pos = 9, .token = LINK_TOKEN_OVERFLOW}, {.seq = 1, .pos = 11, .token = 5}};
    link_result result = {.step = 1, .n_tokens = 2, .tokens = tokens};
    assert_int_equal(sched_take_result(r->s, &result, r->now_us, NULL), BASE_OK);
    take_events(r);
    assert_int_equal(bad->status, BASE_ENUMERIC);
    assert_int_equal(good->status, BASE_OK);
    assert_int_equal(sched_numbers_of(r->s).n_running, 1);
    rig_destroy(r);
}

static void wrong_results_are_refused(void **state)
{
    (void)state;
    rig *r = rig_create(SMALL, 1, 64, 8, 0);
    base_error error;
    link_token token = {.seq = 0, .pos = 9, .token = FAKE_VOCAB};
    link_result result = {.step = 1, .n_tokens = 1, .tokens = &token};
    assert_int_equal(sched_take_result(r->s, &result, r->now_us, &error), BASE_EFORMAT); /* nothing in flight */
    assert_int_equal(submit(r, job_make(r, 0, 10, 0, 20, 1), 0, 0, NULL), BASE_OK);
    assert_true(send_plan(r));
    assert_int_equal(sched_take_result(r->s, &result, r->now_us, &error), BASE_EFORMAT); /* outside the vocabulary */
    token.token = 5;
    token.pos = 8;
    assert_int_equal(sched_take_result(r->s, &result, r->now_us, &error), BASE_EFORMAT);
    token.pos = 9;
    result.step = 2;
    assert_int_equal(sched_take_result(r->s, &result, r->now_us, &error), BASE_EFORMAT);
    result.step = 1;
    result.n_tokens = 0;
    assert_int_equal(sched_take_result(r->s, &result, r->now_us, &error), BASE_EFORMAT);
    result.n_tokens = 1;
    check_invariants(r);
    assert_int_equal(sched_take_result(r->s, &result, r->now_us, &error), BASE_OK);
    rig_destroy(r);
}

static void options_are_checked(void **state)
{
    (void)state;
    sched *s = NULL;
    base_error error;
    sched_options options = {.limits = SMALL, .n_stages = 0, .max_queue = 1, .policy = &sched_policy_fcfs};
    assert_int_equal(sched_create(&options, &s, &error), BASE_EINVAL);
    assert_non_null(strstr(error.text, "stages"));
    options.n_stages = 1;
    options.limits.n_kv_blocks = 0;
    assert_int_equal(sched_create(&options, &s, &error), BASE_EINVAL);
    assert_null(s);
}

/* ---- ten thousand random events ---- */

static uint32_t next_random(uint64_t *seed, uint32_t below)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*seed >> 33) % below);
}

/* Jobs of the same salt begin alike. */
static void random_submit(rig *r, uint64_t *seed, uint32_t n_salts)
{
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        job *j = &r->jobs[i];
        if (j->is_alive || j->seq != NULL)
            continue;
        j = job_make(r, i, 1 + next_random(seed, 150), next_random(seed, 6) == 0 ? 1 + next_random(seed, 3) : 0,
                     1 + next_random(seed, 200), next_random(seed, n_salts));
        j->sampling = (link_sampling){.temperature = (float)next_random(seed, 2), .top_p = 1.0f, .seed = next_random(seed, 99)};
        if (next_random(seed, 4) == 0)
            resume_at(r, j, next_random(seed, 60));
        uint64_t deadline_us = next_random(seed, 10) == 0 ? r->now_us + 1 + next_random(seed, 60000) : 0;
        if (submit(r, j, next_random(seed, 5) == 0, deadline_us, NULL) != BASE_OK)
            j->seq = NULL;
        return;
    }
}

static void random_cancel(rig *r, uint64_t *seed)
{
    job *j = &r->jobs[next_random(seed, JOBS_MAX)];
    if (!j->is_alive)
        return;
    sched_cancel(r->s, j->seq);
    j->is_alive = false;
    j->seq = NULL;
}

/* Check and forget the jobs that ended by themselves; returns how many answered in full. */
static uint32_t harvest(rig *r)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        job *j = &r->jobs[i];
        if (j->is_alive || j->seq == NULL)
            continue;
        if (j->finish != SCHED_FAILED) {
            check_answer(r, j);
            n++;
        }
        j->seq = NULL;
    }
    return n;
}

/* One walk of ten thousand events; returns what the scheduler saved. */
static sched_numbers random_walk(uint32_t round, thrift with)
{
    link_limits limits = SMALL;
    limits.n_kv_blocks = 12 + round * 5; /* from starving to ample */
    uint64_t seed = 77 + round;
    rig *r = rig_create_thrifty(limits, 1 + round % 4, 24, 12, (round % 2 == 0 ? 60 : 0) | FAKE_PHRASES, with);
    uint32_t n_answers = 0;
    for (int i = 0; i < 10000; i++) {
        uint32_t what = next_random(&seed, 100);
        r->now_us += next_random(&seed, 500);
        if (what < 12)
            random_submit(r, &seed, round % 3 == 0 ? 1000 : 5);
        else if (what < 14)
            random_cancel(r, &seed);
        else if (what < 20)
            sched_expire(r->s, r->now_us);
        else if (what < 60)
            send_plan(r);
        else if (r->n_flights > 0)
            complete_plan(r);
        take_events(r);
        check_invariants(r);
        n_answers += harvest(r);
    }
    run_dry(r);
    n_answers += harvest(r);
    check_nothing_held(r);
    assert_true(n_answers > 20);
    sched_numbers numbers = sched_numbers_of(r->s);
    rig_destroy(r);
    return numbers;
}

/* Whatever is spared, every answer is the one that computing all of it alone gives (harvest checks each). */
static void random_events(void **state)
{
    (void)state;
    static const thrift ways[] = {{false, 0}, {true, 0}, {false, SCHED_SPECULATE_AUTO}, {true, SCHED_SPECULATE_AUTO}, {true, 4}, {false, 15}};
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        sched_numbers sum = {0};
        for (uint32_t round = 0; round < 6; round++) {
            sched_numbers numbers = random_walk(round, ways[w]);
            sum.prefix_tokens += numbers.prefix_tokens;
            sum.drafted_tokens += numbers.drafted_tokens;
            sum.accepted_tokens += numbers.accepted_tokens;
        }
        assert_int_equal(sum.prefix_tokens > 0, ways[w].keep_prefixes);
        assert_int_equal(sum.drafted_tokens > 0, ways[w].speculate != 0);
        assert_int_equal(sum.accepted_tokens > 0, ways[w].speculate != 0);
        assert_true(sum.accepted_tokens <= sum.drafted_tokens);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_request),
        cmocka_unit_test(ends),
        cmocka_unit_test(budget),
        cmocka_unit_test(groups_take_turns),
        cmocka_unit_test(dispatches_ahead),
        cmocka_unit_test(stat_goes_first),
        cmocka_unit_test(first_come_first_served),
        cmocka_unit_test(preemption_keeps_the_answer),
        cmocka_unit_test(cancel_waits_for_the_pipeline),
        cmocka_unit_test(cancel_in_the_queue),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(refusals),
        cmocka_unit_test(image_slots),
        cmocka_unit_test(overflow_ends_its_sequence),
        cmocka_unit_test(overflow_spares_the_mates),
        cmocka_unit_test(wrong_results_are_refused),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(random_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
