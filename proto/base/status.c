#include "proto/base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/quote.h"
#include "proto/base/utf8.h"

const char *base_status_text(base_status status)
{
    switch (status) {
#define X(name, value, text) \
    case name:               \
        return text;
        BASE_STATUS_LIST(X)
#undef X
    }
    return "unknown";
}

/* Arguments may hold text from outside. */
static size_t format_text(base_error *error, const char *format, va_list args)
{
    char raw[sizeof error->text];
    int n = vsnprintf(raw, sizeof raw, format, args);
    size_t length = n < 0 ? 0 : (size_t)n < sizeof raw ? (size_t)n : base_utf8_cut(raw, sizeof raw - 1);
    return base_text_escape(error->text, sizeof error->text, raw, length);
}

void base_error_set(base_error *error, base_status status, const char *format, ...)
{
    if (error == NULL)
        return;
    int code = errno; /* base_fail looks at it again */
    va_list args;
    va_start(args, format);
    error->status = status;
    format_text(error, format, args);
    va_end(args);
    errno = code;
}

void base_error_prefix(base_error *error, const char *format, ...)
{
    if (error == NULL || error->status == BASE_OK)
        return;
    char tail[sizeof error->text];
    memcpy(tail, error->text, sizeof tail);

    va_list args;
    va_start(args, format);
    size_t n = format_text(error, format, args);
    va_end(args);
    base_text_escape(error->text + n, sizeof error->text - n, tail, strlen(tail));
}
