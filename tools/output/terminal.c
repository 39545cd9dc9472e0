#include "tools/output/terminal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { WIDTH_MAX = 100, WIDTH_MIN = 40 };

bool terminal_has_color(FILE *out)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(fileno(out)) && (no_color == NULL || no_color[0] == '\0') && term != NULL &&
           strcmp(term, "dumb") != 0;
}

void terminal_print(FILE *out, terminal_style style, const char *format, ...)
{
    static const char *const codes[] = {"", "\033[1m", "\033[2m", "\033[32m"};
    bool color = style != TERMINAL_PLAIN && terminal_has_color(out);
    if (color)
        fputs(codes[style], out);
    va_list args;
    va_start(args, format);
    vfprintf(out, format, args);
    va_end(args);
    if (color)
        fputs("\033[0m", out);
}

static size_t width_of(FILE *out)
{
    struct winsize size;
    if (ioctl(fileno(out), TIOCGWINSZ, &size) != 0 || size.ws_col < WIDTH_MIN)
        return WIDTH_MAX;
    return size.ws_col < WIDTH_MAX ? size.ws_col : WIDTH_MAX;
}

terminal_paragraph terminal_paragraph_open(FILE *out, size_t indent)
{
    return (terminal_paragraph){.out = out, .indent = indent, .width = width_of(out)};
}

/* Columns are counted in characters, not bytes of UTF-8. */
static size_t columns_of(const char *text, size_t n)
{
    size_t columns = 0;
    for (size_t i = 0; i < n; i++)
        columns += ((unsigned char)text[i] & 0xc0u) != 0x80u;
    return columns;
}

static void write_word(terminal_paragraph *p)
{
    size_t columns = columns_of(p->word, p->n_word);
    if (columns == 0)
        return;
    if (p->column > p->indent && p->column + 1 + columns <= p->width) {
        fputc(' ', p->out);
        p->column++;
    } else {
        fprintf(p->out, "%s%*s", p->column == 0 ? "" : "\n", (int)p->indent, "");
        p->column = p->indent;
    }
    fwrite(p->word, 1, p->n_word, p->out);
    p->column += columns;
    p->n_word = 0;
}

void terminal_paragraph_write(terminal_paragraph *p, const char *text)
{
    for (; *text != '\0'; text++) {
        bool is_space = *text == ' ' || *text == '\n' || *text == '\t';
        if (is_space || p->n_word == sizeof p->word)
            write_word(p);
        if (!is_space)
            p->word[p->n_word++] = *text;
    }
    fflush(p->out);
}

void terminal_paragraph_close(terminal_paragraph *p)
{
    write_word(p);
    fputc('\n', p->out);
    fflush(p->out);
}
