/* sched_harness.h - the scheduler on a simulated clock, driving a simulated pipeline (fake_model.h) whose tokens depend
 * on every cache block, slot and feedback id: an answer that equals fake_expect was scheduled rightly.  After every
 * call the bookkeeping is recounted. */
#ifndef PALMGROVE_TESTS_SCHED_HARNESS_H
#define PALMGROVE_TESTS_SCHED_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "coordinator/sched/sched.h"
#include "coordinator/sched/sched_int.h"
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
    unsigned char digests[4][CONTENT_DIGEST_BYTES];
    uint32_t n_resumed; /* tokens at the end of prompt that are the answer's first */
    uint32_t n_scored;  /* tokens after the prompt's that are the answer to score; max_tokens is not read then */
    link_sampling sampling;
    uint32_t stop_after; /* the owner cancels after this many tokens, as at a stop string; 0: never */
    bool was_stopped;
    int32_t answer[TOKENS_MAX];
    float logprobs[TOKENS_MAX]; /* of `answer` */
    uint32_t n_answer;
    sched_finish finish;
    base_status status;
    uint64_t first_us, started_us;
    sched_reuse reuse;
} job;

typedef struct harness {
    sched *s;
    link_limits limits;
    fake_model model;
    uint64_t now_us;
    base_buf flights[FLIGHTS_MAX]; /* encoded plans on their way, oldest at head */
    uint32_t head, n_flights;
    link_plan last; /* counts of the last plan sent */
    uint32_t last_decodes, last_prefill_tokens;
    job jobs[JOBS_MAX];
} harness;

static const link_limits SMALL = {.max_seqs = 8,
                                  .max_positions = 400,
                                  .max_step_tokens = 64,
                                  .n_kv_blocks = 40,
                                  .n_image_slots = 4,
                                  .rows_per_image = 6,
                                  .image_size = IMAGE_SIZE,
                                  .vocab_size = FAKE_VOCAB};

/* What a scheduler may spare its ranks. */
typedef struct reuse_options {
    bool reuse_prefixes;
    uint32_t speculate;
    uint32_t n_draft_blocks, draft_positions; /* of a draft model; 0 positions: as many as the model's */
} reuse_options;

static inline harness *harness_create_with(link_limits limits, uint32_t n_stages, uint32_t step_tokens,
                                           uint32_t max_queue, uint32_t eos_every, reuse_options with)
{
    harness *r = calloc(1, sizeof *r);
    limits.n_draft_blocks = with.n_draft_blocks;
    if (with.n_draft_blocks > 0)
        limits.draft_positions = with.draft_positions > 0 ? with.draft_positions : limits.max_positions;
    r->limits = limits;
    r->now_us = 1000;
    fake_model_init(&r->model, &limits, eos_every);
    sched_options options = {.limits = limits,
                             .n_stages = n_stages,
                             .step_tokens = step_tokens,
                             .max_queue = max_queue,
                             .policy = &sched_policy_fcfs,
                             .reuse_prefixes = with.reuse_prefixes,
                             .speculate = with.speculate};
    assert_int_equal(sched_create(&options, &r->s, NULL), BASE_OK);
    return r;
}

static inline harness *harness_create(link_limits limits, uint32_t n_stages, uint32_t step_tokens, uint32_t max_queue,
                                      uint32_t eos_every)
{
    return harness_create_with(limits, n_stages, step_tokens, max_queue, eos_every, (reuse_options){0});
}

static inline void harness_destroy(harness *r)
{
    sched_destroy(&r->s);
    fake_model_release(&r->model);
    for (uint32_t i = 0; i < FLIGHTS_MAX; i++)
        base_buf_release(&r->flights[i]);
    free(r);
}

/* ---- the invariant checker ---- */

static inline void count_ids(const id_pool *pool, uint8_t *seen, const uint32_t *ids, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        assert_true(ids[i] < pool->n_total);
        assert_int_equal(seen[ids[i]], 0); /* allocated twice */
        seen[ids[i]] = 1;
    }
}

