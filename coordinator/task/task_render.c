/* task_render.c - a request's fields checked, and put into the task's text. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/task/task_parts.h"

enum { PARTS_MAX = 2 * TASK_IMAGES_MAX + 1 };

/* ---- fields ---- */

typedef struct values {
    const task_field *fields;
    size_t n_fields;
} values;

/* Value `i` of a field; its default when there is none. */
static const char *value_of(const values *v, const task_field_spec *spec, size_t i)
{
    for (size_t at = 0; at < v->n_fields; at++)
        if (strcmp(v->fields[at].name, spec->name) == 0 && i-- == 0)
            return v->fields[at].value;
    return spec->fallback;
}

static size_t count_of(const values *v, const task_field_spec *spec)
{
    size_t n = 0;
    for (size_t at = 0; at < v->n_fields; at++)
        n += strcmp(v->fields[at].name, spec->name) == 0;
    return n;
}

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
static base_status check_options(const task *t, const values *v, base_error *error)
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
    values v = {fields, n_fields};
    for (size_t i = 0; i < n_fields; i++) {
        const task_field_spec *spec = task_field_find(t, fields[i].name, strlen(fields[i].name));
        if (spec == NULL)
            return base_fail(error, BASE_EINVAL, "task '%s' has no field '%.64s'", t->name, fields[i].name);
        base_status status = check_value(t, spec, fields[i].value, error);
        if (status != BASE_OK)
            return status;
    }
    for (size_t i = 0; i < t->n_fields; i++) {
        base_status status = check_count(t, &t->fields[i], count_of(&v, &t->fields[i]), n_images, error);
        if (status != BASE_OK)
            return status;
    }
    base_status status = check_images(t, n_images, error);
    return status == BASE_OK ? check_options(t, &v, error) : status;
}

/* ---- rendering ---- */

/* Parts under construction: finished ones, and the text of the one being written. */
typedef struct renderer {
    const task *task;
    values values;
    uint32_t n_images;
    bool images_are_text; /* in an exemplar */
    task_part parts[PARTS_MAX];
    size_t n_parts;
    base_buf text;
    bool failed;
} renderer;

static void put_text(renderer *r, const char *text)
{
    base_buf_put(&r->text, text, strlen(text));
}

static void end_text(renderer *r)
{
    if (r->text.size == 0)
        return;
    base_buf_put_u8(&r->text, 0);
    char *text = r->text.failed ? NULL : malloc(r->text.size);
    if (text != NULL) {
        memcpy(text, r->text.data, r->text.size);
        r->parts[r->n_parts++] = (task_part){.text = text};
    }
    r->failed = r->failed || text == NULL;
    base_buf_clear(&r->text);
}

static void put_image(renderer *r)
{
    if (r->images_are_text) {
        put_text(r, "<img>");
        return;
    }
    end_text(r);
    if (!r->failed)
        r->parts[r->n_parts++] = (task_part){.is_image = true};
}

/* "(A) first (B) second". */
static void put_options(renderer *r, const task_field_spec *spec, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char label[] = {'(', (char)('A' + (char)i), ')', ' ', '\0'};
        put_text(r, i == 0 ? "" : " ");
        put_text(r, label);
        put_text(r, value_of(&r->values, spec, i));
    }
}

static void put_field(renderer *r, const task_step *step, size_t image)
{
    const task_field_spec *spec = step->field;
    const char *value = value_of(&r->values, spec, spec->each ? image : 0);
    if (value == NULL)
        return;
    base_buf_put(&r->text, step->text, step->size);
    if (spec->kind == TASK_FIELD_OPTIONS)
        put_options(r, spec, count_of(&r->values, spec));
    else
        put_text(r, value);
}

/* The steps up to the end, or up to EACH or EACH_END; returns where it stopped. */
static size_t put_steps(renderer *r, size_t at, size_t image)
{
    for (; at < r->task->n_steps && r->task->steps[at].kind != TASK_STEP_EACH_END; at++) {
        const task_step *step = &r->task->steps[at];
        if (step->kind == TASK_STEP_TEXT)
            base_buf_put(&r->text, step->text, step->size);
        else if (step->kind == TASK_STEP_IMAGE)
            put_image(r);
        else if (step->kind == TASK_STEP_FIELD)
            put_field(r, step, image);
        else
            return at;
    }
    return at;
}

static void put_query(renderer *r)
{
    size_t at = put_steps(r, 0, 0);
    if (at == r->task->n_steps)
        return;
    for (size_t image = 0; image < r->n_images; image++) {
        put_text(r, image == 0 ? "" : r->task->between_images);
        put_steps(r, at + 1, image);
    }
    while (r->task->steps[at].kind != TASK_STEP_EACH_END)
        at++;
    put_steps(r, at + 1, 0);
}

static void put_exemplars(renderer *r, const char *exemplar)
{
    if (exemplar != NULL && exemplar[0] != '\0') {
        put_text(r, exemplar);
        put_text(r, "\n");
        return;
    }
    const values of_query = r->values;
    const uint32_t n_images = r->n_images;
    r->images_are_text = true;
    r->n_images = r->task->min_images;
    for (size_t i = 0; i < r->task->n_exemplars; i++) {
        r->values = (values){r->task->exemplars[i].fields, r->task->exemplars[i].n_fields};
        put_query(r);
        put_text(r, " ");
        put_text(r, r->task->exemplars[i].answer);
        put_text(r, "\n");
    }
    r->images_are_text = false;
    r->n_images = n_images;
    r->values = of_query;
}

static void release_parts(task_part *parts, size_t n_parts)
{
    for (size_t i = 0; i < n_parts; i++)
        free(parts[i].text);
}

base_status task_render(const task *t, const task_field *fields, size_t n_fields, uint32_t n_images,
                        const char *exemplar, task_prompt *out, base_error *error)
{
    base_status status = task_check(t, fields, n_fields, n_images, error);
    if (status != BASE_OK)
        return status;
    renderer r = {.task = t, .values = {fields, n_fields}, .n_images = n_images};
    if (t->instruction[0] != '\0') {
        put_text(&r, "Instructions: ");
        put_text(&r, t->instruction);
        put_text(&r, "\n");
    }
    put_exemplars(&r, exemplar);
    put_query(&r);
    end_text(&r);

    task_part *parts = r.failed || r.text.failed ? NULL : malloc(r.n_parts * sizeof *parts);
    base_buf_release(&r.text);
    if (parts == NULL) {
        release_parts(r.parts, r.n_parts);
        return base_fail(error, BASE_ENOMEM, "no memory for the prompt of task '%s'", t->name);
    }
    memcpy(parts, r.parts, r.n_parts * sizeof *parts);
    *out = (task_prompt){.parts = parts, .n_parts = r.n_parts};
    return BASE_OK;
}

void task_prompt_release(task_prompt *prompt)
{
    release_parts(prompt->parts, prompt->n_parts);
    free(prompt->parts);
    *prompt = (task_prompt){0};
}
