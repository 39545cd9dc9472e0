#include "tests/gateway/gateway_harness.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "tests/gateway/fake_checkpoint.h"

static const char *const checkpoint_files[] = {"config.json", "tokenizer.model", "exemplars.json"};

static void on_ready(void *context, const char *line)
{
    harness *r = context;
    snprintf(r->ready_line, sizeof r->ready_line, "%s", line);
    atomic_store(&r->is_ready, true);
}

harness *harness_create(void)
{
    harness *r = calloc(1, sizeof *r);
    assert_non_null(r);
    base_log_set_level(getenv("HARNESS_LOG") != NULL ? BASE_LOG_DEBUG : BASE_LOG_ERROR);
    snprintf(r->dir, sizeof r->dir, "/tmp/palmgrove-test-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    fake_checkpoint_write(r->dir);
    snprintf(r->endpoint, sizeof r->endpoint, "ipc://%s/gate", r->dir);
    snprintf(r->link, sizeof r->link, "inproc://link");
    r->zmq = zmq_ctx_new();
    r->endpoints[0] = r->endpoint;
    r->replica_options = (fake_replica_options){.limits = {.max_seqs = 8,
                                                           .max_positions = 4096,
                                                           .max_step_tokens = 256,
                                                           .n_kv_blocks = 512,
                                                           .n_image_slots = 4,
                                                           .rows_per_image = 4,
                                                           .image_size = 28,
                                                           .vocab_size = FAKE_VOCAB},
                                                .pp = 2};
    r->options = (coord_options){.model_dir = r->dir,
                                 .endpoints = r->endpoints,
                                 .n_endpoints = 1,
                                 .link = r->link,
                                 .max_queue = 16,
                                 .step_tokens = 256,
                                 .max_message_bytes = 1 << 20,
                                 .max_image_pixels = 1 << 20,
                                 .intake_threads = 2,
                                 .ready = on_ready,
                                 .ready_context = r};
    return r;
}

void harness_start(harness *r)
{
    base_error error = {0};
    if (coord_start(&r->options, r->zmq, &r->coord, &error) != BASE_OK)
        fail_msg("coord_start: %s", error.text);
    fake_replica_start(&r->replica, &r->replica_options, r->zmq, r->link);
    for (int i = 0; i < HARNESS_TIMEOUT_MS && !atomic_load(&r->is_ready) && r->replica_options.hello_delay_ms == 0; i++)
        base_clock_nap(1000);
}

void harness_free(harness *r)
{
    char path[512];
    for (size_t i = 0; i < sizeof checkpoint_files / sizeof checkpoint_files[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", r->dir, checkpoint_files[i]);
        unlink(path);
    }
    zmq_ctx_term(r->zmq);
    assert_int_equal(rmdir(r->dir), 0); /* fails when a socket file was left */
    free(r);
}

void harness_end(harness *r)
{
    base_error error = {0};
    coord_drain(r->coord, false);
    if (coord_finish(&r->coord, &error) != BASE_OK)
        fail_msg("coord_finish: %s", error.text);
    fake_replica_join(&r->replica);
    assert_true(atomic_load(&r->replica.was_stopped));
    harness_free(r);
}

/* ---- peers ---- */

peer peer_open(harness *r, int type)
{
    int zero = 0;
    peer p = {.socket = zmq_socket(r->zmq, type)};
    assert_non_null(p.socket);
    zmq_setsockopt(p.socket, ZMQ_LINGER, &zero, sizeof zero);
    assert_int_equal(zmq_connect(p.socket, r->endpoint), 0);
    return p;
}

void peer_close(peer *p)
{
    zmq_close(p->socket);
}

void peer_send_bytes(peer *p, const void *bytes, size_t size)
{
    assert_int_equal(zmq_send(p->socket, bytes, size, 0), (int)size);
}

void peer_send(peer *p, const wire_request *request)
{
    base_buf buf = {0};
    assert_int_equal(wire_request_encode(request, &buf, NULL), BASE_OK);
    peer_send_bytes(p, buf.data, buf.size);
    base_buf_release(&buf);
}

bool peer_try(peer *p, wire_reply *reply, int timeout_ms)
{
    zmq_pollitem_t item = {.socket = p->socket, .events = ZMQ_POLLIN};
    if (zmq_poll(&item, 1, timeout_ms) <= 0)
        return false;
    zmq_msg_t msg;
    zmq_msg_init(&msg);
    assert_true(zmq_msg_recv(&msg, p->socket, 0) >= 0);
    base_error error = {0};
    if (wire_reply_decode(zmq_msg_data(&msg), zmq_msg_size(&msg), reply, &error) != BASE_OK)
        fail_msg("bad reply: %s", error.text);
    zmq_msg_close(&msg);
    return true;
}

void peer_receive(peer *p, wire_reply *reply)
{
    if (!peer_try(p, reply, HARNESS_TIMEOUT_MS))
        fail_msg("no reply within %d ms", HARNESS_TIMEOUT_MS);
}

void peer_expect_error(peer *p, const char *request_id, base_status status, const char *part)
{
    wire_reply reply;
    peer_receive(p, &reply);
    assert_int_equal(reply.kind, WIRE_REPLY_ERROR);
    assert_string_equal(reply.request_id, request_id);
    if ((base_status)reply.error.code != status || (part != NULL && strstr(reply.error.message, part) == NULL))
        fail_msg("got '%s': %s", reply.error.name, reply.error.message);
    wire_reply_release(&reply);
}

wire_stats peer_stats(peer *p)
{
    wire_reply reply;
    wire_request request = {.version = WIRE_VERSION, .request_id = "stats", .kind = WIRE_REQUEST_STATS};
    peer_send(p, &request);
    peer_receive(p, &reply);
    assert_int_equal(reply.kind, WIRE_REPLY_STATS);
    wire_stats stats = reply.stats;
    wire_reply_release(&reply);
    return stats;
}

/* ---- requests and answers ---- */

wire_request text_request(const char *request_id, const char *text, uint32_t max_tokens, bool stream)
{
    static _Thread_local wire_part part;
    part = (wire_part){.kind = WIRE_PART_TEXT, .text = text};
    wire_request request = {
        .version = WIRE_VERSION,
        .kind = WIRE_REQUEST_GENERATE,
        .generate = {.parts = &part, .n_parts = 1, .sampling.top_p = 1.0f, .max_tokens = max_tokens, .stream = stream}};
    snprintf(request.request_id, sizeof request.request_id, "%s", request_id);
    return request;
}

bool harness_expect(const harness *r, const char *text, uint32_t max_tokens, const link_sampling *sampling,
                    char *answer)
{
    static const link_sampling greedy = {.top_p = 1.0f};
    size_t n = strlen(text);
    int32_t *tokens = calloc(n + 1 + max_tokens, sizeof *tokens), *made = tokens + n + 1;
    tokens[0] = FAKE_BOS;
    for (size_t i = 0; i < n; i++)
        tokens[i + 1] = FAKE_FIRST_CHAR + (uint8_t)text[i];
    uint32_t n_made = fake_expect(&r->replica_options.limits, r->replica_options.eos_every, tokens, (uint32_t)n + 1,
                                  NULL, sampling != NULL ? sampling : &greedy, max_tokens, made);
    bool ends = made[n_made - 1] == FAKE_EOS;
    n_made -= ends;
    for (uint32_t i = 0; i < n_made; i++)
        answer[i] = (char)(made[i] - FAKE_FIRST_CHAR);
    answer[n_made] = '\0';
    free(tokens);
    return ends;
}

void peer_check_answer(peer *p, const harness *r, const char *request_id, const char *text, uint32_t max_tokens,
                       bool stream)
{
    char expected[HARNESS_TEXT], streamed[HARNESS_TEXT] = "";
    bool ends = harness_expect(r, text, max_tokens, NULL, expected);
    wire_request request = text_request(request_id, text, max_tokens, stream);
    wire_reply reply;
    uint32_t n_events = 0;
    peer_send(p, &request);
    for (peer_receive(p, &reply); reply.kind == WIRE_REPLY_TOKEN; peer_receive(p, &reply)) {
        assert_string_equal(reply.request_id, request_id);
        assert_int_equal(reply.token.index, n_events++);
        strncat(streamed, reply.token.text, sizeof streamed - strlen(streamed) - 1);
        wire_reply_release(&reply);
    }
    if (reply.kind == WIRE_REPLY_ERROR)
        fail_msg("%s: %s", reply.error.name, reply.error.message);
    assert_int_equal(reply.kind, WIRE_REPLY_RESULT);
    assert_string_equal(reply.request_id, request_id);
    assert_string_equal(reply.result.text, expected);
    assert_int_equal(reply.result.finish, ends ? WIRE_FINISH_EOS : WIRE_FINISH_LENGTH);
    assert_int_equal(reply.result.completion_tokens, strlen(expected));
    assert_int_equal(reply.result.n_ids, strlen(expected));
    assert_int_equal(reply.result.prompt_tokens, strlen(text) + 1);
    assert_string_equal(streamed, stream ? expected : "");
    wire_reply_release(&reply);
}
