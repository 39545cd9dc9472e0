/* utf8.h - UTF-8 validation.  Safe from any thread. */
#ifndef PALMGROVE_BASE_UTF8_H
#define PALMGROVE_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* True when the bytes are UTF-8 by RFC 3629: shortest forms only, no surrogates, nothing beyond U+10FFFF.
 * Zero bytes are valid; NUL is a character like any other. */
bool base_utf8_is_valid(const void *bytes, size_t size);

/* Bytes of the character that begins at `bytes` [size >= 1]; 0 when none does. */
size_t base_utf8_next(const void *bytes, size_t size);

/* The largest length <= size at which `bytes` [size] can be cut without dividing a character. */
size_t base_utf8_cut(const void *bytes, size_t size);

#endif
