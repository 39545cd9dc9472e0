/* task_fields.c - the fields of a task and its exemplars, as read from the file. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/task/task_int.h"

static const char *const kinds[] = {"text", "choice", "number", "options", NULL};

const char *task_kind_name(task_field_kind kind)
{
    return kinds[kind];
}

/* ---- fields ---- */

static bool is_name(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length > 64 || !islower((unsigned char)name[0]))
        return false;
    for (const char *c = name; *c != '\0'; c++)
        if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) && *c != '_')
            return false;
    return true;
}

static base_status read_choices(task_reader *r, json_t *object, task_field_spec *spec)
{
    base_status status = task_reader_strings(r, object, "choices", &spec->choices, &spec->n_choices);
    if (status != BASE_OK)
        return status;
    if (json_object_get(object, "choices") == NULL)
        return spec->kind != TASK_FIELD_CHOICE ? BASE_OK
                                               : task_reader_fail(r, TASK_AT_VALUE, "a choice needs \"choices\"");
    task_reader_enter(r, object, "choices");
    if (spec->kind != TASK_FIELD_CHOICE || spec->n_choices == 0)
        status =
            task_reader_fail(r, TASK_AT_VALUE, "\"choices\" belongs to the kind choice and holds one value at least");
    for (size_t i = 0; status == BASE_OK && i < spec->n_choices; i++) {
        task_reader_enter_item(r, json_object_get(object, "choices"), i);
        for (size_t j = 0; status == BASE_OK && j < i; j++)
            if (strcmp(spec->choices[i], spec->choices[j]) == 0)
                status = task_reader_fail(r, TASK_AT_VALUE, "the choice \"%.40s\" is listed twice", spec->choices[i]);
        task_reader_leave(r);
    }
    task_reader_leave(r);
    return status;
}

static base_status read_bounds(task_reader *r, json_t *object, task_field_spec *spec)
{
    json_t *least = json_object_get(object, "least"), *most = json_object_get(object, "most");
    spec->least = least != NULL ? json_number_value(least) : -INFINITY;
    spec->most = most != NULL ? json_number_value(most) : INFINITY;
    if ((least != NULL || most != NULL) && spec->kind != TASK_FIELD_NUMBER)
        return task_reader_fail(r, TASK_AT_VALUE, "\"least\" and \"most\" belong to the kind number");
    if (spec->least > spec->most)
        return task_reader_fail(r, TASK_AT_VALUE, "\"least\" is more than \"most\"");
    return BASE_OK;
}

/* The path leads to the field. */
static base_status read_field(task_reader *r, const char *name, json_t *object, task_field_spec *spec)
{
    static const task_member members[] = {{"kind", TASK_STRING, true},    {"about", TASK_STRING, false},
                                          {"required", TASK_BOOL, false}, {"default", TASK_STRING, false},
                                          {"each", TASK_BOOL, false},     {"choices", TASK_STRINGS, false},
                                          {"least", TASK_NUMBER, false},  {"most", TASK_NUMBER, false}};
    size_t kind = 0;
    if (!is_name(name))
        return task_reader_fail(r, TASK_AT_KEY, "the field name \"%.40s\" is not of lower-case letters, digits and _",
                                name);
    base_status status = task_reader_members(r, object, members, sizeof members / sizeof members[0]);
    if (status == BASE_OK)
        status = task_reader_word(r, object, "kind", kinds, 0, &kind);
    if (status != BASE_OK)
        return status;
    *spec = (task_field_spec){.name = name,
                              .about = task_reader_string(object, "about", ""),
                              .kind = (task_field_kind)kind,
                              .required = json_is_true(json_object_get(object, "required")),
                              .each = json_is_true(json_object_get(object, "each")),
                              .fallback = task_reader_string(object, "default", NULL)};
    if (spec->required && spec->fallback != NULL)
        return task_reader_fail(r, TASK_AT_VALUE, "the field \"%.40s\" is required, so that its default is never used",
                                name);
    if (spec->kind == TASK_FIELD_OPTIONS && (spec->each || spec->fallback != NULL))
        return task_reader_fail(r, TASK_AT_VALUE, "options have no \"default\" and no \"each\"");
    status = read_choices(r, object, spec);
    return status == BASE_OK ? read_bounds(r, object, spec) : status;
}

