/* coordinator.c - starts and stops the parts of a coordinator, in the right order.
 *
 * Start: tokenizer and templates, then the gateway (so that a port in use is known before anything is loaded), the
 * engine, the intake threads.  End: the engine ends by itself (drained, or the replica failed), then intake, then the
 * gateway, which first sends the replies that the engine left for it.  What is still in the queues then came too late
 * and is refused. */
#include "coordinator/coordinator.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/engine/engine.h"
#include "coordinator/gateway/gateway.h"
#include "coordinator/intake.h"
#include "coordinator/thread_queue.h"
#include "coordinator/session/session.h"
#include "coordinator/tower_fit.h"
#include "sharding/checkpoint.h"

enum { N_QUEUES = 3, QUEUE_MAX = 65536, INTAKE_THREADS_MAX = 256 };

/* Rows without a meaning that the sizes of one family's vocabularies may differ by. */
enum { PADDING_MAX = 1024 };

struct coord {
    coord_options options;
    arch arch;
    char *model; /* the directory's own name */
    text_tokenizer *tokenizer;
    task_set *tasks;
    exemplars *exemplars;
    prompt_env env;
    atomic_size_t payload_bytes;
    thread_queue queues[N_QUEUES]; /* of the engine, the intake threads, the gateway */
    size_t n_queues;
    gateway *gateway;
    engine_thread *engine;
    intake *intake;
    thread_message drains[2]; /* a drain, a drain at once: each is sent once at most */
    atomic_bool drain_sent[2];
    thread_message lost; /* likewise */
    atomic_bool lost_sent;
};

/* ---- start ---- */

static base_status check_options(const coord_options *o, base_error *error)
{
    if (o->max_queue == 0 || o->max_queue > QUEUE_MAX)
        return base_fail(error, BASE_EINVAL, "max_queue is %u; it must be 1 to %d", o->max_queue, QUEUE_MAX);
    if (o->intake_threads == 0 || o->intake_threads > INTAKE_THREADS_MAX)
        return base_fail(error, BASE_EINVAL, "intake_threads is %u; it must be 1 to %d", o->intake_threads,
                         INTAKE_THREADS_MAX);
    if (o->max_message_bytes == 0 || o->max_image_pixels == 0)
        return base_fail(error, BASE_EINVAL, "max_message_bytes and max_image_pixels must be positive");
    if (o->max_message_bytes > WIRE_MESSAGE_BYTES_MAX)
        return base_fail(error, BASE_EINVAL, "max_message_bytes is %u; the protocol ends at %d", o->max_message_bytes,
                         WIRE_MESSAGE_BYTES_MAX);
    return BASE_OK;
}

/* "/models/phantom/" -> "phantom", "/models/gemma.gguf" -> "gemma"; what is no path ("synthetic:...") is its own name.
 */
