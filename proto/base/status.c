#include "proto/base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

void base_error_set(base_error *error, base_status status, const char *format, ...)
{
    if (error == NULL)
        return;
    int code = errno; /* base_fail looks at it again */
    va_list args;
    va_start(args, format);
    error->status = status;
    vsnprintf(error->text, sizeof error->text, format, args);
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
    int n = vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof error->text)
        snprintf(error->text + n, sizeof error->text - (size_t)n, "%s", tail);
}
