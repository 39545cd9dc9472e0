/* proto/wire: round trips of every message, every limit, and hostile bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/wire/msg.h"

/* ---- messages to play with ---- */

static const uint8_t png[] = {0x89, 'P', 'N', 'G', 0, 1, 2, 3};
static const wire_field fields[] = {{"indication", "cough"}, {"view", ""}};
static const wire_part parts[] = {
    {.kind = WIRE_PART_TASK, .task = "report", .fields = fields, .n_fields = 2},
    {.kind = WIRE_PART_IMAGE, .image = png, .image_bytes = sizeof png, .image_frame = 7},
    {.kind = WIRE_PART_TEXT, .text = "Gr\xC3\xBC\xC3\x9F"},
    {.kind = WIRE_PART_TEXT, .text = ""},
};
static const char *const stops[] = {"\n\n", "END"};
static const uint32_t resumed[] = {5, 0, 70000};

static wire_request full_request(void)
{
    return (wire_request){
        .version = WIRE_VERSION,
        .request_id = "ward 7/0001",
        .kind = WIRE_REQUEST_GENERATE,
        .generate = {.parts = parts,
                     .n_parts = 4,
                     .sampling = {.temperature = 0.5f, .top_k = 40, .top_p = 0.9f, .seed = 1ull << 63},
                     .max_tokens = 128,
                     .stop = stops,
                     .n_stop = 2,
                     .stream = true,
                     .deadline_ms = 30000,
                     .priority = WIRE_STAT,
                     .logits_digest = true,
                     .strict_images = true,
                     .resume_ids = resumed,
                     .n_resume_ids = 3},
    };
}

static base_status decode_again(const wire_request *request, wire_request *out, base_error *error)
{
    base_buf bytes = {0};
    assert_int_equal(wire_request_encode(request, &bytes, error), BASE_OK);
    base_status status = wire_request_decode(bytes.data, bytes.size, out, error);
    base_buf_release(&bytes); /* the decoded message owns what it shows */
    return status;
}

static wire_reply reply_again(const wire_reply *reply)
{
    base_buf bytes = {0};
    base_error error = {0};
    wire_reply out;
    assert_int_equal(wire_reply_encode(reply, &bytes, &error), BASE_OK);
    if (wire_reply_decode(bytes.data, bytes.size, &out, &error) != BASE_OK)
        fail_msg("%s", error.text);
    base_buf_release(&bytes);
    assert_int_equal(out.kind, reply->kind);
    assert_string_equal(out.request_id, reply->request_id);
    return out;
}

/* The request is refused with `status`, in words that hold `word`. */
static void assert_refused(const wire_request *request, base_status status, const char *word)
{
    base_error error = {0};
    wire_request out;
    assert_int_equal(decode_again(request, &out, &error), status);
    assert_int_equal(error.status, status);
    if (strstr(error.text, word) == NULL)
        fail_msg("'%s' does not name '%s'", error.text, word);
    assert_string_equal(out.request_id, request->request_id); /* the refusal can be addressed */
    assert_int_equal(out.kind, WIRE_REQUEST_NONE);
    assert_null(out.owner);
}

/* ---- round trips ---- */

static void test_generate_round_trip(void **state)
{
    (void)state;
    wire_request request = full_request(), out;
    base_error error = {0};
    assert_int_equal(decode_again(&request, &out, &error), BASE_OK);
    const wire_generate *g = &out.generate;
    assert_int_equal(out.kind, WIRE_REQUEST_GENERATE);
    assert_string_equal(out.request_id, "ward 7/0001");
    assert_int_equal(g->n_parts, 4);
    assert_string_equal(g->parts[0].task, "report");
    assert_int_equal(g->parts[0].n_fields, 2);
    assert_string_equal(g->parts[0].fields[0].name, "indication");
    assert_string_equal(g->parts[0].fields[1].value, "");
    assert_int_equal(g->parts[1].image_bytes, sizeof png);
    assert_int_equal(g->parts[1].image_frame, 7);
    assert_memory_equal(g->parts[1].image, png, sizeof png);
    assert_string_equal(g->parts[2].text, parts[2].text);
    assert_string_equal(g->parts[3].text, "");
    assert_true(g->sampling.temperature == 0.5f && g->sampling.top_p == 0.9f);
    assert_true(g->sampling.top_k == 40 && g->sampling.seed == 1ull << 63);
    assert_int_equal(g->max_tokens, 128);
    assert_int_equal(g->n_stop, 2);
    assert_string_equal(g->stop[1], "END");
    assert_int_equal(g->n_resume_ids, 3);
    assert_memory_equal(g->resume_ids, resumed, sizeof resumed);
    assert_true(g->stream && g->logits_digest && g->strict_images && g->deadline_ms == 30000 &&
                g->priority == WIRE_STAT);
    wire_request_release(&out);
    assert_null(out.generate.parts);
    wire_request_release(&out); /* twice is fine */
}

