/* The two ends of the link.
 *
 * The coordinator's end is a ROUTER that serves one replica at a time: whoever said HELLO last.  A replica that comes
 * back after a restart thus replaces its dead predecessor, and what a stranger sends is dropped.  The replica's end is
 * a DEALER.  Sending never blocks: a plan that cannot be queued means that the replica is gone or hangs, and the caller
 * must know.  Closing waits at most LINGER_MS for the last message (FAILED, STOP) to leave. */
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
    HEARTBEAT_MS = 1000, /* ipc and tcp: answered by ZeroMQ's own thread, so a rank deep in a step is not dead */
    HEARTBEAT_TIMEOUT_MS = 5000,
    IDENTITY_BYTES_MAX = 255,
};

struct link_end {
    void *socket;
    bool is_router;
    uint8_t peer[IDENTITY_BYTES_MAX]; /* router: the replica's identity */
    size_t peer_bytes;                /* 0: none said HELLO yet */
    char *bound;                      /* router: the endpoint, once bound; owned */
};

/* ---- messages ---- */

/* Of the kernel set's name; where it ends in a '+', a provider of products is named at the end of the hello. */
#define ISA_CHARS      15u
#define PROVIDER_CHARS 40u

/* At most `most` bytes of a text in a fixed field of `size` bytes, padded with zeros. */
static void put_text(base_buf *out, const char *text, size_t most, size_t size)
{
    char field[64] = {0};
    size_t length = strnlen(text, most);
    memcpy(field, text, length);
    base_buf_put(out, field, size);
}

void link_hello_encode(const link_hello *hello, base_buf *out)
{
    const link_limits *limits = &hello->limits;
    base_buf_put_u8(out, LINK_HELLO);
    base_buf_put_u32(out, hello->protocol);
    base_buf_put_u32(out, hello->tp);
    base_buf_put_u32(out, hello->pp);
    base_buf_put_u32(out, limits->max_seqs);
    base_buf_put_u32(out, limits->max_positions);
    base_buf_put_u32(out, limits->max_step_tokens);
    base_buf_put_u32(out, limits->n_kv_blocks);
    base_buf_put_u32(out, limits->n_image_slots);
    base_buf_put_u32(out, limits->rows_per_image);
    base_buf_put_u32(out, limits->image_size);
    base_buf_put_u32(out, limits->vocab_size);
    base_buf_put_u32(out, limits->whole_images);
    for (int kind = 0; kind < LINK_VECTOR_KINDS; kind++)
        base_buf_put_u32(out, limits->vector_widths[kind]);
    base_buf_put_u32(out, limits->n_draft_blocks);
    base_buf_put_u32(out, limits->draft_positions);
    put_text(out, hello->model_digest, sizeof hello->model_digest - 1, sizeof hello->model_digest - 1);
    const char *plus = strchr(hello->isa, '+');
    put_text(out, hello->isa, plus != NULL ? (size_t)(plus + 1 - hello->isa) : ISA_CHARS, ISA_CHARS);
    base_buf_put_u32(out, hello->n_threads);
    base_buf_put_u64(out, hello->weights_bytes_max);
    base_buf_put_u64(out, hello->kv_bytes_max);
    base_buf_put_u64(out, hello->workspace_bytes_max);
    if (plus != NULL)
        put_text(out, plus + 1, PROVIDER_CHARS, PROVIDER_CHARS);
}

static void take_text(base_reader *reader, char *out, size_t size)
{
    const void *field = base_reader_take(reader, size);
    if (field != NULL)
        memcpy(out, field, size);
    out[size] = '\0';
}

