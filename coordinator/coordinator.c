/* coordinator.c - puts the parts together and takes them apart; the order of both is what this file is about.
 *
 * Start: tokenizer and templates, then the gateway (so that a port in use is known before anything is loaded), the engine, the intake
 * threads.  End: the engine ends by itself (drained, or the replica failed), then intake, then the gateway, whose last act is to send what
 * the engine left for it.  What still lies in the boxes then came too late and was refused. */
#include "coordinator/coordinator.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/engine/engine.h"
#include "coordinator/gateway/gateway.h"
#include "coordinator/intake.h"
#include "coordinator/mail.h"
#include "coordinator/session/session.h"
#include "sharding/arch.h"

enum { N_BOXES = 3, QUEUE_MAX = 65536, INTAKE_THREADS_MAX = 256 };

struct coord {
    coord_options options;
    arch arch;
    char *model; /* the directory's own name */
    text_tokenizer *tokenizer;
    exemplars *exemplars;
    prompt_env env;
    atomic_size_t payload_bytes;
    mailbox boxes[N_BOXES]; /* of the engine, the intake threads, the gateway */
    size_t n_boxes;
    gateway *gateway;
    engine *engine;
    intake *intake;
    mail drains[2]; /* a drain, a drain at once: each is sent once at most */
    atomic_bool drain_sent[2];
};

/* ---- start ---- */

static base_status check_options(const coord_options *o, base_error *error)
{
    if (o->max_queue == 0 || o->max_queue > QUEUE_MAX)
        return base_fail(error, BASE_EINVAL, "max_queue is %u; it must be 1 to %d", o->max_queue, QUEUE_MAX);
    if (o->intake_threads == 0 || o->intake_threads > INTAKE_THREADS_MAX)
        return base_fail(error, BASE_EINVAL, "intake_threads is %u; it must be 1 to %d", o->intake_threads, INTAKE_THREADS_MAX);
    if (o->max_message_bytes == 0 || o->max_image_pixels == 0)
        return base_fail(error, BASE_EINVAL, "max_message_bytes and max_image_pixels must be positive");
    if (o->max_message_bytes > WIRE_MESSAGE_BYTES_MAX)
        return base_fail(error, BASE_EINVAL, "max_message_bytes is %u; the protocol ends at %d", o->max_message_bytes,
                         WIRE_MESSAGE_BYTES_MAX);
    return BASE_OK;
}

/* "/models/phantom/" -> "phantom". */
static base_status name_model(const char *dir, char **out, base_error *error)
{
    char *path = realpath(dir, NULL);
    if (path == NULL)
        return base_fail(error, BASE_ENOTFOUND, "no model directory '%s'", dir);
    const char *slash = strrchr(path, '/');
    *out = strdup(slash != NULL ? slash + 1 : path);
    free(path);
    return *out != NULL ? BASE_OK : base_fail(error, BASE_ENOMEM, "no memory for the model's name");
}

/* What prompts are made with.  Where a text begins and ends stands in config.json; the tokenizer must know the same. */
static base_status load_model(coord *c, base_error *error)
{
    const char *dir = c->options.model_dir;
    base_status status = name_model(dir, &c->model, error);
    if (status == BASE_OK)
        status = arch_load(dir, &c->arch, error);
    if (status == BASE_OK)
        status = text_tokenizer_open(dir, &c->tokenizer, error);
    if (status == BASE_OK)
        status = exemplars_open(dir, &c->exemplars, error);
    if (status != BASE_OK)
        return status;
    int32_t bos = text_bos_id(c->tokenizer), eos = text_eos_id(c->tokenizer);
    if (bos != c->arch.decoder.bos_id || eos != c->arch.decoder.eos_id)
        return base_fail(error, BASE_EFORMAT,
                         "'%s': config.json says bos %d and eos %d, tokenizer.model %d and %d; do they belong together?", dir,
                         c->arch.decoder.bos_id, c->arch.decoder.eos_id, bos, eos);
    c->env = (prompt_env){.tokenizer = c->tokenizer, .exemplars = c->exemplars, .bos_id = bos,
                          .max_image_pixels = c->options.max_image_pixels};
    return BASE_OK;
}

static base_status open_boxes(coord *c, base_error *error)
{
    base_status status = BASE_OK;
    while (status == BASE_OK && c->n_boxes < N_BOXES) {
        status = mailbox_init(&c->boxes[c->n_boxes], error);
        c->n_boxes += status == BASE_OK;
    }
    return status;
}

/* Late arrivals. */
static void empty_box(mailbox *box)
{
    mail *m;
    while ((m = mailbox_take(box)) != NULL) {
        if (m->session != NULL) {
            session *s = m->session;
            session_destroy(&s);
        } else {
            mail_destroy(&m);
        }
    }
}

static void coord_free(coord **out)
{
    coord *c = *out;
    for (size_t i = 0; i < c->n_boxes; i++) {
        empty_box(&c->boxes[i]);
        mailbox_release(&c->boxes[i]);
    }
    exemplars_close(&c->exemplars);
    text_tokenizer_close(&c->tokenizer);
    free(c->model);
    free(c);
    *out = NULL;
}

static base_status start_threads(coord *c, void *zmq, base_error *error)
{
    mailbox *of_engine = &c->boxes[0], *of_intake = &c->boxes[1], *of_gateway = &c->boxes[2];
    base_status status = gateway_start(&c->options, zmq, of_gateway, of_engine, &c->payload_bytes, &c->gateway, error);
    if (status != BASE_OK)
        return status;
    status = intake_start(c->options.intake_threads, of_intake, of_engine, &c->env, &c->payload_bytes, &c->intake, error);
    if (status == BASE_OK) {
        engine_parts parts = {.options = &c->options, .zmq = zmq, .box = of_engine, .intake = of_intake, .gateway = of_gateway,
                              .payload_bytes = &c->payload_bytes, .env = &c->env, .family = c->arch.family, .model = c->model,
                              .endpoints = gateway_endpoints(c->gateway), .eos_id = c->arch.decoder.eos_id};
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
        c->drains[i] = (mail){.kind = MAIL_DRAIN, .is_embedded = true, .is_last = i == 1};
    status = open_boxes(c, error);
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
        mailbox_push(&c->boxes[0], &c->drains[now]);
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
