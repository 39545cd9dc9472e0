/* utf8.h - is this text?  Safe from any thread. */
#ifndef PALMGROVE_BASE_UTF8_H
#define PALMGROVE_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* True when the bytes are UTF-8 as RFC 3629 has it: shortest forms only, no surrogates, nothing beyond U+10FFFF.
 * No bytes are valid text; NUL is a character like any other. */
bool base_utf8_is_valid(const void *bytes, size_t size);

#endif
