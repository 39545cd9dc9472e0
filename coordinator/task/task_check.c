/* task_check.c - does a request fit its task: known fields, values of their kind, required ones given, the number of
 * values, images and options.
 *
 * The server checks before it renders a prompt, the commands before they send one, and the loader checks defaults and
 * exemplars of a task file with the same rules. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/task/task_int.h"
#include "proto/base/quote.h"

/* A decimal number; strtod takes more than that. */
static bool is_number(const char *text, double least, double most)
{
    char *end;
    if (text[0] == '\0' || text[strspn(text, "+-.0123456789eE")] != '\0')
        return false;
    errno = 0;
    double number = strtod(text, &end);
    return *end == '\0' && errno == 0 && isfinite(number) && number >= least && number <= most;
}

static bool is_choice(const task_field_spec *spec, const char *value)
{
    for (size_t i = 0; i < spec->n_choices; i++)
        if (strcmp(spec->choices[i], value) == 0)
            return true;
    return false;
}

static base_status fail_choice(const task *t, const task_field_spec *spec, base_error *error)
{
    base_buf known = {0};
    for (size_t i = 0; i < spec->n_choices; i++) {
        if (i > 0)
            base_buf_put(&known, ", ", 2);
        base_buf_put(&known, spec->choices[i], strlen(spec->choices[i]));
    }
    base_status status =
        base_fail(error, BASE_EINVAL, "the field '%s' of task '%s' is one of: %.*s", spec->name, t->name,
                  (int)(known.size < 200 ? known.size : 200), known.failed ? "" : (const char *)known.data);
    base_buf_release(&known);
    return status;
}

static base_status check_value(const task *t, const task_field_spec *spec, const char *value, base_error *error)
{
    if (spec->kind == TASK_FIELD_CHOICE && !is_choice(spec, value))
        return fail_choice(t, spec, error);
    if (spec->kind == TASK_FIELD_NUMBER && !is_number(value, spec->least, spec->most))
        return base_fail(error, BASE_EINVAL, "the field '%s' of task '%s' is a number from %g to %g", spec->name,
                         t->name, spec->least, spec->most);
    if (spec->kind == TASK_FIELD_OPTIONS && value[0] == '\0')
        return base_fail(error, BASE_EINVAL, "the field '%s' of task '%s' has an empty option", spec->name, t->name);
    return BASE_OK;
}

static base_status check_count(const task *t, const task_field_spec *spec, size_t n, uint32_t n_images,
                               base_error *error)
{
    if (n == 0)
        return !spec->required ? BASE_OK
                               : base_fail(error, BASE_EINVAL, "task '%s' needs the field '%s'", t->name, spec->name);
    if (spec->kind == TASK_FIELD_OPTIONS)
        return n >= 2 && n <= TASK_OPTIONS_MAX
                   ? BASE_OK
                   : base_fail(error, BASE_EINVAL,
                               "the field '%s' of task '%s' is given once for each option: 2 to %d times", spec->name,
                               t->name, TASK_OPTIONS_MAX);
    size_t most = spec->each ? n_images : 1;
    if (n != most)
        return base_fail(error, BASE_EINVAL, "the field '%s' of task '%s' is given %zu times, but %zu %s", spec->name,
                         t->name, n, most, spec->each ? "images come with it" : "is right");
    return BASE_OK;
}

/* At least this is what the classes of an answer need. */
static base_status check_options(const task *t, const task_values *v, base_error *error)
{
    if (t->answer.form == TASK_ANSWER_CHOICE && task_class_count(t, v->fields, v->n_fields) < 2)
        return base_fail(error, BASE_EINVAL, "task '%s' needs two options at least (field '%s')", t->name,
                         t->answer.option_fields[0]);
    return BASE_OK;
}

static base_status check_images(const task *t, uint32_t n, base_error *error)
{
    if (n >= t->min_images && n <= t->max_images)
        return BASE_OK;
    if (t->min_images == t->max_images)
        return base_fail(error, BASE_EINVAL, "task '%s' takes %u image%s, not %u", t->name, t->min_images,
                         t->min_images == 1 ? "" : "s", n);
    return base_fail(error, BASE_EINVAL, "task '%s' takes %u to %u images, not %u", t->name, t->min_images,
                     t->max_images, n);
}

base_status task_check(const task *t, const task_field *fields, size_t n_fields, uint32_t n_images, base_error *error)
{
    task_values v = {fields, n_fields};
    for (size_t i = 0; i < n_fields; i++) {
        const task_field_spec *spec = task_field_find(t, fields[i].name, strlen(fields[i].name));
        if (spec == NULL)
            return base_fail(error, BASE_EINVAL, "task '%s' has no field %s", t->name, base_quote(fields[i].name).text);
        base_status status = check_value(t, spec, fields[i].value, error);
        if (status != BASE_OK)
            return status;
    }
    for (size_t i = 0; i < t->n_fields; i++) {
        base_status status = check_count(t, &t->fields[i], task_value_count(&v, &t->fields[i]), n_images, error);
        if (status != BASE_OK)
            return status;
    }
    base_status status = check_images(t, n_images, error);
    return status == BASE_OK ? check_options(t, &v, error) : status;
}
