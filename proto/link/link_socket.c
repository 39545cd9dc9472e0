/* link_socket.c - the two ends of the link.
 *
 *     coordinator: ROUTER, binds  <-- PLAN, STOP -->  HELLO, RESULT, FAILED  <--  replica: DEALER, connects
 *
 * The ROUTER serves one replica at a time, the last that sent HELLO: one that comes back after a restart replaces its
 * dead predecessor, and messages from any other peer are dropped.  Sending never blocks: a plan that cannot be queued
 * means that the replica is gone or hangs, and the caller must know.  Closing waits at most LINGER_MS for the last
 * message (FAILED, STOP) to leave. */
#include "proto/link/link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "proto/base/clock.h"
#include "proto/base/endpoint.h"

enum {
    LINGER_MS = 250,
    QUEUE_MESSAGES = 256,        /* each way; plans in flight are a handful */
    MESSAGE_BYTES_MAX = 1 << 28, /* a plan with its images */
    HEARTBEAT_MS = 1000, /* ipc and tcp: answered by ZeroMQ's own thread, so a rank busy with a long step stays alive */
    HEARTBEAT_TIMEOUT_MS = 5000,
    IDENTITY_BYTES_MAX = 255,
};

struct link_end {
    void *socket;
    bool is_router;
    uint8_t peer[IDENTITY_BYTES_MAX]; /* router: routing id of the replica */
    size_t peer_bytes;                /* 0: no HELLO yet */
    char *bound;                      /* router: the endpoint, once bound; owned */
};

static bool set_option(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof value) == 0;
}

static bool set_options(void *socket, bool is_router)
{
    int64_t bytes_max = MESSAGE_BYTES_MAX;
    return set_option(socket, ZMQ_LINGER, LINGER_MS) && set_option(socket, ZMQ_SNDHWM, QUEUE_MESSAGES) &&
           set_option(socket, ZMQ_RCVHWM, QUEUE_MESSAGES) && set_option(socket, ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS) &&
           set_option(socket, ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS) &&
           zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &bytes_max, sizeof bytes_max) == 0 &&
           (!is_router || set_option(socket, ZMQ_ROUTER_MANDATORY, 1));
}

/* What went wrong with an endpoint, by errno. */
static base_status fail_endpoint(const char *verb, const char *endpoint, base_error *error)
{
    int code = errno;
    if (code == EADDRINUSE)
        return base_fail(error, BASE_EBUSY, "cannot %s '%s': address in use; is another server running?", verb,
                         endpoint);
    bool bad =
        code == EINVAL || code == EPROTONOSUPPORT || code == ENODEV || code == EADDRNOTAVAIL || code == ENOCOMPATPROTO;
    return base_fail(error, bad ? BASE_EINVAL : BASE_EIO, "cannot %s '%s': %s", verb, endpoint, zmq_strerror(code));
}

