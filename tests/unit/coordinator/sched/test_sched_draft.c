/* The draft model's side of the scheduler (draft_text.h, spec_policy.h): what it reads and when, whose draft_tokens
 * count, and when it is not asked. */
#include "tests/helpers/sched_harness.h"

static const reuse_options DRAFTS = {.speculate = 4, .n_draft_blocks = 60};

/* A cheap draft model drafts long, a costly one not at all, and none is used before the cost without it is known. */
static void the_model_follows_its_price(void **state)
{
    (void)state;
    const spec_step one = {.n_rows = 1, .n_tokens = 1.0f};
    float rate, other;
    spec_policy g = {0};
    assert_int_equal(spec_policy_draft_length(&g, DRAFT_MODEL, 0.8f, &one, 15, &rate), 0);
    for (uint32_t rows = 1; rows <= SPEC_ROWS_MAX; rows++)
        spec_policy_observe_step_cost(&g, rows, 10000 + 100 * rows);
    spec_policy cheap = g, dear = g;
    for (int i = 0; i < 60; i++) {
        spec_policy_observe_draft_cost(&cheap, 5, 4, 4, 10500 + 4 * 500);
        spec_policy_observe_draft_cost(&dear, 5, 4, 4, 10500 + 4 * 9000);
    }
    assert_true(cheap.pass_us > 450.0f && cheap.pass_us < 550.0f);
    assert_true(dear.pass_us > 8500.0f && dear.pass_us < 9500.0f);
    assert_true(spec_policy_draft_length(&cheap, DRAFT_MODEL, 0.8f, &one, 15, &rate) >= 4);
    assert_int_equal(spec_policy_draft_length(&dear, DRAFT_MODEL, 0.8f, &one, 15, &other), 0);
    assert_true(rate > other);

    /* Passes that the plan has anyway are free for another sequence. */
    const spec_step shared = {.n_rows = 6, .n_tokens = 3.0f, .n_passes = 4};
    assert_true(spec_policy_draft_length(&dear, DRAFT_MODEL, 0.8f, &shared, 15, &other) >= 2);

    /* A long prompt is not read for a short answer. */
    for (int i = 0; i < 60; i++)
        spec_policy_observe_draft_cost(&cheap, 5, 4, 1000, 10500 + 4 * 500 + 1000 * 200);
    assert_true(cheap.prefill_us > 150.0f && cheap.prefill_us < 250.0f);
    assert_true(spec_policy_prefill_pays(&cheap, &one, rate, 1000, 128));
    assert_false(spec_policy_prefill_pays(&cheap, &one, rate, 1000, 4));
    assert_true(spec_policy_prefill_pays(&cheap, &one, rate, 1, 1));

    /* One noisy measurement changes little. */
    spec_policy_observe_draft_cost(&cheap, 5, 4, 4, 1000000);
    assert_true(cheap.pass_us < 800.0f);
    uint32_t n_made = 0;
    while (!spec_policy_should_measure_baseline(&cheap))
        n_made++;
    assert_true(n_made > 10 && n_made < 1000);
}

/* Three of four draft tokens are right while the draft model's blocks are what the scheduler takes them for: with
 * neighbours, prefixes, any number of stages, greedy and not. */
