/* Bad input: each kind gets a typed error that names its subject, and the server lives on. */
#include "tests/gateway/gateway_harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "proto/base/clock.h"
#include "tests/gateway/main_filter.h"

static void lives_on(harness *r, peer *p)
{
    peer_check_answer(p, r, "alive", "still there?", 10, true);
    wire_stats stats = peer_stats(p);
    assert_int_equal(stats.kv_blocks_free, stats.kv_blocks_total);
    assert_int_equal(stats.queued + stats.running, 0);
}

static void garbage(void **state)
{
    (void)state;
    harness *r = harness_create();
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    uint8_t bytes[300];
    srand(5);
    for (size_t n = 0; n < sizeof bytes; n += 13) {
        for (size_t i = 0; i < n; i++)
            bytes[i] = (uint8_t)rand();
        peer_send_bytes(&p, bytes, n);
        wire_reply reply;
        peer_receive(&p, &reply);
        assert_int_equal(reply.kind, WIRE_REPLY_ERROR);
        wire_reply_release(&reply);
    }
    wire_stats stats = peer_stats(&p);
    assert_int_equal(stats.malformed_messages, 24);
    assert_int_equal(stats.requests_refused, 24);
    /* Frames that no client of ours sends. */
    assert_int_equal(zmq_send(p.socket, "a", 1, ZMQ_SNDMORE), 1);
    assert_int_equal(zmq_send(p.socket, "b", 1, 0), 1);
    peer_expect_error(&p, "", BASE_EFORMAT, "2 frames");
    for (int i = 0; i < 5; i++)
        zmq_send(p.socket, "", 0, ZMQ_SNDMORE);
    assert_int_equal(zmq_send(p.socket, "b", 1, 0), 1);
    peer_expect_error(&p, "", BASE_EFORMAT, "6 frames");
    lives_on(r, &p);
    peer_close(&p);
    harness_end(r);
}

static void wrong_version(void **state)
{
    (void)state;
    harness *r = harness_create();
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    wire_request request = text_request("from-the-future", "abc", 5, false);
    request.version = 2;
    peer_send(&p, &request);
    peer_expect_error(&p, "from-the-future", BASE_EUNSUPPORTED, "version");
    lives_on(r, &p);
    peer_close(&p);
    harness_end(r);
}

static void prompts(void **state)
{
    (void)state;
    harness *r = harness_create();
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    char *longer = calloc(5001, 1);
    memset(longer, 'x', 5000);
    wire_request request = text_request("long", longer, 5, false);
    peer_send(&p, &request);
    peer_expect_error(&p, "long", BASE_ETOOBIG, "5001 tokens");
    free(longer);
    request = text_request("empty", "", 5, false);
    peer_send(&p, &request);
    peer_expect_error(&p, "empty", BASE_EINVAL, NULL);
    lives_on(r, &p);
    peer_close(&p);
    harness_end(r);
}

static void send_parts(peer *p, const char *id, const wire_part *parts, size_t n)
{
    wire_request request = text_request(id, "", 5, false);
    request.generate.parts = parts;
    request.generate.n_parts = n;
    peer_send(p, &request);
}

static void images(void **state)
{
    (void)state;
    harness *r = harness_create();
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    static const uint8_t not_an_image[] = "GIF89a not for us";
    const wire_part text = {.kind = WIRE_PART_TEXT, .text = "x"};
    const wire_part bad = {.kind = WIRE_PART_IMAGE, .image = not_an_image, .image_bytes = sizeof not_an_image};
    const wire_part one[] = {text, bad}, many[] = {text, bad, bad, bad, bad, bad};
    send_parts(&p, "bad", one, 2);
    peer_expect_error(&p, "bad", BASE_EUNSUPPORTED, "image 1 of 1");
    send_parts(&p, "many", many, 6);
    peer_expect_error(&p, "many", BASE_ETOOBIG, "5 images");
    /* A PNG header that promises 40000 x 40000 pixels. */
    static const uint8_t huge[] = {0x89, 'P', 'N', 'G',  '\r', '\n', 0x1a, '\n', 0,    0, 0, 13, 'I', 'H', 'D',
                                   'R',  0,   0,   0x9c, 0x40, 0,    0,    0x9c, 0x40, 8, 2, 0,  0,   0,   0,
                                   0,    0,   0,   0,    0,    0,    0,    0,    0,    0, 0, 0,  0,   0,   0};
    const wire_part enormous[] = {{.kind = WIRE_PART_IMAGE, .image = huge, .image_bytes = sizeof huge}};
    wire_reply reply;
    send_parts(&p, "huge", enormous, 1);
    peer_receive(&p, &reply);
    assert_int_equal(reply.kind, WIRE_REPLY_ERROR);
    wire_reply_release(&reply);
    lives_on(r, &p);
    peer_close(&p);
    harness_end(r);
}

