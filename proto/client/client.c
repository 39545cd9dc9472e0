/* client.c - the connection and the calls.
 *
 *     pg_client_generate: send request -> next_reply (token, token, ... result | error)
 *                                           next_message: reply? -- connection lost? -- heartbeat due? -- poll
 *
 * One DEALER socket to the gateway's ROUTER, and a monitor on it.  A call sends its request and reads replies up to the
 * final one with its id; replies with other ids (late ones of an abandoned call, answers to heartbeats) are dropped.
 * Two things end a wait that would otherwise be endless.  The monitor reports a lost connection: ZeroMQ would reconnect
 * silently, but the server drops the requests of a closed connection.  A silent but open connection (a cut cable, a
 * hung server) is detected by a Health query every third of the timeout: no reply of any kind within the timeout means
 * that the server is unreachable. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <zmq.h>

#include "proto/base/clock.h"
#include "proto/client/builder_int.h"

enum {
    POLL_MS = 100, /* how late a cancel from another thread may be noticed */
    RECONNECT_MS_MAX = 1000,
};

static const char monitor_endpoint[] = "inproc://palmgrove-monitor"; /* one ZeroMQ context per handle */

struct pg_client {
    void *zmq, *socket, *monitor;
    char *endpoint;
    uint32_t timeout_ms;
    uint64_t id_prefix; /* random: ids of different handles differ in the server's log */
    uint64_t n_ids;
    atomic_bool cancel;
};

/* ---- life ---- */

static bool set_options(pg_client *client)
{
    int zero = 0, reconnect_max = RECONNECT_MS_MAX;
    int64_t bytes_max = WIRE_MESSAGE_BYTES_MAX;
    return zmq_setsockopt(client->socket, ZMQ_LINGER, &zero, sizeof zero) == 0 &&
           zmq_setsockopt(client->socket, ZMQ_RECONNECT_IVL_MAX, &reconnect_max, sizeof reconnect_max) == 0 &&
           zmq_setsockopt(client->socket, ZMQ_MAXMSGSIZE, &bytes_max, sizeof bytes_max) == 0 &&
           zmq_setsockopt(client->monitor, ZMQ_LINGER, &zero, sizeof zero) == 0;
}

static pg_status connect_client(pg_client *client, pg_error *error)
{
    client->zmq = zmq_ctx_new();
    if (client->zmq == NULL)
        return pg_fail(error, PG_ENOMEM, "cannot create a ZeroMQ context: %s", zmq_strerror(errno));
    client->socket = zmq_socket(client->zmq, ZMQ_DEALER);
    client->monitor = zmq_socket(client->zmq, ZMQ_PAIR);
    if (client->socket == NULL || client->monitor == NULL || !set_options(client) ||
        zmq_socket_monitor(client->socket, monitor_endpoint, ZMQ_EVENT_DISCONNECTED) != 0 ||
        zmq_connect(client->monitor, monitor_endpoint) != 0)
        return pg_fail(error, PG_EIO, "cannot open a socket for '%s': %s", client->endpoint, zmq_strerror(errno));
    if (zmq_connect(client->socket, client->endpoint) != 0)
        return pg_fail(error, errno == EMFILE ? PG_EIO : PG_EINVAL, "cannot connect to '%s': %s", client->endpoint,
                       zmq_strerror(errno));
    return PG_OK;
}

pg_status pg_client_open(const char *endpoint, uint32_t timeout_ms, pg_client **out, pg_error *error)
{
    if (endpoint == NULL || (strncmp(endpoint, "tcp://", 6) != 0 && strncmp(endpoint, "ipc://", 6) != 0))
        return pg_fail(error, PG_EINVAL, "endpoint '%s' is neither tcp://HOST:PORT nor ipc:///PATH",
                       endpoint != NULL ? endpoint : "");
    if (timeout_ms == 0)
        return pg_fail(error, PG_EINVAL, "timeout_ms is 0; give the longest silence to bear, e.g. 5000");
    pg_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        return pg_fail(error, PG_ENOMEM, "out of memory for a client");
    client->timeout_ms = timeout_ms;
    client->endpoint = strdup(endpoint);
    pg_status status = client->endpoint != NULL ? PG_OK : pg_fail(error, PG_ENOMEM, "out of memory for a client");
    if (status == PG_OK && getrandom(&client->id_prefix, sizeof client->id_prefix, 0) < 0)
        status = pg_fail(error, PG_EIO, "cannot get random bytes: %s", strerror(errno));
    if (status == PG_OK)
        status = connect_client(client, error);
    if (status != PG_OK)
        pg_client_close(&client);
    else
        *out = client;
    return status;
}

