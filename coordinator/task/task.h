/* task.h - the instruction prompts of Med-PaLM M (arXiv 2307.14334, Tables A.9 to A.13) as data.
 *
 * A task is a row: name, instruction, query template with {fields}, answer cue.  Rendering a task gives the
 * prompt's ordered parts: text and image slots.  Order: "Instructions: ..." - one text-only exemplar whose image is
 * the literal string <img> - the query, whose <img> becomes an image slot.  The exemplar is a training
 * example of the model at hand, so its text comes with the model (exemplars.json), not from here.
 * Pure: no files, no sockets.  Not here: tokenizing (coordinator/text). */
#ifndef PALMGROVE_TASK_H
#define PALMGROVE_TASK_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/base/status.h"

typedef struct task_field {
    const char *name;  /* borrowed */
    const char *value; /* borrowed; inserted verbatim */
} task_field;

typedef struct task_part {
    bool is_image; /* the next image of the request goes here; text is NULL then */
    char *text;    /* owned */
} task_part;

typedef struct task_prompt {
    task_part *parts; /* owned */
    size_t n_parts;
} task_prompt;

/* The names of all tasks, NULL-terminated, static. */
const char *const *task_names(void);

/* Render `task` with `fields` (missing optional ones take their defaults) and the model's `exemplar` (NULL or "": none).
 * Field values are text: an `<img>` inside a value stays literal text.
 * Errors: BASE_ENOTFOUND unknown task (the text lists the known ones); BASE_EINVAL a required field is missing or a
 * field is unknown (named); BASE_ENOMEM.  On error *out is untouched. */
base_status task_render(const char *task, const task_field *fields, size_t n_fields, const char *exemplar,
                        task_prompt *out, base_error *error);

/* Free the parts; the prompt is empty afterwards. */
void task_prompt_release(task_prompt *prompt);

#endif
