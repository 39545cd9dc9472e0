/* task_int.h - shared by the files of coordinator/task: reading a task's JSON with errors that say where, the values of
 * fields, and the parsed query.
 *
 * A reader descends into the JSON and keeps its path, so that any fault can be given a line and a column.  Strings of a
 * task are borrowed from the JSON tree, arrays come from the task's own memory; both live as long as the task. */
#ifndef PALMGROVE_TASK_INT_H
#define PALMGROVE_TASK_INT_H

#include <jansson.h>

#include "coordinator/task/task.h"
#include "coordinator/task/task_location_int.h"

/* ---- memory of a task ---- */

typedef struct task_block {
    struct task_block *next;
    max_align_t bytes[];
} task_block;

typedef struct task_owner {
    json_t *root;
    char *text, *file;
    task_block *blocks;
} task_owner;

/* ---- reading ---- */

typedef struct task_reader {
    const char *file, *text;
    size_t size;
    task_path path;
    task *task; /* under construction */
    task_owner *owner;
    base_error *error;
} task_reader;

typedef enum task_fault_at { TASK_AT_VALUE, TASK_AT_KEY } task_fault_at;

/* Fill the error with "FILE:LINE:COLUMN: cause" for the value at the path; returns BASE_EFORMAT. */
base_status task_reader_fail(task_reader *r, task_fault_at at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same at the value of member `key`, which must exist, of the object at the path. */
base_status task_reader_fail_member(task_reader *r, json_t *object, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The same for a line and column that jansson reports. */
base_status task_reader_fail_at(task_reader *r, int line, int column, const char *cause);
base_status task_reader_no_memory(task_reader *r);

/* Zeroed memory that lives as long as the task; NULL when memory is out.  n 0 gives one item. */
void *task_reader_alloc(task_reader *r, size_t n, size_t size);

typedef enum task_member_type {
    TASK_STRING,
    TASK_BOOL,
    TASK_INTEGER, /* from 0 to 2^31 - 1 */
    TASK_NUMBER,
    TASK_STRINGS, /* an array of them */
    TASK_ARRAY,
    TASK_OBJECT,
    TASK_ANY,
} task_member_type;

typedef struct task_member {
    const char *key;
    task_member_type type;
    bool required;
} task_member;

/* Check that the value at the path is an object of these members [n] and no others, each of its type. */
base_status task_reader_members(task_reader *r, json_t *object, const task_member *members, size_t n);

/* Push member `key` (which must exist) of the object at the path, or element i of the array, onto the path; pop the
 * last step. */
json_t *task_reader_enter(task_reader *r, json_t *object, const char *key);
json_t *task_reader_enter_item(task_reader *r, json_t *array, size_t i);
void task_reader_leave(task_reader *r);

/* True for an array of strings. */
bool task_is_strings(const json_t *value);

/* The string of member `key`, or `otherwise` when there is none. */
const char *task_reader_string(json_t *object, const char *key, const char *otherwise);

/* The strings of member `key`, of type TASK_STRINGS; none when it is absent. */
base_status task_reader_strings(task_reader *r, json_t *object, const char *key, const char ***out, size_t *n);

/* The index among `words` (NULL-terminated) of the string `key`, or `otherwise` when it is absent.  BASE_EFORMAT: it is
 * none of them. */
base_status task_reader_word(task_reader *r, json_t *object, const char *key, const char *const *words,
                             size_t otherwise, size_t *out);

/* Parts of a task, each from the top object.  BASE_EFORMAT, BASE_ENOMEM. */
base_status task_read_fields(task_reader *r, json_t *root);
base_status task_read_answer(task_reader *r, json_t *root);
base_status task_read_measures(task_reader *r, json_t *root);
base_status task_read_exemplars(task_reader *r, json_t *root);
base_status task_read_query(task_reader *r, json_t *root);

/* The field of that name [length]; NULL: there is none. */
const task_field_spec *task_field_find(const task *t, const char *name, size_t length);

/* The fields of a request or an exemplar; borrowed. */
typedef struct task_values {
    const task_field *fields;
    size_t n_fields;
} task_values;

/* Value `i` of a field, or its default when fewer were given; NULL: neither. */
const char *task_value_at(const task_values *v, const task_field_spec *spec, size_t i);
/* How many values of a field were given. */
size_t task_value_count(const task_values *v, const task_field_spec *spec);

/* True if two texts name the same class under the normalised rule. */
bool task_same_words(const char *a, const char *b);

/* ---- the parsed query ---- */

typedef enum task_step_kind {
    TASK_STEP_TEXT,
    TASK_STEP_IMAGE,
    TASK_STEP_FIELD, /* `text` is put before the value, if there is one */
    TASK_STEP_EACH,  /* what follows up to EACH_END is printed for each image */
    TASK_STEP_EACH_END,
} task_step_kind;

struct task_step {
    task_step_kind kind;
    const char *text; /* [size] TEXT, FIELD */
    size_t size;
    const task_field_spec *field; /* FIELD */
};

#endif