void pg_client_close(pg_client **opaque)
{
    if (opaque == NULL || *opaque == NULL)
        return;
    pg_client *client = *opaque;
    if (client->socket != NULL)
        zmq_close(client->socket);
    if (client->monitor != NULL)
        zmq_close(client->monitor);
    if (client->zmq != NULL)
        zmq_ctx_term(client->zmq);
    free(client->endpoint);
    free(client);
    *opaque = NULL;
}

/* ---- sending ---- */

static void make_id(pg_client *client, char *id)
{
    snprintf(id, WIRE_REQUEST_ID_BYTES_MAX + 1, "%016llx-%llu", (unsigned long long)client->id_prefix,
             (unsigned long long)++client->n_ids);
}

static pg_status send_request(pg_client *client, const wire_request *request, pg_error *error)
{
    base_buf bytes = {0};
    base_error cause = {0};
    pg_status status = PG_OK;
    if (wire_request_encode(request, &bytes, &cause) != BASE_OK)
        status = pg_adopt(error, &cause);
    else if (bytes.size > WIRE_MESSAGE_BYTES_MAX)
        status = pg_fail(error, PG_ETOOBIG, "the request has %zu bytes; the limit is %d", bytes.size,
                         WIRE_MESSAGE_BYTES_MAX);
    else if (zmq_send(client->socket, bytes.data, bytes.size, ZMQ_DONTWAIT) < 0)
        status = pg_fail(error, PG_EUNREACHABLE, "cannot send to '%s': %s", client->endpoint, zmq_strerror(errno));
    base_buf_release(&bytes);
    return status;
}

/* Send a request with an empty body.  id NULL: a new one. */
static pg_status send_short(pg_client *client, wire_request_kind kind, const char *id, pg_error *error)
{
    wire_request request = {.version = WIRE_VERSION, .kind = kind};
    if (id != NULL)
        memcpy(request.request_id, id, sizeof request.request_id);
    else
        make_id(client, request.request_id);
    return send_request(client, &request, error);
}

/* ---- receiving ---- */

/* One call that waits for its answer. */
typedef struct call {
    const char *id;    /* [WIRE_REQUEST_ID_BYTES_MAX + 1] */
    uint64_t heard_us; /* last message of the server */
    uint64_t asked_us; /* last heartbeat query */
    bool canceled;     /* Cancel was sent */
    bool is_cancelable;
} call;

/* Receive the next message if there is one: its last frame (a peer may send an empty delimiter first).  False: none. */
static bool take_message(void *socket, zmq_msg_t *message)
{
    for (;;) {
        if (zmq_msg_recv(message, socket, ZMQ_DONTWAIT) < 0)
            return false;
        if (!zmq_msg_more(message))
            return true;
    }
}

/* Did the connection break since the last look?  Event frames: u16 event + u32 value, then the address. */
static bool take_disconnect(pg_client *client)
{
    bool seen = false;
    zmq_msg_t message;
    zmq_msg_init(&message);
    while (take_message(client->monitor, &message))
        seen = true; /* no other event was asked for */
    zmq_msg_close(&message);
    return seen;
}

/* Start a call: earlier disconnects do not matter, ZeroMQ has reconnected or is trying to. */
static call start_call(pg_client *client, const char *id, bool is_cancelable)
{
    uint64_t now = base_clock_us();
    take_disconnect(client);
    atomic_store(&client->cancel, false);
    return (call){.id = id, .heard_us = now, .asked_us = now, .is_cancelable = is_cancelable};
}

static pg_status send_cancel(pg_client *client, call *c, pg_error *error)
{
    c->canceled = true;
    return send_short(client, WIRE_REQUEST_CANCEL, c->id, error);
}

