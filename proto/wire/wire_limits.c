/* What the types of palmgrove.proto cannot say about a request: how many, how long, which values, what goes together.
 */
#include "proto/wire/wire_limits.h"

#include <math.h>
#include <string.h>

#include "proto/wire/msg.h"

static base_status check_name(const char *name, const char *what, size_t i, base_error *error)
{
    size_t length = strlen(name);
    if (length == 0)
        return base_fail(error, BASE_EINVAL, "generate.parts[%zu].%s is empty", i, what);
    if (length > WIRE_NAME_BYTES_MAX)
        return base_fail(error, BASE_ETOOBIG, "generate.parts[%zu].%s has %zu bytes; the limit is %d", i, what, length,
                         WIRE_NAME_BYTES_MAX);
    return BASE_OK;
}

static base_status check_task(const wire_part *part, size_t i, size_t *text_bytes, base_error *error)
{
    base_status status = check_name(part->task, "task.name", i, error);
    if (status == BASE_OK && part->n_fields > WIRE_FIELDS_MAX)
        status = base_fail(error, BASE_ETOOBIG, "generate.parts[%zu].task has %zu fields; the limit is %d", i,
                           part->n_fields, WIRE_FIELDS_MAX);
    for (size_t j = 0; j < part->n_fields && status == BASE_OK; j++) {
        status = check_name(part->fields[j].name, "task.fields.name", i, error);
        *text_bytes += strlen(part->fields[j].value);
    }
    return status;
}

static base_status check_vectors(const wire_part *part, size_t i, base_error *error)
{
    if (strlen(part->encoder) > WIRE_NAME_BYTES_MAX)
        return base_fail(error, BASE_ETOOBIG, "generate.parts[%zu].vectors.encoder has %zu bytes; the limit is %d", i,
                         strlen(part->encoder), WIRE_NAME_BYTES_MAX);
    if (part->width == 0 || part->n_values == 0 || part->n_values % part->width != 0)
        return base_fail(error, BASE_EINVAL,
                         "generate.parts[%zu].vectors has %zu values, which are not whole vectors of width %u", i,
                         part->n_values, part->width);
    if (part->n_values / part->width > WIRE_VECTORS_MAX)
        return base_fail(error, BASE_ETOOBIG, "generate.parts[%zu].vectors has %zu vectors; the limit is %d", i,
                         part->n_values / part->width, WIRE_VECTORS_MAX);
    for (size_t v = 0; v < part->n_values; v++)
        if (!isfinite(part->values[v]))
            return base_fail(error, BASE_EINVAL, "generate.parts[%zu].vectors.values[%zu] is not a finite number", i,
                             v);
    return BASE_OK;
}

/* The sums cannot wrap: all texts together came in one message. */
static base_status check_parts(const wire_generate *generate, base_error *error)
{
    size_t text_bytes = generate->answer != NULL ? strlen(generate->answer) : 0;
    bool something = false;
    if (generate->n_parts > WIRE_PARTS_MAX)
        return base_fail(error, BASE_ETOOBIG, "generate.parts has %zu entries; the limit is %d", generate->n_parts,
                         WIRE_PARTS_MAX);
    for (size_t i = 0; i < generate->n_parts; i++) {
        const wire_part *part = &generate->parts[i];
        base_status status = BASE_OK;
        if (part->kind == WIRE_PART_TEXT) {
            text_bytes += strlen(part->text);
        } else if (part->kind == WIRE_PART_TASK) {
            status = check_task(part, i, &text_bytes, error);
        } else if (part->kind == WIRE_PART_VECTORS) {
            status = check_vectors(part, i, error);
        } else if (part->kind == WIRE_PART_IMAGE && part->image_bytes == 0) {
            status = base_fail(error, BASE_EINVAL, "generate.parts[%zu].image is empty; send an image file", i);
        }
        if (status != BASE_OK)
            return status;
        something = something || part->kind != WIRE_PART_TEXT || part->text[0] != '\0';
    }
    if (!something)
        return base_fail(error, BASE_EINVAL, "generate.parts is empty; send a text, an image, vectors or a task");
    if (text_bytes > WIRE_TEXT_BYTES_MAX)
        return base_fail(error, BASE_ETOOBIG,
                         "the texts of generate.parts and the answer have %zu bytes; the limit is %d", text_bytes,
                         WIRE_TEXT_BYTES_MAX);
    return BASE_OK;
}

static base_status check_stop(const wire_generate *generate, base_error *error)
{
    if (generate->n_stop > WIRE_STOP_MAX)
        return base_fail(error, BASE_ETOOBIG, "generate.stop has %zu strings; the limit is %d", generate->n_stop,
                         WIRE_STOP_MAX);
    for (size_t i = 0; i < generate->n_stop; i++) {
        size_t length = strlen(generate->stop[i]);
        if (length == 0)
            return base_fail(error, BASE_EINVAL, "generate.stop[%zu] is empty; it would stop at once", i);
        if (length > WIRE_STOP_BYTES_MAX)
            return base_fail(error, BASE_ETOOBIG, "generate.stop[%zu] has %zu bytes; the limit is %d", i, length,
                             WIRE_STOP_BYTES_MAX);
    }
    return BASE_OK;
}

/* Written so that NaN fails: every comparison with it is false. */
static bool is_within(float value, float low, float high)
{
    return value >= low && value <= high;
}

static base_status check_sampling(const wire_sampling *sampling, base_error *error)
{
    if (!is_within(sampling->temperature, 0.0f, (float)WIRE_TEMPERATURE_MAX))
        return base_fail(error, BASE_EINVAL, "generate.sampling.temperature is %g; it must be 0 (greedy) to %d",
                         (double)sampling->temperature, WIRE_TEMPERATURE_MAX);
    if (!is_within(sampling->top_p, 0.0f, 1.0f))
        return base_fail(error, BASE_EINVAL, "generate.sampling.top_p is %g; it must be 0 to 1 (0 and 1: off)",
                         (double)sampling->top_p);
    return BASE_OK;
}

base_status wire_limits_check(const wire_generate *generate, base_error *error)
{
    base_status status = check_parts(generate, error);
    if (status == BASE_OK)
        status = check_stop(generate, error);
    if (status == BASE_OK)
        status = check_sampling(&generate->sampling, error);
    if (status != BASE_OK)
        return status;
    if (generate->max_tokens > WIRE_MAX_TOKENS_MAX)
        return base_fail(error, BASE_ETOOBIG, "generate.max_tokens is %u; the limit is %d", generate->max_tokens,
                         WIRE_MAX_TOKENS_MAX);
    if (generate->n_resume_ids > WIRE_MAX_TOKENS_MAX)
        return base_fail(error, BASE_ETOOBIG, "generate.resume_ids has %zu entries; the limit is %d",
                         generate->n_resume_ids, WIRE_MAX_TOKENS_MAX);
    if (generate->answer != NULL && generate->answer[0] != '\0' &&
        (generate->n_resume_ids > 0 || generate->n_stop > 0 || generate->max_tokens > 0))
        return base_fail(error, BASE_EINVAL,
                         "generate.answer is scored whole; max_tokens, stop and resume_ids do not go with it");
    if (generate->priority != WIRE_ROUTINE && generate->priority != WIRE_STAT)
        return base_fail(error, BASE_EINVAL, "generate.priority is %d; it must be 0 (ROUTINE) or 1 (STAT)",
                         (int)generate->priority);
    return BASE_OK;
}
