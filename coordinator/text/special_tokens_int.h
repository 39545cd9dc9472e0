/* special_tokens_int.h - tokens that are found in a text by their spelling: leftmost first, the longest of those that
 * begin there.
 *
 * The spellings are sorted, and a match narrows the range of candidates byte by byte: a lookup costs the length of the
 * match times the logarithm of their number, whatever the spellings are. */
#ifndef PALMGROVE_TEXT_SPECIALS_H
#define PALMGROVE_TEXT_SPECIALS_H

#include "proto/base/buf.h"
#include "proto/base/status.h"

/* Longer spellings are refused, which bounds a lookup. */
#define SPECIAL_BYTES_MAX 256u

typedef struct special {
    uint32_t offset, size; /* into text */
    int32_t id;
} special;

typedef struct specials {
    special *rows; /* owned; sorted by spelling after specials_sort */
    size_t n, capacity;
    base_buf text;    /* of all spellings, each NUL-terminated */
    bool starts[256]; /* some spelling begins with this byte */
} specials;

void specials_release(specials *s);

/* Add a spelling of 1 to SPECIAL_BYTES_MAX bytes.  `name` is the file that errors blame.
 * Errors: BASE_EFORMAT empty or too long; BASE_ENOMEM. */
base_status specials_add(specials *s, const char *text, size_t size, int32_t id, const char *name, base_error *error);
/* Sort after the last add and before the first find; of two with the same spelling the lower id stays. */
void specials_sort(specials *s);

/* The next token in text[from..size): its id, where it begins and its bytes; -1 when there is none. */
int32_t specials_find(const specials *s, const char *text, size_t size, size_t from, size_t *begin, size_t *bytes);

/* The spelling of `id`, NUL-terminated; NULL when it has none.  Linear. */
const char *specials_spelling(const specials *s, int32_t id);

#endif
