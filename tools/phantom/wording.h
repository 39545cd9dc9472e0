/* wording.h - appending to a fixed buffer, for report.c and question.c (not installed). */
#ifndef PALMGROVE_PHANTOM_WORDING_H
#define PALMGROVE_PHANTOM_WORDING_H

#include "tools/phantom/phantom.h"

/* A buffer that is filled from the left; what does not fit is cut, the text stays terminated. */
typedef struct phantom_text {
    char *data; /* borrowed */
    size_t capacity;
    size_t length;
} phantom_text;

void phantom_text_start(phantom_text *text, char *data, size_t capacity);
void phantom_text_add(phantom_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Words of the facts, static: "right", "lower", "small", ... */
const char *phantom_side_word(uint8_t side);
const char *phantom_zone_word(uint8_t zone);
const char *phantom_size_word(uint8_t size);

#endif
