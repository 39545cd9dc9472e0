/* gateway.c - one ROUTER socket, one thread.
 *
 *     client frame -> size, decode -> open_requests -> session -> queue of the engine
 *                       |refused        |full, duplicate id        (typed Error reply at once)
 *     queue of the gateway -> open_requests by number -> client      (a client that is gone or does not read: its
 *                                                                     requests are canceled, replies dropped)
 *
 * Every request that was opened is closed by exactly one final reply (is_last). */
#include "coordinator/gateway/gateway.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "coordinator/gateway/address.h"
#include "coordinator/gateway/open_requests.h"
#include "coordinator/session/request_log.h"
#include "coordinator/session/session.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/quote.h"

enum {
    LINGER_MS = 500,
    SEND_QUEUE = 1024, /* replies that may wait for one client; then it counts as one that does not read */
    RECEIVE_QUEUE = 8, /* messages, each up to the limit, that ZeroMQ holds for us per client */
    HEARTBEAT_MS = 2000,
    HEARTBEAT_TIMEOUT_MS = 6000,
    HANDSHAKE_MS = 5000,
    TURN_MESSAGES = 64, /* received before the queue is looked at again */
    OPEN_BEYOND_QUEUE = 1024,
    ENDPOINTS_BYTES = 1024,
};
/* Requests not yet prepared may hold this much of message bytes together. */
#define PAYLOAD_BYTES_MAX ((size_t)512 << 20)

struct gateway {
    const coord_options *options;
    void *zmq, *socket;
    thread_queue *queue, *engine, started_queue;
    atomic_size_t *payload_bytes;
    open_requests open_requests;
    uint64_t n_malformed, n_refused;
    char endpoints[ENDPOINTS_BYTES];
    pthread_t thread;
    thread_message started, stop;
};

/* ---- sending ---- */

static bool send_frame(gateway *g, const void *bytes, size_t size, bool more)
{
    return zmq_send(g->socket, bytes, size, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0)) >= 0;
}

/* False: the client is gone (EHOSTUNREACH) or its queue is full (EAGAIN). */
static bool send_reply(gateway *g, const client_id *client, const base_buf *bytes)
{
    return send_frame(g, client->bytes, client->size, true) && (!client->has_delimiter || send_frame(g, "", 0, true)) &&
           send_frame(g, bytes->data, bytes->size, false);
}

/* Refuse a message on the spot; a client that cannot be reached does not learn it. */
static void refuse(gateway *g, const client_id *client, const char *request_id, const base_error *error)
{
    base_buf bytes = {0};
    g->n_refused++;
    request_log_failure(request_id, "refused", error->status, error->text, g->options->log_content);
    session_encode_error(request_id, error->status, error->text, &bytes);
    if (!bytes.failed)
        send_reply(g, client, &bytes);
    base_buf_release(&bytes);
}

static void push_cancel(gateway *g, open_request *r, const char *why)
{
    thread_message *m = thread_message_create(MESSAGE_CANCEL, r->number);
    if (m == NULL) {
        base_log_error("request %s cannot be canceled: out of memory", base_quote(r->request_id).text);
        return;
    }
    m->text = why;
    thread_queue_push(g->engine, m);
}

/* Cancel everything that this connection has open; no reply can reach it. */
static void drop_client(gateway *g, const client_id *client, const char *why)
{
    for (uint32_t i = 0; i < g->open_requests.capacity; i++) {
        open_request *r = &g->open_requests.requests[i];
        if (!r->is_open || r->is_gone || !client_id_equal(&r->client, client))
            continue;
        r->is_gone = true;
        push_cancel(g, r, why);
    }
}

static void pass_reply(gateway *g, const thread_message *m)
{
    open_request *r = open_requests_find(&g->open_requests, m->number);
    if (r == NULL)
        return;
    if (!r->is_gone && !send_reply(g, &r->client, &m->bytes)) {
        client_id client = r->client;
        drop_client(g, &client, errno == EAGAIN ? "the client does not read its replies" : "the client went away");
    }
    if (m->is_last)
        open_requests_remove(&g->open_requests, r);
}

/* ---- receiving ---- */

