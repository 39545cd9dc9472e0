/* chat_template.h - chat prompts: the frames that models were trained to see around the words of a conversation, by
 * name.
 *
 * A model brings its frame as a Jinja program.  There is no interpreter for it here: the program is recognised by
 * telltale marks, and the frame comes from a table.  Frames are trusted text, whose control tokens count; what people
 * wrote stands between them and is always text. Pure but for memory: any thread. */
#ifndef PALMGROVE_SESSION_CHAT_H
#define PALMGROVE_SESSION_CHAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coordinator/text/text.h"
#include "proto/base/status.h"

/* What the task part of a chat is called in a request (docs/PROTOCOL.md). */
#define CHAT_TASK "chat"

typedef struct chat_format chat_format;

/* How a server chats; NULL format: it cannot, for the reason `is_unknown` tells. */
typedef struct chat_setup {
    const chat_format *format;  /* static */
    const char *default_system; /* static; what the template says when nobody gives a system text; NULL: nothing */
    bool is_unknown;            /* there is a template, but none of the known ones */
} chat_setup;

/* `wanted` is a name of the table, or "auto": by the tokenizer's chat template.  A template that is not recognised is
 * no error here: raw texts do without. Errors: BASE_EINVAL unknown name (the known ones are listed). */
base_status chat_choose(const char *wanted, const text_tokenizer *tokenizer, chat_setup *out, base_error *error);

/* "chatml", ...; "" without a format. */
const char *chat_name(const chat_setup *setup);

/* The id of the token that ends the assistant's turn; -1 when the format has none, or the vocabulary has no such
 * control token. */
int32_t chat_end_id(const chat_setup *setup, const text_tokenizer *tokenizer);

/* A piece of a conversation, as it comes: neighbours of one role are one turn. */
typedef enum chat_role { CHAT_SYSTEM, CHAT_USER, CHAT_ASSISTANT } chat_role;

typedef struct chat_message {
    chat_role role;
    const char *text; /* borrowed; NULL: an image, users only */
} chat_message;

/* The role of a field of the task part: system, user, image, assistant.  False: no such field. */
bool chat_message_of(const char *name, const char *value, chat_message *out);

/* A part of the finished prompt: text, or a slot for an image (text NULL). */
typedef struct chat_part {
    const char *text; /* borrowed from the messages or static */
    size_t size;
    bool is_trusted;
} chat_part;

/* The prompt for the assistant's next turn; *parts is the caller's to free.  Parts between two images are one text
 * (text_encode_parts). Errors: BASE_EUNSUPPORTED the model has no known template (names, and `--chat`); BASE_EINVAL the
 * conversation does not begin with a system or user turn, has a system text later, or does not end with the user's
 * turn; BASE_ENOMEM. */
base_status chat_render(const chat_setup *setup, const chat_message *messages, size_t n, chat_part **parts,
                        size_t *n_parts, base_error *error);

#endif
