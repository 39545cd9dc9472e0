#include "tools/output/json_text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/utf8.h"

static void put(json_text *json, const char *text)
{
    base_buf_put(json->out, text, strlen(text));
}

void json_text_quote(base_buf *out, const char *text)
{
    bool is_text = base_utf8_is_valid(text, strlen(text));
    base_buf_put_u8(out, '"');
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        char escaped[8];
        if (c == '"' || c == '\\')
            snprintf(escaped, sizeof escaped, "\\%c", c);
        else if (c < 0x20)
            snprintf(escaped, sizeof escaped, "\\u%04x", c);
        else
            snprintf(escaped, sizeof escaped, "%c", c < 0x80 || is_text ? c : '?');
        base_buf_put(out, escaped, strlen(escaped));
    }
    base_buf_put_u8(out, '"');
}

/* What stands before a value: a comma, a new line for what is not deep, its name. */
static void begin(json_text *json, const char *name)
{
    if (json->begun[json->depth])
        put(json, ",");
    if (json->depth > 0 && json->depth < 3 && !json->one_line)
        put(json, "\n");
    json->begun[json->depth] = true;
    if (name != NULL) {
        json_text_quote(json->out, name);
        put(json, ": ");
    }
}

void json_text_open(json_text *json, const char *name, char bracket)
{
    begin(json, name);
    base_buf_put_u8(json->out, (uint8_t)bracket);
    json->depth++;
    json->begun[json->depth] = false;
}

void json_text_close(json_text *json, char bracket)
{
    json->depth--;
    base_buf_put_u8(json->out, (uint8_t)bracket);
    if (json->depth == 0)
        put(json, "\n");
}

void json_text_string(json_text *json, const char *name, const char *value)
{
    begin(json, name);
    json_text_quote(json->out, value);
}

void json_text_count(json_text *json, const char *name, uint64_t value)
{
    char text[24];
    begin(json, name);
    snprintf(text, sizeof text, "%" PRIu64, value);
    put(json, text);
}

void json_text_real(json_text *json, const char *name, double value)
{
    char text[32] = "null";
    begin(json, name);
    if (isfinite(value))
        snprintf(text, sizeof text, "%.6g", value);
    put(json, text);
}

void json_text_bool(json_text *json, const char *name, bool value)
{
    begin(json, name);
    put(json, value ? "true" : "false");
}
