/* The scheduler's rules: budgets, turns, order, preemption, ends, refusals (sched_harness.h checks every answer and the
 * books). */
#include "tests/helpers/sched_harness.h"

/* ---- cases ---- */

static void one_request(void **state)
{
    (void)state;
    for (uint32_t n_stages = 1; n_stages <= 4; n_stages++) {
        harness *r = harness_create(SMALL, n_stages, 0, 4, 0);
        job *j = job_make(r, 0, 100, 2, 50, 1);
        assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
        run_dry(r);
        check_answer(r, j);
        check_nothing_held(r);
        harness_destroy(r);
    }
}

/* A request of one token to make, and one that meets the end of text. */
static void ends(void **state)
{
    (void)state;
    harness *r = harness_create(SMALL, 2, 0, 8, 5);
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
    harness_destroy(r);
}

/* The budget holds in every plan, and prompts do not stop those who decode. */
static void budget(void **state)
{
    (void)state;
    harness *r = harness_create(SMALL, 1, 16, 8, 0);
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
    harness_destroy(r);
}

/* Two stages: the sequences split into two groups that take turns, and as many plans as stages + 1 are in flight. */
static void groups_take_turns(void **state)
{
    (void)state;
    harness *r = harness_create(SMALL, 2, 64, 8, 0);
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
    harness_destroy(r);
}

/* While one plan is in flight the next carries the same sequence's token as feedback, but not a third. */
static void dispatches_ahead(void **state)
{
    (void)state;
    harness *r = harness_create(SMALL, 1, 64, 8, 0);
    assert_int_equal(submit(r, job_make(r, 0, 10, 0, 20, 3), 0, 0, NULL), BASE_OK);
    assert_true(send_plan(r));
    assert_true(send_plan(r));
    assert_int_equal(r->s->plan.slices[0].flags & LINK_SLICE_FEEDBACK, LINK_SLICE_FEEDBACK);
    assert_int_equal(r->s->plan.slices[0].pos, 10);
    assert_false(send_plan(r));
    run_dry(r);
    check_answer(r, &r->jobs[0]);
    harness_destroy(r);
}

static void stat_goes_first(void **state)
{
    (void)state;
    link_limits limits = SMALL;
    limits.max_seqs = 1;
    harness *r = harness_create(limits, 1, 64, 8, 0);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(submit(r, job_make(r, i, 10, 0, 5, i), i >= 2, 0, NULL), BASE_OK);
    run_dry(r);
    for (uint32_t i = 0; i < 4; i++)
        check_answer(r, &r->jobs[i]);
    assert_true(r->jobs[2].first_us < r->jobs[3].first_us);
    assert_true(r->jobs[3].first_us < r->jobs[0].first_us);
    assert_true(r->jobs[0].first_us < r->jobs[1].first_us);
    harness_destroy(r);
}

/* Fairness: with equal work, answers come in the order of arrival, and no request waits for more than those before it.
 */
static void first_come_first_served(void **state)
{
    (void)state;
    harness *r = harness_create(SMALL, 2, 32, 40, 0);
    for (uint32_t i = 0; i < 30; i++)
        assert_int_equal(submit(r, job_make(r, i, 20, 0, 12, i), 0, 0, NULL), BASE_OK);
    run_dry(r);
    for (uint32_t i = 0; i < 30; i++) {
        check_answer(r, &r->jobs[i]);
        if (i > 0)
            assert_true(r->jobs[i - 1].first_us <= r->jobs[i].first_us);
    }
    harness_destroy(r);
}

/* Twelve sequences that want 96 blocks together on 24: the last are preempted and recomputed, and answer the same. */
static void preemption_keeps_the_answer(void **state)
{
    (void)state;
    for (uint32_t n_stages = 1; n_stages <= 3; n_stages++) {
        link_limits limits = SMALL;
        limits.n_kv_blocks = 24;
        harness *r = harness_create(limits, n_stages, 64, 16, 0);
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
        harness_destroy(r);
    }
}

/* Blocks of a canceled sequence come back only when its plans have left the pipeline. */
static void cancel_waits_for_the_pipeline(void **state)
{
    (void)state;
    harness *r = harness_create(SMALL, 2, 64, 8, 0);
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
    harness_destroy(r);
}

static void cancel_in_the_queue(void **state)
{
    (void)state;
    harness *r = harness_create(SMALL, 1, 64, 8, 0);
    job *j = job_make(r, 0, 50, 0, 50, 4);
    assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
    sched_cancel(r->s, j->seq);
    j->is_alive = false;
    check_nothing_held(r);
    assert_false(send_plan(r));
    harness_destroy(r);
}

static void deadlines(void **state)
{
    (void)state;
    link_limits limits = SMALL;
    limits.max_seqs = 1;
    harness *r = harness_create(limits, 2, 64, 8, 0);
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
    harness_destroy(r);
}

static void refusals(void **state)
{
    (void)state;
    harness *r = harness_create(SMALL, 1, 64, 2, 0);
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
    harness_destroy(r);

    link_limits limits = SMALL;
    limits.n_kv_blocks = 3;
    r = harness_create(limits, 1, 64, 2, 0);
    assert_int_equal(submit(r, job_make(r, 0, 90, 0, 7, 1), 0, 0, &error), BASE_ETOOBIG);
    assert_non_null(strstr(error.text, "cache of 96"));
    assert_int_equal(submit(r, job_make(r, 0, 90, 0, 6, 1), 0, 0, &error), BASE_OK);
    run_dry(r);
    check_answer(r, &r->jobs[0]);
    harness_destroy(r);
}

