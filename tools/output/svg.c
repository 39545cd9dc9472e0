#include "tools/output/svg.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/utf8.h"

static void put(base_buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* An element without foreign text: shorter than the buffer. */
static void put(base_buf *out, const char *format, ...)
{
    char text[320];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    base_buf_put(out, text, n > 0 && (size_t)n < sizeof text ? (size_t)n : 0);
}

void svg_begin(base_buf *out, double width, double height)
{
    put(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\">\n",
        width, height, width, height);
    svg_box(out, 0, 0, width, height, "white");
}

void svg_end(base_buf *out)
{
    put(out, "</svg>\n");
}

void svg_line(base_buf *out, double x1, double y1, double x2, double y2, const char *colour, double width)
{
    put(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" stroke-width=\"%.1f\"/>\n", x1, y1,
        x2, y2, colour, width);
}

void svg_box(base_buf *out, double x, double y, double width, double height, const char *colour)
{
    put(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n", x, y, width, height, colour);
}

void svg_dot(base_buf *out, double x, double y, double radius, const char *colour)
{
    put(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" fill=\"%s\"/>\n", x, y, radius, colour);
}

static void put_escaped(base_buf *out, const char *text)
{
    bool is_text = base_utf8_is_valid(text, strlen(text));
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '&')
            put(out, "&amp;");
        else if (c == '<')
            put(out, "&lt;");
        else if (c == '>')
            put(out, "&gt;");
        else if (c >= 0x20 && c != 0x7f)
            base_buf_put_u8(out, c < 0x80 || is_text ? c : '?');
    }
}

void svg_text(base_buf *out, double x, double y, double size, svg_anchor anchor, const char *colour, const char *text)
{
    static const char *const anchors[] = {"start", "middle", "end"};
    put(out,
        "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%.0f\" font-family=\"sans-serif\" text-anchor=\"%s\" fill=\"%s\">", x,
        y, size, anchors[anchor], colour);
    put_escaped(out, text);
    put(out, "</text>\n");
}
