/* What the scheduler saves its ranks: shared blocks (prefix_cache.h), drafts (ngram.h, spec_policy.h), answers resumed
 * with.  None of it may show in an answer, and all of it must happen where it can. */
#include "tests/helpers/sched_harness.h"

static const reuse_options REUSE = {.reuse_prefixes = true}, DRAFTS = {.speculate = 4};

/* ---- shared blocks ---- */

/* The second of two equal prompts computes what follows the last full block, and at least its last token. */
static void equal_prompts_are_computed_once(void **state)
{
    (void)state;
    static const struct {
        uint32_t n_text, saved;
    } cases[] = {{31, 0}, {32, 0}, {33, 32}, {64, 32}, {65, 64}, {100, 96}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        harness *r = harness_create_with(SMALL, 1, 0, 4, 0, REUSE);
        for (uint32_t i = 0; i < 2; i++) {
            job *j = job_make(r, i, cases[c].n_text, 0, 5, 1);
            assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
            run_dry(r);
            check_answer(r, j);
            assert_int_equal(j->reuse.n_cached, i * cases[c].saved);
        }
        assert_int_equal(sched_stats_of(r->s).prefix_tokens, cases[c].saved);
        assert_int_equal(sched_stats_of(r->s).prefix_requests, cases[c].saved > 0);
        check_nothing_held(r);
        harness_destroy(r);
    }
}

/* While the first still runs; and the answer's blocks too, for a prompt that goes on with them. */
static void running_sequences_share(void **state)
{
    (void)state;
    harness *r = harness_create_with(SMALL, 1, 0, 4, 0, REUSE);
    job *first = job_make(r, 0, 70, 0, 100, 1), *second = job_make(r, 1, 70, 0, 20, 1);
    assert_int_equal(submit(r, first, 0, 0, NULL), BASE_OK);
    for (int i = 0; i < 40; i++) {
        send_plan(r);
        complete_plan(r);
    }
    assert_true(first->is_alive && first->n_answer > 30);
    memcpy(second->prompt + second->n_prompt, first->answer, 30 * sizeof *first->answer);
    second->n_prompt += 30;
    assert_int_equal(submit(r, second, 0, 0, NULL), BASE_OK);
    run_dry(r);
    check_answer(r, first);
    check_answer(r, second);
    assert_int_equal(second->reuse.n_cached, 96);
    harness_destroy(r);
}

/* One token that differs, early or late; what is before it is shared, what follows it is not. */
static void other_prompts_share_their_beginning(void **state)
{
    (void)state;
    static const uint32_t places[] = {0, 31, 32, 63, 64, 99};
    harness *r = harness_create_with(SMALL, 1, 0, 8, 0, REUSE);
    for (uint32_t i = 0; i < 7; i++) {
        job *j = job_make(r, i, 100, 0, 9, 1);
        if (i > 0)
            j->prompt[places[i - 1]] = FAKE_FIRST_CHAR + 7;
        assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
        run_dry(r);
        check_answer(r, j);
        assert_int_equal(j->reuse.n_cached, i == 0 ? 0 : places[i - 1] / 32 * 32);
    }
    harness_destroy(r);
}

/* The same places, other pixels: nothing after the first row is shared.  The same pixels: the image is not encoded
 * again. */
static void images_count_by_their_pixels(void **state)
{
    (void)state;
    harness *r = harness_create_with(SMALL, 1, 0, 8, 0, REUSE);
    static const uint32_t salts[] = {1, 2, 1}, borrowed[] = {0, 0, 64}, encoded[] = {2, 2, 0};
    for (uint32_t i = 0; i < 3; i++) {
        job *j = job_make(r, i, 13, 2, 9, salts[i]); /* the text is made below: only the images differ */
        for (; j->n_prompt < 70; j->n_prompt++)
            j->prompt[j->n_prompt] = FAKE_FIRST_CHAR + (int32_t)j->n_prompt;
        assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
        assert_true(send_plan(r));
        assert_int_equal(r->last.n_images, encoded[i]);
        run_dry(r);
        check_answer(r, j);
        assert_int_equal(j->reuse.n_cached, borrowed[i]);
    }
    check_nothing_held(r);
    harness_destroy(r);
}

