#include "tools/palmgrove/console_task.h"

#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES_MAX = 65 };

bool console_split_field(const char *text, char *name, size_t size, const char **value)
{
    const char *equals = strchr(text, '=');
    if (equals == NULL || equals == text || (size_t)(equals - text) >= size) {
        fprintf(stderr, "palmgrove: error: field '%s' is not of the form NAME=VALUE\n", text);
        return false;
    }
    memcpy(name, text, (size_t)(equals - text));
    name[equals - text] = '\0';
    *value = equals + 1;
    return true;
}

static int fill_fields(const console_task_values *values, const task_field *extra, size_t n_extra, console_task *out)
{
    out->fields = calloc(values->fields.n + n_extra + 1, sizeof *out->fields);
    out->names = calloc(values->fields.n + 1, NAME_BYTES_MAX);
    if (out->fields == NULL || out->names == NULL) {
        command_complain("out of memory");
        return EXIT_FAILED;
    }
    for (size_t i = 0; i < n_extra; i++)
        if (extra[i].value != NULL)
            out->fields[out->n_fields++] = extra[i];
    for (size_t i = 0; i < values->fields.n; i++) {
        char *name = out->names + i * NAME_BYTES_MAX;
        task_field *field = &out->fields[out->n_fields++];
        field->name = name;
        if (!console_split_field(values->fields.items[i].value, name, NAME_BYTES_MAX, &field->value))
            return EXIT_USAGE;
    }
    return EXIT_DONE;
}

int console_task_open(const console_task_values *values, const task_field *extra, size_t n_extra, console_task *out)
{
    *out = (console_task){.frame = values->frame};
    base_error error = {0};
    base_status status = task_set_open(values->dir, &out->set, &error);
    if (status == BASE_OK)
        status = task_set_find(out->set, values->name, &out->task, &error);
    if (status != BASE_OK) {
        command_complain(error.text);
        return status == BASE_ENOTFOUND ? EXIT_USAGE : EXIT_FAILED;
    }
    return fill_fields(values, extra, n_extra, out);
}

void console_task_release(console_task *t)
{
    free(t->fields);
    free(t->names);
    task_set_close(&t->set);
    *t = (console_task){0};
}

int console_task_check(const console_task *t, size_t n_images)
{
    base_error error = {0};
    uint32_t n = n_images <= TASK_IMAGES_MAX ? (uint32_t)n_images : TASK_IMAGES_MAX + 1;
    if (task_check(t->task, t->fields, t->n_fields, n, &error) == BASE_OK)
        return EXIT_DONE;
    command_complain(error.text);
    return EXIT_USAGE;
}

ask_task console_task_asked(const console_task *t)
{
    return (ask_task){t->task, t->fields, t->n_fields};
}

void console_task_add(const console_task *t, const option_item *images, size_t n_images, pg_request *request)
{
    ask_task asked = console_task_asked(t);
    ask_add_task(&asked, request);
    for (size_t i = 0; i < n_images; i++)
        pg_request_add_image_file_frame(request, images[i].value, t->frame);
}

console_answer_values console_task_decoding(const console_task *t, const console_answer_values *given, pg_request *request)
{
    const task_decoding *d = &t->task->decoding;
    console_answer_values answer = *given;
    if (answer.max_tokens == 0)
        answer.max_tokens = d->max_tokens;
    if (answer.temperature == 0.0f) {
        answer.temperature = d->temperature;
        answer.top_k = answer.top_k != 0 ? answer.top_k : d->top_k;
        answer.top_p = answer.top_p != 1.0f ? answer.top_p : d->top_p;
    }
    for (size_t i = 0; i < d->n_stops; i++)
        pg_request_add_stop(request, d->stops[i]);
    return answer;
}

int console_task_answer(const console_task *t, const console_values *values, const console_answer_values *given,
                        const option_item *images, size_t n_images)
{
    int code = console_task_check(t, n_images);
    if (code != EXIT_DONE)
        return code;
    pg_request *request = pg_request_create();
    pg_client *client = console_open(values);
    code = EXIT_FAILED;
    if (request != NULL && client != NULL) {
        console_task_add(t, images, n_images, request);
        console_answer_values answer = console_task_decoding(t, given, request);
        code = console_answer(client, values, &answer, request);
    }
    console_close(&client);
    pg_request_destroy(&request);
    return code;
}
