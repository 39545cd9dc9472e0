/* chat_template.h - chat templates: the markup that a model was trained to see around the turns of a conversation.
 *
 * A model ships its template as a Jinja program.  There is no Jinja interpreter here: the program is recognised by
 * substrings that only it has, and the turns' prefixes and suffixes come from a table.  They are trusted text, whose
 * control tokens count; the words of a conversation are always plain text.  No state: any thread. */
#ifndef PALMGROVE_SESSION_CHAT_H
#define PALMGROVE_SESSION_CHAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coordinator/text/text.h"
#include "proto/base/status.h"

/* The task name of a chat in a request (docs/PROTOCOL.md). */
#define CHAT_TASK "chat"

typedef struct chat_format chat_format;

/* The template that a server uses; NULL format: none, see is_unknown. */
typedef struct chat_setup {
    const chat_format *format;  /* static */
    const char *default_system; /* static; the template's own when a chat has no system text; NULL: none */
    bool is_unknown;            /* the model has a template, but it is not recognised */
} chat_setup;

/* `wanted` is a name of the table, or "auto": by the tokenizer's chat template.  A template that is not recognised is
 * no error here, since raw texts need none.  Errors: BASE_EINVAL unknown name (the known ones are listed). */
base_status chat_choose(const char *wanted, const text_tokenizer *tokenizer, chat_setup *out, base_error *error);

/* The format's name in the table: "chatml", ...; "" without a format. */
const char *chat_name(const chat_setup *setup);

/* The id of the token that ends the assistant's turn; -1 when the format has none, or the vocabulary has no such
 * control token. */
int32_t chat_end_id(const chat_setup *setup, const text_tokenizer *tokenizer);

/* A message of a conversation, in order; consecutive messages of one role are one turn. */
typedef enum chat_role { CHAT_SYSTEM, CHAT_USER, CHAT_ASSISTANT } chat_role;

typedef struct chat_message {
    chat_role role;
    const char *text; /* borrowed; NULL: an image, of a user's turn only */
} chat_message;

/* The message of a field of the task part: system, user, image or assistant; borrows `value`.  False: no such field. */
bool chat_message_of(const char *name, const char *value, chat_message *out);

/* A part of the finished prompt: text, or a slot for an image (text NULL). */
typedef struct chat_part {
    const char *text; /* borrowed from the messages or static */
    size_t size;
    bool is_trusted;
} chat_part;

/* The prompt for the assistant's next turn; the caller frees *parts.  Parts between two images are one text
 * (text_encode_parts).  Errors, outputs unchanged: BASE_EUNSUPPORTED the model has no known template (the error lists
 * the known ones, and --chat); BASE_EINVAL the conversation does not begin with a system or user turn, has a later
 * system text, or does not end with a user's turn; BASE_ENOMEM. */
base_status chat_render(const chat_setup *setup, const chat_message *messages, size_t n, chat_part **parts,
                        size_t *n_parts, base_error *error);

#endif
