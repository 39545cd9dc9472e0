#include "proto/base/quote.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/utf8.h"

enum { ESCAPE_BYTES = 8 }; /* "\ue0001" and NUL, the longest */

static uint32_t code_point(const char *at, size_t length)
{
    uint32_t c = (uint8_t)at[0];
    if (length > 1)
        c &= 0x7Fu >> length;
    for (size_t i = 1; i < length; i++)
        c = c << 6 | ((uint8_t)at[i] & 0x3F);
    return c;
}

/* No glyph of its own: moves the cursor, ends a line, or changes how the text around it is shown. */
static bool is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c <= 0x9F) || c == 0xAD || (c >= 0x200B && c <= 0x200F) ||
           (c >= 0x2028 && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF ||
           (c >= 0xE0000 && c <= 0xE0FFF);
}

/* Write the next character of `bytes` to `out` as it is shown; returns how many bytes were read. */
static size_t show(char out[ESCAPE_BYTES], const char *bytes, size_t size, bool is_quoted)
{
    size_t length = base_utf8_next(bytes, size);
    if (length == 0) {
        snprintf(out, ESCAPE_BYTES, "\\x%02x", (uint8_t)bytes[0]);
        return 1;
    }
    uint32_t c = code_point(bytes, length);
    if (c == '\n' || c == '\t')
        snprintf(out, ESCAPE_BYTES, "\\%c", c == '\n' ? 'n' : 't');
    else if (is_quoted && (c == '"' || c == '\\'))
        snprintf(out, ESCAPE_BYTES, "\\%c", (char)c);
    else if (is_control(c))
        snprintf(out, ESCAPE_BYTES, c < 0x80 ? "\\x%02x" : "\\u%04x", (unsigned)c);
    else
        snprintf(out, ESCAPE_BYTES, "%.*s", (int)length, bytes);
    return length;
}

static size_t escape(char *out, size_t capacity, const char *bytes, size_t size, bool is_quoted)
{
    size_t n = 0;
    char shown[ESCAPE_BYTES];
    for (size_t at = 0; at < size;) {
        at += show(shown, bytes + at, size - at, is_quoted);
        size_t length = strlen(shown);
        if (length >= capacity - n)
            break;
        memcpy(out + n, shown, length);
        n += length;
    }
    out[n] = '\0';
    return n;
}

size_t base_text_escape(char *out, size_t capacity, const char *bytes, size_t size)
{
    return escape(out, capacity, bytes, size, false);
}

base_quoted base_quote(const char *text)
{
    base_quoted quoted;
    size_t size = strnlen(text, BASE_QUOTE_MAX + 1);
    bool is_cut = size > BASE_QUOTE_MAX;
    size = is_cut ? base_utf8_cut(text, BASE_QUOTE_MAX) : size;
    quoted.text[0] = '"';
    size_t n = 1 + escape(quoted.text + 1, sizeof quoted.text - 5, text, size, true);
    strcpy(quoted.text + n, is_cut ? "\"..." : "\"");
    return quoted;
}

void base_quote_redact(char *out, size_t capacity, const char *text)
{
    bool is_inside = false;
    size_t n = 0;
    for (; *text != '\0'; text++) {
        bool is_quote = *text == '"';
        const char *shown = is_quote && !is_inside ? "\"..." : (char[2]){*text, '\0'};
        if (is_inside && *text == '\\' && text[1] != '\0')
            text++;
        size_t length = is_inside && !is_quote ? 0 : strlen(shown);
        is_inside ^= is_quote;
        if (length >= capacity - n)
            break;
        memcpy(out + n, shown, length);
        n += length;
    }
    out[n] = '\0';
}
