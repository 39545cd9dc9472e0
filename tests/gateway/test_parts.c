/* The coordinator's parts by themselves: prompts, a session's answer, the table of open requests, mailboxes, addresses.
 */
#include "tests/gateway/gateway_harness.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/gateway/address.h"
#include "coordinator/gateway/open_requests.h"
#include "coordinator/image/image.h"
#include "coordinator/session/session.h"
#include "coordinator/task/task.h"
#include "tests/gateway/main_filter.h"

typedef struct bench {
    harness *r; /* for its directory */
    text_tokenizer *tokenizer;
    task_set *tasks;
    exemplars *exemplars;
    prompt_env env;
} bench;

static bench bench_open(void)
{
    bench b = {.r = harness_create()};
    base_error error = {0};
    if (text_tokenizer_open(b.r->dir, &b.tokenizer, &error) != BASE_OK)
        fail_msg("%s", error.text);
    assert_int_equal(exemplars_open(b.r->dir, &b.exemplars, &error), BASE_OK);
    assert_int_equal(task_set_open(NULL, &b.tasks, &error), BASE_OK);
    b.env = (prompt_env){.tokenizer = b.tokenizer,
                         .tasks = b.tasks,
                         .exemplars = b.exemplars,
                         .bos_id = FAKE_BOS,
                         .limits = b.r->replica_options.limits,
                         .max_image_pixels = 1 << 20};
    return b;
}

static void bench_close(bench *b)
{
    task_set_close(&b->tasks);
    exemplars_close(&b->exemplars);
    text_tokenizer_close(&b->tokenizer);
    harness_free(b->r);
}

static void texts_are_joined(void **state)
{
    (void)state;
    bench b = bench_open();
    const wire_part parts[] = {{.kind = WIRE_PART_TEXT, .text = "ab"},
                               {.kind = WIRE_PART_TEXT, .text = ""},
                               {.kind = WIRE_PART_TEXT, .text = "<img>"}};
    wire_generate g = {.parts = parts, .n_parts = 3};
    prompt p;
    assert_int_equal(prompt_build(&b.env, &g, &p, NULL), BASE_OK);
    static const char expected[] = "ab<img>"; /* a literal <img> is text */
    assert_int_equal(p.tokens.n, 8);
    assert_int_equal(p.tokens.ids[0], FAKE_BOS);
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(p.tokens.ids[i + 1], FAKE_FIRST_CHAR + expected[i]);
    assert_int_equal(p.n_images, 0);
    prompt_release(&p);
    bench_close(&b);
}

/* Two tasks with an image each: the prompt is what task_render says, each slot holding the image that follows its task.
 */
static void tasks_take_their_images(void **state)
{
    (void)state;
    bench b = bench_open();
    uint8_t black[28 * 28] = {0}, white[28 * 28];
    memset(white, 255, sizeof white);
    base_buf pngs[2] = {0};
    assert_int_equal(image_encode_png(black, 28, 28, 1, 8, &pngs[0], NULL), BASE_OK);
    assert_int_equal(image_encode_png(white, 28, 28, 1, 8, &pngs[1], NULL), BASE_OK);
    const wire_field indication = {"indication", "an <img> of a cough"};
    const wire_part asked = {.kind = WIRE_PART_TASK, .task = "report", .fields = &indication, .n_fields = 1};
    const wire_part parts[] = {asked,
                               {.kind = WIRE_PART_IMAGE, .image = pngs[0].data, .image_bytes = pngs[0].size},
                               asked,
                               {.kind = WIRE_PART_IMAGE, .image = pngs[1].data, .image_bytes = pngs[1].size}};
    wire_generate g = {.parts = parts, .n_parts = 4};
    prompt p;
    base_error error = {0};
    if (prompt_build(&b.env, &g, &p, &error) != BASE_OK)
        fail_msg("%s", error.text);

    task_prompt rendered;
    const task_field field = {"indication", "an <img> of a cough"};
    const task *report = NULL;
    assert_int_equal(task_set_find(b.tasks, "report", &report, NULL), BASE_OK);
    assert_int_equal(task_render(report, &field, 1, 1, "Given <img>: all is well.", &rendered, NULL), BASE_OK);
    size_t at = 1;
    int32_t row = 0;
    for (int poll_once = 0; poll_once < 2; poll_once++) {
        for (size_t i = 0; i < rendered.n_parts; i++) {
            for (int k = 0; rendered.parts[i].is_image && k < 4; k++)
                assert_int_equal(p.tokens.ids[at++], -1 - row++);
            for (const char *c = rendered.parts[i].text; c != NULL && *c != '\0'; c++)
                assert_int_equal(p.tokens.ids[at++], FAKE_FIRST_CHAR + (uint8_t)*c);
        }
    }
    assert_int_equal(at, p.tokens.n);
    assert_int_equal(row, 8);
    assert_int_equal(p.n_images, 2);
    assert_int_equal(p.images[0][0], 0);
    assert_int_equal(p.images[1][0], 255);
    task_prompt_release(&rendered);
    prompt_release(&p);
    base_buf_release(&pngs[0]);
    base_buf_release(&pngs[1]);
    bench_close(&b);
}

