/* libpalmgrove against a small server of our own: a ROUTER on a real socket in a thread, which plays by the first text
 * of a request. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "proto/base/clock.h"
#include "proto/client/palmgrove.h"
#include "proto/wire/msg.h"

/* ---- the server ---- */

typedef struct fake_server {
    pthread_t thread;
    void *zmq, *socket; /* the socket is the thread's once it runs */
    char endpoint[128];
    atomic_bool stop;
    atomic_bool silent; /* answer nothing, not even Health */
    atomic_uint n_cancels, n_healths;
    wire_request held; /* a Generate that waits for its Cancel */
} fake_server;

static void answer(fake_server *s, zmq_msg_t *peer, const wire_request *request, wire_reply *reply)
{
    base_buf bytes = {0};
    reply->version = WIRE_VERSION;
    memcpy(reply->request_id, request->request_id, sizeof reply->request_id);
    if (wire_reply_encode(reply, &bytes, NULL) == BASE_OK) {
        zmq_send(s->socket, zmq_msg_data(peer), zmq_msg_size(peer), ZMQ_SNDMORE);
        zmq_send(s->socket, bytes.data, bytes.size, 0);
    }
    base_buf_release(&bytes);
}

static void answer_token(fake_server *s, zmq_msg_t *peer, const wire_request *request, uint32_t index, const char *text)
{
    wire_reply reply = {.kind = WIRE_REPLY_TOKEN, .token = {.index = index, .ids = &index, .n_ids = 1, .text = text}};
    answer(s, peer, request, &reply);
}

static void answer_result(fake_server *s, zmq_msg_t *peer, const wire_request *request, const char *text)
{
    static const uint32_t ids[] = {7, 8};
    wire_reply reply = {.kind = WIRE_REPLY_RESULT};
    reply.result = (wire_result){.text = text,
                                 .finish = WIRE_FINISH_EOS,
                                 .ids = ids,
                                 .n_ids = 2,
                                 .prompt_tokens = 300,
                                 .image_tokens = 256,
                                 .completion_tokens = 2,
                                 .total_ms = 12.5,
                                 .model = "phantom",
                                 .model_digest = "d1",
                                 .build = "9.9",
                                 .layout = "tp2 x pp2",
                                 .isa = "ref",
                                 .seed = 5,
                                 .reused_tokens = 32,
                                 .drafted_tokens = 3,
                                 .accepted_tokens = 1};
    answer(s, peer, request, &reply);
}

static void answer_error(fake_server *s, zmq_msg_t *peer, const wire_request *request, uint32_t code, const char *text)
{
    wire_reply reply = {.kind = WIRE_REPLY_ERROR, .error = {.code = code, .message = text}};
    answer(s, peer, request, &reply);
}

static void play_generate(fake_server *s, zmq_msg_t *peer, wire_request *request)
{
    const char *text = request->generate.parts[0].text;
    if (text == NULL)
        text = "";
    if (strcmp(text, "stream") == 0) {
        wire_request other = {.request_id = "another-request"};
        answer_token(s, peer, request, 0, "No ");
        answer_token(s, peer, &other, 0, "NOT YOURS");
        answer_token(s, peer, request, 1, ""); /* a token that gives no whole character yet */
        answer_token(s, peer, request, 2, "effusion.");
        answer_result(s, peer, request, "No effusion.");
    } else if (strcmp(text, "busy") == 0) {
        answer_error(s, peer, request, BASE_EBUSY, "the queue is full (64); try again later");
    } else if (strcmp(text, "hold") == 0) {
        wire_request_release(&s->held);
        s->held = *request;
        *request = (wire_request){0};
        answer_token(s, peer, &s->held, 0, "begun");
    } else if (strcmp(text, "garbage") == 0) {
        zmq_send(s->socket, zmq_msg_data(peer), zmq_msg_size(peer), ZMQ_SNDMORE);
        zmq_send(s->socket, "HTTP/1.1 400 Bad Request", 24, 0);
    } else if (strcmp(text, "health instead") == 0) {
        wire_reply reply = {.kind = WIRE_REPLY_HEALTH};
        answer(s, peer, request, &reply);
    } else if (strcmp(text, "die") == 0) {
        atomic_store(&s->stop, true);
    } else {
        char seen[256]; /* tell what arrived */
        const wire_generate *g = &request->generate;
        const wire_part *first = &g->parts[0];
        snprintf(seen, sizeof seen,
                 "parts %zu task %s field %s=%s image %zu stop %zu t %g k %u p %g seed %llu max %u deadline %u prio %d "
                 "digest %d "
                 "stream %d resume %zu %u answer %s",
                 g->n_parts, first->task != NULL ? first->task : "-", first->n_fields > 0 ? first->fields[0].name : "-",
                 first->n_fields > 0 ? first->fields[0].value : "-", g->n_parts > 1 ? g->parts[1].image_bytes : 0,
                 g->n_stop, (double)g->sampling.temperature, g->sampling.top_k, (double)g->sampling.top_p,
                 (unsigned long long)g->sampling.seed, g->max_tokens, g->deadline_ms, (int)g->priority,
                 g->logits_digest, g->stream, g->n_resume_ids, g->n_resume_ids > 1 ? g->resume_ids[1] : 0,
                 g->answer != NULL && g->answer[0] != '\0' ? g->answer : "-");
        answer_result(s, peer, request, seen);
    }
}

