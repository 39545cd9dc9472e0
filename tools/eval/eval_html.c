#include "tools/eval/eval_html.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/utf8.h"

void html_put(base_buf *out, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (n < 0 || (size_t)n >= sizeof text)
        out->failed = true; /* a piece of the page, not outside text: never so long */
    else
        base_buf_put(out, text, (size_t)n);
}

static void put_escaped(base_buf *out, const char *text, size_t size)
{
    bool is_text = base_utf8_is_valid(text, size);
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        const char *name = c == '&'    ? "&amp;"
                           : c == '<'  ? "&lt;"
                           : c == '>'  ? "&gt;"
                           : c == '"'  ? "&quot;"
                           : c == '\'' ? "&#39;"
                                       : NULL;
        if (name != NULL)
            base_buf_put(out, name, strlen(name));
        else if (c >= 0x80)
            base_buf_put_u8(out, is_text ? c : '?');
        else if ((c >= 0x20 && c != 0x7f) || c == '\n' || c == '\t')
            base_buf_put_u8(out, c);
    }
}

void html_text(base_buf *out, const char *text)
{
    put_escaped(out, text, strlen(text));
}

void html_text_cut(base_buf *out, const char *text, size_t max)
{
    size_t size = strlen(text);
    if (size <= max) {
        put_escaped(out, text, size);
        return;
    }
    for (size = max; size > 0 && ((unsigned char)text[size] & 0xc0) == 0x80;)
        size--; /* not within a character */
    put_escaped(out, text, size);
    base_buf_put(out, " \xe2\x80\xa6", 4);
}

void html_number(base_buf *out, double value)
{
    if (isnan(value))
        html_put(out, "&ndash;");
    else
        html_put(out, "%.2f", value);
}
