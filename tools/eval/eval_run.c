/* eval_run.c - workers that take requests from a list until it is empty; the calling thread shows how far they are. */
#include "tools/eval/eval_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "tools/ask/ask.h"

enum { WATCH_US = 100000, PAUSE_MIN_US = 20000, PAUSE_MAX_US = 2000000, WRITE = -1 };

typedef struct job {
    size_t index; /* of the case */
    int which;    /* a class to score, or WRITE an answer */
} job;

typedef struct crew {
    const eval_run *run;
    eval_journal *journal;
    job *jobs;
    size_t n_jobs;

    pthread_mutex_t lock; /* of all below */
    size_t next, n_finished, n_failed, n_working;
    bool stopped;
    base_status status;
    base_error *error;
} crew;

typedef struct worker {
    crew *crew;
    pthread_t thread;
    pg_client *client;
} worker;

/* ---- the list ---- */

static bool add_jobs(crew *c, bool scores, size_t *n_known)
{
    size_t room = 0;
    for (size_t i = 0; i < c->journal->cases->n; i++)
        room += 1 + (scores ? c->journal->answers[i].n_scores : 0);
    c->jobs = calloc(room + 1, sizeof *c->jobs);
    if (c->jobs == NULL)
        return false;
    for (size_t i = 0; i < c->journal->cases->n; i++) {
        const eval_answer *a = &c->journal->answers[i];
        if (a->text == NULL)
            c->jobs[c->n_jobs++] = (job){i, WRITE};
        for (size_t k = 0; scores && k < a->n_scores; k++)
            if (isnan(a->scores[k]))
                c->jobs[c->n_jobs++] = (job){i, (int)k};
    }
    *n_known = room - c->n_jobs;
    return true;
}

/* ---- a request ---- */

static base_status add_images(const eval_cases *cases, const eval_case *c, pg_request *request, base_error *error)
{
    for (size_t i = 0; i < c->n_images; i++) {
        base_buf bytes = {0};
        base_status status = eval_image_read(cases, &c->images[i], &bytes, error);
        if (status == BASE_OK)
            pg_request_add_image_frame(request, bytes.data, bytes.size, c->images[i].frame);
        base_buf_release(&bytes);
        if (status != BASE_OK)
            return status;
    }
    return BASE_OK;
}

static void decode_as_task(const eval_run *run, pg_request *request)
{
    const task_decoding *d = &run->task->decoding;
    pg_request_set_sampling(request, d->temperature, d->top_k, d->top_p, run->seed);
    pg_request_set_max_tokens(request, d->max_tokens);
    for (size_t i = 0; i < d->n_stops; i++)
        pg_request_add_stop(request, d->stops[i]);
}

static base_status make_request(const crew *c, const job *j, pg_request **out, base_error *error)
{
    const eval_case *one = &c->journal->cases->cases[j->index];
    pg_request *request = pg_request_create();
    if (request == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory for a request");
    const ask_task asked = {c->run->task, one->fields, one->n_fields};
    ask_add_task(&asked, request);
    base_status status = add_images(c->journal->cases, one, request, error);
    if (j->which == WRITE)
        decode_as_task(c->run, request);
    else if (!ask_score_class(&asked, (size_t)j->which, c->run->answer_begin, request))
        status = base_fail(error, BASE_ENOMEM, "out of memory for an answer");
    if (status != BASE_OK) {
        pg_request_destroy(&request);
        return status;
    }
    *out = request;
    return BASE_OK;
}

static bool is_stopped(crew *c)
{
    pthread_mutex_lock(&c->lock);
    bool stopped = c->stopped;
    pthread_mutex_unlock(&c->lock);
    return stopped;
}

static pg_status ask(worker *w, const pg_request *request, pg_result **out, pg_error *failure)
{
    for (uint32_t pause_us = PAUSE_MIN_US;; pause_us = pause_us * 2 < PAUSE_MAX_US ? pause_us * 2 : PAUSE_MAX_US) {
        pg_status status = pg_client_generate(w->client, request, NULL, NULL, out, failure);
        if (status != PG_EBUSY || is_stopped(w->crew))
            return status;
        base_clock_nap(pause_us);
    }
}

/* ---- a worker ---- */

/* The first reason stays. */
static void stop(crew *c, base_status status, const char *text)
{
    pthread_mutex_lock(&c->lock);
    if (!c->stopped)
        c->status = base_fail(c->error, status, "%s", text);
    c->stopped = true;
    pthread_mutex_unlock(&c->lock);
}

/* Will every other request fail too? */
static bool ends_run(pg_status status)
{
    return status == PG_EUNREACHABLE || status == PG_ESHUTDOWN || status == PG_ECANCELED || status == PG_EBUSY;
}

static void do_job(worker *w, const job *j)
{
    crew *c = w->crew;
    base_error error = {0};
    pg_error failure = {0};
    pg_request *request = NULL;
    pg_result *result = NULL;
    base_status status = make_request(c, j, &request, &error);
    pg_status answered = (pg_status)status;
    if (status == BASE_OK)
        answered = ask(w, request, &result, &failure);
    else {
        failure.status = answered;
        memcpy(failure.text, error.text, sizeof failure.text);
    }
    if (answered != PG_OK && ends_run(answered)) {
        stop(c, answered == PG_ECANCELED ? BASE_ECANCELED : BASE_EIO, failure.text);
    } else {
        status = answered == PG_OK ? eval_journal_put(c->journal, j->index, j->which, result, &error)
                                   : eval_journal_put_failure(c->journal, j->index, &failure, &error);
        if (status != BASE_OK)
            stop(c, status, error.text);
        pthread_mutex_lock(&c->lock);
        c->n_finished++;
        c->n_failed += answered != PG_OK;
        pthread_mutex_unlock(&c->lock);
    }
    pg_result_destroy(&result);
    pg_request_destroy(&request);
}

static void *work(void *opaque)
{
    worker *w = opaque;
    crew *c = w->crew;
    for (;;) {
        pthread_mutex_lock(&c->lock);
        bool more = !c->stopped && c->next < c->n_jobs;
        size_t i = more ? c->next++ : 0;
        if (!more)
            c->n_working--;
        pthread_mutex_unlock(&c->lock);
        if (!more)
            return NULL;
        do_job(w, &c->jobs[i]);
    }
}

/* ---- the crew ---- */

static base_status start(crew *c, worker *workers, size_t n, size_t *n_started)
{
    for (size_t i = 0; i < n; i++) {
        pg_error failure = {0};
        workers[i].crew = c;
        if (pg_client_open(c->run->endpoint, c->run->timeout_ms, &workers[i].client, &failure) != PG_OK)
            return base_fail(c->error, BASE_EIO, "%s", failure.text);
        pthread_mutex_lock(&c->lock);
        c->n_working++;
        pthread_mutex_unlock(&c->lock);
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            pg_client_close(&workers[i].client);
            return base_fail(c->error, BASE_ENOMEM, "cannot start a thread");
        }
        ++*n_started;
    }
    return BASE_OK;
}