/* Slots for all images of a request are taken together; the next request waits until rows are consumed. */
static void slots_of_images(void **state)
{
    (void)state;
    harness *r = harness_create(SMALL, 1, 8, 8, 0); /* a chunk of 8 holds one image of 6 rows */
    assert_int_equal(submit(r, job_make(r, 0, 60, 3, 10, 1), 0, 0, NULL), BASE_OK);
    assert_int_equal(submit(r, job_make(r, 1, 60, 2, 10, 2), 0, 0, NULL), BASE_OK);
    assert_true(send_plan(r));
    assert_int_equal(r->last.n_images, 2); /* 1 + 6 rows of the first, 1 row of the second */
    assert_int_equal(r->s->images.pool.n_free, 1);
    assert_int_equal(r->s->running.n, 1);
    complete_plan(r);
    assert_int_equal(r->s->images.pool.n_free, 2); /* the first image was consumed */
    run_dry(r);
    check_answer(r, &r->jobs[0]);
    check_answer(r, &r->jobs[1]);
    check_nothing_held(r);
    harness_destroy(r);
}

/* A prompt of 10 tokens in two chunks of 8 and 2: the first, which samples nothing, overflows already. */
static void overflow_ends_its_sequence(void **state)
{
    (void)state;
    harness *r = harness_create(SMALL, 1, 8, 8, 0);
    job *j = job_make(r, 0, 10, 0, 20, 1);
    assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
    assert_true(send_plan(r));
    assert_true(send_plan(r));
    link_token token = {.seq = 0, .pos = 7, .token = LINK_TOKEN_OVERFLOW};
    link_result result = {.step = 1, .n_tokens = 1, .tokens = &token};
    assert_int_equal(sched_process_result(r->s, &result, r->now_us, NULL), BASE_OK);
    take_events(r);
    assert_int_equal(j->status, BASE_ENUMERIC);
    result.step = 2;
    token.pos = 9;
    assert_int_equal(sched_process_result(r->s, &result, r->now_us, NULL), BASE_OK);
    take_events(r);
    check_nothing_held(r);
    harness_destroy(r);
}

static void overflow_spares_the_mates(void **state)
{
    (void)state;
    harness *r = harness_create(SMALL, 1, 64, 8, 0);
    job *bad = job_make(r, 0, 10, 0, 20, 1), *good = job_make(r, 1, 12, 0, 20, 1);
    assert_int_equal(submit(r, bad, 0, 0, NULL), BASE_OK);
    assert_int_equal(submit(r, good, 0, 0, NULL), BASE_OK);
    assert_true(send_plan(r));
    link_token tokens[] = {{.seq = 0, .pos = 9, .token = LINK_TOKEN_OVERFLOW}, {.seq = 1, .pos = 11, .token = 5}};
    link_result result = {.step = 1, .n_tokens = 2, .tokens = tokens};
    assert_int_equal(sched_process_result(r->s, &result, r->now_us, NULL), BASE_OK);
    take_events(r);
    assert_int_equal(bad->status, BASE_ENUMERIC);
    assert_int_equal(good->status, BASE_OK);
    assert_int_equal(sched_stats_of(r->s).n_running, 1);
    harness_destroy(r);
}

static void wrong_results_are_refused(void **state)
{
    (void)state;
    harness *r = harness_create(SMALL, 1, 64, 8, 0);
    base_error error;
    link_token token = {.seq = 0, .pos = 9, .token = FAKE_VOCAB};
    link_result result = {.step = 1, .n_tokens = 1, .tokens = &token};
    assert_int_equal(sched_process_result(r->s, &result, r->now_us, &error), BASE_EFORMAT); /* nothing in flight */
    assert_int_equal(submit(r, job_make(r, 0, 10, 0, 20, 1), 0, 0, NULL), BASE_OK);
    assert_true(send_plan(r));
    assert_int_equal(sched_process_result(r->s, &result, r->now_us, &error), BASE_EFORMAT); /* outside the vocabulary */
    token.token = 5;
    token.pos = 8;
    assert_int_equal(sched_process_result(r->s, &result, r->now_us, &error), BASE_EFORMAT);
    token.pos = 9;
    result.step = 2;
    assert_int_equal(sched_process_result(r->s, &result, r->now_us, &error), BASE_EFORMAT);
    result.step = 1;
    result.n_tokens = 0;
    assert_int_equal(sched_process_result(r->s, &result, r->now_us, &error), BASE_EFORMAT);
    result.n_tokens = 1;
    check_invariants(r);
    assert_int_equal(sched_process_result(r->s, &result, r->now_us, &error), BASE_OK);
    harness_destroy(r);
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
        cmocka_unit_test(slots_of_images),
        cmocka_unit_test(overflow_ends_its_sequence),
        cmocka_unit_test(overflow_spares_the_mates),
        cmocka_unit_test(wrong_results_are_refused),
        cmocka_unit_test(options_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
