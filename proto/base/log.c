#include "proto/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

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

    char line[1024];
    int n = speaker[0] != '\0' ? snprintf(line, sizeof line, "palmgrove[%s] %s", speaker, names[level])
                               : snprintf(line, sizeof line, "palmgrove: %s", names[level]);
    va_list args;
    va_start(args, format);
    int m = vsnprintf(line + n, sizeof line - (size_t)n - 1, format, args);
    va_end(args);
    if (m < 0)
        return;
    size_t length = (size_t)n + (size_t)m;
    if (length > sizeof line - 2)
        length = sizeof line - 2;
    line[length++] = '\n';
    if (write(STDERR_FILENO, line, length) < 0) {
        /* stderr is gone: nowhere to report it */
    }
}
