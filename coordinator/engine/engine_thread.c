/* engine_thread.c - the engine's thread: it sleeps in zmq_poll on the link and the thread queue, and works when either
 * has something or the clock says so. */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "coordinator/engine/engine_int.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/link/link.h"

typedef struct engine_thread {
    engine engine;
    link_end *link;
    thread_queue started_queue;
    thread_message started;
    pthread_t thread;
} engine_thread;

/* ---- the link ---- */

static base_status send_on_link(void *context, const base_buf *message, base_error *error)
{
    return link_send(((engine_thread *)context)->link, message, error);
}

static base_status receive_on_link(void *context, base_buf *message, base_error *error)
{
    return link_receive(((engine_thread *)context)->link, message, 0, error);
}

static uint64_t clock_us(void *context)
{
    (void)context;
    return base_clock_us();
}

/* ---- the loop ---- */

/* Milliseconds until something is due by the clock alone; -1: nothing is. */
static long wait_ms(const engine *e)
{
    uint64_t due_us = engine_due_us(e), now_us = base_clock_us();
    if (due_us == 0)
        return -1;
    return due_us <= now_us ? 0 : (long)((due_us - now_us) / 1000u + 1u);
}

static void poll_once(engine_thread *t)
{
    zmq_pollitem_t items[2] = {{.socket = link_socket(t->link), .events = ZMQ_POLLIN},
                               {.fd = t->engine.parts.queue->fd, .events = ZMQ_POLLIN}};
    zmq_poll(items, 2, wait_ms(&t->engine));
    engine_work(&t->engine);
}

static void send_stop(engine *e)
{
    base_error error = {0};
    base_buf_clear(&e->message);
    link_stop_encode(&e->message);
    if (e->has_hello && e->transport.send(e->transport.context, &e->message, &error) != BASE_OK &&
        e->state != ENGINE_FAILED)
        base_log_warn("the replica cannot be told to stop: %s", error.text);
}

static void *engine_run(void *argument)
{
    engine_thread *t = argument;
    engine *e = &t->engine;
    base_status status = link_bind(e->parts.zmq, e->parts.options->link, &t->link, &t->started.error);
    thread_queue_push(&t->started_queue, &t->started);
    if (status != BASE_OK)
        return NULL;
    while (!engine_is_over(e))
        poll_once(t);
    send_stop(e);
    link_close(&t->link);
    if (e->has_hello)
        base_log_info("ended after %.1f s: %" PRIu64 " requests finished, %" PRIu64 " failed, %" PRIu64
                      " canceled, %" PRIu64 " refused",
                      (double)(base_clock_us() - e->started_us) / 1e6, e->counts.requests_finished,
                      e->counts.requests_failed, e->counts.requests_canceled, e->counts.requests_refused);
    return NULL;
}

/* ---- start and finish ---- */

static void engine_free(engine_thread **out)
{
    engine_thread *t = *out;
    engine_release(&t->engine);
    thread_queue_release(&t->started_queue);
    free(t);
    *out = NULL;
}

static base_status run_thread(engine_thread *t, base_error *error)
{
    int code = pthread_create(&t->thread, NULL, engine_run, t);
    if (code != 0)
        return base_fail(error, BASE_EIO, "cannot start the engine's thread: %s", strerror(code));
    thread_queue_wait(&t->started_queue);
    if (t->started.error.status == BASE_OK)
        return BASE_OK;
    pthread_join(t->thread, NULL);
    if (error != NULL)
        *error = t->started.error;
    return t->started.error.status;
}

base_status engine_start(const engine_parts *parts, engine_thread **out, base_error *error)
{
    engine_thread *t = calloc(1, sizeof *t);
    if (t == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the engine");
    *t = (engine_thread){.engine = {.parts = *parts,
                                    .transport = {t, send_on_link, receive_on_link, clock_us},
                                    .started_us = base_clock_us()},
                         .started = {.kind = MESSAGE_STARTED, .is_embedded = true}};
    base_status status = thread_queue_init(&t->started_queue, error);
    if (status != BASE_OK) {
        free(t);
        return status;
    }
    status = run_thread(t, error);
    if (status != BASE_OK) {
        engine_free(&t);
        return status;
    }
    *out = t;
    return BASE_OK;
}

base_status engine_finish(engine_thread **out, base_error *error)
{
    engine_thread *t = *out;
    pthread_join(t->thread, NULL);
    base_status status = t->engine.failure.status;
    if (status != BASE_OK && error != NULL)
        *error = t->engine.failure;
    engine_free(out);
    return status;
}