static base_status name_model(const char *model, char **out, base_error *error)
{
    char *path = realpath(model, NULL);
    const char *whole = path != NULL ? path : model, *slash = strrchr(whole, '/');
    *out = strdup(slash != NULL ? slash + 1 : whole);
    free(path);
    if (*out == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the model's name");
    char *suffix = strrchr(*out, '.');
    if (suffix != NULL && suffix != *out && strcmp(suffix, ".gguf") == 0)
        *suffix = '\0';
    return BASE_OK;
}

/* The model's configuration and its tokenizer name the ids that a text begins and ends with; where both do, they agree.
 */
static base_status check_ids(const coord *c, base_error *error)
{
    const arch_decoder *decoder = &c->arch.decoder;
    int32_t bos = text_bos_id(c->tokenizer), eos = text_eos_id(c->tokenizer);
    bool same_bos = bos < 0 || decoder->bos_id < 0 || bos == decoder->bos_id;
    bool same_eos = eos < 0 || decoder->n_stop_ids == 0;
    for (uint32_t i = 0; i < decoder->n_stop_ids; i++)
        same_eos = same_eos || eos == decoder->stop_ids[i];
    if (same_bos && same_eos)
        return BASE_OK;
    return base_fail(error, BASE_EFORMAT,
                     "'%s': the model says bos %d and eos %d, its tokenizer %d and %d; do they belong together?",
                     c->options.model_dir, decoder->bos_id, decoder->eos_id, bos, eos);
}

/* How a token is written: its text, or its spelling when it is a control token. */
static const char *spelling_of(const text_tokenizer *tokenizer, int32_t id, size_t *size)
{
    const char *control = text_control_spelling(tokenizer, id);
    *size = control != NULL ? strlen(control) : 0;
    return control != NULL ? control : text_piece_bytes(tokenizer, id, size);
}

/* The first token that two vocabularies write differently; -1 when there is none.  One may have more than the other:
 * padding. */
static int32_t first_difference(const text_tokenizer *a, const text_tokenizer *b)
{
    uint32_t n = text_vocab_size(a) < text_vocab_size(b) ? text_vocab_size(a) : text_vocab_size(b);
    for (uint32_t id = 0; id < n; id++) {
        size_t size, other_size;
        const char *text = spelling_of(a, (int32_t)id, &size), *other = spelling_of(b, (int32_t)id, &other_size);
        if (size != other_size || (size > 0 && memcmp(text, other, size) != 0))
            return (int32_t)id;
    }
    return -1;
}

/* The ranks pass token ids from one model to the other, so both must mean the same by them. */
static base_status check_draft(const coord *c, base_error *error)
{
    char dir[4096];
    text_tokenizer *other = NULL;
    if (c->options.draft_model == NULL)
        return BASE_OK;
    shard_checkpoint_path(c->options.draft_model, dir, sizeof dir);
    base_error cause = {0};
    base_status status = text_tokenizer_open(dir, &other, &cause);
    if (status != BASE_OK)
        return base_fail(error, status, "draft model '%.120s': %.240s", c->options.draft_model, cause.text);
    uint32_t n = text_vocab_size(c->tokenizer), n_other = text_vocab_size(other);
    int32_t id = first_difference(c->tokenizer, other);
    uint32_t n_padding = n > n_other ? n - n_other : n_other - n;
    text_tokenizer_close(&other);
    if (id < 0 && n_padding <= PADDING_MAX)
        return BASE_OK;
    return base_fail(error, BASE_EINVAL,
                     "draft model '%.100s' has another vocabulary than '%.100s' (%u tokens and %u; the first that "
                     "differs is %d); use a small "
                     "model of the same family, or leave out --draft",
                     c->options.draft_model, c->options.model_dir, n_other, n,
                     id >= 0 ? id : (int32_t)(n < n_other ? n : n_other));
}

/* How the server chats; the token that ends a turn ends an answer too, whatever the configuration lists. */
static base_status choose_chat(coord *c, base_error *error)
{
    arch_decoder *decoder = &c->arch.decoder;
    base_status status =
        chat_choose(c->options.chat != NULL ? c->options.chat : "auto", c->tokenizer, &c->env.chat, error);
    int32_t end = status == BASE_OK ? chat_end_id(&c->env.chat, c->tokenizer) : -1;
    for (uint32_t i = 0; i < decoder->n_stop_ids; i++)
        end = decoder->stop_ids[i] == end ? -1 : end;
    if (end >= 0 && decoder->n_stop_ids < ARCH_MAX_STOPS)
        decoder->stop_ids[decoder->n_stop_ids++] = end;
    return status;
}

/* How its tower wants images. */
static prompt_images images_of(const arch *a)
{
    return (prompt_images){.fit = coord_tower_fit(&a->tower), .open = a->tower.open, .close = a->tower.close};
}

/* What prompts are made with. */
static base_status load_model(coord *c, base_error *error)
{
    char dir[4096];
    shard_checkpoint_path(c->options.model_dir, dir, sizeof dir);
    base_status status = shard_checkpoint_describe(c->options.model_dir, &c->arch, error);
    if (status == BASE_OK)
        status = name_model(dir, &c->model, error);
    if (status == BASE_OK)
        status = text_tokenizer_open(dir, &c->tokenizer, error);
    if (status == BASE_OK)
        status = exemplars_open(dir, &c->exemplars, error);
    if (status == BASE_OK)
        status = task_set_open(c->options.task_dir, &c->tasks, error);
    if (status == BASE_OK)
        status = check_ids(c, error);
    if (status == BASE_OK)
        status = check_draft(c, error);
    if (status != BASE_OK)
        return status;
    c->env = (prompt_env){.tokenizer = c->tokenizer,
                          .tasks = c->tasks,
                          .exemplars = c->exemplars,
                          .bos_id = text_start_id(c->tokenizer),
                          .images = images_of(&c->arch),
                          .encoders = c->arch.encoders,
                          .n_encoders = c->arch.n_encoders,
                          .max_image_pixels = c->options.max_image_pixels};
    return choose_chat(c, error);
}

static base_status open_queues(coord *c, base_error *error)
{
    base_status status = BASE_OK;
    while (status == BASE_OK && c->n_queues < N_QUEUES) {
        status = thread_queue_init(&c->queues[c->n_queues], error);
        c->n_queues += status == BASE_OK;
    }
    return status;
}

/* Late arrivals. */
static void empty_queue(thread_queue *queue)
{
    thread_message *m;
    while ((m = thread_queue_pop(queue)) != NULL) {
        if (m->session != NULL) {
            session *s = m->session;
            session_destroy(&s);
        } else {
            thread_message_destroy(&m);
        }
    }
}

static void coord_free(coord **out)
{
    coord *c = *out;
    for (size_t i = 0; i < c->n_queues; i++) {
        empty_queue(&c->queues[i]);
        thread_queue_release(&c->queues[i]);
    }
    task_set_close(&c->tasks);
    exemplars_close(&c->exemplars);
    text_tokenizer_close(&c->tokenizer);
    free(c->model);
    free(c);
    *out = NULL;
}

static base_status start_threads(coord *c, void *zmq, base_error *error)
{
    thread_queue *engine_queue = &c->queues[0], *intake_queue = &c->queues[1], *gateway_queue = &c->queues[2];
    base_status status =
        gateway_start(&c->options, zmq, gateway_queue, engine_queue, &c->payload_bytes, &c->gateway, error);
    if (status != BASE_OK)
        return status;
    status = intake_start(c->options.intake_threads, intake_queue, engine_queue, &c->env, &c->payload_bytes, &c->intake,
                          error);
    if (status == BASE_OK) {
        engine_parts parts = {.options = &c->options,
                              .zmq = zmq,
                              .queue = engine_queue,
                              .intake = intake_queue,
                              .gateway = gateway_queue,
                              .payload_bytes = &c->payload_bytes,
                              .env = &c->env,
                              .family = c->arch.family,
                              .model = c->model,
                              .endpoints = gateway_endpoints(c->gateway),
                              .stop_ids = c->arch.decoder.stop_ids,
                              .n_stop_ids = c->arch.decoder.n_stop_ids};
        status = engine_start(&parts, &c->engine, error);
    }
    if (status != BASE_OK) {
        intake_stop(&c->intake);
        gateway_stop(&c->gateway);
    }
    return status;
}

base_status coord_start(const coord_options *options, void *zmq, coord **out, base_error *error)
{
    base_status status = check_options(options, error);
    if (status != BASE_OK)
        return status;
    coord *c = calloc(1, sizeof *c);
    if (c == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the coordinator");
    c->options = *options;
    for (int i = 0; i < 2; i++)
        c->drains[i] = (thread_message){.kind = MESSAGE_DRAIN, .is_embedded = true, .is_last = i == 1};
    c->lost = (thread_message){.kind = MESSAGE_LOST, .is_embedded = true};
    status = open_queues(c, error);
    if (status == BASE_OK)
        status = load_model(c, error);
    if (status == BASE_OK)
        status = start_threads(c, zmq, error);
    if (status != BASE_OK) {
        coord_free(&c);
        return status;
    }
    *out = c;
    return BASE_OK;
}

/* ---- end ---- */

void coord_drain(coord *c, bool now)
{
    if (!atomic_exchange(&c->drain_sent[now], true))
        thread_queue_push(&c->queues[0], &c->drains[now]);
}

void coord_replica_lost(coord *c, const char *why)
{
    if (atomic_exchange(&c->lost_sent, true))
        return;
    c->lost.text = why;
    thread_queue_push(&c->queues[0], &c->lost);
}

base_status coord_finish(coord **out, base_error *error)
{
    coord *c = *out;
    base_status status = engine_finish(&c->engine, error);
    intake_stop(&c->intake);
    gateway_stop(&c->gateway);
    coord_free(out);
    return status;
}