static void play(fake_server *s, zmq_msg_t *peer, wire_request *request)
{
    wire_reply reply = {0};
    switch (request->kind) {
    case WIRE_REQUEST_GENERATE:
        play_generate(s, peer, request);
        break;
    case WIRE_REQUEST_CANCEL:
        atomic_fetch_add(&s->n_cancels, 1);
        if (strcmp(s->held.request_id, request->request_id) == 0)
            answer_error(s, peer, request, BASE_ECANCELED, "canceled by the client");
        break;
    case WIRE_REQUEST_HEALTH:
        atomic_fetch_add(&s->n_healths, 1);
        reply.kind = WIRE_REPLY_HEALTH;
        reply.health =
            (wire_health){.state = "ready", .build = "9.9", .model = "phantom", .layout = "tp1 x pp1", .uptime_s = 1.5};
        answer(s, peer, request, &reply);
        break;
    default:
        reply.kind = WIRE_REPLY_STATS;
        reply.stats = (wire_stats){.requests_admitted = 3,
                                   .kv_blocks_free = 4,
                                   .resident_bytes = 1ull << 33,
                                   .prefix_tokens = 5,
                                   .kv_blocks_kept = 6,
                                   .images_reused = 8};
        answer(s, peer, request, &reply);
    }
}

static void *serve(void *opaque)
{
    fake_server *s = opaque;
    zmq_msg_t peer, message;
    zmq_msg_init(&peer);
    zmq_msg_init(&message);
    while (!atomic_load(&s->stop)) {
        zmq_pollitem_t item = {.socket = s->socket, .events = ZMQ_POLLIN};
        if (zmq_poll(&item, 1, 10) <= 0 || zmq_msg_recv(&peer, s->socket, 0) < 0 ||
            zmq_msg_recv(&message, s->socket, 0) < 0 || atomic_load(&s->silent))
            continue;
        wire_request request;
        if (wire_request_decode(zmq_msg_data(&message), zmq_msg_size(&message), &request, NULL) == BASE_OK)
            play(s, &peer, &request);
        wire_request_release(&request);
    }
    zmq_msg_close(&peer);
    zmq_msg_close(&message);
    zmq_close(s->socket);
    return NULL;
}

static int start_server(void **state)
{
    fake_server *s = calloc(1, sizeof *s);
    size_t size = sizeof s->endpoint;
    int linger = 0;
    if (s == NULL)
        return -1;
    s->zmq = zmq_ctx_new();
    s->socket = zmq_socket(s->zmq, ZMQ_ROUTER);
    zmq_setsockopt(s->socket, ZMQ_LINGER, &linger, sizeof linger);
    *state = s;
    return zmq_bind(s->socket, "tcp://127.0.0.1:*") != 0 ||
           zmq_getsockopt(s->socket, ZMQ_LAST_ENDPOINT, s->endpoint, &size) != 0 ||
           pthread_create(&s->thread, NULL, serve, s) != 0;
}

static int stop_server(void **state)
{
    fake_server *s = *state;
    atomic_store(&s->stop, true);
    pthread_join(s->thread, NULL);
    zmq_ctx_term(s->zmq);
    wire_request_release(&s->held);
    free(s);
    return 0;
}

/* ---- helpers ---- */

static pg_client *open_client(const fake_server *s, uint32_t timeout_ms)
{
    pg_client *client = NULL;
    pg_error error;
    if (pg_client_open(s->endpoint, timeout_ms, &client, &error) != PG_OK)
        fail_msg("%s", error.text);
    return client;
}

