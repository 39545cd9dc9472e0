/* task_render.c - the prompt of a task: its instruction, exemplars and query as text parts and image slots.
 *
 *     Instructions: <instruction>\n          unless the task has none
 *     <query filled in> <answer>\n           for each exemplar; its images are the literal text <img>
 *     <query filled in>                      each <img> ends the text before it and is a part of its own
 *
 * The query was parsed into steps when the task was loaded (task_query.c), so only memory can fail here.  Field values
 * are copied as they are: an <img> or a brace in one stays text. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/task/task_int.h"

enum { PARTS_MAX = 2 * TASK_IMAGES_MAX + 1 };

/* Parts under construction: finished ones, and the text of the one being written. */
typedef struct renderer {
    const task *task;
    task_values values;
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
        put_text(r, task_value_at(&r->values, spec, i));
    }
}

static void put_field(renderer *r, const task_step *step, size_t image)
{
    const task_field_spec *spec = step->field;
    const char *value = task_value_at(&r->values, spec, spec->each ? image : 0);
    if (value == NULL)
        return;
    base_buf_put(&r->text, step->text, step->size);
    if (spec->kind == TASK_FIELD_OPTIONS)
        put_options(r, spec, task_value_count(&r->values, spec));
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
    const task_values of_query = r->values;
    const uint32_t n_images = r->n_images;
    r->images_are_text = true;
    r->n_images = r->task->min_images;
    for (size_t i = 0; i < r->task->n_exemplars; i++) {
        r->values = (task_values){r->task->exemplars[i].fields, r->task->exemplars[i].n_fields};
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