/* An answer to score, and what does not go with it. */
static void test_answer_round_trip(void **state)
{
    (void)state;
    const wire_part part = {.kind = WIRE_PART_TEXT, .text = "Q:"};
    wire_request request = {.version = 1,
                            .request_id = "x",
                            .kind = WIRE_REQUEST_GENERATE,
                            .generate = {.parts = &part, .n_parts = 1, .answer = " J\xc3\xa4."}},
                 out;
    base_error error;
    assert_int_equal(decode_again(&request, &out, &error), BASE_OK);
    assert_string_equal(out.generate.answer, " J\xc3\xa4.");
    wire_request_release(&out);
    wire_request spoilt[] = {request, request, request};
    spoilt[0].generate.max_tokens = 1;
    spoilt[1].generate.stop = (const char *const[]){"x"};
    spoilt[1].generate.n_stop = 1;
    spoilt[2].generate.resume_ids = resumed;
    spoilt[2].generate.n_resume_ids = 1;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(decode_again(&spoilt[i], &out, &error), BASE_EINVAL);
        assert_non_null(strstr(error.text, "generate.answer"));
    }
    char *long_answer = malloc(WIRE_TEXT_BYTES_MAX);
    memset(long_answer, 'a', WIRE_TEXT_BYTES_MAX - 1);
    long_answer[WIRE_TEXT_BYTES_MAX - 1] = '\0';
    request.generate.answer = long_answer; /* with the prompt one byte too many */
    assert_int_equal(decode_again(&request, &out, &error), BASE_ETOOBIG);
    free(long_answer);
}

static void test_short_requests_round_trip(void **state)
{
    (void)state;
    static const wire_request_kind kinds[] = {WIRE_REQUEST_CANCEL, WIRE_REQUEST_HEALTH, WIRE_REQUEST_STATS};
    for (size_t i = 0; i < 3; i++) {
        wire_request request = {.version = 1, .request_id = "x", .kind = kinds[i]}, out;
        assert_int_equal(decode_again(&request, &out, NULL), BASE_OK);
        assert_int_equal(out.kind, kinds[i]);
        wire_request_release(&out);
    }
    base_buf bytes = {0};
    wire_request none = {.version = 1};
    assert_int_equal(wire_request_encode(&none, &bytes, NULL), BASE_EINVAL);
    wire_reply nothing = {.version = 1};
    assert_int_equal(wire_reply_encode(&nothing, &bytes, NULL), BASE_EINVAL);
    base_buf_release(&bytes);
}

/* An absent Sampling is greedy; top_p 0 means off. */
static void test_defaults(void **state)
{
    (void)state;
    static const uint8_t minimal[] = {8, 1, 18, 1, 'a', 82, 5, 10, 3, 10, 1, 'b'};
    wire_request out;
    assert_int_equal(wire_request_decode(minimal, sizeof minimal, &out, NULL), BASE_OK);
    assert_true(out.generate.sampling.temperature == 0.0f && out.generate.sampling.top_p == 1.0f);
    assert_int_equal(out.generate.max_tokens, 0);
    assert_false(out.generate.stream);
    wire_request_release(&out);
}

