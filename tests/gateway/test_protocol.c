/* What docs/PROTOCOL.md says of codes, ids and counts, asked of a gateway. */
#include "tests/gateway/gateway_harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "proto/base/clock.h"
#include "tests/gateway/main_filter.h"

/* ---- one broken limit each ---- */

enum { TEXT_BYTES = (1 << 20) + 2 };

/* What the requests below borrow. */
static wire_part parts[65];
static wire_field fields[33];
static float numbers[65537];
static char long_text[TEXT_BYTES], name_of_65[66];
static uint32_t ids[2] = {1, 1};
static const char *stops[9] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};
static const char *const empty_stop[] = {""}, *const long_stop[] = {name_of_65};

static wire_part *one_part(wire_request *r, wire_part part)
{
    parts[0] = part;
    r->generate.parts = parts;
    r->generate.n_parts = 1;
    return parts;
}

static void no_id(wire_request *r)
{
    r->request_id[0] = '\0';
}
static void id_with_newline(wire_request *r)
{
    snprintf(r->request_id, sizeof r->request_id, "a\nb");
}
static void other_version(wire_request *r)
{
    r->version = 2;
}
static void no_parts(wire_request *r)
{
    r->generate.n_parts = 0;
}
static void empty_text(wire_request *r)
{
    one_part(r, (wire_part){.kind = WIRE_PART_TEXT, .text = ""});
}
static void empty_image(wire_request *r)
{
    one_part(r, (wire_part){.kind = WIRE_PART_IMAGE});
}
static void many_parts(wire_request *r)
{
    for (size_t i = 0; i < 65; i++)
        parts[i] = (wire_part){.kind = WIRE_PART_TEXT, .text = "x"};
    r->generate.parts = parts;
    r->generate.n_parts = 65;
}
static void much_text(wire_request *r)
{
    one_part(r, (wire_part){.kind = WIRE_PART_TEXT, .text = long_text});
}
static void many_stops(wire_request *r)
{
    r->generate.stop = stops, r->generate.n_stop = 9;
}
static void one_empty_stop(wire_request *r)
{
    r->generate.stop = empty_stop, r->generate.n_stop = 1;
}
static void one_long_stop(wire_request *r)
{
    r->generate.stop = long_stop, r->generate.n_stop = 1;
}
static void hot(wire_request *r)
{
    r->generate.sampling.temperature = 10.5f;
}
static void not_a_temperature(wire_request *r)
{
    r->generate.sampling.temperature = NAN;
}
static void top_p_above_1(wire_request *r)
{
    r->generate.sampling.top_p = 1.5f;
}
static void many_tokens(wire_request *r)
{
    r->generate.max_tokens = (1 << 20) + 1;
}
static void other_priority(wire_request *r)
{
    r->generate.priority = (wire_priority)2;
}
static void resumed_beyond(wire_request *r)
{
    r->generate.resume_ids = ids, r->generate.n_resume_ids = 2;
}
static void resumed_outside(wire_request *r)
{
    static const uint32_t outside[] = {1u << 30};
    r->generate.resume_ids = outside, r->generate.n_resume_ids = 1;
}
static void answer_and_tokens(wire_request *r)
{
    r->generate.answer = "yes";
}
static void answer_and_stop(wire_request *r)
{
    r->generate.answer = "yes", r->generate.max_tokens = 0;
    r->generate.stop = stops, r->generate.n_stop = 1;
}
static void long_prompt(wire_request *r)
{
    static char prompt[5001];
    memset(prompt, 'x', sizeof prompt - 1);
    one_part(r, (wire_part){.kind = WIRE_PART_TEXT, .text = prompt});
}
static void no_task_name(wire_request *r)
{
    one_part(r, (wire_part){.kind = WIRE_PART_TASK, .task = ""});
}
static void long_task_name(wire_request *r)
{
    one_part(r, (wire_part){.kind = WIRE_PART_TASK, .task = name_of_65});
}
static void unknown_task(wire_request *r)
{
    one_part(r, (wire_part){.kind = WIRE_PART_TASK, .task = "no such"});
}
static void many_fields(wire_request *r)
{
    for (size_t i = 0; i < 33; i++)
        fields[i] = (wire_field){"indication", "x"};
    one_part(r, (wire_part){.kind = WIRE_PART_TASK, .task = "report", .fields = fields, .n_fields = 33});
}
static void unknown_field(wire_request *r)
{
    fields[0] = (wire_field){"colour", "red"};
    one_part(r, (wire_part){.kind = WIRE_PART_TASK, .task = "vqa", .fields = fields, .n_fields = 1});
}
static void missing_image(wire_request *r)
{
    one_part(r, (wire_part){.kind = WIRE_PART_TASK, .task = "report"});
}
static void half_a_vector(wire_request *r)
{
    one_part(r, (wire_part){.kind = WIRE_PART_VECTORS, .values = numbers, .n_values = 3, .width = 2});
}
static void not_a_number(wire_request *r)
{
    static const float bad[] = {0.0f, NAN};
    one_part(r, (wire_part){.kind = WIRE_PART_VECTORS, .values = bad, .n_values = 2, .width = 2});
}
static void many_vectors(wire_request *r)
{
    one_part(r, (wire_part){.kind = WIRE_PART_VECTORS, .values = numbers, .n_values = 65537, .width = 1});
}
static void unknown_encoder(wire_request *r)
{
    one_part(r,
             (wire_part){.kind = WIRE_PART_VECTORS, .encoder = "smell", .values = numbers, .n_values = 2, .width = 2});
}
static void foreign_image(wire_request *r)
{
    one_part(r, (wire_part){.kind = WIRE_PART_IMAGE, .image = (const uint8_t *)"GIF89a...", .image_bytes = 9});
}
static void cut_image(wire_request *r)
{
    one_part(
        r, (wire_part){.kind = WIRE_PART_IMAGE, .image = (const uint8_t *)"\x89PNG\r\n\x1a\n\0\0", .image_bytes = 10});
}