/* Cached blocks are evicted for sequences that need them. */
static void kept_blocks_give_way(void **state)
{
    (void)state;
    link_limits limits = SMALL;
    limits.n_kv_blocks = 12;
    harness *r = harness_create_with(limits, 1, 0, 8, 0, REUSE);
    for (uint32_t i = 0; i < 30; i++) {
        job *j = job_make(r, i, 100 + i, 0, 150, i % 5);
        assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
        run_dry(r);
        check_answer(r, j);
        check_nothing_held(r);
    }
    assert_true(sched_stats_of(r->s).kv_blocks_cached > 0);
    assert_int_equal(sched_stats_of(r->s).kv_blocks_free, 12);
    harness_destroy(r);
}

/* An overflow is told by the step that computes the position: its block is not shared, or the next request would not
 * see of it. */
static void overflows_are_not_shared(void **state)
{
    (void)state;
    harness *r = harness_create_with(SMALL, 1, 0, 8, 0, REUSE);
    for (uint32_t i = 0; i < 2; i++) {
        job *j = job_make(r, i, 40, 0, 20, 1);
        assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
        assert_true(send_plan(r));
        assert_int_equal(r->last_prefill_tokens, 40);
        link_token token = {.seq = 0, .pos = 39, .token = LINK_TOKEN_OVERFLOW};
        link_result result = {.step = r->last.step, .n_tokens = 1, .tokens = &token};
        assert_int_equal(sched_process_result(r->s, &result, r->now_us, NULL), BASE_OK);
        r->n_flights--;
        r->head = (r->head + 1) % FLIGHTS_MAX;
        take_events(r);
        assert_int_equal(j->status, BASE_ENUMERIC);
    }
    check_nothing_held(r);
    harness_destroy(r);
}

/* ---- drafts ---- */

/* Fewer steps than tokens, never more tokens than asked for, the end where it is. */
static void drafts_save_steps(void **state)
{
    (void)state;
    for (uint32_t n_stages = 1; n_stages <= 3; n_stages++) {
        harness *r = harness_create_with(SMALL, n_stages, 0, 4, FAKE_PHRASES | 150, DRAFTS);
        for (uint32_t i = 0; i < 4; i++) {
            job *j = job_make(r, i, 30, 0, 100 + i, i);
            uint64_t steps = sched_stats_of(r->s).steps;
            assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
            run_dry(r);
            check_answer(r, j);
            assert_true(j->reuse.n_accepted <= j->reuse.n_drafted);
            if (j->n_answer > 60)
                assert_true(sched_stats_of(r->s).steps - steps < j->n_answer * 3 / 4);
        }
        assert_true(sched_stats_of(r->s).accepted_tokens > 50);
        check_nothing_held(r);
        harness_destroy(r);
    }
}

/* Without room in the result there is no draft: sampled tokens never outnumber the sequence slots. */
static void drafts_need_room(void **state)
{
    (void)state;
    link_limits limits = SMALL;
    limits.max_seqs = 2;
    harness *r = harness_create_with(limits, 1, 0, 8, FAKE_PHRASES, (reuse_options){.speculate = SCHED_DRAFT_MAX});
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(submit(r, job_make(r, i, 30, 0, 60 + 60 * i, i), 0, 0, NULL), BASE_OK);
    run_dry(r); /* the decoder refuses plans that sample too much */
    check_answer(r, &r->jobs[0]);
    check_answer(r, &r->jobs[1]);
    assert_int_equal(r->jobs[0].reuse.n_drafted, 0);
    assert_true(r->jobs[1].reuse.n_accepted > 10); /* after the other one has ended */
    harness_destroy(r);
}

