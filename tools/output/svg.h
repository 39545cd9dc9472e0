/* svg.h - a small writer of SVG 1.1: lines, boxes, dots and words on a white ground, in pixels from the upper left
 * corner. */
#ifndef PALMGROVE_SVG_H
#define PALMGROVE_SVG_H

#include "proto/base/buf.h"

typedef enum svg_anchor { SVG_LEFT, SVG_MIDDLE, SVG_RIGHT } svg_anchor;

/* Failures of memory stick in the buffer. */
void svg_begin(base_buf *out, double width, double height);
void svg_end(base_buf *out);

/* `colour`: a name or "#rrggbb". */
void svg_line(base_buf *out, double x1, double y1, double x2, double y2, const char *colour, double width);
void svg_box(base_buf *out, double x, double y, double width, double height, const char *colour);
void svg_dot(base_buf *out, double x, double y, double radius, const char *colour);

/* `text` is escaped; bytes that are not UTF-8 become '?', control characters are left out. */
void svg_text(base_buf *out, double x, double y, double size, svg_anchor anchor, const char *colour, const char *text);

#endif
