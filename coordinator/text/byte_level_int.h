/* byte_level_int.h - GPT-2's way to write any byte as a printable character, used by the vocabulary and the merges of
 * every byte-level BPE (openai/gpt-2, encoder.py, bytes_to_unicode).
 *
 * Bytes that are printable Latin-1 characters ('!'..'~', U+00A1..U+00AC, U+00AE..U+00FF) are written as themselves,
 * the other 68, in order, as U+0100 and up: a space is U+0120. */
#ifndef PALMGROVE_TEXT_BYTE_LEVEL_H
#define PALMGROVE_TEXT_BYTE_LEVEL_H

#include "proto/base/buf.h"

/* Append the bytes that `text` encodes; false, with `out` unchanged, when one of its characters encodes none. */
bool byte_level_read(const char *text, size_t size, base_buf *out);

#endif