typedef struct limit {
    const char *what;
    void (*spoil)(wire_request *r);
    base_status code;
} limit;

static const limit limits[] = {
    {"request_id missing", no_id, BASE_EINVAL},
    {"request_id not printable", id_with_newline, BASE_EINVAL},
    {"another version", other_version, BASE_EUNSUPPORTED},
    {"no parts", no_parts, BASE_EINVAL},
    {"only empty texts", empty_text, BASE_EINVAL},
    {"an empty image", empty_image, BASE_EINVAL},
    {"65 parts", many_parts, BASE_ETOOBIG},
    {"text beyond 1 MiB", much_text, BASE_ETOOBIG},
    {"9 stop strings", many_stops, BASE_ETOOBIG},
    {"an empty stop string", one_empty_stop, BASE_EINVAL},
    {"a stop string of 65 bytes", one_long_stop, BASE_ETOOBIG},
    {"temperature above 10", hot, BASE_EINVAL},
    {"temperature NaN", not_a_temperature, BASE_EINVAL},
    {"top_p above 1", top_p_above_1, BASE_EINVAL},
    {"max_tokens above 1048576", many_tokens, BASE_ETOOBIG},
    {"a priority of none", other_priority, BASE_EINVAL},
    {"more resume_ids than max_tokens", resumed_beyond, BASE_ETOOBIG},
    {"a resume id outside the vocabulary", resumed_outside, BASE_EINVAL},
    {"answer with max_tokens", answer_and_tokens, BASE_EINVAL},
    {"answer with stop", answer_and_stop, BASE_EINVAL},
    {"a prompt beyond the context", long_prompt, BASE_ETOOBIG},
    {"an empty task name", no_task_name, BASE_EINVAL},
    {"a task name of 65 bytes", long_task_name, BASE_ETOOBIG},
    {"an unknown task", unknown_task, BASE_ENOTFOUND},
    {"33 fields", many_fields, BASE_ETOOBIG},
    {"an unknown field", unknown_field, BASE_EINVAL},
    {"a task without its image", missing_image, BASE_EINVAL},
    {"half a vector", half_a_vector, BASE_EINVAL},
    {"a vector with NaN", not_a_number, BASE_EINVAL},
    {"65537 vectors", many_vectors, BASE_ETOOBIG},
    {"an unknown encoder", unknown_encoder, BASE_ENOTFOUND},
    {"an image of a kind not read", foreign_image, BASE_EUNSUPPORTED},
    {"a cut image", cut_image, BASE_EFORMAT},
};

