/* Answers that come with their request to be scored, and the tasks of a site's own directory, through real sockets. */
#include "tests/gateway/gateway_harness.h"

#include <unistd.h>
#include <zmq.h>

#include "tests/gateway/main_filter.h"

static wire_request score_request(const char *text, const char *answer, bool stream)
{
    wire_request request = text_request("a", text, 0, stream);
    request.generate.answer = answer;
    return request;
}

/* Text, ids and logprobs of the Result are the answer's, after `prompt`; a letter is a token. */
static void check_scored(const harness *r, const wire_result *result, const char *prompt, const char *answer)
{
    int32_t tokens[HARNESS_TEXT] = {FAKE_BOS};
    size_t n_prompt = strlen(prompt), n = strlen(answer);
    for (size_t i = 0; i < n_prompt; i++)
        tokens[i + 1] = FAKE_FIRST_CHAR + (uint8_t)prompt[i];
    uint64_t state = fake_state(&r->replica_options.limits, tokens, (uint32_t)n_prompt + 1, NULL);
    assert_string_equal(result->text, answer);
    assert_int_equal(result->finish, WIRE_FINISH_LENGTH);
    assert_int_equal(result->prompt_tokens, n_prompt + 1);
    assert_int_equal(result->completion_tokens, n);
    assert_int_equal(result->n_ids, n);
    assert_int_equal(result->n_logprobs, n);
    for (size_t i = 0; i < n; i++) {
        int32_t token = FAKE_FIRST_CHAR + (uint8_t)answer[i];
        assert_int_equal(result->ids[i], token);
        assert_true(result->logprobs[i] == fake_logprob(state, token));
        state = fake_mix(state, (uint64_t)token);
    }
}

static void answers_are_scored(void **state)
{
    (void)state;
    static const char *const answers[] = {"Y", "No.", " a whole sentence, of more tokens than one draft has"};
    harness *r = harness_create();
    r->replica_options.eos_every = 3; /* nothing that would be sampled matters */
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    for (size_t i = 0; i < 6; i++) {
        wire_request request = score_request("Is it? A:", answers[i % 3], i >= 3);
        wire_reply reply;
        char streamed[HARNESS_TEXT] = "";
        peer_send(&p, &request);
        for (peer_receive(&p, &reply); reply.kind == WIRE_REPLY_TOKEN; peer_receive(&p, &reply)) {
            strncat(streamed, reply.token.text, sizeof streamed - strlen(streamed) - 1);
            wire_reply_release(&reply);
        }
        assert_int_equal(reply.kind, WIRE_REPLY_RESULT);
        check_scored(r, &reply.result, "Is it? A:", answers[i % 3]);
        assert_string_equal(streamed, i >= 3 ? answers[i % 3] : "");
        wire_reply_release(&reply);
    }
    wire_stats stats = peer_stats(&p);
    assert_int_equal(stats.running + stats.queued, 0);
    assert_int_equal(stats.drafted_tokens, 0);
    peer_check_answer(&p, r, "b", "abc", 20, true); /* who wants an answer written gets one, without logprobs */
    peer_close(&p);
    harness_end(r);
}

static void bad_answers_are_refused(void **state)
{
    (void)state;
    harness *r = harness_create();
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    char long_answer[HARNESS_TEXT];
    uint32_t room = r->replica_options.limits.max_positions - 4; /* besides <s> and "abc" */
    memset(long_answer, 'x', sizeof long_answer);
    long_answer[room + 1] = '\0';
    wire_request request = score_request("abc", long_answer, false);
    peer_send(&p, &request);
    peer_expect_error(&p, "a", BASE_ETOOBIG, "generate.answer has more than");
    request.generate.answer = "Yes.";
    request.generate.max_tokens = 4;
    peer_send(&p, &request);
    peer_expect_error(&p, "a", BASE_EINVAL, "generate.answer");
    wire_stats stats = peer_stats(&p);
    assert_int_equal(stats.running + stats.queued, 0); /* no place in the queue was lost */
    long_answer[room] = '\0';                          /* just fits */
    request = score_request("abc", long_answer, false);
    wire_reply reply;
    peer_send(&p, &request);
    peer_receive(&p, &reply);
    assert_int_equal(reply.kind, WIRE_REPLY_RESULT);
    check_scored(r, &reply.result, "abc", long_answer);
    wire_reply_release(&reply);
    peer_close(&p);
    harness_end(r);
}

/* A directory whose file is wrong keeps the coordinator from starting; a right one's task can be asked. */
static void sites_tasks_are_asked(void **state)
{
    (void)state;
    static const char good[] =
        "{\"name\": \"greet\", \"title\": \"\", \"instruction\": \"\", \"query\": \"Hello {who}\", \"images\": 0,\n"
        "\"fields\": {\"who\": {\"kind\": \"text\", \"default\": \"you\"}}, \"answer\": {\"form\": \"text\"}}";
    char dir[] = "/tmp/palmgrove-tasks-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/greet.json", dir);
    for (int poll_once = 0; poll_once < 2; poll_once++) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        assert_true(fwrite(good, 1, sizeof good - 1 - (poll_once == 0), file) > 0); /* first without its last brace */
        assert_int_equal(fclose(file), 0);
        harness *r = harness_create();
        r->options.task_dir = dir;
        base_error error = {0};
        if (poll_once == 0) {
            assert_int_equal(coord_start(&r->options, r->zmq, &r->coord, &error), BASE_EFORMAT);
            assert_non_null(strstr(error.text, "/greet.json:2:"));
            harness_free(r);
            continue;
        }
        harness_start(r);
        peer p = peer_open(r, ZMQ_DEALER);
        const wire_part part = {.kind = WIRE_PART_TASK, .task = "greet"};
        wire_request request = score_request("", "Hi", false);
        request.generate.parts = &part;
        request.generate.n_parts = 1;
        wire_reply reply;
        peer_send(&p, &request);
        peer_receive(&p, &reply);
        assert_int_equal(reply.kind, WIRE_REPLY_RESULT);
        check_scored(r, &reply.result, "Hello you", "Hi");
        wire_reply_release(&reply);
        peer_close(&p);
        harness_end(r);
    }
    unlink(path);
    rmdir(dir);
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(answers_are_scored),
                                          cmocka_unit_test(bad_answers_are_refused),
                                          cmocka_unit_test(sites_tasks_are_asked)};

RUN_CASES(tests)
