/* What a client gets for a well-formed request, and what it can do to a running one. */
#include "tests/gateway/gateway_harness.h"

#include <stdio.h>
#include <string.h>
#include <zmq.h>

#include "coordinator/image/image.h"
#include "proto/base/clock.h"
#include "tests/gateway/main_filter.h"

static void whole(void **state)
{
    (void)state;
    harness *r = harness_create();
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    peer_check_answer(&p, r, "a", "Describe the picture.", 100, false);
    peer_close(&p);
    harness_end(r);
}

static void stream(void **state)
{
    (void)state;
    harness *r = harness_create();
    r->replica_options.eos_every = 40;
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    peer_check_answer(&p, r, "a", "one", 300, true);
    peer_check_answer(&p, r, "b", "two", 300, true);
    peer_check_answer(&p, r, "c", "three", 1, true);
    peer_close(&p);
    harness_end(r);
}

/* A REQ socket sends an empty frame first and wants it back. */
static void req_socket(void **state)
{
    (void)state;
    harness *r = harness_create();
    harness_start(r);
    peer p = peer_open(r, ZMQ_REQ);
    peer_check_answer(&p, r, "a", "hello", 20, false);
    peer_check_answer(&p, r, "a", "again", 20, false);
    peer_close(&p);
    harness_end(r);
}

static void result_fields(void **state)
{
    (void)state;
    harness *r = harness_create();
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    wire_request request = text_request("id-1", "abc", 0, false);
    request.generate.logits_digest = true;
    request.generate.sampling = (wire_sampling){.temperature = 0.7f, .top_p = 0.9f, .top_k = 5, .seed = 42};
    char expected[HARNESS_TEXT], digest[17] = "";
    link_sampling sampling = {.temperature = 0.7f, .top_p = 0.9f, .top_k = 5, .seed = 42};
    harness_expect(r, "abc", 256, &sampling, expected); /* 256: the default */
    for (int i = 0; i < 2; i++) {
        wire_reply reply;
        peer_send(&p, &request);
        peer_receive(&p, &reply);
        assert_int_equal(reply.kind, WIRE_REPLY_RESULT);
        const wire_result *result = &reply.result;
        assert_string_equal(result->text, expected);
        assert_int_equal(result->completion_tokens, 256);
        assert_string_equal(result->layout, "tp2 x pp2");
        assert_string_equal(result->isa, "fake");
        assert_int_equal(strlen(result->model_digest), 64);
        assert_string_equal(result->model, strrchr(r->dir, '/') + 1);
        assert_true(result->build[0] != '\0');
        assert_int_equal(result->seed, 42);
        assert_int_equal(strlen(result->logits_digest), 16);
        assert_true(i == 0 || strcmp(digest, result->logits_digest) == 0);
        snprintf(digest, sizeof digest, "%s", result->logits_digest);
        assert_true(result->prepare_ms >= 0 && result->queue_ms >= 0);
        assert_true(result->first_token_ms > 0 && result->total_ms >= result->first_token_ms);
        wire_reply_release(&reply);
    }
    peer_close(&p);
    harness_end(r);
}

static void stop_string(void **state)
{
    (void)state;
    harness *r = harness_create();
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    char expected[HARNESS_TEXT], stop[4];
    harness_expect(r, "abc", 200, NULL, expected);
    snprintf(stop, sizeof stop, "%.3s", expected + 50);
    char *found = strstr(expected, stop);
    *found = '\0';
    const char *stops[] = {"THIS NEVER COMES", stop};
    for (int i = 0; i < 2; i++) {
        wire_request request = text_request("a", "abc", 200, i == 1);
        request.generate.stop = stops;
        request.generate.n_stop = 2;
        char streamed[HARNESS_TEXT] = "";
        wire_reply reply;
        peer_send(&p, &request);
        for (peer_receive(&p, &reply); reply.kind == WIRE_REPLY_TOKEN; peer_receive(&p, &reply)) {
            strncat(streamed, reply.token.text, sizeof streamed - strlen(streamed) - 1);
            wire_reply_release(&reply);
        }
        assert_int_equal(reply.kind, WIRE_REPLY_RESULT);
        assert_string_equal(reply.result.text, expected);
        assert_int_equal(reply.result.finish, WIRE_FINISH_STOP);
        assert_string_equal(streamed, i == 1 ? expected : "");
        wire_reply_release(&reply);
    }
    peer_close(&p);
    harness_end(r);
}