static void tasks(void **state)
{
    (void)state;
    harness *r = harness_create();
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    static const uint8_t junk[] = "junk";
    const wire_part unknown[] = {{.kind = WIRE_PART_TASK, .task = "horoscope"}};
    const wire_field fields[] = {{"indication", "cough"}};
    const wire_part report = {.kind = WIRE_PART_TASK, .task = "report", .fields = fields, .n_fields = 1};
    const wire_part picture = {.kind = WIRE_PART_IMAGE, .image = junk, .image_bytes = sizeof junk};
    const wire_part missing[] = {report}, unused[] = {report, picture, picture}, early[] = {picture, report};
    send_parts(&p, "unknown", unknown, 1);
    peer_expect_error(&p, "unknown", BASE_ENOTFOUND, "horoscope");
    send_parts(&p, "missing", missing, 1);
    peer_expect_error(&p, "missing", BASE_EINVAL, "1 more image");
    send_parts(&p, "unused", unused, 3);
    peer_expect_error(&p, "unused", BASE_EINVAL, "image 2 has no place");
    send_parts(&p, "early", early, 2);
    peer_expect_error(&p, "early", BASE_EINVAL, "image 1 has no place");
    lives_on(r, &p);
    peer_close(&p);
    harness_end(r);
}

static void too_large_message(void **state)
{
    (void)state;
    harness *r = harness_create();
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    uint8_t *bytes = calloc(3u << 20, 1);
    peer_send_bytes(&p, bytes, (1u << 20) + 1);
    peer_expect_error(&p, "", BASE_ETOOBIG, "1048577 bytes");
    peer_send_bytes(&p, bytes, 3u << 20); /* beyond twice the limit the connection is cut, and made again */
    free(bytes);
    base_clock_nap(300000);
    lives_on(r, &p);
    peer_close(&p);
    harness_end(r);
}

static void queue_full(void **state)
{
    (void)state;
    harness *r = harness_create();
    r->options.max_queue = 3;
    r->replica_options.limits.max_seqs = 1;
    r->replica_options.step_us = 2000;
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    uint32_t n_ok = 0, n_busy = 0;
    char id[16];
    for (int i = 0; i < 10; i++) {
        snprintf(id, sizeof id, "q%d", i);
        wire_request request = text_request(id, "abc", 60, false);
        peer_send(&p, &request);
        base_clock_nap(5000); /* the first is running before the queue fills */
    }
    for (int i = 0; i < 10; i++) {
        wire_reply reply;
        peer_receive(&p, &reply);
        n_ok += reply.kind == WIRE_REPLY_RESULT;
        if (reply.kind == WIRE_REPLY_ERROR) {
            assert_int_equal(reply.error.code, BASE_EBUSY);
            assert_non_null(strstr(reply.error.message, "3 requests wait"));
            n_busy++;
        }
        wire_reply_release(&reply);
    }
    assert_true(n_ok >= 4);
    assert_int_equal(n_ok + n_busy, 10);
    assert_true(n_busy > 0);
    lives_on(r, &p);
    peer_close(&p);
    harness_end(r);
}

static void duplicate_id(void **state)
{
    (void)state;
    harness *r = harness_create();
    r->replica_options.step_us = 3000;
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER), other = peer_open(r, ZMQ_DEALER);
    wire_request request = text_request("same", "abc", 50, false);
    wire_reply reply;
    peer_send(&p, &request);
    peer_send(&p, &request);
    peer_send(&other, &request); /* another connection may use it */
    peer_expect_error(&p, "same", BASE_EINVAL, "in use");
    peer_receive(&p, &reply);
    assert_int_equal(reply.kind, WIRE_REPLY_RESULT);
    wire_reply_release(&reply);
    peer_receive(&other, &reply);
    assert_int_equal(reply.kind, WIRE_REPLY_RESULT);
    wire_reply_release(&reply);
    lives_on(r, &p);
    peer_close(&p);
    peer_close(&other);
    harness_end(r);
}

static void tokens_that_never_fit(void **state)
{
    (void)state;
    harness *r = harness_create();
    r->replica_options.limits.n_kv_blocks = 4;
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    wire_request request = text_request("a", "abc", 1000, false);
    peer_send(&p, &request);
    peer_expect_error(&p, "a", BASE_ETOOBIG, "cache of 128 tokens");
    request = text_request("b", "abc", 0, false); /* the default gives way */
    wire_reply reply;
    peer_send(&p, &request);
    peer_receive(&p, &reply);
    assert_int_equal(reply.kind, WIRE_REPLY_RESULT);
    assert_int_equal(reply.result.completion_tokens, 124);
    wire_reply_release(&reply);
    lives_on(r, &p);
    peer_close(&p);
    harness_end(r);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(garbage),    cmocka_unit_test(wrong_version), cmocka_unit_test(prompts),
    cmocka_unit_test(images),     cmocka_unit_test(tasks),         cmocka_unit_test(too_large_message),
    cmocka_unit_test(queue_full), cmocka_unit_test(duplicate_id),  cmocka_unit_test(tokens_that_never_fit),
};

RUN_CASES(tests)