static void test_result_round_trip(void **state)
{
    (void)state;
    static const uint32_t ids[] = {5, 300, 70000};
    static const float logprobs[] = {-0.0f, -1.5e-9f, -98.25f};
    static const wire_warning warnings[] = {{7, "flat", "one grey level", 0}, {70000, "new", "words", 3}};
    wire_reply reply = {.version = 1, .request_id = "r", .kind = WIRE_REPLY_RESULT};
    reply.result = (wire_result){.text = "No effusion.",
                                 .finish = WIRE_FINISH_STOP,
                                 .ids = ids,
                                 .n_ids = 3,
                                 .prompt_tokens = 300,
                                 .image_tokens = 256,
                                 .completion_tokens = 3,
                                 .prepare_ms = 1.5,
                                 .queue_ms = 2.5,
                                 .first_token_ms = 3.5,
                                 .total_ms = 4.5,
                                 .model = "phantom",
                                 .model_digest = "ab",
                                 .build = "0.1.0",
                                 .layout = "tp2 x pp2",
                                 .isa = "avx2",
                                 .seed = UINT64_MAX,
                                 .logits_digest = "0123456789abcdef",
                                 .reused_tokens = 64,
                                 .drafted_tokens = 9,
                                 .accepted_tokens = 7,
                                 .logprobs = logprobs,
                                 .n_logprobs = 3,
                                 .warnings = warnings,
                                 .n_warnings = 2};
    wire_reply out = reply_again(&reply);
    const wire_result *r = &out.result;
    assert_string_equal(r->text, "No effusion.");
    assert_int_equal(r->finish, WIRE_FINISH_STOP);
    assert_memory_equal(r->ids, ids, sizeof ids);
    assert_int_equal(r->n_logprobs, 3);
    assert_memory_equal(r->logprobs, logprobs, sizeof logprobs);
    assert_int_equal(r->n_warnings, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_true(r->warnings[i].code == warnings[i].code && r->warnings[i].image == warnings[i].image);
        assert_string_equal(r->warnings[i].name, warnings[i].name);
        assert_string_equal(r->warnings[i].message, warnings[i].message);
    }
    assert_int_equal(r->prompt_tokens + r->image_tokens + r->completion_tokens, 559);
    assert_true(r->prepare_ms == 1.5 && r->queue_ms == 2.5 && r->first_token_ms == 3.5 && r->total_ms == 4.5);
    assert_string_equal(r->model, "phantom");
    assert_string_equal(r->model_digest, "ab");
    assert_string_equal(r->build, "0.1.0");
    assert_string_equal(r->layout, "tp2 x pp2");
    assert_string_equal(r->isa, "avx2");
    assert_true(r->seed == UINT64_MAX);
    assert_string_equal(r->logits_digest, "0123456789abcdef");
    assert_true(r->reused_tokens == 64 && r->drafted_tokens == 9 && r->accepted_tokens == 7);
    wire_reply_release(&out);

    /* A server may leave out submessages, and a newer one may know other reasons: the client sees zeros and "". */
    static const uint8_t bare[] = {8, 1, 18, 1, 'r', 90, 2, 16, 99};
    assert_int_equal(wire_reply_decode(bare, sizeof bare, &out, NULL), BASE_OK);
    assert_int_equal(out.result.finish, WIRE_FINISH_UNKNOWN);
    assert_string_equal(out.result.model, "");
    assert_string_equal(out.result.text, "");
    wire_reply_release(&out);
}