/* Text, two images, text: the model's marks around each, and pixels as it wants them. */
static void images_lie_between_marks(void **state)
{
    (void)state;
    bench b = bench_open();
    b.env.images = (prompt_images){
        .fit = {.kind = IMAGE_FIT_STRETCH, .filter = IMAGE_FILTER_BICUBIC}, .open = "<i>", .close = "!"};
    uint8_t grey[10 * 40], square[28 * 28 * 3];
    for (size_t i = 0; i < sizeof grey; i++)
        grey[i] = (uint8_t)(i * 7);
    base_buf png = {0};
    assert_int_equal(image_encode_png(grey, 10, 40, 1, 8, &png, NULL), BASE_OK);
    const image drawn = {.width = 10, .height = 40, .channels = 1, .pixels = grey};
    assert_int_equal(image_preprocess(&drawn, &b.env.images.fit, 28, square, NULL), BASE_OK);
    const wire_part picture = {.kind = WIRE_PART_IMAGE, .image = png.data, .image_bytes = png.size};
    const wire_part parts[] = {
        {.kind = WIRE_PART_TEXT, .text = "ab"}, picture, picture, {.kind = WIRE_PART_TEXT, .text = "c"}};
    wire_generate g = {.parts = parts, .n_parts = 4};
    prompt p;
    assert_int_equal(prompt_build(&b.env, &g, &p, NULL), BASE_OK);
    static const char expected[] = "ab<i>1234!<i>5678!c"; /* digits: rows */
    assert_int_equal(p.tokens.n, 1 + strlen(expected));
    for (size_t i = 0; i < strlen(expected); i++) {
        char c = expected[i];
        assert_int_equal(p.tokens.ids[i + 1], c >= '1' && c <= '8' ? -(c - '0') : FAKE_FIRST_CHAR + c);
    }
    assert_int_equal(p.n_images, 2);
    assert_memory_equal(p.images[0], square, sizeof square);
    assert_memory_equal(p.images[1], square, sizeof square);
    prompt_release(&p);
    base_buf_release(&png);
    bench_close(&b);
}

/* Two frames of one colour pixel each, implicit little endian, without a preamble. */
static const uint8_t two_frames[] = {
    8,    0,    8,    0, 8, 0, 0, 0, 'O', 'R', 'I',  'G', 'I',  'N', 'A', 'L', /* ImageType */
    0x28, 0,    2,    0, 2, 0, 0, 0, 3,   0,                                   /* SamplesPerPixel */
    0x28, 0,    4,    0, 4, 0, 0, 0, 'R', 'G', 'B',  ' ',                      /* PhotometricInterpretation */
    0x28, 0,    8,    0, 2, 0, 0, 0, '2', ' ',                                 /* NumberOfFrames */
    0x28, 0,    0x10, 0, 2, 0, 0, 0, 1,   0,   0x28, 0,   0x11, 0,   2,   0,
    0,    0,    1,    0, /* Rows, Columns */
    0x28, 0,    0,    1, 2, 0, 0, 0, 8,   0,   0x28, 0,   1,    1,   2,   0,
    0,    0,    8,    0, /* BitsAllocated, BitsStored */
    0x28, 0,    2,    1, 2, 0, 0, 0, 7,   0,   0x28, 0,   3,    1,   2,   0,
    0,    0,    0,    0, /* HighBit, PixelRepresentation */
    0xE0, 0x7F, 0x10, 0, 6, 0, 0, 0, 10,  20,  30,   40,  50,   60};