/* A sequence's blocks: its own are in no other table, the others are nodes of the prefix cache, counted in
 * refs. */
static inline void count_table(const prefix_cache *cache, const block_table *table, uint8_t *seen, uint32_t *refcount,
                               uint32_t *n_own)
{
    for (uint32_t b = 0; b < table->n_blocks; b++) {
        bool is_known = b < table->n_cached;
        if (is_known)
            refcount[table->nodes[b]]++;
        if (is_known && table->nodes[b] == table->blocks[b])
            continue;
        count_ids(&cache->pool, seen, &table->blocks[b], 1);
        (*n_own)++;
    }
}

/* Every block is free, or some table's own, or a node with the right count of uses; the unused nodes are those of the
 * list. */
static inline void check_blocks(const sched *s, const prefix_cache *cache)
{
    uint32_t n = cache->pool.n_total, n_accounted = cache->pool.n_free, n_evictable = 0;
    uint8_t *seen = calloc(n + 1u, 1);
    uint32_t *refcount = calloc(n + 1u, sizeof *refcount);
    count_ids(&cache->pool, seen, cache->pool.free_ids, cache->pool.n_free);
    for (uint32_t i = 0; i < s->running.n; i++)
        count_table(cache, cache == &s->blocks ? &s->running.items[i]->table : &s->running.items[i]->text.table, seen,
                    refcount, &n_accounted);
    for (uint32_t at = cache->lru_oldest; cache->n_evictable > 0 && at != PREFIX_NONE;
         at = cache->nodes[at].newer, n_evictable++) {
        count_ids(&cache->pool, seen, &at, 1);
        assert_int_equal(refcount[at], 0);
    }
    assert_int_equal(n_evictable, cache->n_evictable);
    for (uint32_t id = 0; id < n; id++) {
        if (refcount[id] == 0)
            continue;
        count_ids(&cache->pool, seen, &id, 1);
        assert_int_equal(cache->nodes[id].refcount, refcount[id]);
        n_accounted++;
    }
    assert_int_equal(n_accounted + n_evictable, n);
    free(seen);
    free(refcount);
}

static inline void check_sequence(const sched_seq *seq)
{
    assert_int_not_equal(seq->state, SEQ_WAITING);
    assert_true(seq->n_sampling <= SCHED_AHEAD);
    assert_true(seq->n_draft == 0 || (seq->n_sampling == 1 && seq->n_planned == seq->n_known + seq->n_draft));
    assert_true(seq->n_plans > 0 || (seq->state != SEQ_DRAINING && seq->state != SEQ_PREEMPTED));
    assert_true(seq->table.n_blocks >= kv_blocks_for(seq->n_planned));
    assert_true(seq->table.n_cached * LINK_KV_BLOCK_TOKENS <= seq->n_done);
    assert_true(seq->text.n_read <= seq->text.n + seq->n_draft &&
                seq->text.table.n_blocks >= kv_blocks_for(seq->text.n_read));
    assert_true(seq->text.n_read < seq->text.n || seq->n_draft > 0 || seq->text.n_read == 0 ||
                seq->state == SEQ_DRAINING || seq->state == SEQ_PREEMPTED || seq->n_plans > 0);
    assert_true(seq->text.table.n_cached * LINK_KV_BLOCK_TOKENS <= seq->text.n_read);
}

