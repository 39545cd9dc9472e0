/* console_task.h - what the commands that ask a task share: its file, its fields, its images, how it is decoded. */
#ifndef PALMGROVE_CONSOLE_TASK_H
#define PALMGROVE_CONSOLE_TASK_H

#include "coordinator/task/task.h"
#include "tools/ask/ask.h"
#include "tools/palmgrove/console.h"

/* A member of the values of such a command, named `task`. */
typedef struct console_task_values {
    const char *name, *dir;
    option_list fields;
    option_list from_dicom; /* NAME=ELEMENT */
    uint32_t frame;
} console_task_values;

#define CONSOLE_TASK_ROWS(type, initial)                                                                       \
    {"task",                                                                                                   \
     "NAME",                                                                                                   \
     OPTION_TEXT,                                                                                              \
     offsetof(type, task.name),                                                                                \
     initial,                                                                                                  \
     "what is asked; `palmgrove task list` lists the tasks",                                                   \
     0},                                                                                                       \
        {"task-dir",                                                                                           \
         "DIR",                                                                                                \
         OPTION_TEXT,                                                                                          \
         offsetof(type, task.dir),                                                                             \
         NULL,                                                                                                 \
         "a directory of the site's own task files; the server needs it too",                                  \
         0},                                                                                                   \
    {                                                                                                          \
        "field", "NAME=VALUE", OPTION_LIST, offsetof(type, task.fields), NULL,                                 \
            "a field of the task; one that takes several values is given several times", OPTION_NO_ENVIRONMENT \
    }

/* For commands that send image files. */
#define CONSOLE_IMAGE_ROWS(type)                                                                            \
    {"frame",                                                                                               \
     "N",                                                                                                   \
     OPTION_U32,                                                                                            \
     offsetof(type, task.frame),                                                                            \
     "0",                                                                                                   \
     "which frame of DICOM files, from 0",                                                                  \
     OPTION_NO_ENVIRONMENT},                                                                                \
    {                                                                                                       \
        "field-from-dicom", "NAME=ELEMENT", OPTION_LIST, offsetof(type, task.from_dicom), NULL,             \
            "a field of the task, taken from the header of the DICOM files: by tag (0018,5101) or keyword " \
            "(ViewPosition)",                                                                               \
            OPTION_NO_ENVIRONMENT                                                                           \
    }

/* A task with the fields that a command line gave. */
typedef struct console_task {
    task_set *set; /* owned */
    const task *task;
    task_field *fields; /* [n_fields] owned */
    size_t n_fields;
    char *names;       /* owned: those of the fields from the command line */
    base_buf *headers; /* [n_headers] owned: values taken from headers */
    size_t n_headers;
    const option_list *from_dicom; /* borrowed from the values */
    uint32_t frame;                /* of its image files */
} console_task;

/* Read the tasks, find the one that is meant, take its fields apart; `extra` [n_extra] are fields that the command adds
 * (those with a NULL value are left out).  EXIT_DONE, or a complaint and the exit code; release in any case. */
int console_task_open(const console_task_values *values, const task_field *extra, size_t n_extra, console_task *out);
void console_task_release(console_task *t);

/* Take the fields that are named for it from the headers of the image files: of every file where a value belongs to
 * each, else one on which all files agree.  EXIT_DONE, or a complaint and the exit code. */
int console_task_read_headers(console_task *t, const option_item *images, size_t n_images);

/* Complain when these are not the fields and the number of images that the task takes; returns the exit code. */
int console_task_check(const console_task *t, size_t n_images);

/* It as what is asked; borrowed. */
ask_task console_task_asked(const console_task *t);

/* Add the task, its fields and its image files to a request; failures stay with the request. */
void console_task_add(const console_task *t, const option_item *images, size_t n_images, pg_request *request);

/* Decode as the task says wherever the command line is silent (0): its tokens, and its sampling unless a temperature is
 * given. Its stop texts are added to the request. */
console_answer_values console_task_decoding(const console_task *t, const console_answer_values *given,
                                            pg_request *request);

/* All of it: headers, check, ask, print the answer.  Returns the exit code. */
int console_task_answer(console_task *t, const console_values *client, const console_answer_values *answer,
                        const option_item *images, size_t n_images);

/* "name=value" taken apart: `name` is cut out into size bytes, the value points into `text`.  Complains when it is of
 * no such form. */
bool console_split_field(const char *text, char *name, size_t size, const char **value);

#endif