static void the_model_reads_rightly(void **state)
{
    (void)state;
    link_limits limits = SMALL;
    limits.max_seqs = 32; /* room in the result for the drafts of all */
    for (uint32_t n_stages = 1; n_stages <= 3; n_stages++)
        for (uint32_t shares = 0; shares < 2; shares++) {
            harness *r = harness_create_with(
                limits, n_stages, 0, 8, 0,
                (reuse_options){.reuse_prefixes = shares != 0, .speculate = 4, .n_draft_blocks = 60});
            uint32_t n_drafted = 0, n_accepted = 0;
            for (uint32_t round = 0; round < 6; round++) {
                for (uint32_t i = 0; i < 3; i++) {
                    job *j = job_make(r, i, 50 + 30 * i, 0, 100, i % 2);
                    j->sampling = (link_sampling){.temperature = (float)(i % 2), .top_p = 1.0f, .seed = i};
                    j->prompt[j->n_prompt - 1] =
                        FAKE_FIRST_CHAR +
                        (int32_t)(3 * round + i + 100); /* no answer comes twice, which could be looked up */
                    assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
                }
                run_dry(r);
                for (uint32_t i = 0; i < 3; i++) {
                    check_answer(r, &r->jobs[i]);
                    n_drafted += r->jobs[i].reuse.n_drafted;
                    n_accepted += r->jobs[i].reuse.n_accepted;
                }
            }
            /* of four draft tokens that each hold three times in four: 2.05 on average */
            assert_in_range(100 * n_accepted / n_drafted, 46, 57);
            assert_true(sched_stats_of(r->s).steps < 1500);
            check_nothing_held(r);
            harness_destroy(r);
        }
}

/* What one sequence's draft was read for, another that begins alike need not have read again, whatever its images. */
static void the_model_reads_once(void **state)
{
    (void)state;
    harness *r = harness_create_with(SMALL, 1, 0, 8, FAKE_PHRASES,
                                     (reuse_options){.reuse_prefixes = true, .speculate = 4, .n_draft_blocks = 60});
    uint32_t read[2] = {0};
    for (uint32_t i = 0; i < 2; i++) {
        job *j = job_make(r, i, 7, 1, 20, 1 + i); /* other pixels */
        for (; j->n_prompt < 60; j->n_prompt++)
            j->prompt[j->n_prompt] = FAKE_FIRST_CHAR + (int32_t)(j->n_prompt * 7 % 90);
        assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
        while (send_plan(r)) {
            read[i] += r->last.n_draft_inputs;
            r->now_us += 1000;
            complete_plan(r);
        }
        check_answer(r, j);
        assert_int_equal(j->reuse.n_cached, 0);
    }
    assert_true(read[0] >= 54 && read[1] + 32 <= read[0] + 8);
    harness_destroy(r);
}

/* A prompt longer than a plan is read a plan's worth at a time. */
static void the_model_catches_up(void **state)
{
    (void)state;
    harness *r = harness_create_with(SMALL, 2, 16, 8, 0, DRAFTS);
    job *j = job_make(r, 0, 100, 0, 60, 1);
    assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
    uint32_t n_plans = 0;
    for (; r->jobs[0].is_alive; n_plans++) {
        while (send_plan(r))
            assert_true(r->last.n_draft_inputs <= 16);
        r->now_us += 1000;
        complete_plan(r);
    }
    check_answer(r, j);
    assert_true(j->reuse.n_accepted > 10);
    harness_destroy(r);
}

/* Its cache, or its context, is too small: no draft, no harm. */
static void the_model_may_have_no_room(void **state)
{
    (void)state;
    for (uint32_t n_blocks = 1; n_blocks <= 5; n_blocks += 2) {
        harness *r = harness_create_with(
            SMALL, 1, 0, 8, 0,
            (reuse_options){.speculate = 4, .n_draft_blocks = n_blocks, .draft_positions = n_blocks == 5 ? 64 : 0});
        for (uint32_t i = 0; i < 3; i++)
            assert_int_equal(submit(r, job_make(r, i, 40, 0, 60, i), 0, 0, NULL), BASE_OK);
        run_dry(r);
        for (uint32_t i = 0; i < 3; i++)
            check_answer(r, &r->jobs[i]);
        assert_int_equal(sched_stats_of(r->s).drafted_tokens > 0, n_blocks > 1);
        check_nothing_held(r);
        harness_destroy(r);
    }
}

