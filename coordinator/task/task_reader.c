/* task_reader.c - JSON values checked while descending, with errors that give line and column. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/task/task_int.h"
#include "proto/base/nearest.h"
#include "proto/base/size.h"

enum { SHOWN_FILE = 120, SHOWN_CAUSE = 240, MEMBERS_MAX = 32 };

/* ---- faults ---- */

/* A long path is shown by its end. */
static const char *shown_file(const char *file)
{
    size_t length = strlen(file);
    return length > SHOWN_FILE ? file + length - SHOWN_FILE : file;
}

static base_status fail_here(task_reader *r, task_fault_at at, const char *format, va_list arguments)
{
    char cause[SHOWN_CAUSE];
    vsnprintf(cause, sizeof cause, format, arguments);
    task_location place = task_location_find(r->text, r->size, &r->path, at == TASK_AT_KEY);
    return base_fail(r->error, BASE_EFORMAT, "%s:%zu:%zu: %s", shown_file(r->file), place.line, place.column, cause);
}

base_status task_reader_fail(task_reader *r, task_fault_at at, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    base_status status = fail_here(r, at, format, arguments);
    va_end(arguments);
    return status;
}

base_status task_reader_fail_member(task_reader *r, json_t *object, const char *key, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    task_reader_enter(r, object, key);
    base_status status = fail_here(r, TASK_AT_VALUE, format, arguments);
    task_reader_leave(r);
    va_end(arguments);
    return status;
}

base_status task_reader_fail_at(task_reader *r, int line, int column, const char *cause)
{
    return base_fail(r->error, BASE_EFORMAT, "%s:%d:%d: %.*s", shown_file(r->file), line > 0 ? line : 1,
                     column > 0 ? column : 1, SHOWN_CAUSE, cause);
}

base_status task_reader_no_memory(task_reader *r)
{
    return base_fail(r->error, BASE_ENOMEM, "no memory for the task in '%s'", shown_file(r->file));
}

void *task_reader_alloc(task_reader *r, size_t n, size_t size)
{
    size_t bytes;
    if (!base_size_mul(n == 0 ? 1 : n, size, &bytes) || bytes > SIZE_MAX - sizeof(task_block))
        return NULL;
    task_block *block = calloc(1, sizeof *block + bytes);
    if (block == NULL)
        return NULL;
    block->next = r->owner->blocks;
    r->owner->blocks = block;
    return block->bytes;
}

/* ---- the path ---- */

static void push(task_reader *r, size_t step)
{
    if (r->path.n < TASK_PATH_MAX)
        r->path.steps[r->path.n] = step;
    r->path.n++;
}

void task_reader_leave(task_reader *r)
{
    r->path.n--;
}

json_t *task_reader_enter(task_reader *r, json_t *object, const char *key)
{
    const char *name;
    json_t *value;
    size_t number = 0;
    json_object_foreach(object, name, value)
    {
        if (strcmp(name, key) == 0)
            break;
        number++;
    }
    push(r, number);
    return json_object_get(object, key);
}

json_t *task_reader_enter_item(task_reader *r, json_t *array, size_t i)
{
    push(r, i);
    return json_array_get(array, i);
}

/* ---- members ---- */

static const char *type_text(task_member_type type)
{
    static const char *const texts[] = {"a text",    "true or false",   "a whole number, 0 or more",
                                        "a number",  "a list of texts", "a list",
                                        "an object", "anything"};
    return texts[type];
}

bool task_is_strings(const json_t *value)
{
    if (!json_is_array(value))
        return false;
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!json_is_string(json_array_get(value, i)))
            return false;
    return true;
}

static bool has_type(const json_t *value, task_member_type type)
{
    switch (type) {
    case TASK_STRING:
        return json_is_string(value);
    case TASK_BOOL:
        return json_is_boolean(value);
    case TASK_INTEGER:
        return json_is_integer(value) && json_integer_value(value) >= 0 && json_integer_value(value) <= INT32_MAX;
    case TASK_NUMBER:
        return json_is_number(value);
    case TASK_STRINGS:
        return task_is_strings(value);
    case TASK_ARRAY:
        return json_is_array(value);
    case TASK_OBJECT:
        return json_is_object(value);
    case TASK_ANY:
        break;
    }
    return true;
}

static base_status fail_unknown(task_reader *r, const char *key, const task_member *members, size_t n)
{
    const char *keys[MEMBERS_MAX];
    for (size_t i = 0; i < n && i < MEMBERS_MAX; i++)
        keys[i] = members[i].key;
    const char *nearest = base_nearest(key, keys, n < MEMBERS_MAX ? n : MEMBERS_MAX);
    if (nearest != NULL)
        return task_reader_fail(r, TASK_AT_KEY, "unknown key \"%.40s\"; did you mean \"%s\"?", key, nearest);
    return task_reader_fail(r, TASK_AT_KEY, "unknown key \"%.40s\"; docs/TASKS.md lists the keys", key);
}

static base_status check_member(task_reader *r, const char *key, const json_t *value, const task_member *members,
                                size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(members[i].key, key) == 0)
            return has_type(value, members[i].type)
                       ? BASE_OK
                       : task_reader_fail(r, TASK_AT_VALUE, "\"%s\" must be %s", key, type_text(members[i].type));
    return fail_unknown(r, key, members, n);
}

base_status task_reader_members(task_reader *r, json_t *object, const task_member *members, size_t n)
{
    if (!json_is_object(object))
        return task_reader_fail(r, TASK_AT_VALUE, "this must be an object");
    const char *key;
    json_t *value;
    size_t number = 0;
    base_status status = BASE_OK;
    json_object_foreach(object, key, value)
    {
        push(r, number++);
        status = check_member(r, key, value, members, n);
        task_reader_leave(r);
        if (status != BASE_OK)
            return status;
    }
    for (size_t i = 0; i < n; i++)
        if (members[i].required && json_object_get(object, members[i].key) == NULL)
            return task_reader_fail(r, TASK_AT_VALUE, "the key \"%s\" is missing", members[i].key);
    return BASE_OK;
}

const char *task_reader_string(json_t *object, const char *key, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : otherwise;
}

base_status task_reader_strings(task_reader *r, json_t *object, const char *key, const char ***out, size_t *n)
{
    json_t *array = json_object_get(object, key);
    size_t count = json_array_size(array);
    const char **strings = task_reader_alloc(r, count, sizeof *strings);
    if (strings == NULL)
        return task_reader_no_memory(r);
    for (size_t i = 0; i < count; i++)
        strings[i] = json_string_value(json_array_get(array, i));
    *out = strings;
    *n = count;
    return BASE_OK;
}

base_status task_reader_word(task_reader *r, json_t *object, const char *key, const char *const *words,
                             size_t otherwise, size_t *out)
{
    const char *word = task_reader_string(object, key, NULL);
    if (word == NULL) {
        *out = otherwise;
        return BASE_OK;
    }
    char known[128] = "";
    size_t at = 0;
    for (size_t i = 0; words[i] != NULL; i++) {
        if (strcmp(word, words[i]) == 0) {
            *out = i;
            return BASE_OK;
        }
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i == 0 ? "" : ", ", words[i]);
    }
    return task_reader_fail_member(r, object, key, "unknown %s \"%.40s\"; known are %s", key, word, known);
}