/* While no message comes: give up after the timeout, or send a heartbeat. */
static pg_status check_heartbeat(pg_client *client, call *c, pg_error *error)
{
    uint64_t now = base_clock_us(), timeout_us = client->timeout_ms * (uint64_t)1000;
    if (now - c->heard_us >= timeout_us)
        return pg_fail(error, PG_EUNREACHABLE, "no answer from '%s' within %u ms; is the server running?",
                       client->endpoint, client->timeout_ms);
    uint64_t quiet_since = c->asked_us > c->heard_us ? c->asked_us : c->heard_us;
    if (now - quiet_since < timeout_us / 3)
        return PG_OK;
    c->asked_us = now;
    return send_short(client, WIRE_REQUEST_HEALTH, NULL, error);
}

/* Sleep until something comes from the server or the monitor, or it is time to look at the clock. */
static pg_status wait_for_events(pg_client *client, pg_error *error)
{
    uint32_t wait_ms = client->timeout_ms / 4 < POLL_MS ? client->timeout_ms / 4 + 1 : POLL_MS;
    zmq_pollitem_t items[] = {{.socket = client->socket, .events = ZMQ_POLLIN},
                              {.socket = client->monitor, .events = ZMQ_POLLIN}};
    if (zmq_poll(items, 2, (long)wait_ms) < 0 && errno != EINTR)
        return pg_fail(error, PG_EIO, "cannot wait for '%s': %s", client->endpoint, zmq_strerror(errno));
    return PG_OK;
}

/* Wait for the next message of the server, of any kind.  A final message may have arrived before the disconnect event,
 * so the socket is read once more after it. */
static pg_status next_message(pg_client *client, call *c, zmq_msg_t *message, pg_error *error)
{
    bool lost = false;
    for (;;) {
        pg_status status = PG_OK;
        if (c->is_cancelable && !c->canceled && atomic_load(&client->cancel))
            status = send_cancel(client, c, error);
        if (take_message(client->socket, message)) {
            c->heard_us = base_clock_us();
            return status;
        }
        if (lost)
            return pg_fail(error, PG_EUNREACHABLE,
                           "'%s' closed the connection; did the server stop, or is the message beyond its limit?",
                           client->endpoint);
        lost = take_disconnect(client);
        if (status == PG_OK && !lost)
            status = check_heartbeat(client, c, error);
        if (status == PG_OK && !lost)
            status = wait_for_events(client, error);
        if (status != PG_OK)
            return status;
    }
}

static pg_status decode_reply(pg_client *client, zmq_msg_t *message, wire_reply *out, pg_error *error)
{
    base_error cause = {0};
    if (wire_reply_decode(zmq_msg_data(message), zmq_msg_size(message), out, &cause) == BASE_OK)
        return PG_OK;
    base_error_prefix(&cause, "'%s' does not answer like a palmgrove server: ", client->endpoint);
    if (cause.status != BASE_ENOMEM)
        cause.status = BASE_EFORMAT;
    return pg_adopt(error, &cause);
}

/* Wait for the next reply to this call; other replies count as heartbeats.  An Error without an id is taken as ours:
 * the server could not read the request's id. */
static pg_status next_reply(pg_client *client, call *c, wire_reply *out, pg_error *error)
{
    pg_status status = PG_OK;
    bool found = false;
    zmq_msg_t message;
    zmq_msg_init(&message);
    c->heard_us = base_clock_us(); /* time spent in the caller's callback is not the server's silence */
    while (status == PG_OK && !found) {
        wire_reply reply;
        status = next_message(client, c, &message, error);
        if (status == PG_OK)
            status = decode_reply(client, &message, &reply, error);
        if (status != PG_OK)
            break;
        found = strcmp(reply.request_id, c->id) == 0 || (reply.request_id[0] == '\0' && reply.kind == WIRE_REPLY_ERROR);
        if (found)
            *out = reply;
        else
            wire_reply_release(&reply);
    }
    zmq_msg_close(&message);
    return status;
}

