/* Answers that are given to be scored: their tokens and nothing else come back, with the likelihood of each where it
 * is, whatever runs with them and however often they are preempted. */
#include "tests/helpers/sched_harness.h"

static const reuse_options PLAIN = {0}, ALL = {.reuse_prefixes = true, .speculate = SCHED_SPECULATE_AUTO};

/* Answers of one token, of a draft and less, and of many drafts. */
static void answers_are_scored(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {1, 2, 3, 8, 15, 16, 17, 40};
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++)
        for (uint32_t n_stages = 1; n_stages <= 3; n_stages++)
            for (int w = 0; w < 2; w++) {
                harness *r = harness_create_with(SMALL, n_stages, 0, 4, 3, w == 0 ? PLAIN : ALL);
                job *j = job_make(r, 0, 50, 1, 0, 3);
                give_answer(j, lengths[k], 5);
                assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
                run_dry(r);
                check_scores(r, j);
                assert_int_equal(j->reuse.n_drafted, 0);
                assert_int_equal(sched_stats_of(r->s).drafted_tokens, 0);
                check_nothing_held(r);
                harness_destroy(r);
            }
}

/* Alone, an answer takes two steps: the prompt with its first token, and all the others at once. */
static void few_steps_are_taken(void **state)
{
    (void)state;
    harness *r = harness_create(SMALL, 1, 0, 4, 0);
    job *j = job_make(r, 0, 50, 0, 0, 3);
    give_answer(j, 7, 5);
    assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
    run_dry(r);
    check_scores(r, j);
    assert_int_equal(sched_stats_of(r->s).steps, 2);
    harness_destroy(r);
}

/* The prompt is computed for the first answer only. */
static void answers_share_their_prompt(void **state)
{
    (void)state;
    harness *r = harness_create_with(SMALL, 2, 0, 4, 0, ALL);
    for (uint32_t i = 0; i < 3; i++) {
        job *j = job_make(r, i, 70, 1, 0, 3);
        give_answer(j, 4, i);
        assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
        run_dry(r);
        check_scores(r, j);
        assert_int_equal(j->reuse.n_cached, i == 0 ? 0 : 64);
    }
    harness_destroy(r);
}

static void bad_answers_are_refused(void **state)
{
    (void)state;
    harness *r = harness_create(SMALL, 1, 0, 8, 0);
    base_error error;
    job *j = job_make(r, 0, 20, 0, 0, 1);
    give_answer(j, 3, 1);
    j->prompt[21] = -1;
    assert_int_equal(submit(r, j, 0, 0, &error), BASE_EINVAL);
    j->prompt[21] = FAKE_VOCAB;
    assert_int_equal(submit(r, j, 0, 0, &error), BASE_EINVAL);
    assert_non_null(strstr(error.text, "outside the vocabulary"));
    give_answer(j, 3, 1);
    j->n_resumed = 1;
    assert_int_equal(submit(r, j, 0, 0, &error), BASE_EINVAL);
    j->n_resumed = 0;
    give_answer(j, 390, 1);
    assert_int_equal(submit(r, j, 0, 0, &error), BASE_ETOOBIG);
    harness_destroy(r);
}

static uint32_t next_random(uint64_t *seed, uint32_t below)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*seed >> 33) % below);
}

/* Both kinds side by side in a cache that is too small for them, so that sequences are preempted and recomputed. */
static void scores_survive_crowds(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        uint64_t random = seed;
        link_limits limits = SMALL;
        limits.n_kv_blocks = 14;
        harness *r = harness_create_with(limits, 1 + (uint32_t)seed % 3, seed % 2 ? 0 : 17, JOBS_MAX, 50,
                                         seed % 4 < 2 ? PLAIN : ALL);
        for (uint32_t i = 0; i < JOBS_MAX; i++) {
            job *j = job_make(r, i, 1 + next_random(&random, 120), next_random(&random, 5) == 0,
                              1 + next_random(&random, 120), next_random(&random, 4));
            if (next_random(&random, 2) == 0)
                give_answer(j, 1 + next_random(&random, 60), next_random(&random, 9));
            assert_int_equal(submit(r, j, next_random(&random, 3) == 0, 0, NULL), BASE_OK);
            for (uint32_t k = next_random(&random, 4); k > 0; k--)
                if (send_plan(r) && r->n_flights > 1)
                    complete_plan(r);
        }
        run_dry(r);
        for (uint32_t i = 0; i < JOBS_MAX; i++) {
            if (r->jobs[i].n_scored > 0)
                check_scores(r, &r->jobs[i]);
            else
                check_answer(r, &r->jobs[i]);
        }
        check_nothing_held(r);
        harness_destroy(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_scored),         cmocka_unit_test(few_steps_are_taken),
        cmocka_unit_test(answers_share_their_prompt), cmocka_unit_test(bad_answers_are_refused),
        cmocka_unit_test(scores_survive_crowds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