/* A result that has other draft tokens than the plan has placeholders is refused. */
static void draft_tokens_are_counted(void **state)
{
    (void)state;
    harness *r = harness_create_with(SMALL, 1, 0, 8, 0, DRAFTS);
    job *j = job_make(r, 0, 20, 0, 30, 1);
    assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
    assert_true(send_plan(r));
    complete_plan(r);
    const link_plan *plan = sched_next_plan(r->s, r->now_us);
    assert_int_equal(plan->n_drafts, 1);
    assert_int_equal(plan->drafts[0].n_drafted, 4);
    assert_int_equal(plan->drafts[0].n_tokens, 21);
    assert_int_equal(plan->slices[0].n_sampled, 5);
    link_token tokens[5];
    int32_t draft_tokens[4] = {FAKE_FIRST_CHAR, FAKE_FIRST_CHAR + 1, FAKE_FIRST_CHAR + 2, FAKE_FIRST_CHAR + 3};
    for (uint32_t i = 0; i < 5; i++)
        tokens[i] = (link_token){.seq = 0, .pos = 20 + i, .token = FAKE_FIRST_CHAR + (int32_t)i + (i > 1 ? 50 : 0)};
    link_result result = {
        .step = 2, .n_tokens = 5, .n_draft_tokens = 3, .tokens = tokens, .draft_tokens = draft_tokens};
    base_error error = {0};
    assert_int_equal(sched_process_result(r->s, &result, r->now_us, &error), BASE_EFORMAT);
    assert_non_null(strstr(error.text, "3 draft tokens"));
    result.n_draft_tokens = 4;
    assert_int_equal(sched_process_result(r->s, &result, r->now_us, NULL), BASE_OK);
    take_events(r);
    assert_int_equal(j->n_answer, 4); /* one before, two right draft tokens, the one after them */
    assert_int_equal(j->reuse.n_accepted, 2);
    plan = sched_next_plan(r->s, r->now_us);
    assert_int_equal(plan->drafts[0].pos, 23); /* the rejected token is overwritten */
    assert_int_equal(plan->drafts[0].n_tokens, 1);
    harness_destroy(r);
}

static uint32_t n_passes_of(const link_plan *plan)
{
    uint32_t n = 0;
    for (uint32_t d = 0; d < plan->n_drafts; d++)
        n = plan->drafts[d].n_drafted > n ? plan->drafts[d].n_drafted : n;
    return n;
}

/* Answers one after another, where a plan takes a millisecond and a pass of the draft model pass_us; returns how many
 * tokens were drafted. */
static uint64_t drafted_at(uint32_t pass_us)
{
    harness *r = harness_create_with(SMALL, 1, 0, 8, 0,
                                     (reuse_options){.speculate = SCHED_SPECULATE_AUTO, .n_draft_blocks = 60});
    uint64_t took_us[FLIGHTS_MAX];
    for (uint32_t i = 0; i < 12; i++) {
        job *j = job_make(r, i, 20, 0, 200, i);
        assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
        while (j->is_alive) {
            while (send_plan(r))
                took_us[(r->head + r->n_flights - 1) % FLIGHTS_MAX] = 1000 + pass_us * n_passes_of(&r->last);
            r->now_us += took_us[r->head];
            complete_plan(r);
        }
        check_answer(r, j);
        while (r->n_flights > 0)
            complete_plan(r);
    }
    uint64_t n = sched_stats_of(r->s).drafted_tokens;
    harness_destroy(r);
    return n;
}

/* A cheap draft model is used and a dear one given up, by itself. */
static void the_model_is_given_up(void **state)
{
    (void)state;
    uint64_t cheap = drafted_at(50), dear = drafted_at(1500);
    if (cheap < 1500 || dear > 200)
        fail_msg("%u tokens drafted by a cheap model, %u by a dear one", (unsigned)cheap, (unsigned)dear);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_model_follows_its_price), cmocka_unit_test(the_model_reads_rightly),
        cmocka_unit_test(the_model_reads_once),        cmocka_unit_test(the_model_catches_up),
        cmocka_unit_test(the_model_may_have_no_room),  cmocka_unit_test(draft_tokens_are_counted),
        cmocka_unit_test(the_model_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