/* A default is a value like those of a request. */
static base_status check_fallback(task_reader *r, task_field_spec *spec)
{
    if (spec->fallback == NULL)
        return BASE_OK;
    task_field_spec single = *spec;
    single.each = false;
    task alone = {.name = r->task->name, .fields = &single, .n_fields = 1};
    base_error fault = {0};
    if (task_check(&alone, &(task_field){spec->name, spec->fallback}, 1, 0, &fault) == BASE_OK)
        return BASE_OK;
    return task_reader_fail(r, TASK_AT_VALUE, "the default of \"%.40s\" is no value of its kind", spec->name);
}

base_status task_read_fields(task_reader *r, json_t *root)
{
    json_t *object = json_object_get(root, "fields");
    size_t n = json_object_size(object);
    task *t = r->task;
    t->fields = task_reader_alloc(r, n, sizeof *t->fields);
    if (t->fields == NULL)
        return task_reader_no_memory(r);
    if (object == NULL)
        return BASE_OK;
    task_reader_enter(r, root, "fields");
    base_status status = n <= TASK_FIELDS_MAX ? BASE_OK
                                              : task_reader_fail(r, TASK_AT_VALUE, "%zu fields; a task has %d at most",
                                                                 n, TASK_FIELDS_MAX);
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        if (status != BASE_OK)
            break;
        task_reader_enter_item(r, object, t->n_fields);
        status = read_field(r, name, value, &t->fields[t->n_fields]);
        if (status == BASE_OK)
            status = check_fallback(r, &t->fields[t->n_fields]);
        t->n_fields++;
        task_reader_leave(r);
    }
    task_reader_leave(r);
    return status;
}

/* ---- exemplars ---- */

/* How many values the fields of an exemplar hold: a text is one, a list as many as it has. */
static size_t count_values(json_t *fields)
{
    size_t n = 0;
    const char *name;
    json_t *value;
    json_object_foreach(fields, name, value) n += json_is_array(value) ? json_array_size(value) : 1;
    return n;
}

static base_status fill_fields(task_reader *r, json_t *fields, task_exemplar *out)
{
    out->fields = task_reader_alloc(r, count_values(fields), sizeof *out->fields);
    if (out->fields == NULL)
        return task_reader_no_memory(r);
    const char *name;
    json_t *value;
    json_object_foreach(fields, name, value)
    {
        if (!json_is_string(value) && !task_is_strings(value))
            return task_reader_fail_member(r, fields, name, "the value of \"%.40s\" must be a text or a list of texts",
                                           name);
        if (json_is_string(value))
            out->fields[out->n_fields++] = (task_field){name, json_string_value(value)};
        for (size_t i = 0; i < json_array_size(value); i++)
            out->fields[out->n_fields++] = (task_field){name, json_string_value(json_array_get(value, i))};
    }
    return BASE_OK;
}

static base_status read_exemplar(task_reader *r, json_t *object, task_exemplar *out)
{
    static const task_member members[] = {{"fields", TASK_OBJECT, false}, {"answer", TASK_STRING, true}};
    base_status status = task_reader_members(r, object, members, sizeof members / sizeof members[0]);
    if (status != BASE_OK)
        return status;
    json_t *fields = json_object_get(object, "fields");
    out->answer = task_reader_string(object, "answer", "");
    if (fields != NULL)
        task_reader_enter(r, object, "fields");
    status = fill_fields(r, fields, out);
    base_error fault = {0};
    if (status == BASE_OK && task_check(r->task, out->fields, out->n_fields, r->task->min_images, &fault) != BASE_OK)
        status = task_reader_fail(r, TASK_AT_VALUE, "the exemplar does not fit: %.160s", fault.text);
    if (fields != NULL)
        task_reader_leave(r);
    return status;
}

base_status task_read_exemplars(task_reader *r, json_t *root)
{
    json_t *array = json_object_get(root, "exemplars");
    size_t n = json_array_size(array);
    task *t = r->task;
    t->exemplars = task_reader_alloc(r, n, sizeof *t->exemplars);
    if (t->exemplars == NULL)
        return task_reader_no_memory(r);
    if (array == NULL)
        return BASE_OK;
    task_reader_enter(r, root, "exemplars");
    base_status status = BASE_OK;
    for (size_t i = 0; status == BASE_OK && i < n; i++) {
        json_t *object = task_reader_enter_item(r, array, i);
        status = read_exemplar(r, object, &t->exemplars[t->n_exemplars++]);
        task_reader_leave(r);
    }
    task_reader_leave(r);
    return status;
}
