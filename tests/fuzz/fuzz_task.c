/* fuzz_task.c - any bytes as a task file: an error that says where, or a task that keeps its promises: filled in as its
 * fields ask it renders, with as many image slots as images, and the answers of its classes are taken for these
 * classes. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/task/task.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Values that the fields take, for a prompt with the least number of images. */
static size_t fill(const task *t, task_field *out)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n_fields; i++) {
        const task_field_spec *spec = &t->fields[i];
        size_t count = spec->kind == TASK_FIELD_OPTIONS ? 2 : spec->each ? t->min_images : 1;
        const char *value = spec->kind == TASK_FIELD_CHOICE ? spec->choices[0]
                            : spec->kind == TASK_FIELD_TEXT ? "{<img>|*}"
                                                            : spec->fallback;
        for (size_t k = 0; k < count; k++)
            if (spec->kind == TASK_FIELD_OPTIONS)
                out[n++] = (task_field){spec->name, k == 0 ? "a" : "b"};
            else if (value != NULL)
                out[n++] = (task_field){spec->name, value};
            else if (spec->required) /* some number between bounds that may have none */
                return SIZE_MAX;
    }
    return n;
}

static void check_prompt(const task *t, const task_field *fields, size_t n_fields)
{
    task_prompt prompt;
    base_error error = {0};
    if (t->answer.form == TASK_ANSWER_CHOICE && task_class_count(t, fields, n_fields) < 2)
        return;
    if (task_render(t, fields, n_fields, t->min_images, NULL, &prompt, &error) != BASE_OK)
        abort();
    size_t n_images = 0;
    for (size_t i = 0; i < prompt.n_parts; i++)
        n_images += prompt.parts[i].is_image;
    if (n_images != t->min_images)
        abort();
    task_prompt_release(&prompt);
}

static void check_classes(const task *t, const task_field *fields, size_t n_fields)
{
    size_t n = task_class_count(t, fields, n_fields), found;
    for (size_t i = 0; i < n; i++) {
        base_buf answer = {0};
        task_class_answer(t, fields, n_fields, i, &answer);
        base_buf_put_u8(&answer, 0);
        bool says = task_answer_class(t, fields, n_fields, (const char *)answer.data, &found);
        if (t->answer.form != TASK_ANSWER_CHOICE && (!says || found != i))
            abort();
        base_buf_release(&answer);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    task *t = NULL;
    base_error error = {0};
    task_field fields[TASK_FIELDS_MAX * TASK_IMAGES_MAX];
    base_status status = task_parse("fuzz.json", bytes, size, &t, &error);
    if (status != BASE_OK) {
        if (status == BASE_EFORMAT && strncmp(error.text, "fuzz.json:", 10) != 0)
            abort();
        return 0;
    }
    size_t n_fields = fill(t, fields), found;
    if (n_fields != SIZE_MAX) {
        check_prompt(t, fields, n_fields);
        check_classes(t, fields, n_fields);
        task_answer_class(t, fields, n_fields, t->json, &found);
    }
    task_destroy(&t);
    return 0;
}