/* A rejected draft token that overflows is no failure; the token before it counts. */
static void rejected_tokens_may_overflow(void **state)
{
    (void)state;
    harness *r = harness_create_with(SMALL, 1, 0, 8, FAKE_PHRASES, DRAFTS);
    job *j = job_make(r, 0, 40, 0, 60, 1);
    for (uint32_t i = 1; i < 40; i++)
        j->prompt[i] = FAKE_FIRST_CHAR + (int32_t)(i % 4); /* so that there is an n-gram to match */
    assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
    assert_true(send_plan(r));
    link_token tokens[5] = {{.seq = 0, .pos = 39, .token = FAKE_FIRST_CHAR}};
    link_result result = {.step = 1, .n_tokens = 1, .tokens = tokens};
    assert_int_equal(sched_process_result(r->s, &result, r->now_us, NULL), BASE_OK);
    take_events(r);
    const link_plan *plan = sched_next_plan(r->s, r->now_us);
    assert_int_equal(plan->slices[0].n_tokens, 5);
    assert_int_equal(plan->slices[0].n_sampled, 5);
    assert_int_equal(plan->tokens[1], FAKE_FIRST_CHAR + 1);
    for (uint32_t i = 0; i < 5; i++)
        tokens[i] = (link_token){.seq = 0, .pos = 40 + i, .token = i == 0 ? FAKE_FIRST_CHAR + 99 : LINK_TOKEN_OVERFLOW};
    result = (link_result){.step = 2, .n_tokens = 5, .tokens = tokens};
    assert_int_equal(sched_process_result(r->s, &result, r->now_us, NULL), BASE_OK);
    take_events(r);
    assert_true(j->is_alive);
    assert_int_equal(j->n_answer, 2);
    assert_int_equal(j->reuse.n_drafted, 4);
    assert_int_equal(j->reuse.n_accepted, 0);
    plan = sched_next_plan(r->s, r->now_us);
    assert_int_equal(plan->slices[0].pos, 41); /* over what the rejected tokens left */
    assert_int_equal(plan->tokens[0], FAKE_FIRST_CHAR + 99);
    harness_destroy(r);
}

static void leads_are_found(void **state)
{
    (void)state;
    ngram_history history;
    assert_int_equal(ngram_history_init(&history, 64, NULL), BASE_OK);
    /* The longest match, then the latest: 5 6 7 stood twice before. */
    static const int32_t text[] = {1, 5, 6, 7, 10, 9, 6, 7, 11, 5, 6, 7, 12, -1, 5, 6, 7};
    ngram_match lead = ngram_find(&history, text, 17);
    assert_int_equal(lead.source, DRAFT_OWN);
    assert_int_equal(lead.n_matched, 3);
    assert_int_equal(ngram_predict(&history, &lead, text, 17, 0), 12);
    assert_int_equal(ngram_predict(&history, &lead, text, 17, 1), NGRAM_NONE); /* a row of an image */
    assert_int_equal(ngram_predict(&history, &lead, text, 17, 2), 5);
    assert_int_equal(ngram_find(&history, text, 13).source, DRAFT_NONE); /* 12 is new */
    assert_int_equal(ngram_find(&history, text, 2).source, DRAFT_NONE);

    /* A longer one in the history; its end ends the prediction. */
    static const int32_t reply[] = {3, 12, 5, 6, 7, 20, 21}, now[] = {5, 6, 8, 12, 5, 6};
    ngram_history_add(&history, reply, 7);
    lead = ngram_find(&history, now, 6);
    assert_int_equal(lead.source, DRAFT_HISTORY);
    assert_int_equal(ngram_predict(&history, &lead, now, 6, 0), 7);
    assert_int_equal(ngram_predict(&history, &lead, now, 6, 2), 21);
    assert_int_equal(ngram_predict(&history, &lead, now, 6, 3), NGRAM_NONE);
    for (int i = 0; i < 20; i++)
        ngram_history_add(&history, reply, 7);
    assert_int_equal(ngram_predict(&history, &lead, now, 6, 0),
                     NGRAM_NONE); /* forgotten, and not mistaken for what came after */
    ngram_history_release(&history);

    /* A period goes on beyond its own end. */
    static const int32_t turns[] = {9, 1, 2, 3, 1, 2, 3, 1, 2};
    ngram_history none = {0};
    lead = ngram_find(&none, turns, 9);
    for (uint32_t i = 0; i < 9; i++)
        assert_int_equal(ngram_predict(&none, &lead, turns, 9, i), (int32_t)((i + 2) % 3) + 1);
}