static void test_other_replies_round_trip(void **state)
{
    (void)state;
    static const uint32_t ids[] = {1, 2};
    wire_reply reply = {.version = 1, .request_id = "t", .kind = WIRE_REPLY_TOKEN};
    reply.token = (wire_token){.index = 9, .ids = ids, .n_ids = 2, .text = "lung"};
    wire_reply out = reply_again(&reply);
    assert_int_equal(out.token.index, 9);
    assert_memory_equal(out.token.ids, ids, sizeof ids);
    assert_string_equal(out.token.text, "lung");
    wire_reply_release(&out);

    reply.kind = WIRE_REPLY_ERROR;
    reply.error = (wire_error){.code = BASE_EBUSY, .message = "queue is full"};
    out = reply_again(&reply);
    assert_int_equal(out.error.code, BASE_EBUSY);
    assert_string_equal(out.error.name, "busy");
    assert_string_equal(out.error.message, "queue is full");
    wire_reply_release(&out);

    reply.kind = WIRE_REPLY_HEALTH;
    reply.health =
        (wire_health){.state = "ready", .build = "0.1.0", .model = "phantom", .layout = "tp1 x pp1", .uptime_s = 2.25};
    out = reply_again(&reply);
    assert_string_equal(out.health.state, "ready");
    assert_string_equal(out.health.build, "0.1.0");
    assert_string_equal(out.health.model, "phantom");
    assert_string_equal(out.health.layout, "tp1 x pp1");
    assert_true(out.health.uptime_s == 2.25);
    wire_reply_release(&out);

    reply.kind = WIRE_REPLY_STATS;
    reply.stats = (wire_stats){1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
    out = reply_again(&reply);
    assert_memory_equal(&out.stats, &reply.stats, sizeof reply.stats);
    wire_reply_release(&out);
}

/* ---- limits ---- */

static void test_version_and_id(void **state)
{
    (void)state;
    wire_request request = full_request();
    request.version = 2;
    assert_refused(&request, BASE_EUNSUPPORTED, "version 2");
    request.version = 0;
    assert_refused(&request, BASE_EUNSUPPORTED, "version 0");
    request = full_request();
    memset(request.request_id, 0, sizeof request.request_id);
    assert_refused(&request, BASE_EINVAL, "request_id");

    static const uint8_t control[] = {8, 1, 18, 2, 'a', '\n', 98, 0};
    uint8_t long_id[2 + 2 + 65 + 2] = {8, 1, 18, 65};
    memset(long_id + 4, 'a', 65);
    long_id[sizeof long_id - 2] = 98;
    wire_request out;
    assert_int_equal(wire_request_decode(control, sizeof control, &out, NULL), BASE_EINVAL);
    assert_string_equal(out.request_id, "");
    assert_int_equal(wire_request_decode(long_id, sizeof long_id, &out, NULL), BASE_EINVAL);
    assert_int_equal(out.version, 1);
}

static void test_part_limits(void **state)
{
    (void)state;
    wire_request request = full_request();
    wire_part many[WIRE_PARTS_MAX + 1];
    for (size_t i = 0; i < WIRE_PARTS_MAX + 1; i++)
        many[i] = parts[2];
    request.generate.parts = many;
    request.generate.n_parts = WIRE_PARTS_MAX + 1;
    assert_refused(&request, BASE_ETOOBIG, "generate.parts has 65");
    request.generate.n_parts = 0;
    assert_refused(&request, BASE_EINVAL, "generate.parts is empty");
    many[0] = parts[3];
    request.generate.n_parts = 1;
    assert_refused(&request, BASE_EINVAL, "generate.parts is empty");
    many[0] = (wire_part){.kind = WIRE_PART_IMAGE};
    assert_refused(&request, BASE_EINVAL, "parts[0].image is empty");
    many[0] = (wire_part){.kind = WIRE_PART_TASK, .task = ""};
    assert_refused(&request, BASE_EINVAL, "parts[0].task.name is empty");

    wire_field crowd[WIRE_FIELDS_MAX + 1];
    for (size_t i = 0; i < WIRE_FIELDS_MAX + 1; i++)
        crowd[i] = fields[0];
    many[0] = (wire_part){.kind = WIRE_PART_TASK, .task = "vqa", .fields = crowd, .n_fields = WIRE_FIELDS_MAX + 1};
    assert_refused(&request, BASE_ETOOBIG, "33 fields");
    char name[WIRE_NAME_BYTES_MAX + 2] = {0};
    memset(name, 'n', WIRE_NAME_BYTES_MAX + 1);
    crowd[1].name = name;
    many[0].n_fields = 2;
    assert_refused(&request, BASE_ETOOBIG, "task.fields.name has 65");
}

static void test_text_limit_is_for_all_parts_together(void **state)
{
    (void)state;
    size_t half = WIRE_TEXT_BYTES_MAX / 2;
    char *text = malloc(half + 2);
    assert_non_null(text);
    memset(text, 't', half + 1);
    text[half + 1] = '\0';
    wire_field field = {"context", text + 1};
    wire_part two[] = {{.kind = WIRE_PART_TEXT, .text = text + 1},
                       {.kind = WIRE_PART_TASK, .task = "vqa", .fields = &field, .n_fields = 1}};
    wire_request request = full_request(), out;
    request.generate.parts = two;
    request.generate.n_parts = 2;
    assert_int_equal(decode_again(&request, &out, NULL), BASE_OK);
    wire_request_release(&out);
    two[0].text = text;
    assert_refused(&request, BASE_ETOOBIG, "1048577 bytes");
    free(text);
}

static void test_stop_limits(void **state)
{
    (void)state;
    wire_request request = full_request();
    char text[WIRE_STOP_BYTES_MAX + 2] = {0};
    memset(text, 's', WIRE_STOP_BYTES_MAX + 1);
    const char *many[WIRE_STOP_MAX + 1];
    for (size_t i = 0; i < WIRE_STOP_MAX + 1; i++)
        many[i] = "x";
    request.generate.stop = many;
    request.generate.n_stop = WIRE_STOP_MAX + 1;
    assert_refused(&request, BASE_ETOOBIG, "9 strings");
    request.generate.n_stop = 2;
    many[1] = text;
    assert_refused(&request, BASE_ETOOBIG, "stop[1] has 65");
    many[1] = "";
    assert_refused(&request, BASE_EINVAL, "stop[1] is empty");
}

static void test_sampling_ranges(void **state)
{
    (void)state;
    static const float bad_temperature[] = {-0.1f, 10.5f, INFINITY, NAN}, bad_top_p[] = {-0.1f, 1.01f, INFINITY, NAN};
    for (size_t i = 0; i < 4; i++) {
        wire_request request = full_request();
        request.generate.sampling.temperature = bad_temperature[i];
        assert_refused(&request, BASE_EINVAL, "sampling.temperature");
        request = full_request();
        request.generate.sampling.top_p = bad_top_p[i];
        assert_refused(&request, BASE_EINVAL, "sampling.top_p");
    }
    wire_request request = full_request();
    request.generate.max_tokens = WIRE_MAX_TOKENS_MAX + 1;
    assert_refused(&request, BASE_ETOOBIG, "max_tokens");
    request = full_request();
    request.generate.priority = (wire_priority)2;
    assert_refused(&request, BASE_EINVAL, "priority");
}

/* ---- hostile bytes ---- */

static void assert_bytes_refused(const void *bytes, size_t size, base_status status, const char *word)
{
    base_error error = {0};
    wire_request out;
    assert_int_equal(wire_request_decode(bytes, size, &out, &error), status);
    if (strstr(error.text, word) == NULL)
        fail_msg("'%s' does not name '%s'", error.text, word);
}

static void test_texts_that_are_none(void **state)
{
    (void)state;
    static const uint8_t not_utf8[] = {8, 1, 18, 1, 'a', 82, 6, 10, 4, 10, 2, 0xC0, 0x80};
    static const uint8_t with_nul[] = {8, 1, 18, 1, 'a', 82, 7, 10, 5, 10, 3, 'b', 0, 'c'};
    assert_bytes_refused(not_utf8, sizeof not_utf8, BASE_EFORMAT, "generate.parts.text is not UTF-8");
    assert_bytes_refused(with_nul, sizeof with_nul, BASE_EFORMAT, "generate.parts.text holds a NUL");
}

static void test_shapes_that_are_none(void **state)
{
    (void)state;
    static const uint8_t twice[] = {8, 1, 18, 1, 'a', 98, 0, 98, 0};
    static const uint8_t group[] = {8, 1, 18, 1, 'a', 11, 12};
    static const uint8_t wrong_type[] = {8, 1, 18, 1, 'a', 80, 1};
    static const uint8_t no_part[] = {8, 1, 18, 1, 'a', 82, 2, 10, 0};
    static const uint8_t no_body[] = {8, 1, 18, 1, 'a'};
    static const uint8_t newer_body[] = {8, 1, 18, 1, 'a', 242, 1, 0};
    static const uint8_t huge_length[] = {8, 1, 18, 1, 'a', 82, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1};
    static const uint8_t long_varint[] = {8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1};
    assert_bytes_refused(twice, sizeof twice, BASE_EFORMAT, "health appears twice");
    assert_bytes_refused(group, sizeof group, BASE_EFORMAT, "not protobuf");
    assert_bytes_refused(wrong_type, sizeof wrong_type, BASE_EFORMAT, "generate has wire type 0");
    assert_bytes_refused(no_part, sizeof no_part, BASE_EUNSUPPORTED, "parts[0]");
    assert_bytes_refused(no_body, sizeof no_body, BASE_EUNSUPPORTED, "body");
    assert_bytes_refused(newer_body, sizeof newer_body, BASE_EUNSUPPORTED, "body");
    assert_bytes_refused(huge_length, sizeof huge_length, BASE_EFORMAT, "cut");
    assert_bytes_refused(long_varint, sizeof long_varint, BASE_EFORMAT, "cut");
    assert_bytes_refused("", 0, BASE_EUNSUPPORTED, "version 0");
    assert_bytes_refused(NULL, 0, BASE_EUNSUPPORTED, "version 0");
}

/* Unknown fields of a newer client are ignored at every level. */
static void test_unknown_fields_are_ignored(void **state)
{
    (void)state;
    static const uint8_t newer[] = {8, 1, 18, 1, 'a', 250, 1, 1, 'z', 82, 8, 10, 3, 10, 1, 'b', 152, 6, 7};
    wire_request out;
    assert_int_equal(wire_request_decode(newer, sizeof newer, &out, NULL), BASE_OK);
    assert_string_equal(out.generate.parts[0].text, "b");
    wire_request_release(&out);
}

/* Two bytes a field would become a structure each: the count is refused before anything is unpacked. */
static void test_a_million_tiny_fields(void **state)
{
    (void)state;
    size_t n = 1000000;
    uint8_t *bytes = malloc(2 * n + 16);
    assert_non_null(bytes);
    static const uint8_t head[] = {8, 1, 18, 1, 'a', 82, 0x80, 0x89, 0x7A}; /* generate of 2000000 bytes */
    memcpy(bytes, head, sizeof head);
    for (size_t i = 0; i < n; i++) {
        bytes[sizeof head + 2 * i] = 10; /* parts, empty */
        bytes[sizeof head + 2 * i + 1] = 0;
    }
    base_error error = {0};
    wire_request out;
    assert_int_equal(wire_request_decode(bytes, sizeof head + 2 * n, &out, &error), BASE_ETOOBIG);
    assert_non_null(strstr(error.text, "fields"));
    assert_string_equal(out.request_id, "a");
    free(bytes);
}

/* Cut at every byte, each copy in memory of its own size so that a sanitizer sees a read past the end. */
static void test_every_cut_and_every_flip(void **state)
{
    (void)state;
    base_buf whole = {0};
    wire_request request = full_request(), out;
    assert_int_equal(wire_request_encode(&request, &whole, NULL), BASE_OK);
    for (size_t size = 0; size < whole.size; size++) {
        uint8_t *cut = malloc(size + (size == 0));
        assert_non_null(cut);
        memcpy(cut, whole.data, size);
        base_error error = {0};
        if (wire_request_decode(cut, size, &out, &error) == BASE_OK)
            fail_msg("a request cut at %zu of %zu passed", size, whole.size);
        assert_true(error.status != BASE_OK && error.text[0] != '\0');
        if (size >= 15) /* the id is there: version, tag, length and 11 characters */
            assert_string_equal(out.request_id, request.request_id);
        free(cut);
    }
    for (size_t bit = 0; bit < 8 * whole.size; bit++) {
        whole.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        wire_request_decode(whole.data, whole.size, &out, NULL);
        wire_request_release(&out);
        wire_reply reply;
        wire_reply_decode(whole.data, whole.size, &reply, NULL);
        wire_reply_release(&reply);
        whole.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    base_buf_release(&whole);
}

static void test_garbage(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[64];
        size_t size = (size_t)round % sizeof bytes;
        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24);
        wire_request request;
        wire_request_decode(bytes, size, &request, NULL);
        wire_request_release(&request);
        wire_reply reply;
        wire_reply_decode(bytes, size, &reply, NULL);
        wire_reply_release(&reply);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generate_round_trip),
        cmocka_unit_test(test_answer_round_trip),
        cmocka_unit_test(test_short_requests_round_trip),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_result_round_trip),
        cmocka_unit_test(test_other_replies_round_trip),
        cmocka_unit_test(test_version_and_id),
        cmocka_unit_test(test_part_limits),
        cmocka_unit_test(test_text_limit_is_for_all_parts_together),
        cmocka_unit_test(test_stop_limits),
        cmocka_unit_test(test_sampling_ranges),
        cmocka_unit_test(test_texts_that_are_none),
        cmocka_unit_test(test_shapes_that_are_none),
        cmocka_unit_test(test_unknown_fields_are_ignored),
        cmocka_unit_test(test_a_million_tiny_fields),
        cmocka_unit_test(test_every_cut_and_every_flip),
        cmocka_unit_test(test_garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