/* The frame that a part asks for is what the model sees, and what caches know it by; there is no third. */
static void frames_are_picked(void **state)
{
    (void)state;
    bench b = bench_open();
    wire_part part = {.kind = WIRE_PART_IMAGE, .image = two_frames, .image_bytes = sizeof two_frames};
    wire_generate g = {.parts = &part, .n_parts = 1};
    prompt p[2];
    for (uint32_t frame = 0; frame < 2; frame++) {
        part.image_frame = frame;
        assert_int_equal(prompt_build(&b.env, &g, &p[frame], NULL), BASE_OK);
        for (uint32_t c = 0; c < 3; c++)
            assert_int_equal(p[frame].images[0][c], 10 + 30 * frame + 10 * c);
    }
    assert_memory_not_equal(p[0].image_keys[0], p[1].image_keys[0], sizeof p[0].image_keys[0]);
    part.image_frame = 2;
    prompt none;
    base_error error = {0};
    assert_int_equal(prompt_build(&b.env, &g, &none, &error), BASE_EINVAL);
    assert_non_null(strstr(error.text, "image 1 of 1: frame 2 was asked for; the DICOM file has frames 0 to 1"));
    prompt_release(&p[0]);
    prompt_release(&p[1]);
    bench_close(&b);
}

static void write_exemplars(const harness *r, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/exemplars.json", r->dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void exemplars_are_checked(void **state)
{
    (void)state;
    harness *r = harness_create();
    exemplars *e = NULL;
    base_error error;
    char path[128];
    assert_int_equal(exemplars_open(r->dir, &e, &error), BASE_OK);
    assert_string_equal(exemplars_find(e, "report"), "Given <img>: all is well.");
    assert_null(exemplars_find(e, "vqa"));
    exemplars_close(&e);
    write_exemplars(r, "{\"report\": 5}");
    assert_int_equal(exemplars_open(r->dir, &e, &error), BASE_EFORMAT);
    write_exemplars(r, "{\"report\": ");
    assert_int_equal(exemplars_open(r->dir, &e, &error), BASE_EFORMAT);
    assert_non_null(strstr(error.text, "line 1"));
    write_exemplars(r, "[]");
    assert_int_equal(exemplars_open(r->dir, &e, &error), BASE_EFORMAT);
    snprintf(path, sizeof path, "%s/exemplars.json", r->dir);
    unlink(path);
    assert_int_equal(exemplars_open(r->dir, &e, &error), BASE_OK);
    assert_null(exemplars_find(e, "report"));
    exemplars_close(&e);
    harness_free(r);
}

/* ---- a session's answer ---- */

static session *session_with(const bench *b, wire_request *request)
{
    session *s = session_create(request, 0, 7, 1000);
    session_move(s, SESSION_PREPARING);
    session_prepare(s, &b->env);
    assert_int_equal(s->prepared.error.status, BASE_OK);
    wire_finish finish;
    assert_int_equal(session_begin(s, b->tokenizer, 2000, &finish, NULL), BASE_OK);
    assert_int_equal(finish, WIRE_FINISH_UNKNOWN);
    session_free_prompt(s);
    return s;
}

static sched_event token_event(uint8_t byte, uint64_t digest)
{
    return (sched_event){.token = {.token = FAKE_FIRST_CHAR + byte, .logits_digest = digest}, .started_us = 3000};
}

/* Bytes of a character wait for the last one; a NUL is left out; ids and text of all deltas together are the answer's.
 */
static void deltas_are_whole_characters(void **state)
{
    (void)state;
    bench b = bench_open();
    wire_request request = text_request("a", "abc", 10, true);
    session *s = session_with(&b, &request);
    static const uint8_t bytes[] = {'x', 0xc3, 0xa9, 0, 'y'};
    static const char *const texts[] = {"x", NULL, "\xc3\xa9", NULL, "y"};
    static const size_t n_ids[] = {1, 0, 2, 0, 2};
    uint32_t n_events = 0;
    for (size_t i = 0; i < 5; i++) {
        sched_event event = token_event(bytes[i], 0);
        base_buf out = {0};
        assert_false(session_add_token(s, &event, 4000));
        assert_int_equal(session_encode_delta(s, &out), texts[i] != NULL);
        if (texts[i] != NULL) {
            wire_reply reply;
            assert_int_equal(wire_reply_decode(out.data, out.size, &reply, NULL), BASE_OK);
            assert_string_equal(reply.token.text, texts[i]);
            assert_int_equal(reply.token.n_ids, n_ids[i]);
            assert_int_equal(reply.token.index, n_events++);
            wire_reply_release(&reply);
        }
        base_buf_release(&out);
    }
    assert_int_equal(s->control.state, SESSION_DECODING);
    assert_int_equal(s->answer.first_token_us, 4000);
    session_destroy(&s);
    bench_close(&b);
}

/* The digest is FNV-1a over the little-endian digests of all sampled tokens, the end-of-text one included. */
static void digests_are_chained(void **state)
{
    (void)state;
    bench b = bench_open();
    wire_request request = text_request("a", "abc", 10, false);
    request.generate.logits_digest = true;
    session *s = session_with(&b, &request);
    uint64_t digests[] = {0x0123456789abcdefu, 42}, expected = 0xcbf29ce484222325u;
    for (size_t i = 0; i < 2; i++) {
        sched_event event = token_event('x', digests[i]);
        event.finish = i == 1 ? SCHED_EOS : SCHED_CONTINUE;
        session_add_token(s, &event, 4000);
        for (int k = 0; k < 8; k++)
            expected = (expected ^ (digests[i] >> (8 * k) & 0xff)) * 0x100000001b3u;
    }
    session_flush_text(s);
    char text[17];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)expected);
    base_buf out = {0};
    wire_reply reply;
    session_provenance from = {.model = "m", .model_digest = "", .version = "v", .layout = "l", .isa = "i"};
    session_encode_result(s, WIRE_FINISH_EOS, &from, 9000, &out);
    assert_int_equal(wire_reply_decode(out.data, out.size, &reply, NULL), BASE_OK);
    assert_string_equal(reply.result.logits_digest, text);
    assert_string_equal(reply.result.text, "x");
    assert_int_equal(reply.result.completion_tokens, 1);
    assert_true(reply.result.prepare_ms == 1.0 && reply.result.queue_ms == 1.0);
    assert_true(reply.result.first_token_ms == 3.0 && reply.result.total_ms == 8.0);
    wire_reply_release(&reply);
    base_buf_release(&out);
    session_destroy(&s);
    bench_close(&b);
}

