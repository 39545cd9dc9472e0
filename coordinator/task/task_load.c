/* task_load.c - a task from its file, all of it checked. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/task/task_int.h"

/* What a request's task part takes for itself (session/chat_template.h). */
#define RESERVED_NAME "chat"

/* ---- the top object ---- */

static bool is_task_name(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length > 64 || name[0] == '-')
        return false;
    for (const char *c = name; *c != '\0'; c++)
        if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) && *c != '-')
            return false;
    return true;
}

static base_status read_titles(task_reader *r, json_t *root)
{
    static const char *const wordings[] = {"ours", "paper", NULL};
    task *t = r->task;
    size_t wording = 0;
    t->name = task_reader_string(root, "name", "");
    t->title = task_reader_string(root, "title", "");
    t->about = task_reader_string(root, "about", "");
    t->dataset = task_reader_string(root, "dataset", "");
    t->modality = task_reader_string(root, "modality", "");
    t->reference = task_reader_string(root, "reference", "");
    t->instruction = task_reader_string(root, "instruction", "");
    t->query = task_reader_string(root, "query", "");
    t->n_test_cases = (uint32_t)json_integer_value(json_object_get(root, "test_cases"));
    base_status status = task_reader_word(r, root, "wording", wordings, 0, &wording);
    t->paper_wording = wording == 1;
    if (status == BASE_OK && (!is_task_name(t->name) || strcmp(t->name, RESERVED_NAME) == 0))
        status = task_reader_fail_member(
            r, root, "name",
            "a task's name is of lower-case letters, digits and -, 64 at most, and not \"" RESERVED_NAME "\"");
    return status;
}

static base_status read_images(task_reader *r, json_t *root)
{
    static const task_member members[] = {
        {"least", TASK_INTEGER, true}, {"most", TASK_INTEGER, true}, {"between", TASK_STRING, false}};
    task *t = r->task;
    json_t *images = task_reader_enter(r, root, "images");
    base_status status = BASE_OK;
    t->between_images = ", ";
    if (json_is_object(images)) {
        status = task_reader_members(r, images, members, sizeof members / sizeof members[0]);
        t->between_images = task_reader_string(images, "between", t->between_images);
    } else if (!json_is_integer(images)) {
        status =
            task_reader_fail(r, TASK_AT_VALUE, "\"images\" must be a number or an object with \"least\" and \"most\"");
    }
    json_int_t least = json_integer_value(json_is_object(images) ? json_object_get(images, "least") : images);
    json_int_t most = json_integer_value(json_is_object(images) ? json_object_get(images, "most") : images);
    if (status == BASE_OK && (least < 0 || most < least || most > TASK_IMAGES_MAX))
        status = task_reader_fail(
            r, TASK_AT_VALUE, "a task takes 0 to %d images, and \"least\" is not more than \"most\"", TASK_IMAGES_MAX);
    t->min_images = (uint32_t)least;
    t->max_images = (uint32_t)most;
    task_reader_leave(r);
    return status;
}

static base_status read_expects(task_reader *r, json_t *root)
{
    static const task_member members[] = {
        {"modalities", TASK_STRING, false}, {"body_parts", TASK_STRING, false}, {"views", TASK_STRING, false}};
    json_t *expects = task_reader_enter(r, root, "expects");
    base_status status = BASE_OK;
    if (expects != NULL)
        status = task_reader_members(r, expects, members, sizeof members / sizeof members[0]);
    r->task->modalities = task_reader_string(expects, "modalities", NULL);
    r->task->body_parts = task_reader_string(expects, "body_parts", NULL);
    r->task->views = task_reader_string(expects, "views", NULL);
    task_reader_leave(r);
    return status;
}

