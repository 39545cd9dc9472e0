/* task_builtin_int.h - the files of tasks/, compiled in (embed.cmake). */
#ifndef PALMGROVE_TASK_BUILTIN_H
#define PALMGROVE_TASK_BUILTIN_H

#include <stddef.h>
#include <stdint.h>

typedef struct task_builtin_file {
    const char *name; /* "medqa.json"; NULL ends the list */
    const uint8_t *bytes;
    size_t size;
} task_builtin_file;

/* Static; the last entry has a NULL name. */
const task_builtin_file *task_builtin_files(void);

#endif