/* One image between two texts: its rows are in its place, and made of its pixels. */
static void image_prompt(void **state)
{
    (void)state;
    harness *r = harness_create();
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    uint8_t grey[40 * 30], square[28 * 28 * 3];
    for (size_t i = 0; i < sizeof grey; i++)
        grey[i] = (uint8_t)(i * 7);
    base_buf png = {0};
    assert_int_equal(image_encode_png(grey, 40, 30, 1, 8, &png, NULL), BASE_OK);
    image decoded = {.width = 40, .height = 30, .channels = 1, .pixels = grey};
    assert_int_equal(image_fit_square(&decoded, 28, square, NULL), BASE_OK);

    const uint8_t *images[] = {square};
    int32_t tokens[] = {FAKE_BOS, FAKE_FIRST_CHAR + 'x', -1, -2, -3, -4, FAKE_FIRST_CHAR + 'y'}, made[30];
    link_sampling greedy = {.top_p = 1.0f};
    fake_expect(&r->replica_options.limits, 0, tokens, 7, images, &greedy, 30, made);

    const wire_part parts[] = {{.kind = WIRE_PART_TEXT, .text = "x"},
                               {.kind = WIRE_PART_IMAGE, .image = png.data, .image_bytes = png.size},
                               {.kind = WIRE_PART_TEXT, .text = "y"}};
    wire_request request = text_request("a", "", 30, false);
    request.generate.parts = parts;
    request.generate.n_parts = 3;
    wire_reply reply;
    peer_send(&p, &request);
    peer_receive(&p, &reply);
    assert_int_equal(reply.kind, WIRE_REPLY_RESULT);
    assert_int_equal(reply.result.prompt_tokens, 7);
    assert_int_equal(reply.result.image_tokens, 4);
    for (size_t i = 0; i < 30; i++)
        assert_int_equal(reply.result.ids[i], made[i]);
    wire_reply_release(&reply);
    base_buf_release(&png);
    peer_close(&p);
    harness_end(r);
}

static void cancel(void **state)
{
    (void)state;
    harness *r = harness_create();
    r->replica_options.step_us = 2000;
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    wire_request request = text_request("a", "abc", 4000, true);
    wire_reply reply;
    peer_send(&p, &request);
    peer_receive(&p, &reply);
    assert_int_equal(reply.kind, WIRE_REPLY_TOKEN);
    wire_reply_release(&reply);
    wire_request stop = {.version = WIRE_VERSION, .request_id = "unknown", .kind = WIRE_REQUEST_CANCEL};
    peer_send(&p, &stop); /* of no effect */
    snprintf(stop.request_id, sizeof stop.request_id, "a");
    peer_send(&p, &stop);
    for (peer_receive(&p, &reply); reply.kind == WIRE_REPLY_TOKEN; peer_receive(&p, &reply))
        wire_reply_release(&reply);
    assert_int_equal(reply.kind, WIRE_REPLY_ERROR);
    assert_int_equal(reply.error.code, BASE_ECANCELED);
    wire_reply_release(&reply);
    peer_check_answer(&p, r, "a", "the id is free again", 10, true);
    wire_stats stats = peer_stats(&p);
    assert_int_equal(stats.requests_canceled, 1);
    assert_int_equal(stats.requests_finished, 1);
    assert_int_equal(stats.kv_blocks_free, stats.kv_blocks_total);
    peer_close(&p);
    harness_end(r);
}