static pg_request *text_request(const char *text)
{
    pg_request *request = pg_request_create();
    assert_non_null(request);
    assert_int_equal(pg_request_add_text(request, text), PG_OK);
    return request;
}

typedef struct story {
    char text[256];
    unsigned n_deltas, stop_after;
    pg_client *cancel;
} story;

static bool listen_to(void *context, const char *delta)
{
    story *heard = context;
    strncat(heard->text, delta, sizeof heard->text - strlen(heard->text) - 1);
    if (heard->cancel != NULL)
        pg_client_cancel(heard->cancel);
    return ++heard->n_deltas != heard->stop_after;
}

/* Run `text` and expect a failure; the error says `word`. */
static void assert_generate_fails(pg_client *client, const char *text, story *heard, pg_status status, const char *word)
{
    pg_request *request = text_request(text);
    pg_result *result = NULL;
    pg_error error = {0};
    assert_int_equal(pg_client_generate(client, request, heard != NULL ? listen_to : NULL, heard, &result, &error),
                     status);
    assert_int_equal(error.status, status);
    if (strstr(error.text, word) == NULL)
        fail_msg("'%s' does not say '%s'", error.text, word);
    assert_null(result);
    pg_request_destroy(&request);
}

/* ---- tests ---- */

static void test_stream(void **state)
{
    pg_client *client = open_client(*state, 2000);
    pg_request *request = text_request("stream");
    story heard = {0};
    pg_result *result = NULL;
    pg_error error = {0};
    for (int again = 0; again < 2; again++) { /* a request may be run again */
        heard = (story){0};
        if (pg_client_generate(client, request, listen_to, &heard, &result, &error) != PG_OK)
            fail_msg("%s", error.text);
        assert_string_equal(heard.text, "No effusion.");
        assert_int_equal(heard.n_deltas, 2);
        assert_string_equal(result->text, "No effusion.");
        assert_int_equal(result->finish, PG_FINISH_EOS);
        assert_int_equal(result->n_ids, 2);
        assert_int_equal(result->ids[1], 8);
        assert_true(result->prompt_tokens == 300 && result->image_tokens == 256 && result->total_ms == 12.5);
        assert_string_equal(result->model, "phantom");
        assert_string_equal(result->version, "9.9");
        assert_string_equal(result->logits_digest, "");
        assert_true(result->request_id[0] != '\0' && result->seed == 5);
        assert_true(result->reused_tokens == 32 && result->drafted_tokens == 3 && result->accepted_tokens == 1);
        pg_result_destroy(&result);
        assert_null(result);
    }
    pg_request_destroy(&request);
    assert_null(request);
    pg_client_close(&client);
    assert_null(client);
}

static void test_everything_arrives(void **state)
{
    pg_client *client = open_client(*state, 2000);
    pg_request *request = pg_request_create();
    pg_request_add_task(request, "report");
    pg_request_add_field(request, "indication", "cough");
    pg_request_add_image(request, "12345", 5);
    pg_request_add_stop(request, "END");
    pg_request_set_sampling(request, 0.5f, 40, 0.25f, 77);
    pg_request_set_max_tokens(request, 9);
    pg_request_set_deadline_ms(request, 1234);
    pg_request_set_stat(request, true);
    pg_request_set_logits_digest(request, true);
    pg_request_set_resume(request, (const uint32_t[]){1}, 1); /* replaced */
    assert_int_equal(pg_request_set_resume(request, (const uint32_t[]){4, 500}, 2), PG_OK);
    pg_result *result = NULL;
    assert_int_equal(pg_client_generate(client, request, NULL, NULL, &result, NULL), PG_OK);
    assert_string_equal(result->text,
                        "parts 2 task report field indication=cough image 5 stop 1 t 0.5 k 40 p 0.25 seed 77 max 9 "
                        "deadline 1234 prio 1 digest 1 stream 0 resume 2 500 answer -");
    pg_result_destroy(&result);
    pg_request_destroy(&request);
    pg_client_close(&client);
}

static void test_answers_arrive(void **state)
{
    pg_client *client = open_client(*state, 2000);
    pg_request *request = pg_request_create();
    pg_request_add_text(request, "Q:");
    pg_request_set_answer(request, "No."); /* replaced */
    assert_int_equal(pg_request_set_answer(request, "Yes."), PG_OK);
    pg_result *result = NULL;
    assert_int_equal(pg_client_generate(client, request, NULL, NULL, &result, NULL), PG_OK);
    assert_non_null(strstr(result->text, "answer Yes."));
    pg_result_destroy(&result);
    assert_int_equal(pg_request_set_answer(request, NULL), PG_OK);
    assert_int_equal(pg_client_generate(client, request, NULL, NULL, &result, NULL), PG_OK);
    assert_non_null(strstr(result->text, "answer -"));
    pg_result_destroy(&result);
    pg_request_destroy(&request);
    pg_client_close(&client);
}

