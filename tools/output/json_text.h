/* json_text.h - a small writer of JSON: objects and arrays nest, names and values are escaped, numbers that JSON does
 * not know become null.
 *
 *     json_text j = {.out = &buf};
 *     json_text_open(&j, NULL, '{');
 *     json_text_real(&j, "read_gb_s", 31.2);
 *     json_text_open(&j, "engine", '[');
 *     json_text_close(&j, ']');
 *     json_text_close(&j, '}');
 * Inside an array names are NULL.  Failures of memory stick in the buffer. */
#ifndef PALMGROVE_JSON_TEXT_H
#define PALMGROVE_JSON_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/buf.h"

#define JSON_TEXT_DEPTH 16u

typedef struct json_text {
    base_buf *out;
    bool one_line; /* no new lines inside: JSON Lines */
    unsigned depth;
    bool begun[JSON_TEXT_DEPTH]; /* the object or array at this depth has something in it */
} json_text;

/* '{' or '['; the same way back with '}' or ']'.  At most JSON_TEXT_DEPTH - 1 deep. */
void json_text_open(json_text *json, const char *name, char bracket);
void json_text_close(json_text *json, char bracket);

/* Bytes that are not UTF-8 are replaced by '?'. */
void json_text_string(json_text *json, const char *name, const char *value);
void json_text_count(json_text *json, const char *name, uint64_t value);
/* Six significant digits; null for NaN and infinity. */
void json_text_real(json_text *json, const char *name, double value);
void json_text_bool(json_text *json, const char *name, bool value);

/* A text as a JSON string by itself; bytes as in json_text_string. */
void json_text_quote(base_buf *out, const char *text);

#endif
