/* task.c - the tasks and their rendering.
 *
 * A template is text with two kinds of slots: `<img>` takes an image, `{name}` a field.  `{ (C) |name}` prints what
 * stands before the bar only when the field has a value, so that a list of options may be of any length. */
#include "coordinator/task/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/buf.h"

enum { MAX_FIELDS = 12, MAX_PARTS = 8 };

typedef struct field_spec {
    const char *name;     /* NULL ends the list */
    const char *fallback; /* NULL: no value */
    bool required;
} field_spec;

typedef struct task_spec {
    const char *name;
    const char *instruction;
    const char *query;
    field_spec fields[MAX_FIELDS];
} task_spec;

static const task_spec tasks[] = {
    {"report",
     "You are a helpful radiology assistant. Describe the lines, tubes and devices, the lungs, the pleura, the heart "
     "size and the bones.",
     "Given the {view} view X-ray image <img>. Reason for the study: {indication}. Q: Describe the findings in the "
     "image following the instructions. A:",
     {{"view", "PA", false}, {"indication", "routine check", false}}},
    {"vqa",
     "You are a helpful medical assistant. Answer the question about the image.",
     "Given <img>. Q: {question} ({type} domain) A:",
     {{"question", NULL, true}, {"type", "open", false}}},
    {"classify",
     "You are a helpful radiology assistant. Answer whether the condition is indicated by the X-ray image.",
     "Given the {view} view X-ray image <img>. Q: Is {condition} indicated by the image? (A) No (B) Yes A:",
     {{"condition", NULL, true}, {"view", "PA", false}}},
    {"choice",
     "You are a helpful radiology assistant. Choose the right answer from the options.",
     "Given the X-ray image <img>. Q: {question}{ (A) |option_a}{ (B) |option_b}{ (C) |option_c}{ (D) |option_d}"
     "{ (E) |option_e}{ (F) |option_f} A:",
     {{"question", NULL, true},
      {"option_a", NULL, true},
      {"option_b", NULL, true},
      {"option_c", NULL, false},
      {"option_d", NULL, false},
      {"option_e", NULL, false},
      {"option_f", NULL, false}}},
};

enum { N_TASKS = sizeof tasks / sizeof tasks[0] };

const char *const *task_names(void)
{
    static const char *const names[N_TASKS + 1] = {"report", "vqa", "classify", "choice", NULL};
    return names;
}

static const task_spec *find_task(const char *name)
{
    for (size_t i = 0; i < N_TASKS; ++i)
        if (strcmp(tasks[i].name, name) == 0)
            return &tasks[i];
    return NULL;
}

/* ----------------------------------------------------------------------------------------------- fields */

static const field_spec *find_spec(const task_spec *task, const char *name, size_t length)
{
    for (const field_spec *spec = task->fields; spec->name != NULL; ++spec)
        if (strlen(spec->name) == length && memcmp(spec->name, name, length) == 0)
            return spec;
    return NULL;
}

static const char *value_of(const field_spec *spec, const task_field *fields, size_t n_fields)
{
    for (size_t i = 0; i < n_fields; ++i)
        if (strcmp(fields[i].name, spec->name) == 0)
            return fields[i].value;
    return spec->fallback;
}

static base_status check_fields(const task_spec *task, const task_field *fields, size_t n_fields, base_error *error)
{
    for (size_t i = 0; i < n_fields; ++i)
        if (find_spec(task, fields[i].name, strlen(fields[i].name)) == NULL)
            return base_fail(error, BASE_EINVAL, "task '%s' has no field '%.64s'", task->name, fields[i].name);
    for (const field_spec *spec = task->fields; spec->name != NULL; ++spec)
        if (spec->required && value_of(spec, fields, n_fields) == NULL)
            return base_fail(error, BASE_EINVAL, "task '%s' needs the field '%s'", task->name, spec->name);
    return BASE_OK;
}

/* -------------------------------------------------------------------------------------------- rendering */

/* Parts under construction: finished ones, and the text of the one being written. */
typedef struct renderer {
    task_part parts[MAX_PARTS];
    size_t n_parts;
    base_buf text;
    bool failed;
} renderer;

static void put_text(renderer *r, const char *text)
{
    base_buf_put(&r->text, text, strlen(text));
}

static void add_part(renderer *r, bool is_image, char *text)
{
    if (r->n_parts == MAX_PARTS) { /* a template with that many images would be a defect of the table */
        r->failed = true;
        free(text);
        return;
    }
    r->parts[r->n_parts++] = (task_part){.is_image = is_image, .text = text};
}

static void end_text(renderer *r)
{
    if (r->text.size == 0)
        return;
    base_buf_put_u8(&r->text, 0);
    char *text = r->text.failed ? NULL : malloc(r->text.size);
    if (text != NULL) {
        memcpy(text, r->text.data, r->text.size);
        add_part(r, false, text);
    }
    r->failed = r->failed || text == NULL;
    base_buf_clear(&r->text);
}

/* Print the slot that starts at `slot` (its '{'); returns what follows its '}'. */
static const char *put_slot(renderer *r, const task_spec *task, const char *slot, const task_field *fields,
                            size_t n_fields)
{
    const char *end = strchr(slot, '}');
    const char *bar = memchr(slot, '|', (size_t)(end - slot));
    const char *name = bar != NULL ? bar + 1 : slot + 1;
    const field_spec *spec = find_spec(task, name, (size_t)(end - name));
    const char *value = value_of(spec, fields, n_fields);
    if (value != NULL) {
        if (bar != NULL)
            base_buf_put(&r->text, slot + 1, (size_t)(bar - slot - 1));
        put_text(r, value);
    }
    return end + 1;
}

static void put_query(renderer *r, const task_spec *task, const task_field *fields, size_t n_fields)
{
    static const char image[] = "<img>";
    for (const char *at = task->query; *at != '\0';) {
        if (*at == '{') {
            at = put_slot(r, task, at, fields, n_fields);
        } else if (strncmp(at, image, sizeof image - 1) == 0) {
            end_text(r);
            add_part(r, true, NULL);
            at += sizeof image - 1;
        } else {
            base_buf_put_u8(&r->text, (uint8_t)*at++);
        }
    }
    end_text(r);
}

static void release_parts(task_part *parts, size_t n_parts)
{
    for (size_t i = 0; i < n_parts; ++i)
        free(parts[i].text);
}

base_status task_render(const char *name, const task_field *fields, size_t n_fields, const char *exemplar,
                        task_prompt *out, base_error *error)
{
    const task_spec *task = find_task(name);
    if (task == NULL)
        return base_fail(error, BASE_ENOTFOUND, "unknown task '%.64s'; known: report, vqa, classify, choice, chat", name);
    base_status status = check_fields(task, fields, n_fields, error);
    if (status != BASE_OK)
        return status;

    renderer r = {.n_parts = 0};
    put_text(&r, "Instructions: ");
    put_text(&r, task->instruction);
    put_text(&r, "\n");
    if (exemplar != NULL && exemplar[0] != '\0') {
        put_text(&r, exemplar);
        put_text(&r, "\n");
    }
    put_query(&r, task, fields, n_fields);

    task_part *parts = r.failed || r.text.failed ? NULL : malloc(r.n_parts * sizeof *parts);
    base_buf_release(&r.text);
    if (parts == NULL) {
        release_parts(r.parts, r.n_parts);
        return base_fail(error, BASE_ENOMEM, "no memory for the prompt of task '%s'", task->name);
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
