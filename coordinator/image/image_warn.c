/* image_warn.c - the list of an image's warnings. */
#include "coordinator/image/image_warn.h"

#include <stdarg.h>
#include <stdio.h>

const char *image_warning_name(image_warning_kind kind)
{
    switch (kind) {
#define X(kind, number, name) \
    case kind:                \
        return name;
        IMAGE_WARNINGS(X)
#undef X
    }
    return "unknown";
}

void image_warn(image_warnings *warnings, image_warning_kind kind, const char *format, ...)
{
    if (warnings == NULL || warnings->n == IMAGE_WARNINGS_MAX)
        return;
    for (size_t i = 0; i < warnings->n; i++)
        if (warnings->list[i].kind == kind)
            return;
    image_warning *one = &warnings->list[warnings->n++];
    one->kind = kind;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(one->text, sizeof one->text, format, arguments);
    va_end(arguments);
}