static uint32_t looked_up(const spec_policy *g, float chance, uint32_t n_rows, float n_tokens, uint32_t most)
{
    const spec_step plan = {.n_rows = n_rows, .n_tokens = n_tokens};
    float rate;
    return spec_policy_draft_length(g, DRAFT_OWN, chance, &plan, most, &rate);
}

/* Free rows: long drafts.  Rows at full price: near certainties only, and a probe now and then. */
static void drafts_follow_the_price(void **state)
{
    (void)state;
    spec_policy g = {0};
    for (uint32_t rows = 1; rows <= SPEC_ROWS_MAX; rows++)
        spec_policy_observe_step_cost(&g, rows, 1000 + rows);
    assert_true(looked_up(&g, 0.9f, 1, 1.0f, 15) >= 12);
    assert_true(looked_up(&g, 0.5f, 1, 1.0f, 15) >= 4);
    assert_int_equal(looked_up(&g, 0.9f, 1, 1.0f, 3), 3);
    assert_int_equal(looked_up(&g, 0.1f, 1, 1.0f, 15), 0);
    assert_int_equal(looked_up(&g, 0.9f, SPEC_ROWS_MAX, 16.0f, 15), 0);
    g = (spec_policy){0};
    for (uint32_t rows = 1; rows <= SPEC_ROWS_MAX; rows++)
        spec_policy_observe_step_cost(&g, rows, 300 + 700 * rows);
    assert_int_equal(looked_up(&g, 0.6f, 1, 1.0f, 15), 0);
    assert_true(looked_up(&g, 0.99f, 1, 1.0f, 15) > 0);
    uint32_t n_refused = 0;
    while (spec_policy_should_skip(&g))
        n_refused++;
    assert_true(n_refused > 10 && n_refused < 1000);
    spec_policy_draft_made(&g);
    assert_true(spec_policy_should_skip(&g));

    acceptance_record own = {0};
    ngram_match lead = {.source = DRAFT_OWN, .n_matched = 4};
    for (int i = 0; i < 50; i++)
        spec_policy_observe_acceptance(&g, &own, &lead, i % 10 == 0);
    assert_true(spec_policy_acceptance_rate(&g, &own, &lead) < 0.25f);
    lead.n_matched = 2; /* another kind */
    assert_true(spec_policy_acceptance_rate(&g, &own, &lead) == 0.5f);
    lead.source = DRAFT_MODEL; /* yet another */
    assert_true(spec_policy_acceptance_rate(&g, &own, &lead) == 0.5f);
    lead.source = DRAFT_NONE;
    assert_true(spec_policy_acceptance_rate(&g, &own, &lead) == 0.0f);
}

/* ---- resumed answers ---- */

static void answers_go_on(void **state)
{
    (void)state;
    static const reuse_options modes[] = {{.reuse_prefixes = false},
                                          {.reuse_prefixes = true, .speculate = SCHED_SPECULATE_AUTO}};
    for (size_t w = 0; w < 2; w++)
        for (uint32_t n = 0; n < 50; n += 7) {
            harness *r = harness_create_with(SMALL, 2, 0, 4, FAKE_PHRASES, modes[w]);
            job *j = job_make(r, 0, 50, 1, 50, 3);
            j->sampling = (link_sampling){.temperature = 1.0f, .top_p = 1.0f, .seed = 4};
            resume_at(r, j, n);
            assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
            run_dry(r);
            check_answer(r, j);
            assert_int_equal(j->n_answer, 50 - n);
            harness_destroy(r);
        }
}