/* The request outlives its message: stop strings are kept, parts are not. */
static void message_is_freed_early(void **state)
{
    (void)state;
    bench b = bench_open();
    const char *stops[] = {"yz"};
    wire_request request = text_request("a", "abc", 10, false), decoded;
    request.generate.stop = stops;
    request.generate.n_stop = 1;
    base_buf bytes = {0};
    assert_int_equal(wire_request_encode(&request, &bytes, NULL), BASE_OK);
    assert_int_equal(wire_request_decode(bytes.data, bytes.size, &decoded, NULL), BASE_OK);
    base_buf_release(&bytes);
    session *s = session_with(&b, &decoded);
    assert_null(s->request.owner);
    assert_int_equal(s->request.generate.n_parts, 0);
    bool stopped = false;
    for (const char *c = "xyz"; *c != '\0'; c++) {
        sched_event event = token_event((uint8_t)*c, 0);
        assert_false(stopped);
        stopped = session_add_token(s, &event, 4000);
    }
    assert_true(stopped);
    assert_int_equal(s->answer.text.size, 1);
    session_destroy(&s);
    bench_close(&b);
}

/* ---- the gateway's table ---- */

static void requests_are_found(void **state)
{
    (void)state;
    open_requests c;
    client_id one = {.bytes = {1, 2}, .size = 2}, two = {.bytes = {1, 2, 3}, .size = 3};
    uint64_t a, b, again;
    base_error error;
    assert_int_equal(open_requests_init(&c, 2, NULL), BASE_OK);
    assert_int_equal(open_requests_add(&c, &one, "x", true, &a, NULL), BASE_OK);
    assert_int_equal(open_requests_add(&c, &one, "x", true, &again, &error), BASE_EINVAL);
    assert_int_equal(open_requests_add(&c, &two, "x", true, &b, NULL), BASE_OK);
    assert_int_equal(open_requests_add(&c, &two, "y", true, &again, &error), BASE_EBUSY);
    assert_ptr_equal(open_requests_find_id(&c, &two, "x"), open_requests_find(&c, b));
    open_requests_remove(&c, open_requests_find(&c, a));
    assert_null(open_requests_find(&c, a));
    assert_int_equal(open_requests_add(&c, &two, "y", true, &again, NULL), BASE_OK);
    assert_int_not_equal(a, again); /* the place is the same, the number is not */
    assert_null(open_requests_find(&c, a));
    assert_non_null(open_requests_find(&c, again));
    open_requests_release(&c);
}