static void broken_limits_have_their_codes(void **state)
{
    (void)state;
    memset(long_text, 'x', sizeof long_text - 1);
    memset(name_of_65, 'n', 65);
    harness *r = harness_create();
    r->options.max_message_bytes = 4 << 20;
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        wire_request request = text_request("a", "abc", 1, false);
        limits[i].spoil(&request);
        wire_reply reply;
        peer_send(&p, &request);
        peer_receive(&p, &reply);
        if (reply.kind != WIRE_REPLY_ERROR || reply.error.code != limits[i].code)
            fail_msg("%s: %s, not %s", limits[i].what, reply.kind == WIRE_REPLY_ERROR ? reply.error.name : "no error",
                     base_status_text(limits[i].code));
        wire_reply_release(&reply);
    }
    peer_check_answer(&p, r, "alive", "still there?", 10, true);
    peer_close(&p);
    harness_end(r);
}

/* ---- bytes ---- */

/* Encode a request whose text is "a#b", replace '#' by `byte`, append `extra`. */
static void send_spoiled(peer *p, char byte, const void *extra, size_t n_extra, size_t times)
{
    wire_request request = text_request("a", "a#b", 1, false);
    base_buf bytes = {0};
    assert_int_equal(wire_request_encode(&request, &bytes, NULL), BASE_OK);
    *(char *)memchr(bytes.data, '#', bytes.size) = byte;
    for (size_t i = 0; i < times; i++)
        base_buf_put(&bytes, extra, n_extra);
    peer_send_bytes(p, bytes.data, bytes.size);
    base_buf_release(&bytes);
}

static void broken_bytes_have_their_codes(void **state)
{
    (void)state;
    harness *r = harness_create();
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    send_spoiled(&p, '\0', "", 0, 0);
    peer_expect_error(&p, "a", BASE_EFORMAT, "NUL");
    send_spoiled(&p, '\xff', "", 0, 0);
    peer_expect_error(&p, "a", BASE_EFORMAT, "UTF-8");
    send_spoiled(&p, 'x', "\x08\x01", 2, 1); /* version again */
    peer_expect_error(&p, "a", BASE_EFORMAT, "twice");
    send_spoiled(&p, 'x', "\x52", 1, 1); /* cut */
    peer_expect_error(&p, "a", BASE_EFORMAT, NULL);
    send_spoiled(&p, 'x', "\xa0\x06\x01", 3, 9000); /* fields that no version knows */
    peer_expect_error(&p, "a", BASE_ETOOBIG, "8191 fields");
    static const uint8_t no_body[] = {0x08, 1, 0x12, 1, 'b'}, new_body[] = {0x08, 1, 0x12, 1, 'b', 0x7a, 0};
    static const uint8_t new_part[] = {0x08, 1, 0x12, 1, 'b', 0x52, 4, 0x0a, 2, 0x4a, 0};
    peer_send_bytes(&p, no_body, sizeof no_body);
    peer_expect_error(&p, "b", BASE_EUNSUPPORTED, "body");
    peer_send_bytes(&p, new_body, sizeof new_body);
    peer_expect_error(&p, "b", BASE_EUNSUPPORTED, "body");
    peer_send_bytes(&p, new_part, sizeof new_part);
    peer_expect_error(&p, "b", BASE_EUNSUPPORTED, "parts[0]");
    send_spoiled(&p, 'x', "\xa0\x06\x01", 3, 1); /* a field of a newer version: ignored */
    wire_reply reply;
    peer_receive(&p, &reply);
    assert_int_equal(reply.kind, WIRE_REPLY_RESULT);
    wire_reply_release(&reply);
    peer_close(&p);
    harness_end(r);
}

/* ---- ids, events, counts ---- */

typedef struct heard {
    uint32_t ids[256];
    size_t n_ids, n_events;
    char text[HARNESS_TEXT];
    wire_reply last; /* owned */
} heard;

static void ask(peer *p, const wire_request *request, heard *h)
{
    *h = (heard){0};
    peer_send(p, request);
    for (peer_receive(p, &h->last); h->last.kind == WIRE_REPLY_TOKEN; peer_receive(p, &h->last)) {
        const wire_token *token = &h->last.token;
        assert_int_equal(token->index, h->n_events++);
        assert_true(token->text[0] != '\0' && token->n_ids > 0);
        memcpy(h->ids + h->n_ids, token->ids, token->n_ids * sizeof *token->ids);
        h->n_ids += token->n_ids;
        strncat(h->text, token->text, sizeof h->text - strlen(h->text) - 1);
        wire_reply_release(&h->last);
    }
    assert_int_equal(h->last.kind, WIRE_REPLY_RESULT);
    const wire_result *result = &h->last.result;
    assert_int_equal(result->completion_tokens, result->n_ids);
    if (request->generate.stream) {
        assert_string_equal(h->text, result->text);
        assert_true(h->n_ids <= result->n_ids);
        assert_memory_equal(h->ids, result->ids, h->n_ids * sizeof *h->ids);
    }
}