static void bad_beginnings_are_refused(void **state)
{
    (void)state;
    harness *r = harness_create(SMALL, 1, 0, 8, 0);
    base_error error;
    job *j = job_make(r, 0, 20, 0, 10, 1);
    j->n_resumed = 10;
    assert_int_equal(submit(r, j, 0, 0, &error), BASE_EINVAL); /* nothing left to make */
    j->n_resumed = 20;
    j->max_tokens = 30;
    assert_int_equal(submit(r, j, 0, 0, &error), BASE_EINVAL); /* no prompt */
    j->n_resumed = 5;
    j->prompt[17] = FAKE_EOS;
    assert_int_equal(submit(r, j, 0, 0, &error), BASE_EINVAL);
    assert_non_null(strstr(error.text, "token 2, number 2 of the answer"));
    harness_destroy(r);
}

/* ---- ends within a verified draft ---- */

/* One step brings several tokens, the last of which ends the sequence; the owner stops at each of them in turn, as a
 * stop string would. */
static void owners_may_stop_before_the_end(void **state)
{
    (void)state;
    for (uint32_t stop = 1; stop <= 30; stop++) {
        harness *r = harness_create_with(SMALL, 1, 0, 4, FAKE_PHRASES, DRAFTS);
        for (uint32_t i = 0; i < 2; i++) {
            job *j = job_make(r, i, 40, 0, 30, 1);
            j->stop_after = i == 0 ? 0 : stop;
            assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
            run_dry(r);
            assert_int_equal(j->n_answer, i == 0 ? 30 : stop);
            assert_memory_equal(j->answer, r->jobs[0].answer, j->n_answer * sizeof *j->answer);
            assert_int_equal(j->was_stopped, i == 1 && stop < 30);
        }
        check_nothing_held(r);
        harness_destroy(r);
    }
}

/* ---- thousands of random events ---- */

static uint32_t next_random(uint64_t *seed, uint32_t below)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*seed >> 33) % below);
}

/* Jobs of the same salt begin alike. */
static void random_submit(harness *r, uint64_t *seed, uint32_t n_salts)
{
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        job *j = &r->jobs[i];
        if (j->is_alive || j->seq != NULL)
            continue;
        j = job_make(r, i, 1 + next_random(seed, 150), next_random(seed, 6) == 0 ? 1 + next_random(seed, 3) : 0,
                     1 + next_random(seed, 200), next_random(seed, n_salts));
        j->sampling =
            (link_sampling){.temperature = (float)next_random(seed, 2), .top_p = 1.0f, .seed = next_random(seed, 99)};
        if (next_random(seed, 4) == 0)
            resume_at(r, j, next_random(seed, 60));
        if (next_random(seed, 3) == 0)
            j->stop_after = 1 + next_random(seed, 60);
        uint64_t deadline_us = next_random(seed, 10) == 0 ? r->now_us + 1 + next_random(seed, 60000) : 0;
        if (submit(r, j, next_random(seed, 5) == 0, deadline_us, NULL) != BASE_OK)
            j->seq = NULL;
        return;
    }
}

static void random_cancel(harness *r, uint64_t *seed)
{
    job *j = &r->jobs[next_random(seed, JOBS_MAX)];
    if (!j->is_alive)
        return;
    sched_cancel(r->s, j->seq);
    j->is_alive = false;
    j->seq = NULL;
}

