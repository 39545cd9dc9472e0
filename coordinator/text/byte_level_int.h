/* byte_level_int.h - inside coordinator/text: GPT-2's way to write any bytes as printable characters, used in the
 * vocabulary and the merges of every byte-level BPE (openai/gpt-2, encoder.py, bytes_to_unicode).
 *
 * Bytes that are printable Latin-1 characters ('!'..'~', U+00A1..U+00AC, U+00AE..U+00FF) stand for themselves, the
 * other 68 in their order for U+0100 and following: a blank is U+0120. */
#ifndef PALMGROVE_TEXT_BYTE_LEVEL_H
#define PALMGROVE_TEXT_BYTE_LEVEL_H

#include "proto/base/buf.h"

/* Append the bytes that `text` writes; false, with `out` as it was, when it holds a character that writes none. */
bool byte_level_read(const char *text, size_t size, base_buf *out);

#endif