static base_status open_generate(gateway *g, const client_id *client, wire_request *request, size_t size,
                                 base_error *error)
{
    uint64_t number;
    if (atomic_load(g->payload_bytes) > 0 && atomic_load(g->payload_bytes) + size > PAYLOAD_BYTES_MAX)
        return base_fail(error, BASE_EBUSY, "%zu MiB of requests wait to be prepared; try again later",
                         atomic_load(g->payload_bytes) >> 20);
    base_status status = open_requests_add(&g->open_requests, client, request->request_id, true, &number, error);
    if (status != BASE_OK)
        return status;
    session *s = session_create(request, size, number, base_clock_us());
    if (s == NULL) {
        open_requests_remove(&g->open_requests, open_requests_find(&g->open_requests, number));
        return base_fail(error, BASE_ENOMEM, "no memory for a session");
    }
    atomic_fetch_add(g->payload_bytes, size);
    thread_queue_push(g->engine, &s->message);
    return BASE_OK;
}

static base_status open_query(gateway *g, const client_id *client, const wire_request *request, base_error *error)
{
    uint64_t number;
    base_status status = open_requests_add(&g->open_requests, client, request->request_id, false, &number, error);
    if (status != BASE_OK)
        return status;
    thread_message *m = thread_message_create(MESSAGE_QUERY, number);
    if (m == NULL) {
        open_requests_remove(&g->open_requests, open_requests_find(&g->open_requests, number));
        return base_fail(error, BASE_ENOMEM, "no memory for a query");
    }
    m->query = request->kind;
    memcpy(m->request_id, request->request_id, sizeof m->request_id);
    m->n_malformed = g->n_malformed;
    m->n_refused = g->n_refused;
    thread_queue_push(g->engine, m);
    return BASE_OK;
}

static void cancel(gateway *g, const client_id *client, const char *request_id)
{
    open_request *r = open_requests_find_id(&g->open_requests, client, request_id);
    if (r != NULL)
        push_cancel(g, r, "canceled by the client");
}

static base_status handle_request(gateway *g, const client_id *client, wire_request *request, size_t size,
                                  base_error *error)
{
    switch (request->kind) {
    case WIRE_REQUEST_GENERATE:
        return open_generate(g, client, request, size, error);
    case WIRE_REQUEST_HEALTH:
    case WIRE_REQUEST_STATS:
        return open_query(g, client, request, error);
    case WIRE_REQUEST_CANCEL:
        cancel(g, client, request->request_id);
        return BASE_OK;
    case WIRE_REQUEST_NONE:
        break;
    }
    return base_fail(error, BASE_EUNSUPPORTED, "the request has no body that this server knows");
}

static void handle_message(gateway *g, const client_id *client, const void *bytes, size_t size)
{
    wire_request request = {0};
    base_error error = {0};
    base_status status;
    if (size > g->options->max_message_bytes)
        status = base_fail(&error, BASE_ETOOBIG, "a message of %zu bytes; this server takes %u; send smaller images",
                           size, g->options->max_message_bytes);
    else
        status = wire_request_decode(bytes, size, &request, &error);
    if (status != BASE_OK) {
        g->n_malformed++;
        refuse(g, client, request.request_id, &error);
        return;
    }
    status = handle_request(g, client, &request, size, &error);
    if (status != BASE_OK)
        refuse(g, client, request.request_id, &error);
    wire_request_release(&request);
}

/* Take the frames of one message: up to three are kept, the rest are discarded.  Returns how many there were, 0: none
 * waits. */
static int receive_frames(gateway *g, zmq_msg_t frames[3])
{
    zmq_msg_t spare;
    int n = 0, more = 1;
    zmq_msg_init(&spare);
    while (more) {
        zmq_msg_t *frame = n < 3 ? &frames[n] : &spare;
        if (zmq_msg_recv(frame, g->socket, ZMQ_DONTWAIT) < 0) {
            n = 0;
            break;
        }
        more = zmq_msg_more(frame);
        n++;
    }
    zmq_msg_close(&spare);
    return n;
}