static void test_image_files(void **state)
{
    pg_client *client = open_client(*state, 2000);
    char path[] = "/tmp/palmgrove-proto-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0 && write(file, "1234567", 7) == 7);
    close(file);
    pg_request *request = pg_request_create();
    pg_request_add_task(request, "report");
    assert_int_equal(pg_request_add_image_file(request, path), PG_OK);
    unlink(path);
    pg_result *result = NULL;
    assert_int_equal(pg_client_generate(client, request, NULL, NULL, &result, NULL), PG_OK);
    assert_non_null(strstr(result->text, "image 7 "));
    pg_result_destroy(&result);
    assert_int_equal(pg_request_add_image_file(request, path), PG_ENOTFOUND);
    assert_int_equal(pg_request_add_image_file(request, "/"), PG_EIO);

    /* The first failure is what running the request reports. */
    pg_error error;
    assert_int_equal(pg_client_generate(client, request, NULL, NULL, &result, &error), PG_ENOTFOUND);
    assert_non_null(strstr(error.text, path));
    pg_request_destroy(&request);
    pg_client_close(&client);
}

static void test_builder_refusals(void **state)
{
    (void)state;
    pg_request *request = pg_request_create();
    assert_int_equal(pg_request_add_text(request, NULL), PG_EINVAL);
    assert_int_equal(pg_request_add_field(request, "a", "b"), PG_EINVAL);
    assert_int_equal(pg_request_add_image(request, "", 0), PG_EINVAL);
    assert_int_equal(pg_request_add_task(request, ""), PG_EINVAL);
    assert_int_equal(pg_request_add_stop(request, ""), PG_EINVAL);
    assert_int_equal(pg_request_add_task(request, "vqa"), PG_OK);
    for (int i = 0; i < WIRE_FIELDS_MAX; i++)
        assert_int_equal(pg_request_add_field(request, "a", "b"), PG_OK);
    assert_int_equal(pg_request_add_field(request, "a", "b"), PG_ETOOBIG);
    for (int i = 0; i < WIRE_STOP_MAX; i++)
        assert_int_equal(pg_request_add_stop(request, "s"), PG_OK);
    assert_int_equal(pg_request_add_stop(request, "s"), PG_ETOOBIG);
    for (int i = 1; i < WIRE_PARTS_MAX; i++)
        assert_int_equal(pg_request_add_text(request, "t"), PG_OK);
    assert_int_equal(pg_request_add_text(request, "t"), PG_ETOOBIG);
    assert_int_equal(pg_request_add_image(request, "i", 1), PG_ETOOBIG);
    pg_request_destroy(&request);
    pg_request_destroy(&request);
}

static void test_open_refusals(void **state)
{
    (void)state;
    pg_client *client = NULL;
    pg_error error;
    assert_int_equal(pg_client_open("http://x", 10, &client, &error), PG_EINVAL);
    assert_non_null(strstr(error.text, "'http://x'"));
    assert_int_equal(pg_client_open(NULL, 10, &client, &error), PG_EINVAL);
    assert_int_equal(pg_client_open("tcp://127.0.0.1:5", 0, &client, &error), PG_EINVAL);
    assert_int_equal(pg_client_open("tcp://nonsense", 10, &client, &error), PG_EINVAL);
    assert_null(client);
    pg_client_close(&client);
    assert_string_equal(pg_status_text(PG_EBUSY), "busy");
    assert_string_equal(pg_status_text(PG_EUNREACHABLE), "unreachable");
    assert_true(pg_version()[0] != '\0');
}

static void test_server_refusal(void **state)
{
    pg_client *client = open_client(*state, 2000);
    assert_generate_fails(client, "busy", NULL, PG_EBUSY, "the queue is full (64); try again later");
    assert_generate_fails(client, "garbage", NULL, PG_EFORMAT, "does not answer like a palmgrove server");
    assert_generate_fails(client, "health instead", NULL, PG_EFORMAT, "another kind");
    pg_client_close(&client);
}

