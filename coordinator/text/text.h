/* text.h - text to token ids and back: tokenizer, streaming detokenizer, stop strings.
 *
 * A tokenizer is immutable after open: any number of threads may encode with it at once.  Streams and stop matchers
 * belong to one session each and have no locks.  Pieces are turned into bytes once, at open, so the streaming side
 * touches no library. Not here: prompts (coordinator/task), where a generation ends (the session). */
#ifndef PALMGROVE_TEXT_H
#define PALMGROVE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/status.h"

typedef struct text_tokenizer text_tokenizer;

/* Load DIR/tokenizer.model (SentencePiece: BPE or unigram).
 * Errors: BASE_ENOTFOUND no such file; BASE_ETOOBIG; BASE_EFORMAT not a SentencePiece model, or one with pieces that
 * are not text; BASE_ENOMEM. */
base_status text_tokenizer_open(const char *dir, text_tokenizer **out, base_error *error);
void text_tokenizer_close(text_tokenizer **tokenizer);

uint32_t text_vocab_size(const text_tokenizer *tokenizer);
/* -1 when the model has none.  What a decoder starts and ends with stands in its config.json (arch_decoder); these must
 * agree. */
int32_t text_bos_id(const text_tokenizer *tokenizer);
int32_t text_eos_id(const text_tokenizer *tokenizer);

/* Growing list of token ids; an empty one is `{0}`. */
typedef struct text_ids {
    int32_t *ids; /* owned */
    size_t n, capacity;
} text_ids;

void text_ids_release(text_ids *ids);
/* Append one id (a BOS, say); false when memory is out. */
bool text_ids_push(text_ids *ids, int32_t id);

/* Append the ids of `size` bytes of text; no BOS or EOS is added, and "<s>" in the text is ordinary text.
 * At most `max_ids` may stand in `ids` afterwards (those there before included).
 * Errors, `ids` unchanged: BASE_EINVAL not UTF-8; BASE_ETOOBIG it does not fit (found out before tokenizing when the
 * text is longer than so many of the longest pieces); BASE_ENOMEM. */
base_status text_encode(const text_tokenizer *tokenizer, const char *text, size_t size, size_t max_ids, text_ids *ids,
                        base_error *error);

/* What `id` adds to a text: borrowed bytes and their number.  One raw byte for a byte piece (text_piece_is_byte),
 * nothing for control pieces (BOS, EOS) and ids outside the vocabulary, else UTF-8 text with blanks as blanks. */
const char *text_piece_bytes(const text_tokenizer *tokenizer, int32_t id, size_t *size);
bool text_piece_is_byte(const text_tokenizer *tokenizer, int32_t id);

/* --- ids to text, one at a time --- */

/* Deltas are always whole UTF-8 characters, and all of them joined are what SentencePiece's Decode makes of all ids:
 * bytes of byte pieces wait until their character is whole; bytes that cannot become one turn into U+FFFD each.  Ids
 * outside the vocabulary add nothing. */
typedef struct text_stream {
    const text_tokenizer *tokenizer; /* borrowed */
    uint8_t pending[4];              /* the beginning of a character */
    size_t n_pending;
    bool at_start; /* a leading blank is still to be dropped, if the model adds one */
} text_stream;

void text_stream_init(text_stream *stream, const text_tokenizer *tokenizer);
/* Append to `delta` what `id` lets out, often nothing.  Memory failures stick in `delta`. */
void text_stream_push(text_stream *stream, int32_t id, base_buf *delta);
/* No more ids: an unfinished character comes out as U+FFFD per byte. */
void text_stream_finish(text_stream *stream, base_buf *delta);

/* --- stop strings --- */

/* Ends a text just before the stop string that is complete first; of two that end with the same byte the longer wins.
 * That does not depend on how the text is cut into deltas. Text that may be the beginning of a stop string is held
 * back. */
typedef struct text_stop {
    const char *const *strings; /* borrowed; n of 1.. bytes of UTF-8, NUL-terminated */
    size_t n_strings;
    base_buf held;
    bool stopped;
} text_stop;

void text_stop_init(text_stop *stop, const char *const *strings, size_t n_strings);
void text_stop_release(text_stop *stop);
/* Take `size` bytes (whole characters), append to `out` what may be shown.  True when a stop string has appeared, now
 * or earlier: `out` then ends before it and nothing comes after.  Memory failures stick in `out`. */
bool text_stop_push(text_stop *stop, const void *delta, size_t size, base_buf *out);
/* No more text: release what was held back (nothing after a stop). */
void text_stop_finish(text_stop *stop, base_buf *out);

#endif
