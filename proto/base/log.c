#include "proto/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/quote.h"
#include "proto/base/utf8.h"

enum { LINE_BYTES = 1024 };

static base_log_level threshold = BASE_LOG_INFO;
static char speaker[32];

void base_log_set_level(base_log_level level)
{
    threshold = level;
}

void base_log_set_name(const char *name)
{
    snprintf(speaker, sizeof speaker, "%s", name);
}

void base_log(base_log_level level, const char *format, ...)
{
    static const char *const names[] = {"error: ", "warn: ", "", "debug: "};
    if (level > threshold)
        return;

    char raw[LINE_BYTES], line[LINE_BYTES];
    int n = speaker[0] != '\0' ? snprintf(raw, sizeof raw, "palmgrove[%s] %s", speaker, names[level])
                               : snprintf(raw, sizeof raw, "palmgrove: %s", names[level]);
    va_list args;
    va_start(args, format);
    int m = vsnprintf(raw + n, sizeof raw - (size_t)n, format, args);
    va_end(args);
    if (m < 0)
        return;
    size_t length = strlen(raw);
    if ((size_t)n + (size_t)m > length)
        length = base_utf8_cut(raw, length);
    length = base_text_escape(line, sizeof line - 1, raw, length);
    line[length++] = '\n';
    if (write(STDERR_FILENO, line, length) < 0) {
        /* stderr is gone: nowhere to report it */
    }
}