static void test_cancel_from_callback(void **state)
{
    fake_server *s = *state;
    pg_client *client = open_client(s, 2000);
    story returns_false = {.stop_after = 1}, calls = {.cancel = client};
    assert_generate_fails(client, "hold", &returns_false, PG_ECANCELED, "canceled");
    assert_generate_fails(client, "hold", &calls, PG_ECANCELED, "canceled");
    assert_int_equal(atomic_load(&s->n_cancels), 2);
    pg_client_close(&client);
}

static void *cancel_later(void *client)
{
    base_clock_nap(200000);
    pg_client_cancel(client);
    return NULL;
}

static void test_cancel_from_another_thread(void **state)
{
    pg_client *client = open_client(*state, 2000);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel_later, client), 0);
    assert_generate_fails(client, "hold", NULL, PG_ECANCELED, "canceled");
    pthread_join(thread, NULL);
    pg_client_close(&client);
}

/* A long generation outlives the timeout, because the server gives signs of life; canceled here to end the test. */
static void test_long_silence_of_a_living_server(void **state)
{
    fake_server *s = *state;
    pg_client *client = open_client(s, 90);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel_later, client), 0); /* after more than two timeouts */
    assert_generate_fails(client, "hold", NULL, PG_ECANCELED, "canceled");
    pthread_join(thread, NULL);
    assert_true(atomic_load(&s->n_healths) >= 2);
    pg_client_close(&client);
}

static void test_silent_server(void **state)
{
    fake_server *s = *state;
    atomic_store(&s->silent, true);
    pg_client *client = open_client(s, 200);
    uint64_t start = base_clock_us();
    assert_generate_fails(client, "stream", NULL, PG_EUNREACHABLE, "within 200 ms");
    pg_health *health = NULL;
    assert_int_equal(pg_client_health(client, &health, NULL), PG_EUNREACHABLE);
    assert_true(base_clock_us() - start < 3000000);
    pg_client_close(&client);
}

static void test_server_goes_away(void **state)
{
    pg_client *client = open_client(*state, 10000);
    uint64_t start = base_clock_us();
    assert_generate_fails(client, "die", NULL, PG_EUNREACHABLE, "closed the connection");
    assert_true(base_clock_us() - start < 5000000); /* well before the timeout */
    pg_client_close(&client);
}

static void test_nobody_there(void **state)
{
    (void)state;
    pg_client *client = NULL;
    pg_error error;
    assert_int_equal(pg_client_open("ipc:///tmp/palmgrove-no-listener", 200, &client, &error), PG_OK);
    assert_generate_fails(client, "stream", NULL, PG_EUNREACHABLE, "is the server running?");
    pg_client_close(&client);
}

static void test_health_and_stats(void **state)
{
    pg_client *client = open_client(*state, 2000);
    pg_health *health = NULL;
    pg_stats stats;
    assert_int_equal(pg_client_health(client, &health, NULL), PG_OK);
    assert_string_equal(health->state, "ready");
    assert_string_equal(health->version, "9.9");
    assert_true(health->uptime_s == 1.5);
    pg_health_destroy(&health);
    assert_null(health);
    assert_int_equal(pg_client_stats(client, &stats, NULL), PG_OK);
    assert_true(stats.requests_admitted == 3 && stats.kv_blocks_free == 4 && stats.resident_bytes == 1ull << 33);
    assert_true(stats.prefix_tokens == 5 && stats.kv_blocks_kept == 6 && stats.images_reused == 8);
    pg_client_close(&client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stream, start_server, stop_server),
        cmocka_unit_test_setup_teardown(test_everything_arrives, start_server, stop_server),
        cmocka_unit_test_setup_teardown(test_answers_arrive, start_server, stop_server),
        cmocka_unit_test_setup_teardown(test_image_files, start_server, stop_server),
        cmocka_unit_test(test_builder_refusals),
        cmocka_unit_test(test_open_refusals),
        cmocka_unit_test_setup_teardown(test_server_refusal, start_server, stop_server),
        cmocka_unit_test_setup_teardown(test_cancel_from_callback, start_server, stop_server),
        cmocka_unit_test_setup_teardown(test_cancel_from_another_thread, start_server, stop_server),
        cmocka_unit_test_setup_teardown(test_long_silence_of_a_living_server, start_server, stop_server),
        cmocka_unit_test_setup_teardown(test_silent_server, start_server, stop_server),
        cmocka_unit_test_setup_teardown(test_server_goes_away, start_server, stop_server),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test_setup_teardown(test_health_and_stats, start_server, stop_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
