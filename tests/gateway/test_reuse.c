/* Work that is skipped and reported: answers resumed after a crash, prompts that begin alike, drafts.  Text and ids are
 * always those of a run that computed everything. */
#include "tests/gateway/gateway_harness.h"

#include <zmq.h>

#include "tests/gateway/main_filter.h"

enum { N_TOKENS = 40 };

/* Ask for `text` again, going on after the first n ids of `whole`; the deltas are collected in `streamed`. */
static wire_reply resume(peer *p, const wire_result *whole, const char *stop, uint32_t n, char streamed[HARNESS_TEXT])
{
    wire_request request = text_request("a", "abc", N_TOKENS, true);
    wire_reply reply;
    request.generate.stop = &stop;
    request.generate.n_stop = stop != NULL;
    request.generate.resume_ids = whole->ids;
    request.generate.n_resume_ids = n;
    streamed[0] = '\0';
    peer_send(p, &request);
    for (peer_receive(p, &reply); reply.kind == WIRE_REPLY_TOKEN; peer_receive(p, &reply)) {
        strncat(streamed, reply.token.text, HARNESS_TEXT - strlen(streamed) - 1);
        wire_reply_release(&reply);
    }
    return reply;
}

static wire_reply ask(peer *p, const char *stop)
{
    static const wire_result nothing;
    char streamed[HARNESS_TEXT];
    wire_reply reply = resume(p, &nothing, stop, 0, streamed);
    assert_int_equal(reply.kind, WIRE_REPLY_RESULT);
    return reply;
}

/* From every place, with and without a stop string: the whole result is that of one run, and streamed is what had not
 * been said. */
static void check_resumed(peer *p, const char *stop)
{
    wire_reply whole = ask(p, stop);
    const wire_result *w = &whole.result;
    char said[HARNESS_TEXT] = "", streamed[HARNESS_TEXT];
    for (uint32_t n = 0; n <= w->n_ids; n++) {
        wire_reply reply = resume(p, w, stop, n, streamed);
        assert_int_equal(reply.kind, WIRE_REPLY_RESULT);
        assert_string_equal(reply.result.text, w->text);
        assert_int_equal(reply.result.finish, w->finish);
        assert_int_equal(reply.result.n_ids, w->n_ids);
        assert_memory_equal(reply.result.ids, w->ids, w->n_ids * sizeof *w->ids);
        assert_int_equal(reply.result.completion_tokens, w->completion_tokens);
        assert_int_equal(reply.result.prompt_tokens, w->prompt_tokens);
        size_t length = strlen(w->text) - strlen(streamed);
        assert_string_equal(streamed, w->text + length);
        snprintf(said, sizeof said, "%.*s", (int)length,
                 w->text); /* a letter a token, but for what a stop string held back */
        assert_true(strlen(said) <= n && strlen(said) + (stop != NULL ? strlen(stop) : 0) + 1 > n * (n < w->n_ids));
        wire_reply_release(&reply);
    }
    wire_reply_release(&whole);
}

static void resumes(void **state)
{
    (void)state;
    harness *r = harness_create();
    r->replica_options.eos_every = 200;
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    check_resumed(&p, NULL);
    char expected[HARNESS_TEXT], stop[4];
    harness_expect(r, "abc", N_TOKENS, NULL, expected);
    snprintf(stop, sizeof stop, "%.3s", expected + 20);
    check_resumed(&p, stop);
    wire_stats stats = peer_stats(&p);
    assert_int_equal(stats.requests_failed, 0);
    assert_int_equal(stats.running + stats.queued, 0);
    peer_close(&p);
    harness_end(r);
}

