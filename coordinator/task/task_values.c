/* task_values.c - a task's fields by name, and the values that a request gives them. */
#include <string.h>

#include "coordinator/task/task_int.h"

const task_field_spec *task_field_find(const task *t, const char *name, size_t length)
{
    for (size_t i = 0; i < t->n_fields; i++)
        if (strlen(t->fields[i].name) == length && memcmp(t->fields[i].name, name, length) == 0)
            return &t->fields[i];
    return NULL;
}

const char *task_value_at(const task_values *v, const task_field_spec *spec, size_t i)
{
    for (size_t at = 0; at < v->n_fields; at++)
        if (strcmp(v->fields[at].name, spec->name) == 0 && i-- == 0)
            return v->fields[at].value;
    return spec->fallback;
}

size_t task_value_count(const task_values *v, const task_field_spec *spec)
{
    size_t n = 0;
    for (size_t at = 0; at < v->n_fields; at++)
        n += strcmp(v->fields[at].name, spec->name) == 0;
    return n;
}
