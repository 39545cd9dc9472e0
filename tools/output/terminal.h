/* terminal.h - text for people: colours where there is a terminal, lines wrapped between words even while text streams
 * in. */
#ifndef PALMGROVE_TERMINAL_H
#define PALMGROVE_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef enum terminal_style { TERMINAL_PLAIN, TERMINAL_BOLD, TERMINAL_DIM, TERMINAL_GREEN } terminal_style;

/* Colours are off in a pipe, with TERM=dumb and with NO_COLOR set (no-color.org). */
bool terminal_has_color(FILE *out);

/* printf with a style. */
void terminal_print(FILE *out, terminal_style style, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A paragraph that is written piece by piece.  A word is held back until it ends, so that it can go to the next line
 * whole. */
typedef struct terminal_paragraph {
    FILE *out;
    size_t indent, width;
    size_t column; /* 0: nothing written yet */
    char word[128];
    size_t n_word;
} terminal_paragraph;

terminal_paragraph terminal_paragraph_open(FILE *out, size_t indent);
void terminal_paragraph_write(terminal_paragraph *p, const char *text);
/* Write what was held back and end the line. */
void terminal_paragraph_close(terminal_paragraph *p);

#endif