static void deadline(void **state)
{
    (void)state;
    harness *r = harness_create();
    r->replica_options.step_us = 2000;
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    wire_request request = text_request("a", "abc", 4000, false);
    request.generate.deadline_ms = 150;
    uint64_t start_us = base_clock_us();
    peer_send(&p, &request);
    peer_expect_error(&p, "a", BASE_EDEADLINE, "deadline");
    uint64_t spent_us = base_clock_us() - start_us;
    assert_true(spent_us >= 150000 && spent_us < 5000000);
    peer_close(&p);
    harness_end(r);
}

static void health_and_stats(void **state)
{
    (void)state;
    harness *r = harness_create();
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    wire_request request = {.version = WIRE_VERSION, .request_id = "h", .kind = WIRE_REQUEST_HEALTH};
    wire_reply reply;
    peer_send(&p, &request);
    peer_receive(&p, &reply);
    assert_int_equal(reply.kind, WIRE_REPLY_HEALTH);
    assert_string_equal(reply.health.state, "ready");
    assert_string_equal(reply.health.layout, "tp2 x pp2");
    wire_reply_release(&reply);
    peer_check_answer(&p, r, "a", "abcd", 33, false);
    wire_stats stats = peer_stats(&p);
    assert_int_equal(stats.requests_admitted, 1);
    assert_int_equal(stats.requests_finished, 1);
    assert_int_equal(stats.prompt_tokens, 5);
    assert_int_equal(stats.completion_tokens, 33);
    assert_true(stats.steps >= 33);
    assert_int_equal(stats.kv_blocks_total, 512);
    assert_true(stats.resident_bytes > 1 << 20);
    peer_close(&p);
    harness_end(r);
}

/* Before the replica has said hello the gateway answers, and says why it cannot serve. */
static void starting(void **state)
{
    (void)state;
    harness *r = harness_create();
    r->replica_options.hello_delay_ms = 400;
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    wire_request health = {.version = WIRE_VERSION, .request_id = "h", .kind = WIRE_REQUEST_HEALTH};
    wire_request request = text_request("a", "abc", 5, false);
    wire_reply reply;
    peer_send(&p, &health);
    peer_receive(&p, &reply);
    assert_string_equal(reply.health.state, "starting");
    wire_reply_release(&reply);
    peer_send(&p, &request);
    peer_expect_error(&p, "a", BASE_EBUSY, "loading");
    while (!atomic_load(&r->is_ready))
        base_clock_nap(1000);
    peer_check_answer(&p, r, "a", "abc", 5, false);
    peer_close(&p);
    harness_end(r);
}

static void ready_line(void **state)
{
    (void)state;
    harness *r = harness_create();
    r->endpoints[1] = "tcp://127.0.0.1:*";
    r->options.n_endpoints = 2;
    harness_start(r);
    assert_non_null(strstr(r->ready_line, "ready: palm_e model 'palmgrove-test-"));
    assert_non_null(strstr(r->ready_line, "layout tp2 x pp2"));
    assert_non_null(strstr(r->ready_line, "at most 8 MiB"));
    const char *tcp = strstr(r->ready_line, "tcp://127.0.0.1:");
    assert_non_null(tcp);
    assert_null(strchr(tcp, '*'));
    assert_non_null(strstr(r->ready_line, r->endpoint));
    snprintf(r->endpoint, sizeof r->endpoint, "%s", tcp); /* it is the last on the line */
    peer p = peer_open(r, ZMQ_DEALER);
    peer_check_answer(&p, r, "a", "over tcp", 20, true);
    peer_close(&p);
    snprintf(r->endpoint, sizeof r->endpoint, "ipc://%s/gate", r->dir);
    harness_end(r);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(whole),         cmocka_unit_test(stream),      cmocka_unit_test(req_socket),
    cmocka_unit_test(result_fields), cmocka_unit_test(stop_string), cmocka_unit_test(image_prompt),
    cmocka_unit_test(cancel),        cmocka_unit_test(deadline),    cmocka_unit_test(health_and_stats),
    cmocka_unit_test(starting),      cmocka_unit_test(ready_line),
};

RUN_CASES(tests)