static bool is_hex_digest(const char *text)
{
    return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

#define VECTOR_WIDTH_MAX (1u << 20) /* far above any model's */

/* Sizes that the scheduler multiplies must be sane: token ids and image rows are int32, an image's bytes fit in memory.
 */
static base_status check_hello(const link_hello *hello, base_error *error)
{
    const link_limits *limits = &hello->limits;
    if (hello->tp == 0 || hello->pp == 0)
        return base_fail(error, BASE_EFORMAT, "HELLO message: layout is tp %u x pp %u", hello->tp, hello->pp);
    if (limits->max_seqs == 0 || limits->max_positions == 0 || limits->max_step_tokens == 0 || limits->n_kv_blocks == 0)
        return base_fail(error, BASE_EFORMAT,
                         "HELLO message: a limit is 0 (sequences %u, positions %u, step tokens %u, blocks %u)",
                         limits->max_seqs, limits->max_positions, limits->max_step_tokens, limits->n_kv_blocks);
    if (limits->vocab_size == 0 || limits->vocab_size > INT32_MAX)
        return base_fail(error, BASE_EFORMAT, "HELLO message: vocab_size is %u", limits->vocab_size);
    if ((limits->rows_per_image == 0) != (limits->image_size == 0) || limits->image_size > 16384 ||
        (uint64_t)limits->n_image_slots * limits->rows_per_image + limits->max_step_tokens > INT32_MAX)
        return base_fail(error, BASE_EFORMAT, "HELLO message: %u image slots of %u rows, %u pixels a side, cannot be",
                         limits->n_image_slots, limits->rows_per_image, limits->image_size);
    if (limits->whole_images > 1 ||
        (limits->whole_images == 1 && limits->n_image_slots > 0 && limits->max_step_tokens < limits->rows_per_image))
        return base_fail(error, BASE_EFORMAT, "HELLO message: whole_images is %u, with %u rows an image in steps of %u",
                         limits->whole_images, limits->rows_per_image, limits->max_step_tokens);
    for (int kind = 0; kind < LINK_VECTOR_KINDS; kind++)
        if (limits->vector_widths[kind] > VECTOR_WIDTH_MAX)
            return base_fail(error, BASE_EFORMAT, "HELLO message: vectors of kind %d have %u numbers; the limit is %u",
                             kind, limits->vector_widths[kind], VECTOR_WIDTH_MAX);
    if ((limits->n_draft_blocks == 0) != (limits->draft_positions == 0))
        return base_fail(error, BASE_EFORMAT, "HELLO message: the draft model has %u blocks for %u positions",
                         limits->n_draft_blocks, limits->draft_positions);
    if (!is_hex_digest(hello->model_digest))
        return base_fail(error, BASE_EFORMAT, "HELLO message: model_digest is not 64 lower-case hex digits");
    return BASE_OK;
}

base_status link_hello_decode(const void *bytes, size_t size, link_hello *out, base_error *error)
{
    link_hello hello = {0};
    link_limits *limits = &hello.limits;
    base_reader reader = base_reader_over(bytes, size);
    uint8_t type = base_reader_u8(&reader);
    hello.protocol = base_reader_u32(&reader);
    if (!reader.failed && type == LINK_HELLO && hello.protocol != LINK_PROTOCOL)
        return base_fail(
            error, BASE_EUNSUPPORTED,
            "HELLO message: the replica speaks link protocol %u, this coordinator %u; install the same version",
            hello.protocol, LINK_PROTOCOL);
    hello.tp = base_reader_u32(&reader);
    hello.pp = base_reader_u32(&reader);
    limits->max_seqs = base_reader_u32(&reader);
    limits->max_positions = base_reader_u32(&reader);
    limits->max_step_tokens = base_reader_u32(&reader);
    limits->n_kv_blocks = base_reader_u32(&reader);
    limits->n_image_slots = base_reader_u32(&reader);
    limits->rows_per_image = base_reader_u32(&reader);
    limits->image_size = base_reader_u32(&reader);
    limits->vocab_size = base_reader_u32(&reader);
    limits->whole_images = base_reader_u32(&reader);
    for (int kind = 0; kind < LINK_VECTOR_KINDS; kind++)
        limits->vector_widths[kind] = base_reader_u32(&reader);
    limits->n_draft_blocks = base_reader_u32(&reader);
    limits->draft_positions = base_reader_u32(&reader);
    take_text(&reader, hello.model_digest, sizeof hello.model_digest - 1);
    take_text(&reader, hello.isa, ISA_CHARS);
    hello.n_threads = base_reader_u32(&reader);
    hello.weights_bytes_max = base_reader_u64(&reader);
    hello.kv_bytes_max = base_reader_u64(&reader);
    hello.workspace_bytes_max = base_reader_u64(&reader);
    size_t isa_chars = strlen(hello.isa);
    if (isa_chars > 0 && hello.isa[isa_chars - 1] == '+')
        take_text(&reader, hello.isa + isa_chars, PROVIDER_CHARS);
    if (reader.failed || type != LINK_HELLO || base_reader_left(&reader) != 0)
        return base_fail(error, BASE_EFORMAT, "HELLO message: bad length %zu", size);
    base_status status = check_hello(&hello, error);
    if (status == BASE_OK)
        *out = hello;
    return status;
}

void link_failed_encode(base_status status, const char *text, base_buf *out)
{
    base_buf_put_u8(out, LINK_FAILED);
    base_buf_put_u32(out, (uint32_t)status);
    base_buf_put(out, text, strlen(text));
}

base_status link_failed_decode(const void *bytes, size_t size, base_error *out, base_error *error)
{
    base_reader reader = base_reader_over(bytes, size);
    uint8_t type = base_reader_u8(&reader);
    uint32_t status = base_reader_u32(&reader);
    if (reader.failed || type != LINK_FAILED || status == BASE_OK)
        return base_fail(error, BASE_EFORMAT, "FAILED message: bad length %zu", size);
    size_t length = base_reader_left(&reader);
    if (length > sizeof out->text - 1)
        length = sizeof out->text - 1;
    out->status = status <= BASE_EINTERNAL ? (base_status)status : BASE_EINTERNAL;
    memset(out->text, 0, sizeof out->text);
    if (length > 0)
        memcpy(out->text, base_reader_take(&reader, length), length);
    return BASE_OK;
}

void link_stop_encode(base_buf *out)
{
    base_buf_put_u8(out, LINK_STOP);
}

link_type link_message_type(const void *bytes, size_t size)
{
    uint8_t type = size > 0 ? *(const uint8_t *)bytes : 0;
    return type >= LINK_HELLO && type <= LINK_STOP ? (link_type)type : (link_type)0;
}

/* ---- ends ---- */

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