static bool receive_message(gateway *g)
{
    zmq_msg_t frames[3];
    for (int i = 0; i < 3; i++)
        zmq_msg_init(&frames[i]);
    int n = receive_frames(g, frames);
    if (n > 0) {
        client_id client = {.has_delimiter = n == 3 && zmq_msg_size(&frames[1]) == 0};
        client.size = (uint8_t)zmq_msg_size(&frames[0]); /* ZeroMQ bounds an identity to 255 bytes */
        memcpy(client.bytes, zmq_msg_data(&frames[0]), client.size);
        if (n == 2 || client.has_delimiter) {
            handle_message(g, &client, zmq_msg_data(&frames[n - 1]), zmq_msg_size(&frames[n - 1]));
        } else {
            base_error error = {0};
            g->n_malformed++;
            base_error_set(&error, BASE_EFORMAT, "a message of %d frames; send one frame, or an empty one and one",
                           n - 1);
            refuse(g, &client, "", &error);
        }
    }
    for (int i = 0; i < 3; i++)
        zmq_msg_close(&frames[i]);
    return n > 0;
}

/* ---- the thread ---- */

static bool set_int(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof value) == 0;
}

/* ZeroMQ drops the connection of a message beyond MAXMSGSIZE without a word.  So it is set to twice the limit: up to
 * there the client gets a typed refusal, and memory is bounded still. */
static base_status open_socket(gateway *g, base_error *error)
{
    int64_t bytes_max = (int64_t)g->options->max_message_bytes * 2;
    g->socket = zmq_socket(g->zmq, ZMQ_ROUTER);
    if (g->socket == NULL || !set_int(g->socket, ZMQ_LINGER, LINGER_MS) ||
        !set_int(g->socket, ZMQ_ROUTER_MANDATORY, 1) || !set_int(g->socket, ZMQ_SNDHWM, SEND_QUEUE) ||
        !set_int(g->socket, ZMQ_RCVHWM, RECEIVE_QUEUE) || !set_int(g->socket, ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS) ||
        !set_int(g->socket, ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS) ||
        !set_int(g->socket, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS) ||
        zmq_setsockopt(g->socket, ZMQ_MAXMSGSIZE, &bytes_max, sizeof bytes_max) != 0)
        return base_fail(error, BASE_EIO, "cannot open the gateway's socket: %s", zmq_strerror(errno));
    return BASE_OK;
}

static base_status bind_endpoint(gateway *g, const char *endpoint, base_error *error)
{
    base_status status = address_check(endpoint, g->options->insecure, error);
    if (status != BASE_OK)
        return status;
    set_int(g->socket, ZMQ_IPV6, strchr(endpoint, '[') != NULL); /* else 127.0.0.1 is reported as [::ffff:127.0.0.1] */
    if (zmq_bind(g->socket, endpoint) != 0) {
        if (errno == EADDRINUSE)
            return base_fail(error, BASE_EBUSY,
                             "'%s' is in use; is another server running? choose another port or stop it", endpoint);
        return base_fail(error, errno == EINVAL || errno == ENODEV || errno == EADDRNOTAVAIL ? BASE_EINVAL : BASE_EIO,
                         "cannot listen on '%s': %s", endpoint, zmq_strerror(errno));
    }
    char bound[256];
    size_t size = sizeof bound, used = strlen(g->endpoints);
    if (zmq_getsockopt(g->socket, ZMQ_LAST_ENDPOINT, bound, &size) != 0)
        snprintf(bound, sizeof bound, "%s", endpoint);
    snprintf(g->endpoints + used, sizeof g->endpoints - used, "%s%s", used > 0 ? ", " : "", bound);
    return BASE_OK;
}

static base_status open_endpoints(gateway *g, base_error *error)
{
    base_status status = open_socket(g, error);
    if (status == BASE_OK && g->options->n_endpoints == 0)
        status = base_fail(error, BASE_EINVAL, "the gateway has no endpoint to listen on");
    for (size_t i = 0; status == BASE_OK && i < g->options->n_endpoints; i++)
        status = bind_endpoint(g, g->options->endpoints[i], error);
    return status;
}

/* ZeroMQ removes the file of an ipc endpoint on a thread of its own, some time after the close; nothing shall be left
 * when gateway_stop returns. */
