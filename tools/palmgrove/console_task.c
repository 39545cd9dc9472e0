#include "tools/palmgrove/console_task.h"

#include <stdlib.h>
#include <string.h>

#include "coordinator/image/dicom_text.h"
#include "proto/base/file.h"
#include "tools/palmgrove/console_image.h"

enum { NAME_BYTES_MAX = 65, FILE_BYTES_MAX = 1 << 30 };

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
    *out = (console_task){.from_dicom = &values->from_dicom, .frame = values->frame};
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
    for (size_t i = 0; i < t->n_headers; i++)
        base_buf_release(&t->headers[i]);
    free(t->headers);
    free(t->fields);
    free(t->names);
    task_set_close(&t->set);
    *t = (console_task){0};
}

/* ---- fields from headers ---- */

typedef struct header_field {
    char name[NAME_BYTES_MAX];
    uint32_t tag;
    bool each; /* one value for each image */
} header_field;

static bool is_each(const task *t, const char *name)
{
    for (size_t i = 0; i < t->n_fields; i++)
        if (strcmp(t->fields[i].name, name) == 0)
            return t->fields[i].each;
    return false; /* unknown: task_check says so */
}

static bool split_header(const console_task *t, const char *text, header_field *out)
{
    const char *element;
    base_error error = {0};
    if (!console_split_field(text, out->name, sizeof out->name, &element))
        return false;
    out->each = is_each(t->task, out->name);
    if (dicom_tag_parse(element, &out->tag, &error) == BASE_OK)
        return true;
    command_complain(error.text);
    return false;
}

/* Append one file's value; its text is in no complaint. */
static bool read_header(const header_field *field, const char *path, base_buf *out)
{
    base_buf file = {0};
    base_error error = {0};
    bool is_file = base_file_read(path, FILE_BYTES_MAX, &file, &error) == BASE_OK;
    bool done = is_file && dicom_text_read(file.data, file.size, field->tag, out, &error) == BASE_OK;
    if (!is_file)
        command_complain(error.text);
    else if (!done)
        fprintf(stderr, "palmgrove: error: the field '%s' from '%s': %s\n", field->name, path, error.text);
    base_buf_release(&file);
    return done;
}

/* Does the field that was taken last say what the one before it says?  Then it is the same field; drop it. */
static bool agrees(console_task *t, const char *path)
{
    task_field *last = &t->fields[t->n_fields - 1];
    if (strcmp(last[0].value, last[-1].value) != 0) {
        fprintf(
            stderr,
            "palmgrove: error: the field '%s' from '%s': the image before has another value; give it with --field\n",
            last->name, path);
        return false;
    }
    t->n_fields--;
    return true;
}

/* The field of one file; name and value lie in one buffer, one after the other. */
static bool take_header(console_task *t, const header_field *field, const char *path)
{
    base_buf *text = &t->headers[t->n_headers++];
    base_buf_put(text, field->name, strlen(field->name) + 1);
    if (!read_header(field, path, text))
        return false;
    base_buf_put_u8(text, 0);
    if (text->failed) {
        command_complain("out of memory");
        return false;
    }
    const char *name = (const char *)text->data;
    t->fields[t->n_fields++] = (task_field){name, name + strlen(name) + 1};
    return true;
}

static int read_headers(console_task *t, const option_item *images, size_t n_images)
{
    for (size_t i = 0; i < t->from_dicom->n; i++) {
        header_field field;
        if (!split_header(t, t->from_dicom->items[i].value, &field))
            return EXIT_USAGE;
        for (size_t k = 0; k < n_images; k++)
            if (!take_header(t, &field, images[k].value) || (k > 0 && !field.each && !agrees(t, images[k].value)))
                return EXIT_FAILED;
    }
    return EXIT_DONE;
}

int console_task_read_headers(console_task *t, const option_item *images, size_t n_images)
{
    size_t n = t->from_dicom->n * n_images;
    if (t->from_dicom->n > 0 && n_images == 0) {
        command_complain("--field-from-dicom needs a DICOM file");
        return EXIT_USAGE;
    }
    if (n == 0)
        return EXIT_DONE;
    task_field *fields = realloc(t->fields, (t->n_fields + n) * sizeof *fields);
    if (fields != NULL)
        t->fields = fields;
    t->headers = calloc(n, sizeof *t->headers);
    if (fields == NULL || t->headers == NULL) {
        command_complain("out of memory");
        return EXIT_FAILED;
    }
    return read_headers(t, images, n_images);
}

/* ---- asking ---- */

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
        console_add_image(request, images[i].value, t->frame);
}

console_answer_values console_task_decoding(const console_task *t, const console_answer_values *given,
                                            pg_request *request)
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

int console_task_answer(console_task *t, const console_values *values, const console_answer_values *given,
                        const option_item *images, size_t n_images)
{
    int code = console_task_read_headers(t, images, n_images);
    if (code == EXIT_DONE)
        code = console_task_check(t, n_images);
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