/* The server's Error as ours. */
static pg_status adopt_refusal(const wire_error *refusal, pg_error *error)
{
    pg_status status = refusal->code != 0 ? (pg_status)refusal->code : PG_EINTERNAL;
    return pg_fail(error, status, "%s", refusal->message[0] != '\0' ? refusal->message : refusal->name);
}

static pg_status fail_unexpected(pg_client *client, pg_error *error)
{
    return pg_fail(error, PG_EFORMAT, "'%s' answered with a reply of another kind", client->endpoint);
}

/* ---- generation ---- */

/* The public part first, so that the pointers convert. */
typedef struct result_box {
    pg_result result;
    wire_reply reply;
    pg_warning warnings[]; /* [reply.result.n_warnings] */
} result_box;

/* Move `reply` into a new result. */
static pg_status make_result(wire_reply *reply, pg_result **out, pg_error *error)
{
    const size_t n_warnings = reply->result.n_warnings;
    result_box *box = malloc(sizeof *box + n_warnings * sizeof *box->warnings);
    if (box == NULL)
        return pg_fail(error, PG_ENOMEM, "out of memory for a result");
    box->reply = *reply;
    *reply = (wire_reply){0};
    const wire_result *from = &box->reply.result;
    box->result = (pg_result){
        .request_id = box->reply.request_id,
        .text = from->text,
        .finish = (pg_finish)from->finish,
        .ids = from->ids,
        .n_ids = from->n_ids,
        .logprobs = from->logprobs,
        .n_logprobs = from->n_logprobs,
        .prompt_tokens = from->prompt_tokens,
        .image_tokens = from->image_tokens,
        .completion_tokens = from->completion_tokens,
        .prepare_ms = from->prepare_ms,
        .queue_ms = from->queue_ms,
        .first_token_ms = from->first_token_ms,
        .total_ms = from->total_ms,
        .model = from->model,
        .model_digest = from->model_digest,
        .version = from->build,
        .layout = from->layout,
        .isa = from->isa,
        .seed = from->seed,
        .logits_digest = from->logits_digest,
        .reused_tokens = from->reused_tokens,
        .drafted_tokens = from->drafted_tokens,
        .accepted_tokens = from->accepted_tokens,
        .warnings = box->warnings,
        .n_warnings = n_warnings,
    };
    for (size_t i = 0; i < n_warnings; i++)
        box->warnings[i] = (pg_warning){.code = from->warnings[i].code,
                                        .name = from->warnings[i].name,
                                        .message = from->warnings[i].message,
                                        .image = from->warnings[i].image};
    *out = &box->result;
    return PG_OK;
}

void pg_result_destroy(pg_result **result)
{
    if (result == NULL || *result == NULL)
        return;
    result_box *box = (result_box *)*result;
    wire_reply_release(&box->reply);
    free(box);
    *result = NULL;
}

/* Read replies up to the final one of the call. */
static pg_status follow(pg_client *client, call *c, pg_text_fn on_text, void *context, pg_result **out, pg_error *error)
{
    for (;;) {
        wire_reply reply;
        pg_status status = next_reply(client, c, &reply, error);
        if (status != PG_OK)
            return status;
        bool ended = reply.kind != WIRE_REPLY_TOKEN;
        if (reply.kind == WIRE_REPLY_RESULT)
            status = make_result(&reply, out, error);
        else if (reply.kind == WIRE_REPLY_ERROR)
            status = adopt_refusal(&reply.error, error);
        else if (ended)
            status = fail_unexpected(client, error);
        else if (on_text != NULL && !c->canceled && reply.token.text[0] != '\0' && !on_text(context, reply.token.text))
            status = send_cancel(client, c, error);
        wire_reply_release(&reply);
        if (ended || status != PG_OK)
            return status;
    }
}

