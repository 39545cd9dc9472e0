/* Rule 6 of sched.h: where the rows of an image see each other, no chunk divides them. */
#include "tests/helpers/sched_harness.h"

static link_limits whole(void)
{
    link_limits limits = SMALL; /* 6 rows an image */
    limits.whole_images = 1;
    return limits;
}

static void chunks_end_between_images(void **state)
{
    (void)state;
    harness *r = harness_create(whole(), 1, 8, 8, 0);
    job *j = job_make(r, 0, 30, 3, 2, 1); /* one token, 18 rows, 11 tokens */
    assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
    const uint32_t expected[] = {7, 6, 8, 8, 1};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        assert_true(send_plan(r));
        assert_int_equal(r->last.n_tokens, expected[i]);
        complete_plan(r);
    }
    run_dry(r);
    check_answer(r, j);
    harness_destroy(r);
}

/* Seven sequences decode in steps of eight tokens: three of them skip one step for the six rows. */
static void decoding_makes_room(void **state)
{
    (void)state;
    harness *r = harness_create(whole(), 1, 8, 8, 0);
    for (uint32_t i = 0; i < 7; i++)
        assert_int_equal(submit(r, job_make(r, i, 3, 0, 40, i), 0, 0, NULL), BASE_OK);
    for (int i = 0; i < 7; i++) {
        assert_true(send_plan(r));
        complete_plan(r);
    }
    assert_int_equal(r->last_decodes, 7);
    job *late = job_make(r, 7, 9, 1, 3, 7);
    assert_int_equal(submit(r, late, 0, 0, NULL), BASE_OK);
    bool was_encoded = false;
    for (int i = 0; i < 4 && !was_encoded; i++) {
        assert_true(send_plan(r));
        was_encoded = r->last.n_images == 1;
        complete_plan(r);
    }
    assert_true(was_encoded);
    assert_true(r->last_prefill_tokens >= 6 && r->last_decodes == 2);
    run_dry(r);
    for (uint32_t i = 0; i < 8; i++)
        check_answer(r, &r->jobs[i]);
    harness_destroy(r);
}

/* The same image after another text is not encoded again, nor is one of two; another image takes the slot that was
 * free the longest. */
static void images_that_come_again_are_not_encoded(void **state)
{
    (void)state;
    for (int keeps = 0; keeps < 2; keeps++) {
        harness *r =
            harness_create_with(SMALL, 1, 64, 8, 0, (reuse_options){.reuse_prefixes = keeps != 0}); /* 4 slots */
        const struct {
            uint32_t salt, n_images, n_encoded; /* with the cache */
        } asked[] = {{1, 1, 1}, {1, 1, 0}, {1, 3, 2}, {2, 1, 1}, {1, 3, 0}, {3, 4, 4}, {1, 1, 1}, {3, 2, 1}, {3, 4, 1}};
        for (uint32_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
            job *j = job_make(r, i, 40, asked[i].n_images, 2, asked[i].salt);
            j->prompt[0] = FAKE_FIRST_CHAR + (int32_t)i; /* nothing in front is shared */
            assert_int_equal(submit(r, j, 0, 0, NULL), BASE_OK);
            assert_true(send_plan(r));
            assert_int_equal(r->last.n_images, keeps ? asked[i].n_encoded : asked[i].n_images);
            complete_plan(r);
            run_dry(r);
            check_answer(r, j);
        }
        assert_int_equal(sched_stats_of(r->s).images_reused, keeps ? 1 + 1 + 3 + 1 + 3 : 0);
        check_nothing_held(r);
        harness_destroy(r);
    }
}

static void steps_hold_an_image(void **state)
{
    (void)state;
    sched *s = NULL;
    base_error error = {0};
    sched_options options = {
        .limits = whole(), .n_stages = 1, .step_tokens = 5, .max_queue = 4, .policy = &sched_policy_fcfs};
    assert_int_equal(sched_create(&options, &s, &error), BASE_EINVAL);
    assert_non_null(strstr(error.text, "6 rows of an image go together"));
    options.step_tokens = 6;
    assert_int_equal(sched_create(&options, &s, &error), BASE_OK);
    sched_destroy(&s);
    options.limits.n_image_slots = 0; /* texts only */
    options.step_tokens = 1;
    assert_int_equal(sched_create(&options, &s, &error), BASE_OK);
    sched_destroy(&s);
}

/* What a rank refuses: rows without the next, in another order, or with a gap. */
static void divided_images_are_refused(void **state)
{
    (void)state;
    link_limits limits = whole();
    limits.rows_per_image = 3;
    const struct {
        int32_t tokens[5];
        bool is_good;
    } cases[] = {{{7, -1, -2, -3, 8}, true},   {{-2, -3, 7, -1, -2}, false}, {{-2, -3, -4, -5, -6}, true},
                 {{7, 7, -1, -2, 7}, false},   {{7, -1, -3, -2, 7}, false},  {{7, 7, 7, -1, -2}, false},
                 {{-3, -3, -1, -2, -3}, true}, {{-6, 7, 7, 7, 7}, true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t blocks[1] = {0};
        int32_t tokens[5];
        memcpy(tokens, cases[i].tokens, sizeof tokens);
        link_slice slice = {.n_tokens = 5, .pos = 1};
        link_plan plan = {.step = 1,
                          .n_slices = 1,
                          .n_tokens = 5,
                          .n_blocks = 1,
                          .slices = &slice,
                          .tokens = tokens,
                          .blocks = blocks},
                  out;
        base_buf buf = {0};
        link_plan_encode(&plan, &buf);
        base_status status = link_plan_decode(buf.data, buf.size, &limits, &out, NULL);
        assert_int_equal(status, cases[i].is_good ? BASE_OK : BASE_EFORMAT);
        if (status == BASE_OK)
            link_plan_release(&out);
        limits.whole_images = 0;
        assert_int_equal(link_plan_decode(buf.data, buf.size, &limits, &out, NULL), BASE_OK);
        link_plan_release(&out);
        limits.whole_images = 1;
        base_buf_release(&buf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_end_between_images),
        cmocka_unit_test(decoding_makes_room),
        cmocka_unit_test(images_that_come_again_are_not_encoded),
        cmocka_unit_test(steps_hold_an_image),
        cmocka_unit_test(divided_images_are_refused),
    };
    return cmocka_run_group_tests_name("sched_images", tests, NULL, NULL);
}
