#include "coordinator/intake.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/session/session.h"

struct intake {
    thread_queue *queue, *engine;
    const prompt_env *env;
    atomic_size_t *payload_bytes;
    uint32_t n_threads;
    pthread_t *threads;    /* [n_threads] */
    thread_message *stops; /* [n_threads] one for each */
};

static void *intake_run(void *argument)
{
    intake *in = argument;
    for (;;) {
        thread_message *m = thread_queue_wait(in->queue);
        if (m->kind == MESSAGE_STOP)
            return NULL;
        session *s = m->session;
        session_prepare(s, in->env);
        atomic_fetch_sub(in->payload_bytes, s->payload_bytes);
        m->kind = MESSAGE_PREPARED;
        thread_queue_push(in->engine, m);
    }
}

void intake_stop(intake **out)
{
    intake *in = *out;
    if (in == NULL)
        return;
    for (uint32_t i = 0; i < in->n_threads; i++) {
        in->stops[i] = (thread_message){.kind = MESSAGE_STOP, .is_embedded = true};
        thread_queue_push(in->queue, &in->stops[i]);
    }
    for (uint32_t i = 0; i < in->n_threads; i++)
        pthread_join(in->threads[i], NULL);
    free(in->threads);
    free(in->stops);
    free(in);
    *out = NULL;
}

base_status intake_start(uint32_t n_threads, thread_queue *queue, thread_queue *engine, const prompt_env *env,
                         atomic_size_t *payload_bytes, intake **out, base_error *error)
{
    intake *in = calloc(1, sizeof *in);
    if (in == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the intake threads");
    *in = (intake){.queue = queue, .engine = engine, .env = env, .payload_bytes = payload_bytes};
    in->threads = calloc(n_threads, sizeof *in->threads);
    in->stops = calloc(n_threads, sizeof *in->stops);
    base_status status = in->threads != NULL && in->stops != NULL
                             ? BASE_OK
                             : base_fail(error, BASE_ENOMEM, "no memory for %u threads", n_threads);
    while (status == BASE_OK && in->n_threads < n_threads) {
        int code = pthread_create(&in->threads[in->n_threads], NULL, intake_run, in);
        if (code != 0)
            status = base_fail(error, BASE_EIO, "cannot start intake thread %u: %s", in->n_threads, strerror(code));
        else
            in->n_threads++;
    }
    if (status != BASE_OK) {
        intake_stop(&in);
        return status;
    }
    *out = in;
    return BASE_OK;
}
