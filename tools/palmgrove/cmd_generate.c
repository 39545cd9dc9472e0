/* cmd_generate.c - a request from raw parts, in the order in which they stand on the command line. */
#include <string.h>

#include "tools/palmgrove/console_image.h"
#include "tools/palmgrove/console_task.h"
#include "tools/palmgrove/vector_file.h"

typedef struct generate_values {
    console_values client;
    console_answer_values answer;
    option_list parts; /* --text, --image, --vectors, --task, --field, --system, --chat together: their order matters */
    option_list stops;
    uint32_t frame;
} generate_values;

enum { ROW_TEXT, ROW_IMAGE, ROW_VECTORS, ROW_TASK, ROW_FIELD, ROW_SYSTEM, ROW_CHAT };

#define PARTS offsetof(generate_values, parts)

static const option_row rows[] = {
    [ROW_TEXT] = {"text", "TEXT", OPTION_LIST, PARTS, NULL, "a text part", OPTION_NO_ENVIRONMENT},
    [ROW_IMAGE] = {"image", "FILE", OPTION_LIST, PARTS, NULL,
                   "an image part: a JPEG, PNG, TIFF, PGM, PPM or DICOM file", OPTION_NO_ENVIRONMENT},
    [ROW_VECTORS] = {"vectors", "[ENCODER=]FILE", OPTION_LIST, PARTS, NULL,
                     "a part of vectors, a line of numbers each, for an encoder of the model (`palmgrove inspect`); "
                     "without ENCODER "
                     "embeddings",
                     OPTION_NO_ENVIRONMENT},
    [ROW_TASK] = {"task", "NAME", OPTION_LIST, PARTS, NULL,
                  "a task part (`palmgrove task list`); the images that follow fill its image slots",
                  OPTION_NO_ENVIRONMENT},
    [ROW_FIELD] = {"field", "NAME=VALUE", OPTION_LIST, PARTS, NULL, "a field of the task before it",
                   OPTION_NO_ENVIRONMENT},
    [ROW_SYSTEM] = {"system", "TEXT", OPTION_LIST, PARTS, NULL, "the system text of a chat", OPTION_NO_ENVIRONMENT},
    [ROW_CHAT] = {"chat", "TEXT", OPTION_LIST, PARTS, NULL, "words of a user, put into the model's chat template",
                  OPTION_NO_ENVIRONMENT},
    {"stop", "TEXT", OPTION_LIST, offsetof(generate_values, stops), NULL, "end the answer before this text",
     OPTION_NO_ENVIRONMENT},
    {"frame", "N", OPTION_U32, offsetof(generate_values, frame), "0", "which frame of DICOM files, from 0",
     OPTION_NO_ENVIRONMENT},
    CONSOLE_ROWS(generate_values),
    CONSOLE_ANSWER_ROWS(generate_values),
};

static base_status add_field(pg_request *request, const char *text)
{
    char name[64];
    const char *value;
    if (!console_split_field(text, name, sizeof name, &value))
        return BASE_EINVAL;
    pg_request_add_field(request, name, value); /* a failure stays with the request */
    return BASE_OK;
}

static bool has_row(const option_list *parts, int row)
{
    for (size_t i = 0; i < parts->n; i++)
        if (parts->items[i].row == &rows[row])
            return true;
    return false;
}

/* One task part holds the conversation, with slots for its images, which follow it. */
static base_status add_chat(pg_request *request, const option_list *parts, uint32_t frame)
{
    pg_request_add_task(request, "chat");
    for (size_t i = 0; i < parts->n; i++) {
        const option_item *part = &parts->items[i];
        if (part->row == &rows[ROW_SYSTEM] || part->row == &rows[ROW_CHAT]) {
            pg_request_add_field(request, part->row == &rows[ROW_SYSTEM] ? "system" : "user", part->value);
        } else if (part->row == &rows[ROW_IMAGE]) {
            pg_request_add_field(request, "image", "");
        } else {
            fprintf(stderr,
                    "palmgrove generate: error: --%s cannot stand beside --chat; use --system, --chat and --image\n",
                    part->row->name);
            return BASE_EINVAL;
        }
    }
    for (size_t i = 0; i < parts->n; i++)
        if (parts->items[i].row == &rows[ROW_IMAGE])
            console_add_image(request, parts->items[i].value, frame);
    return BASE_OK;
}

static base_status add_raw(pg_request *request, const generate_values *values)
{
    base_status status = BASE_OK;
    base_error error = {0};
    for (size_t i = 0; i < values->parts.n && status == BASE_OK; i++) {
        const option_item *part = &values->parts.items[i];
        if (part->row == &rows[ROW_TEXT])
            pg_request_add_text(request, part->value);
        else if (part->row == &rows[ROW_IMAGE])
            console_add_image(request, part->value, values->frame);
        else if (part->row == &rows[ROW_TASK])
            pg_request_add_task(request, part->value);
        else if (part->row == &rows[ROW_VECTORS])
            status = vector_file_add(request, part->value, &error);
        else if (add_field(request, part->value) != BASE_OK)
            return BASE_EINVAL;
    }
    if (status != BASE_OK)
        fprintf(stderr, "palmgrove generate: error: %s\n", error.text);
    return status;
}

static base_status add_parts(pg_request *request, const generate_values *values)
{
    for (size_t i = 0; i < values->stops.n; i++)
        pg_request_add_stop(request, values->stops.items[i].value);
    bool is_chat = has_row(&values->parts, ROW_CHAT) || has_row(&values->parts, ROW_SYSTEM);
    return is_chat ? add_chat(request, &values->parts, values->frame) : add_raw(request, values);
}

static int run(void *opaque)
{
    const generate_values *values = opaque;
    pg_request *request = pg_request_create();
    pg_client *client = console_open(&values->client);
    int code = EXIT_FAILED;
    if (request != NULL && client != NULL)
        code = add_parts(request, values) == BASE_OK ? console_answer(client, &values->client, &values->answer, request)
                                                     : EXIT_USAGE;
    console_close(&client);
    pg_request_destroy(&request);
    return code;
}

const command command_generate = {
    "generate",
    "[parts] [options]",
    "answer a prompt made of texts, images, vectors and tasks",
    "Send a prompt and print the answer as it is written. The parts of the prompt are --text, --image, --vectors and "
    "--task with "
    "its --field, in "
    "the order in which they are given:\n\n"
    "    palmgrove generate --task vqa --field question=\"Is there a pneumothorax?\" --image chest.png\n\n"
    "Models that were trained to chat answer --chat, which puts the words into the model's chat template; --text is "
    "sent as it "
    "is:\n\n"
    "    palmgrove generate --system \"Answer briefly.\" --chat \"What is a pneumothorax?\"",
    {rows, sizeof rows / sizeof rows[0]},
    sizeof(generate_values),
    run};