static base_status open_end(void *zmq, const char *endpoint, bool is_router, link_end **out, base_error *error)
{
    const char *verb = is_router ? "bind" : "connect to";
    if (is_router && base_endpoint_in_use(endpoint)) {
        errno = EADDRINUSE;
        return fail_endpoint(verb, endpoint, error);
    }
    link_end *end = calloc(1, sizeof *end);
    if (end == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory for the link");
    end->is_router = is_router;
    end->socket = zmq_socket(zmq, is_router ? ZMQ_ROUTER : ZMQ_DEALER);
    if (end->socket == NULL) {
        free(end);
        return base_fail(error, BASE_EIO, "cannot open a socket for '%s': %s", endpoint, zmq_strerror(errno));
    }
    bool opened = set_options(end->socket, is_router) &&
                  (is_router ? zmq_bind(end->socket, endpoint) : zmq_connect(end->socket, endpoint)) == 0;
    if (opened && is_router) {
        end->bound = strdup(endpoint);
        opened = end->bound != NULL; /* errno says ENOMEM */
    }
    if (!opened) {
        base_status status = fail_endpoint(verb, endpoint, error);
        link_close(&end);
        return status;
    }
    *out = end;
    return BASE_OK;
}

base_status link_bind(void *zmq, const char *endpoint, link_end **out, base_error *error)
{
    return open_end(zmq, endpoint, true, out, error);
}

base_status link_connect(void *zmq, const char *endpoint, link_end **out, base_error *error)
{
    return open_end(zmq, endpoint, false, out, error);
}

void link_close(link_end **end)
{
    if (*end == NULL)
        return;
    zmq_close((*end)->socket);
    if ((*end)->bound != NULL)
        base_endpoint_remove((*end)->bound);
    free((*end)->bound);
    free(*end);
    *end = NULL;
}

void *link_socket(link_end *end)
{
    return end->socket;
}

/* ---- sending and receiving ---- */

base_status link_send(link_end *end, const base_buf *message, base_error *error)
{
    if (message->failed)
        return base_fail(error, BASE_ENOMEM, "out of memory for a link message");
    if (end->is_router && end->peer_bytes == 0)
        return base_fail(error, BASE_EIO, "no replica has connected to the link yet");
    if (end->is_router && zmq_send(end->socket, end->peer, end->peer_bytes, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
        return base_fail(error, BASE_EIO, "the replica is gone: %s", zmq_strerror(errno));
    if (zmq_send(end->socket, message->data, message->size, ZMQ_DONTWAIT) < 0)
        return base_fail(error, BASE_EIO, "the link's peer is gone or hangs: %s", zmq_strerror(errno));
    return BASE_OK;
}

/* Take the frames of one message off the socket: the identity (router) and the payload.  *n_frames counts all of them.
 * Returns -1 with errno when there is none. */
static int take_frames(link_end *end, zmq_msg_t *identity, zmq_msg_t *payload, int *n_frames)
{
    zmq_msg_t spare;
    int more = 1;
    zmq_msg_init(&spare);
    for (*n_frames = 0; more; ++*n_frames) {
        zmq_msg_t *frame = *n_frames == 0 && end->is_router        ? identity
                           : *n_frames == (end->is_router ? 1 : 0) ? payload
                                                                   : &spare;
        if (zmq_msg_recv(frame, end->socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&spare);
            return -1;
        }
        more = zmq_msg_more(frame);
    }
    zmq_msg_close(&spare);
    return 0;
}

/* Is this message for us?  A HELLO makes its sender the replica. */
static bool accept_message(link_end *end, zmq_msg_t *identity, zmq_msg_t *payload, int n_frames)
{
    if (!end->is_router)
        return n_frames == 1;
    size_t size = zmq_msg_size(identity);
    if (n_frames != 2 || size == 0 || size > sizeof end->peer)
        return false;
    if (link_message_type(zmq_msg_data(payload), zmq_msg_size(payload)) == LINK_HELLO) {
        memcpy(end->peer, zmq_msg_data(identity), size);
        end->peer_bytes = size;
    }
    return size == end->peer_bytes && memcmp(end->peer, zmq_msg_data(identity), size) == 0;
}

/* BASE_OK with a message, BASE_EDEADLINE when the socket is empty; messages that are not for us are dropped on the way.
 */
static base_status receive_now(link_end *end, base_buf *message, base_error *error)
{
    base_status status = BASE_EDEADLINE;
    zmq_msg_t identity, payload;
    zmq_msg_init(&identity);
    zmq_msg_init(&payload);
    for (;;) {
        int n_frames;
        if (take_frames(end, &identity, &payload, &n_frames) < 0) {
            if (errno != EAGAIN && errno != EINTR)
                status = base_fail(error, BASE_EIO, "cannot receive from the link: %s", zmq_strerror(errno));
            break;
        }
        if (!accept_message(end, &identity, &payload, n_frames))
            continue;
        base_buf_clear(message);
        base_buf_put(message, zmq_msg_data(&payload), zmq_msg_size(&payload));
        status = message->failed ? base_fail(error, BASE_ENOMEM, "out of memory for a link message") : BASE_OK;
        break;
    }
    zmq_msg_close(&identity);
    zmq_msg_close(&payload);
    return status;
}

base_status link_receive(link_end *end, base_buf *message, int timeout_ms, base_error *error)
{
    uint64_t start = base_clock_us();
    for (;;) {
        base_status status = receive_now(end, message, error);
        if (status != BASE_EDEADLINE)
            return status;
        uint64_t spent_ms = (base_clock_us() - start) / 1000u;
        if (timeout_ms >= 0 && spent_ms >= (uint64_t)timeout_ms)
            return BASE_EDEADLINE;
        long wait_ms = timeout_ms < 0 ? -1 : (long)((uint64_t)timeout_ms - spent_ms);
        zmq_pollitem_t item = {.socket = end->socket, .events = ZMQ_POLLIN};
        if (zmq_poll(&item, 1, wait_ms) < 0)
            return errno == EINTR ? BASE_EDEADLINE
                                  : base_fail(error, BASE_EIO, "cannot wait on the link: %s", zmq_strerror(errno));
    }
}
