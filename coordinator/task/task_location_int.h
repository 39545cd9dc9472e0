/* task_location_int.h - the line and column of a value in a JSON text.
 *
 * jansson reports where a text stops being JSON, but not where a value was read from.  A value is given by its path: at
 * each level the index of the member or element; for an object that is the order in the text (jansson keeps it, and
 * duplicate keys are refused). */
#ifndef PALMGROVE_TASK_LOCATION_H
#define PALMGROVE_TASK_LOCATION_H

#include <stdbool.h>
#include <stddef.h>

enum { TASK_PATH_MAX = 8 };

typedef struct task_path {
    size_t steps[TASK_PATH_MAX]; /* [n] numbers from 0 */
    size_t n;
} task_path;

typedef struct task_location {
    size_t line, column; /* from 1; columns count characters */
} task_location;

/* Where the value at `path` begins, or its key when `at_key`, in a text [size] that is JSON.  For a path that the text
 * does not have: where the search ended.  Never reads beyond the text, whatever it is. */
task_location task_location_find(const char *text, size_t size, const task_path *path, bool at_key);

#endif
