/* prompt_int.h - a prompt on its way: the layout that prompt_layout.c makes of a request's parts, and that
 * prompt_tokens.c and prompt_inputs.c turn into tokens and into pixels and vectors. */
#ifndef PALMGROVE_SESSION_PROMPT_INT_H
#define PALMGROVE_SESSION_PROMPT_INT_H

#include "coordinator/session/prompt.h"

/* One text, image or part with vectors, in the order of the prompt. */
typedef struct prompt_item {
    const char *text;         /* [size] NULL: an image or vectors */
    const wire_part *image;   /* NULL: a task's slot whose image has not come yet */
    const wire_part *vectors; /* NULL: none */
    const task *task;         /* of an image: whose slot it fills; NULL: none */
    size_t size;
    bool is_chat; /* one text with the chat items next to it */
    bool is_trusted;
    bool joins_previous, joins_next; /* one text with the item there, for the marks around an image */
} prompt_item;

typedef struct prompt_layout {
    prompt_item *items; /* owned */
    size_t n_items, capacity;
    task_prompt *tasks; /* [n_tasks] owned: the texts of items */
    size_t n_tasks, n_task_parts;
    uint32_t n_images, n_vectors;
    bool strict_images; /* warnings refuse */
} prompt_layout;

/* The parts in order: tasks and chats rendered, each image in its slot, marks around images.  prompt_layout_release
 * frees `l`, also after an error.  Errors: those of prompt_build that need no token and no pixel. */
base_status prompt_lay_out(const prompt_env *env, const wire_generate *g, prompt_layout *l, base_error *error);
void prompt_layout_release(prompt_layout *l);

/* Vectors of a part. */
uint32_t prompt_vectors_of(const wire_part *part);
/* The link's kind of a part's vectors.  Errors: BASE_ENOTFOUND (the known encoders are listed). */
base_status prompt_vector_kind(const prompt_env *env, const wire_part *part, uint32_t *kind, base_error *error);

/* The prompt's tokens, image rows and vectors numbered as position.h does in requests.  Errors: BASE_ETOOBIG,
 * BASE_EINVAL a token that the model has no row for, BASE_ENOMEM; `tokens` is the caller's to release. */
base_status prompt_tokenize(const prompt_env *env, const prompt_layout *l, text_ids *tokens, base_error *error);

/* Decode and fit the images, copy the vectors, digest both, into `p`.  Errors: image_decode's with the image's number
 * in front, BASE_ENOMEM; `p` is the caller's to release. */
base_status prompt_decode_inputs(const prompt_env *env, const prompt_layout *l, prompt *p, base_error *error);

#endif