/* ---- mailboxes ---- */

enum { N_SENDERS = 4, N_MAILS = 2000 };

static void *send_mails(void *argument)
{
    thread_queue *box = argument;
    for (uint64_t i = 1; i <= N_MAILS; i++)
        thread_queue_push(box, thread_message_create(MESSAGE_CANCEL, i));
    return NULL;
}

static void *take_mails(void *argument)
{
    thread_queue *box = argument;
    uintptr_t sum = 0;
    for (;;) {
        thread_message *m = thread_queue_wait(box);
        if (m->kind == MESSAGE_STOP)
            return (void *)sum;
        sum += m->number;
        thread_message_destroy(&m);
    }
}

static void queues_lose_nothing(void **state)
{
    (void)state;
    thread_queue box;
    pthread_t senders[N_SENDERS], takers[2];
    thread_message stops[2] = {{.kind = MESSAGE_STOP, .is_embedded = true},
                               {.kind = MESSAGE_STOP, .is_embedded = true}};
    uintptr_t sum = 0;
    assert_int_equal(thread_queue_init(&box, NULL), BASE_OK);
    for (int i = 0; i < 2; i++)
        pthread_create(&takers[i], NULL, take_mails, &box);
    for (int i = 0; i < N_SENDERS; i++)
        pthread_create(&senders[i], NULL, send_mails, &box);
    for (int i = 0; i < N_SENDERS; i++)
        pthread_join(senders[i], NULL);
    for (int i = 0; i < 2; i++)
        thread_queue_push(&box, &stops[i]);
    for (int i = 0; i < 2; i++) {
        void *part;
        pthread_join(takers[i], &part);
        sum += (uintptr_t)part;
    }
    assert_int_equal(sum, (uintptr_t)N_SENDERS * N_MAILS * (N_MAILS + 1) / 2);
    assert_null(thread_queue_pop(&box));
    thread_queue_release(&box);
}

/* ---- addresses ---- */

static void loopback_only(void **state)
{
    (void)state;
    static const char *const good[] = {"tcp://127.0.0.1:7411", "tcp://127.8.9.1:*",         "tcp://localhost:1",
                                       "tcp://[::1]:7411",     "ipc:///tmp/no-such-socket", "inproc://x"};
    static const char *const open[] = {"tcp://*:7411",
                                       "tcp://0.0.0.0:7411",
                                       "tcp://10.0.0.5:7411",
                                       "tcp://[::]:7411",
                                       "tcp://127.0.0.1.example.org:7411",
                                       "tcp://1270.0.0.1:1",
                                       "tcp://eth0:7411"};
    base_error error;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_int_equal(address_check(good[i], false, &error), BASE_OK);
    for (size_t i = 0; i < sizeof open / sizeof open[0]; i++) {
        assert_int_equal(address_check(open[i], false, &error), BASE_EINVAL);
        assert_non_null(strstr(error.text, open[i]));
        assert_int_equal(address_check(open[i], true, &error), BASE_OK);
    }
    assert_int_equal(address_check("http://127.0.0.1", true, &error), BASE_EINVAL);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(texts_are_joined),
    cmocka_unit_test(tasks_take_their_images),
    cmocka_unit_test(exemplars_are_checked),
    cmocka_unit_test(digests_are_chained),
    cmocka_unit_test(deltas_are_whole_characters),
    cmocka_unit_test(message_is_freed_early),
    cmocka_unit_test(requests_are_found),
    cmocka_unit_test(queues_lose_nothing),
    cmocka_unit_test(loopback_only),
    cmocka_unit_test(images_lie_between_marks),
    cmocka_unit_test(frames_are_picked),
};

RUN_CASES(tests)