static void close_socket(gateway *g)
{
    if (g->socket == NULL)
        return;
    zmq_close(g->socket);
    for (char *at = strstr(g->endpoints, "ipc://"); at != NULL; at = strstr(at + 1, "ipc://")) {
        char path[256];
        size_t length = strcspn(at + strlen("ipc://"), ",");
        snprintf(path, sizeof path, "%.*s", (int)length, at + strlen("ipc://"));
        unlink(path);
    }
}

/* Every request still open gets a final reply. */
static void answer_open(gateway *g)
{
    for (uint32_t i = 0; i < g->open_requests.capacity; i++) {
        open_request *r = &g->open_requests.requests[i];
        base_error error = {.status = BASE_ESHUTDOWN, .text = "the server has shut down"};
        if (r->is_open && !r->is_gone)
            refuse(g, &r->client, r->request_id, &error);
    }
}

/* False: the thread is to end. */
static bool handle_messages(gateway *g)
{
    thread_message *m;
    while ((m = thread_queue_pop(g->queue)) != NULL) {
        if (m->kind == MESSAGE_STOP)
            return false;
        pass_reply(g, m);
        thread_message_destroy(&m);
    }
    return true;
}

static void serve(gateway *g)
{
    zmq_pollitem_t items[2] = {{.socket = g->socket, .events = ZMQ_POLLIN}, {.fd = g->queue->fd, .events = ZMQ_POLLIN}};
    while (handle_messages(g)) {
        bool more = true;
        for (int i = 0; more && i < TURN_MESSAGES; i++)
            more = receive_message(g);
        if (!more)
            zmq_poll(items, 2, -1);
    }
    answer_open(g);
}

static void *gateway_run(void *argument)
{
    gateway *g = argument;
    base_status status = open_endpoints(g, &g->started.error);
    if (status != BASE_OK)
        close_socket(g);
    thread_queue_push(&g->started_queue, &g->started);
    if (status != BASE_OK)
        return NULL;
    serve(g);
    close_socket(g);
    return NULL;
}

/* ---- start and stop ---- */

static void gateway_free(gateway **out)
{
    gateway *g = *out;
    open_requests_release(&g->open_requests);
    thread_queue_release(&g->started_queue);
    free(g);
    *out = NULL;
}

void gateway_stop(gateway **out)
{
    gateway *g = *out;
    if (g == NULL)
        return;
    g->stop = (thread_message){.kind = MESSAGE_STOP, .is_embedded = true};
    thread_queue_push(g->queue, &g->stop);
    pthread_join(g->thread, NULL);
    gateway_free(out);
}

static base_status run_thread(gateway *g, base_error *error)
{
    int code = pthread_create(&g->thread, NULL, gateway_run, g);
    if (code != 0)
        return base_fail(error, BASE_EIO, "cannot start the gateway's thread: %s", strerror(code));
    thread_queue_wait(&g->started_queue);
    if (g->started.error.status == BASE_OK)
        return BASE_OK;
    pthread_join(g->thread, NULL);
    if (error != NULL)
        *error = g->started.error;
    return g->started.error.status;
}

base_status gateway_start(const coord_options *options, void *zmq, thread_queue *queue, thread_queue *engine,
                          atomic_size_t *payload_bytes, gateway **out, base_error *error)
{
    gateway *g = calloc(1, sizeof *g);
    if (g == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the gateway");
    *g = (gateway){.options = options,
                   .zmq = zmq,
                   .queue = queue,
                   .engine = engine,
                   .payload_bytes = payload_bytes,
                   .started = {.kind = MESSAGE_STARTED, .is_embedded = true}};
    base_status status = thread_queue_init(&g->started_queue, error);
    if (status != BASE_OK) {
        free(g);
        return status;
    }
    status = open_requests_init(&g->open_requests, options->max_queue + OPEN_BEYOND_QUEUE, error);
    if (status == BASE_OK)
        status = run_thread(g, error);
    if (status != BASE_OK) {
        gateway_free(&g);
        return status;
    }
    *out = g;
    return BASE_OK;
}

const char *gateway_endpoints(const gateway *g)
{
    return g->endpoints;
}
