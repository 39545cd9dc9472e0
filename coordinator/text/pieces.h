/* pieces.h - inside coordinator/text: what tokenizer.c lets text_stream.c know. */
#ifndef PALMGROVE_TEXT_PIECES_H
#define PALMGROVE_TEXT_PIECES_H

#include "coordinator/text/text.h"

/* What happens to the blank that a model puts in front of a text when it tokenizes. */
typedef enum text_leading {
    TEXT_LEADING_KEEP, /* it puts none: nothing is dropped */
    TEXT_LEADING_ONE,  /* the first piece loses a leading blank */
    TEXT_LEADING_ALL,  /* so does every piece until there is text */
} text_leading;

text_leading text_leading_of(const text_tokenizer *tokenizer);

/* True when the piece begins with a blank that counts as such a leading one. */
bool text_piece_has_blank(const text_tokenizer *tokenizer, int32_t id);

#endif