static void bad_ids_are_refused(void **state)
{
    (void)state;
    harness *r = harness_create();
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    uint32_t ids[N_TOKENS + 1] = {FAKE_FIRST_CHAR + 'a', FAKE_VOCAB};
    wire_request request = text_request("a", "abc", N_TOKENS, false);
    request.generate.resume_ids = ids;
    request.generate.n_resume_ids = 2;
    peer_send(&p, &request);
    peer_expect_error(&p, "a", BASE_EINVAL, "resume_ids[1] is 259");
    ids[1] = FAKE_EOS;
    peer_send(&p, &request);
    peer_expect_error(&p, "a", BASE_EINVAL, "ends an answer");
    request.generate.n_resume_ids = N_TOKENS + 1;
    peer_send(&p, &request);
    peer_expect_error(&p, "a", BASE_ETOOBIG, "41 tokens; this answer has at most 40");
    wire_stats stats = peer_stats(&p);
    assert_int_equal(stats.running + stats.queued, 0); /* no place in the queue was lost */
    peer_check_answer(&p, r, "a", "abc", N_TOKENS, true);
    peer_close(&p);
    harness_end(r);
}

/* The draft model's tokens are reported as n-gram drafts are. */
static void draft_model_acceptance_is_reported(void **state)
{
    (void)state;
    harness *r = harness_create();
    r->options.speculate = 4;
    r->replica_options.limits.n_draft_blocks = 64;
    r->replica_options.limits.draft_positions = 1024;
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    char expected[HARNESS_TEXT];
    harness_expect(r, "abc", 120, NULL, expected); /* nothing to look up: no letter follows from those before */
    wire_request request = text_request("a", "abc", 120, false);
    wire_reply reply;
    peer_send(&p, &request);
    peer_receive(&p, &reply);
    assert_int_equal(reply.kind, WIRE_REPLY_RESULT);
    assert_string_equal(reply.result.text, expected);
    assert_in_range(reply.result.accepted_tokens, 60, 100);
    wire_stats stats = peer_stats(&p);
    assert_int_equal(stats.accepted_tokens, reply.result.accepted_tokens);
    assert_int_equal(stats.drafted_tokens, reply.result.drafted_tokens);
    assert_true(stats.steps < 70);
    wire_reply_release(&reply);
    peer_close(&p);
    harness_end(r);
}

/* The second of two equal requests computes little, and both say so. */
static void reuse_is_reported(void **state)
{
    (void)state;
    for (uint32_t on = 0; on < 2; on++) {
        harness *r = harness_create();
        r->options.no_prefix_cache = on == 0;
        r->options.speculate = on == 0 ? 0 : 4;
        r->replica_options.eos_every = FAKE_PHRASES;
        harness_start(r);
        peer p = peer_open(r, ZMQ_DEALER);
        char text[101] = "", expected[HARNESS_TEXT];
        memset(text, 'q', sizeof text - 1);
        harness_expect(r, text, 120, NULL, expected);
        for (uint32_t i = 0; i < 2; i++) {
            wire_request request = text_request("a", text, 120, false);
            wire_reply reply;
            peer_send(&p, &request);
            peer_receive(&p, &reply);
            assert_int_equal(reply.kind, WIRE_REPLY_RESULT);
            assert_string_equal(reply.result.text, expected);
            assert_int_equal(reply.result.reused_tokens, on * i * 96); /* three blocks of the 101 tokens */
            assert_int_equal(reply.result.accepted_tokens > 20, on);
            assert_true(reply.result.accepted_tokens <= reply.result.drafted_tokens);
            wire_reply_release(&reply);
        }
        wire_stats stats = peer_stats(&p);
        assert_int_equal(stats.prefix_requests, on);
        assert_int_equal(stats.prefix_tokens, on * 96);
        assert_int_equal(stats.drafted_tokens > 0, on);
        assert_int_equal(stats.kv_blocks_kept > 0, on);
        assert_int_equal(stats.kv_blocks_free, stats.kv_blocks_total);
        assert_true(on == 0 || stats.steps < 220); /* of 240 tokens */
        peer_close(&p);
        harness_end(r);
    }
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(resumes), cmocka_unit_test(bad_ids_are_refused),
                                          cmocka_unit_test(reuse_is_reported),
                                          cmocka_unit_test(draft_model_acceptance_is_reported)};

RUN_CASES(tests)