static base_status read_task(task_reader *r, json_t *root)
{
    static const task_member members[] = {
        {"name", TASK_STRING, true},         {"title", TASK_STRING, true},     {"about", TASK_STRING, false},
        {"dataset", TASK_STRING, false},     {"modality", TASK_STRING, false}, {"reference", TASK_STRING, false},
        {"test_cases", TASK_INTEGER, false}, {"wording", TASK_STRING, false},  {"instruction", TASK_STRING, true},
        {"query", TASK_STRING, true},        {"fields", TASK_OBJECT, false},   {"images", TASK_ANY, true},
        {"expects", TASK_OBJECT, false},     {"exemplars", TASK_ARRAY, false}, {"answer", TASK_OBJECT, true},
        {"decoding", TASK_OBJECT, false},    {"metrics", TASK_STRINGS, false}, {"published", TASK_ARRAY, false}};
    base_status (*const readers[])(task_reader *, json_t *) = {read_titles,        read_images,        read_expects,
                                                               task_read_fields,   task_read_query,    task_read_answer,
                                                               task_read_measures, task_read_exemplars};
    base_status status = task_reader_members(r, root, members, sizeof members / sizeof members[0]);
    for (size_t i = 0; status == BASE_OK && i < sizeof readers / sizeof readers[0]; i++)
        status = readers[i](r, root);
    return status;
}

/* ---- memory ---- */

static void owner_destroy(task_owner *owner)
{
    while (owner->blocks != NULL) {
        task_block *next = owner->blocks->next;
        free(owner->blocks);
        owner->blocks = next;
    }
    json_decref(owner->root);
    free(owner->text);
    free(owner->file);
    free(owner);
}

void task_destroy(task **t)
{
    if (*t == NULL)
        return;
    owner_destroy((*t)->owner);
    free(*t);
    *t = NULL;
}

/* A task with its own copy of the text, terminated, and of the file's name; NULL when memory is out. */
static task *create(const char *file, const void *bytes, size_t size)
{
    task *t = calloc(1, sizeof *t);
    task_owner *owner = calloc(1, sizeof *owner);
    if (t == NULL || owner == NULL) {
        free(t);
        free(owner);
        return NULL;
    }
    t->owner = owner;
    owner->text = malloc(size + 1);
    owner->file = strdup(file);
    if (owner->text == NULL || owner->file == NULL) {
        task_destroy(&t);
        return NULL;
    }
    memcpy(owner->text, bytes, size);
    owner->text[size] = '\0';
    t->json = owner->text;
    t->source = owner->file;
    return t;
}

/* ---- texts and files ---- */

base_status task_parse(const char *file, const void *bytes, size_t size, task **out, base_error *error)
{
    if (size > TASK_FILE_BYTES_MAX)
        return base_fail(error, BASE_ETOOBIG, "'%.200s' has more than %d bytes, too many for a task", file,
                         TASK_FILE_BYTES_MAX);
    task *t = create(file, bytes, size);
    if (t == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the task in '%.200s'", file);
    task_owner *owner = t->owner;
    task_reader r = {.file = file, .text = owner->text, .size = size, .task = t, .owner = owner, .error = error};
    json_error_t where;
    base_status status;
    owner->root = json_loadb(owner->text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &where);
    if (owner->root == NULL)
        status = task_reader_fail_at(&r, where.line, where.column, where.text);
    else
        status = read_task(&r, owner->root);
    if (status == BASE_OK)
        *out = t;
    else
        task_destroy(&t);
    return status;
}

static base_status read_file(const char *path, char *bytes, size_t *size, base_error *error)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return base_fail(error, BASE_EIO, "cannot open '%.200s': %s", path, strerror(errno));
    *size = fread(bytes, 1, TASK_FILE_BYTES_MAX + 1, file);
    bool bad = ferror(file) != 0;
    fclose(file);
    return bad ? base_fail(error, BASE_EIO, "cannot read '%.200s'", path) : BASE_OK;
}

base_status task_load(const char *file, task **out, base_error *error)
{
    char *bytes = malloc(TASK_FILE_BYTES_MAX + 1);
    if (bytes == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the task in '%.200s'", file);
    size_t size = 0;
    base_status status = read_file(file, bytes, &size, error);
    if (status == BASE_OK)
        status = task_parse(file, bytes, size, out, error);
    free(bytes);
    return status;
}