pg_status pg_client_generate(pg_client *client, const pg_request *request, pg_text_fn on_text, void *context,
                             pg_result **out, pg_error *error)
{
    wire_request message = {.version = WIRE_VERSION, .kind = WIRE_REQUEST_GENERATE};
    pg_status status = pg_request_view(request, &message.generate, error);
    if (status != PG_OK)
        return status;
    message.generate.stream = on_text != NULL;
    make_id(client, message.request_id);
    call c = start_call(client, message.request_id, true);
    status = send_request(client, &message, error);
    pg_result *result = NULL;
    if (status == PG_OK)
        status = follow(client, &c, on_text, context, &result, error);

    /* A canceled request may still end in several ways; the caller sees one. */
    if (c.canceled) {
        pg_result_destroy(&result);
        return pg_fail(error, PG_ECANCELED, "request '%s' was canceled", message.request_id);
    }
    if (status == PG_OK)
        *out = result;
    return status;
}

void pg_client_cancel(pg_client *client)
{
    atomic_store(&client->cancel, true);
}

/* ---- server ---- */

/* Ask a question that has one reply; *out is owned by the caller on success. */
static pg_status ask(pg_client *client, wire_request_kind question, wire_reply_kind expected, wire_reply *out,
                     pg_error *error)
{
    char id[WIRE_REQUEST_ID_BYTES_MAX + 1] = {0};
    make_id(client, id);
    call c = start_call(client, id, false);
    wire_reply reply;
    pg_status status = send_short(client, question, id, error);
    if (status == PG_OK)
        status = next_reply(client, &c, &reply, error);
    if (status != PG_OK)
        return status;
    if (reply.kind == expected) {
        *out = reply;
        return PG_OK;
    }
    status = reply.kind == WIRE_REPLY_ERROR ? adopt_refusal(&reply.error, error) : fail_unexpected(client, error);
    wire_reply_release(&reply);
    return status;
}

typedef struct health_box {
    pg_health health;
    wire_reply reply;
} health_box;

pg_status pg_client_health(pg_client *client, pg_health **out, pg_error *error)
{
    health_box *box = calloc(1, sizeof *box);
    if (box == NULL)
        return pg_fail(error, PG_ENOMEM, "out of memory for a health reply");
    pg_status status = ask(client, WIRE_REQUEST_HEALTH, WIRE_REPLY_HEALTH, &box->reply, error);
    if (status != PG_OK) {
        free(box);
        return status;
    }
    const wire_health *from = &box->reply.health;
    box->health = (pg_health){.state = from->state,
                              .version = from->build,
                              .model = from->model,
                              .layout = from->layout,
                              .uptime_s = from->uptime_s};
    *out = &box->health;
    return PG_OK;
}

void pg_health_destroy(pg_health **health)
{
    if (health == NULL || *health == NULL)
        return;
    health_box *box = (health_box *)*health;
    wire_reply_release(&box->reply);
    free(box);
    *health = NULL;
}

pg_status pg_client_stats(pg_client *client, pg_stats *out, pg_error *error)
{
    wire_reply reply;
    pg_status status = ask(client, WIRE_REQUEST_STATS, WIRE_REPLY_STATS, &reply, error);
    if (status != PG_OK)
        return status;
    const wire_stats *from = &reply.stats;
    *out = (pg_stats){
        .requests_admitted = from->requests_admitted,
        .requests_finished = from->requests_finished,
        .requests_failed = from->requests_failed,
        .requests_refused = from->requests_refused,
        .requests_canceled = from->requests_canceled,
        .queued = from->queued,
        .running = from->running,
        .prompt_tokens = from->prompt_tokens,
        .completion_tokens = from->completion_tokens,
        .steps = from->steps,
        .kv_blocks_total = from->kv_blocks_total,
        .kv_blocks_free = from->kv_blocks_free,
        .malformed_messages = from->malformed_messages,
        .resident_bytes = from->resident_bytes,
        .prefix_requests = from->prefix_requests,
        .prefix_tokens = from->prefix_tokens,
        .drafted_tokens = from->drafted_tokens,
        .accepted_tokens = from->accepted_tokens,
        .kv_blocks_kept = from->kv_blocks_kept,
        .images_reused = from->images_reused,
    };
    wire_reply_release(&reply);
    return PG_OK;
}

const char *pg_status_text(pg_status status)
{
    return status == PG_EUNREACHABLE ? "unreachable" : base_status_text((base_status)status);
}

const char *pg_version(void)
{
    return PALMGROVE_VERSION;
}