/* The fake model's tokens are letters. */
static void ids_go_on_to_the_stop_string(void **state)
{
    (void)state;
    harness *r = harness_create();
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    char expected[HARNESS_TEXT], stop[4];
    harness_expect(r, "abc", 60, NULL, expected);
    snprintf(stop, sizeof stop, "%.3s", expected + 20);
    size_t before = (size_t)(strstr(expected, stop) - expected);
    const char *stop_list[] = {stop};
    wire_request request = text_request("a", "abc", 60, true);
    request.generate.stop = stop_list;
    request.generate.n_stop = 1;
    heard h;
    ask(&p, &request, &h);
    assert_int_equal(h.last.result.finish, WIRE_FINISH_STOP);
    assert_int_equal(strlen(h.text), before);
    assert_int_equal(h.last.result.n_ids, before + 3); /* those of the stop string too */
    assert_true(h.n_ids < h.last.result.n_ids);        /* which no event carried: they let no text out */
    wire_reply_release(&h.last);
    peer_close(&p);
    harness_end(r);
}

static void the_end_token_is_not_counted(void **state)
{
    (void)state;
    harness *r = harness_create();
    r->replica_options.eos_every = 10;
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    char expected[HARNESS_TEXT];
    assert_true(harness_expect(r, "abc", 200, NULL, expected));
    wire_request request = text_request("a", "abc", 200, true);
    heard h;
    ask(&p, &request, &h);
    assert_int_equal(h.last.result.finish, WIRE_FINISH_EOS);
    assert_int_equal(h.last.result.completion_tokens, strlen(expected));
    assert_int_equal(h.last.result.prompt_tokens, 4); /* the token that every prompt begins with counts */
    wire_reply_release(&h.last);
    peer_close(&p);
    harness_end(r);
}

static void answers_stream_and_empty_ones_generate(void **state)
{
    (void)state;
    harness *r = harness_create();
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    wire_request request = text_request("a", "abc", 0, true);
    request.generate.answer = "yes";
    heard h;
    ask(&p, &request, &h);
    assert_int_equal(h.n_events, 3);
    assert_int_equal(h.n_ids, 3);
    assert_int_equal(h.last.result.n_logprobs, 3);
    wire_reply_release(&h.last);
    request.generate.answer = "";
    request.generate.max_tokens = 7;
    ask(&p, &request, &h);
    assert_int_equal(h.last.result.n_ids, 7);
    assert_int_equal(h.last.result.n_logprobs, 0);
    wire_reply_release(&h.last);
    peer_close(&p);
    harness_end(r);
}

/* ---- the queue ---- */

/* Running sequences do not count: with a queue of 2 and 3 at a time, the sixth is refused. */
static void the_queue_is_what_waits(void **state)
{
    (void)state;
    harness *r = harness_create();
    r->options.max_queue = 2;
    r->replica_options.limits.max_seqs = 3;
    r->replica_options.step_us = 10000;
    harness_start(r);
    peer p = peer_open(r, ZMQ_DEALER);
    char id[8];
    for (int i = 0; i < 6; i++) {
        snprintf(id, sizeof id, "q%d", i);
        wire_request request = text_request(id, "abc", 100, false);
        peer_send(&p, &request);
        base_clock_nap(60000); /* admitted before the next comes */
    }
    peer_expect_error(&p, "q5", BASE_EBUSY, "2 requests wait, the limit is 2");
    for (int i = 0; i < 5; i++) {
        wire_reply reply;
        peer_receive(&p, &reply);
        assert_int_equal(reply.kind, WIRE_REPLY_RESULT);
        wire_reply_release(&reply);
    }
    peer_close(&p);
    harness_end(r);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(broken_limits_have_their_codes),         cmocka_unit_test(broken_bytes_have_their_codes),
    cmocka_unit_test(ids_go_on_to_the_stop_string),           cmocka_unit_test(the_end_token_is_not_counted),
    cmocka_unit_test(answers_stream_and_empty_ones_generate), cmocka_unit_test(the_queue_is_what_waits),
};

RUN_CASES(tests)
