/* quote.h - text from outside in log lines and error messages.
 *
 * A client, a file or a peer may send any bytes as a name.  Printed raw, a newline in it forges a log line, an escape
 * sequence drives the reader's terminal, and bytes that are not UTF-8 make a reply that clients cannot parse.  Two
 * lines of defence: base_quote         where such text is echoed: quoted, escaped and bounded, so that it cannot pass
 * for our words base_text_escape   in base_log and base_error_set, over the finished line, whatever its arguments were
 * Escaped as \n, \t, \xNN or \uNNNN: control characters (C0, DEL, C1), line separators, characters without width and
 * bidirectional controls, bytes that are not UTF-8.  Safe from any thread. */
#ifndef PALMGROVE_BASE_QUOTE_H
#define PALMGROVE_BASE_QUOTE_H

#include <stddef.h>

/* Source bytes of which base_quote shows at most (a name of the protocol is shorter). */
#define BASE_QUOTE_MAX 64

/* Room for them, each escaped as \xNN, two quotes, "..." and NUL. */
typedef struct base_quoted {
    char text[4 * BASE_QUOTE_MAX + 2 + 3 + 1];
} base_quoted;

/* "text" with double quotes, in which a quote or a backslash is escaped too; cut at a whole character, then "..."
 * follows the closing quote.  By value: base_fail(error, BASE_ENOTFOUND, "unknown task %s", base_quote(name).text). */
base_quoted base_quote(const char *text);

/* Write `size` bytes as printable UTF-8 to out [capacity >= 1], always terminated, cut at a whole character or escape.
 * Returns the length written. */
size_t base_text_escape(char *out, size_t capacity, const char *bytes, size_t size);

/* Copy `text` to out [capacity >= 1] with "..." in place of everything that base_quote quoted in it: for a log that
 * must not hold what a client wrote. */
void base_quote_redact(char *out, size_t capacity, const char *text);

#endif