/* An answer that its owner cut short is the beginning of the whole one. */
static void check_stopped(const harness *r, const job *j)
{
    int32_t expected[TOKENS_MAX];
    uint32_t n_prompt = j->n_prompt - j->n_resumed;
    uint32_t n = fake_expect(&r->limits, r->model.eos_every, j->prompt, n_prompt, j->images, &j->sampling,
                             j->max_tokens, expected);
    assert_int_equal(j->n_answer, j->stop_after);
    assert_true(j->n_resumed + j->n_answer < n);
    assert_memory_equal(j->answer, expected + j->n_resumed, j->n_answer * sizeof *expected);
}

/* Check and forget the jobs that ended by themselves; returns how many answered in full. */
static uint32_t harvest(harness *r)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        job *j = &r->jobs[i];
        if (j->is_alive || j->seq == NULL)
            continue;
        if (j->was_stopped)
            check_stopped(r, j);
        else if (j->finish != SCHED_FAILED)
            check_answer(r, j);
        n += j->was_stopped || j->finish != SCHED_FAILED;
        j->seq = NULL;
    }
    return n;
}

/* One walk of six thousand events; returns what the scheduler saved. */
static sched_stats random_walk(uint32_t round, reuse_options with)
{
    link_limits limits = SMALL;
    limits.n_kv_blocks = 12 + round * 5; /* from starving to ample */
    limits.whole_images = round / 2 % 2;
    uint64_t seed = 77 + round;
    harness *r = harness_create_with(limits, 1 + round % 4, 24, 12, (round % 2 == 0 ? 60 : 0) | FAKE_PHRASES, with);
    uint32_t n_answers = 0;
    for (int i = 0; i < 6000; i++) {
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
    sched_stats numbers = sched_stats_of(r->s);
    harness_destroy(r);
    return numbers;
}

/* Whatever is skipped, every answer is the one that computing all of it alone gives (harvest checks each). */
static void random_events(void **state)
{
    (void)state;
    static const reuse_options modes[] = {
        {.speculate = 0},
        {.reuse_prefixes = true},
        {.speculate = SCHED_SPECULATE_AUTO},
        {.reuse_prefixes = true, .speculate = SCHED_SPECULATE_AUTO},
        {.reuse_prefixes = true, .speculate = 4},
        {.speculate = 15},
        {.reuse_prefixes = true, .speculate = SCHED_SPECULATE_AUTO, .n_draft_blocks = 40},
        {.reuse_prefixes = true, .speculate = 6, .n_draft_blocks = 40},
        {.speculate = 15, .n_draft_blocks = 9, .draft_positions = 200},
    };
    for (size_t w = 0; w < sizeof modes / sizeof *modes; w++) {
        sched_stats sum = {0};
        for (uint32_t round = 0; round < 6; round++) {
            sched_stats numbers = random_walk(round, modes[w]);
            sum.prefix_tokens += numbers.prefix_tokens;
            sum.drafted_tokens += numbers.drafted_tokens;
            sum.accepted_tokens += numbers.accepted_tokens;
        }
        assert_int_equal(sum.prefix_tokens > 0, modes[w].reuse_prefixes);
        assert_int_equal(sum.drafted_tokens > 0, modes[w].speculate != 0);
        assert_int_equal(sum.accepted_tokens > 0, modes[w].speculate != 0);
        assert_true(sum.accepted_tokens <= sum.drafted_tokens);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_prompts_are_computed_once),
        cmocka_unit_test(running_sequences_share),
        cmocka_unit_test(other_prompts_share_their_beginning),
        cmocka_unit_test(images_count_by_their_pixels),
        cmocka_unit_test(kept_blocks_give_way),
        cmocka_unit_test(overflows_are_not_shared),
        cmocka_unit_test(drafts_save_steps),
        cmocka_unit_test(drafts_need_room),
        cmocka_unit_test(rejected_tokens_may_overflow),
        cmocka_unit_test(leads_are_found),
        cmocka_unit_test(drafts_follow_the_price),
        cmocka_unit_test(answers_go_on),
        cmocka_unit_test(bad_beginnings_are_refused),
        cmocka_unit_test(owners_may_stop_before_the_end),
        cmocka_unit_test(random_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