static inline void check_invariants(const harness *r)
{
    const sched *s = r->s;
    uint8_t *slots = calloc(s->slots.n_total, 1), *images = calloc(s->images.pool.n_total + 1, 1);
    uint32_t n_slots = s->slots.n_free, n_images = s->images.pool.n_free;
    count_ids(&s->slots, slots, s->slots.free_ids, s->slots.n_free);
    count_ids(&s->images.pool, images, s->images.pool.free_ids, s->images.pool.n_free);
    uint32_t n_entries = 0, n_seq_plans = 0;
    for (uint32_t i = 0; i < s->running.n; i++) {
        const sched_seq *seq = s->running.items[i];
        check_sequence(seq);
        count_ids(&s->slots, slots, &seq->slot, 1);
        n_slots++;
        for (uint32_t k = 0; k < seq->n_images; k++) {
            if (seq->images[k].slot == SEQ_NO_SLOT)
                continue;
            count_ids(&s->images.pool, images, &seq->images[k].slot, 1);
            n_images++;
        }
        n_seq_plans += seq->n_plans;
    }
    for (uint32_t i = 0; i < s->waiting.n; i++) {
        assert_int_equal(s->waiting.items[i]->state, SEQ_WAITING);
        assert_int_equal(s->waiting.items[i]->table.n_blocks, 0);
        assert_int_equal(s->waiting.items[i]->n_plans, 0);
    }
    for (uint32_t i = 0; i < s->n_inflight; i++)
        n_entries += s->inflight[(s->first_inflight + i) % s->options.max_plans].n_slices;
    assert_int_equal(n_entries, n_seq_plans);
    assert_int_equal(n_slots, s->slots.n_total);
    assert_int_equal(n_images, s->images.pool.n_total);
    check_blocks(s, &s->blocks);
    check_blocks(s, &s->draft_blocks);
    free(slots);
    free(images);
}

static inline void check_nothing_held(const harness *r)
{
    assert_int_equal(prefix_cache_available(&r->s->blocks), r->s->blocks.pool.n_total);
    assert_int_equal(prefix_cache_available(&r->s->draft_blocks), r->s->draft_blocks.pool.n_total);
    assert_int_equal(r->s->slots.n_free, r->s->slots.n_total);
    assert_int_equal(r->s->images.pool.n_free, r->s->images.pool.n_total);
    assert_int_equal(r->s->waiting.n + r->s->running.n, 0);
}

/* ---- driving ---- */

/* A job with `n_text` tokens that differ by `salt`, images in front of the text. */
static inline job *job_make(harness *r, uint32_t index, uint32_t n_text, uint32_t n_images, uint32_t max_tokens,
                            uint32_t salt)
{
    job *j = &r->jobs[index];
    *j = (job){.max_tokens = max_tokens, .n_images = n_images, .sampling.top_p = 1.0f};
    j->prompt[j->n_prompt++] = FAKE_BOS;
    for (uint32_t k = 0; k < n_images && k < 4; k++) {
        memset(j->pixels[k], (int)(salt * 7 + k), PIXELS);
        j->images[k] = j->pixels[k];
        memset(j->digests[k], (int)(salt * 7 + k),
               CONTENT_DIGEST_BYTES); /* names them as well as the pixels above do */
        for (uint32_t row = 0; row < r->limits.rows_per_image; row++)
            j->prompt[j->n_prompt++] = -1 - (int32_t)(k * r->limits.rows_per_image + row);
    }
    for (; j->n_prompt < n_text; j->n_prompt++)
        j->prompt[j->n_prompt] = FAKE_FIRST_CHAR + (int32_t)((salt * 31 + j->n_prompt) % 250);
    return j;
}

static inline base_status submit(harness *r, job *j, uint32_t priority, uint64_t deadline_us, base_error *error)
{
    base_status status = sched_reserve(r->s, error);
    if (status != BASE_OK)
        return status;
    sched_request request = {.user = j,
                             .tokens = j->prompt,
                             .n_tokens = j->n_prompt,
                             .n_resumed = j->n_resumed,
                             .images = j->images,
                             .n_images = j->n_images,
                             .image_digests = (const unsigned char(*)[CONTENT_DIGEST_BYTES])j->digests,
                             .image_keys = (const unsigned char(*)[CONTENT_DIGEST_BYTES])j->digests,
                             .score = j->n_scored > 0,
                             .max_tokens = j->n_scored > 0 ? j->n_scored : j->max_tokens,
                             .stop_ids = fake_stops,
                             .n_stop_ids = 2,
                             .priority = priority,
                             .deadline_us = deadline_us,
                             .sampling = j->sampling};
    status = sched_submit(r->s, &request, r->now_us, &j->seq, error);
    j->is_alive = status == BASE_OK;
    return status;
}