static bool look(crew *c, size_t n_known, uint64_t started_us, eval_progress *progress)
{
    pthread_mutex_lock(&c->lock);
    *progress = (eval_progress){.n_done = n_known + c->n_finished,
                                .n_total = n_known + c->n_jobs,
                                .n_failed = c->n_failed,
                                .n_asked = c->n_finished,
                                .seconds = (double)(base_clock_us() - started_us) / 1e6};
    bool working = c->n_working > 0;
    pthread_mutex_unlock(&c->lock);
    return working;
}

static void watch(crew *c, worker *workers, size_t n, size_t n_known, eval_progress *progress)
{
    uint64_t started = base_clock_us();
    while (look(c, n_known, started, progress)) {
        if (c->run->on_progress != NULL)
            c->run->on_progress(c->run->context, progress);
        if (c->run->is_interrupted != NULL && c->run->is_interrupted())
            stop(c, BASE_ECANCELED, "interrupted");
        if (is_stopped(c))
            for (size_t i = 0; i < n; i++)
                pg_client_cancel(workers[i].client);
        base_clock_nap(WATCH_US);
    }
    if (c->run->on_progress != NULL)
        c->run->on_progress(c->run->context, progress);
}

static void run_crew(crew *c, size_t n_known, eval_progress *progress)
{
    size_t n = c->run->in_flight < c->n_jobs ? c->run->in_flight : c->n_jobs, n_started = 0;
    worker *workers = calloc(n + 1, sizeof *workers);
    base_status status =
        workers == NULL ? base_fail(c->error, BASE_ENOMEM, "out of memory") : start(c, workers, n, &n_started);
    if (status != BASE_OK) {
        pthread_mutex_lock(&c->lock);
        c->stopped = true; /* those that run end after their request */
        c->status = status;
        pthread_mutex_unlock(&c->lock);
    } else {
        watch(c, workers, n_started, n_known, progress);
    }
    for (size_t i = 0; i < n_started; i++) {
        pthread_join(workers[i].thread, NULL);
        pg_client_close(&workers[i].client);
    }
    free(workers);
}

base_status eval_run_all(const eval_run *run, eval_journal *journal, eval_progress *progress, base_error *error)
{
    crew c = {.run = run, .journal = journal, .error = error, .status = BASE_OK};
    size_t n_known = 0;
    *progress = (eval_progress){0};
    if (!add_jobs(&c, run->scores, &n_known))
        return base_fail(error, BASE_ENOMEM, "out of memory for a list of requests");
    *progress = (eval_progress){.n_done = n_known, .n_total = n_known + c.n_jobs};
    pthread_mutex_init(&c.lock, NULL);
    if (c.n_jobs > 0)
        run_crew(&c, n_known, progress);
    pthread_mutex_destroy(&c.lock);
    free(c.jobs);
    return c.status;
}