/* Send one plan into the pipeline; false when there is none. */
static inline bool send_plan(harness *r)
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

/* As the engine does: the handle is gone with the event that ends it, and a stop string may come before that event. */
static inline void take_token(harness *r, job *j, const sched_event *event)
{
    if (j->n_answer == 0)
        j->first_us = r->now_us;
    j->logprobs[j->n_answer] = event->token.logprob;
    j->answer[j->n_answer++] = event->token.token;
    j->reuse = event->reuse;
    if (event->finish == SCHED_CONTINUE && j->n_answer == j->stop_after) {
        sched_cancel(r->s, j->seq);
        j->was_stopped = true;
        j->is_alive = false;
    }
}

static inline void take_events(harness *r)
{
    sched_event event;
    while (sched_next_event(r->s, &event)) {
        job *j = event.user;
        assert_true(j->is_alive);
        j->started_us = event.started_us;
        if (event.finish != SCHED_FAILED)
            take_token(r, j, &event);
        if (event.finish != SCHED_CONTINUE) {
            j->is_alive = false;
            j->finish = event.finish;
            j->status = event.status;
        }
    }
}

/* The oldest plan leaves the pipeline. */
static inline void complete_plan(harness *r)
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
    assert_int_equal(sched_process_result(r->s, &result, r->now_us, &error), BASE_OK);
    check_invariants(r);
    take_events(r);
}

/* Run until nothing is left to do; every turn is a millisecond. */
static inline void run_dry(harness *r)
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

static inline void check_answer(const harness *r, const job *j)
{
    int32_t expected[TOKENS_MAX];
    uint32_t n_prompt = j->n_prompt - j->n_resumed;
    uint32_t n = fake_expect(&r->limits, r->model.eos_every, j->prompt, n_prompt, j->images, &j->sampling,
                             j->max_tokens, expected);
    assert_memory_equal(j->prompt + n_prompt, expected, j->n_resumed * sizeof *expected);
    assert_false(j->is_alive);
    assert_int_equal(j->n_resumed + j->n_answer, n);
    assert_memory_equal(j->answer, expected + j->n_resumed, j->n_answer * sizeof *expected);
    assert_int_equal(j->finish, expected[n - 1] == FAKE_EOS ? SCHED_EOS : SCHED_LENGTH);
}

/* An answer to score, of tokens that nothing would sample. */
static inline void give_answer(job *j, uint32_t n, uint32_t salt)
{
    j->n_scored = n;
    for (uint32_t i = 0; i < n; i++)
        j->prompt[j->n_prompt + i] = FAKE_FIRST_CHAR + (int32_t)((salt * 17 + i * i) % 250);
}

static inline void check_scores(const harness *r, const job *j)
{
    uint64_t state = fake_state(&r->limits, j->prompt, j->n_prompt, j->images);
    assert_false(j->is_alive);
    assert_int_equal(j->finish, SCHED_LENGTH);
    assert_int_equal(j->n_answer, j->n_scored);
    for (uint32_t i = 0; i < j->n_scored; i++) {
        int32_t token = j->prompt[j->n_prompt + i];
        assert_int_equal(j->answer[i], token);
        assert_true(j->logprobs[i] == fake_logprob(state, token));
        state = fake_mix(state, (uint64_t)token);
    }
}

/* Hand in the first part of an answer, as after a crash. */
static inline void resume_at(const harness *r, job *j, uint32_t n)
{
    int32_t answer[TOKENS_MAX];
    uint32_t n_answer = fake_expect(&r->limits, r->model.eos_every, j->prompt, j->n_prompt, j->images, &j->sampling,
                                    j->max_tokens, answer);
    j->n_resumed = n < n_answer ? n : n_answer - 1;
    memcpy(j->prompt + j->n_prompt, answer, j->n_resumed * sizeof *answer);
    j->n_prompt += j->n_resumed;
}

#endif
