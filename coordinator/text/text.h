/* text.h - text to token ids and back: tokenizer, streaming detokenizer, stop strings.
 *
 * A tokenizer is immutable after open: any number of threads may encode with it at once.  Streams and stop matchers
 * belong to one session each and have no locks.  Pieces are turned into bytes once, at open, so the streaming side
 * touches no library. Not here: prompts (coordinator/task, coordinator/session), where a generation ends (the session).
 *
 * Control tokens ("<s>", "<|im_end|>") are never made from text: whatever a user writes stays text.  Only parts that
 * say so (text_part.is_trusted: our own chat templates) may spell them. */
#ifndef PALMGROVE_TEXT_H
#define PALMGROVE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/status.h"

typedef struct text_tokenizer text_tokenizer;

/* Load the tokenizer of a model.  `path` is a .gguf file, or a directory with the first of
 *     tokenizer.model    SentencePiece: BPE or unigram
 *     tokenizer.json     Hugging Face: byte-level BPE (Llama 3, Qwen 2, SmolLM2, GPT-2), or BPE of characters with
 *                        byte fallback
 *     vocabulary.gguf    the metadata of a GGUF file, kept with shards
 *     *.gguf             exactly one
 * and, with either of the first two, tokenizer_config.json and chat_template.jinja if they are there.
 * GGUF vocabularies: "llama" (SentencePiece BPE) and "gpt2" (byte-level BPE; the pre-tokenizers of pretokenize.c).
 * Errors: BASE_ENOTFOUND none of these; BASE_ETOOBIG; BASE_EFORMAT a file that is not what its name says, or
 * contradicts itself (the token, merge or field is named); BASE_EUNSUPPORTED another kind of tokenizer (the known ones
 * are listed); BASE_ENOMEM. */
base_status text_tokenizer_open(const char *path, text_tokenizer **out, base_error *error);
/* Free it and set it to NULL. */
void text_tokenizer_close(text_tokenizer **tokenizer);

uint32_t text_vocab_size(const text_tokenizer *tokenizer);
/* -1 when the tokenizer names none.  The decoder's configuration lists end tokens too (arch_decoder). */
int32_t text_bos_id(const text_tokenizer *tokenizer);
int32_t text_eos_id(const text_tokenizer *tokenizer);
/* The token that begins every prompt of this model, chat or raw text: its BOS, or -1 if the model was trained without
 * one.  From the GGUF's add_bos_token, tokenizer.json's post-processor, or tokenizer_config.json's add_bos_token; a
 * tokenizer.model alone: its BOS if it has one. */
int32_t text_start_id(const text_tokenizer *tokenizer);
/* The chat template that came with the tokenizer, in Jinja, unparsed (any bytes, at most 1 MiB); "" and 0 when
 * there is none. */
const char *text_chat_template(const text_tokenizer *tokenizer, size_t *size);
/* The id of the piece with exactly this spelling, control tokens included (of an ordinary one: its decoded text,
 * spaces as spaces); -1 when there is none.  Linear in the vocabulary: not for the token path. */
int32_t text_find_id(const text_tokenizer *tokenizer, const char *spelling);

/* Growing list of token ids; an empty one is `{0}`. */
typedef struct text_ids {
    int32_t *ids; /* owned */
    size_t n, capacity;
} text_ids;

/* Free the list; it is empty afterwards. */
void text_ids_release(text_ids *ids);
/* Append one id (BOS, for example); false when memory is out. */
bool text_ids_push(text_ids *ids, int32_t id);

/* Append the ids of `size` bytes of text; no BOS or EOS is added, and "<s>" in the text is ordinary text.
 * `ids` holds at most `max_ids` afterwards, earlier ones included.
 * Errors, `ids` unchanged: BASE_EINVAL not UTF-8, or the model's pre-tokenizer pattern exceeds its limits; BASE_ETOOBIG
 * more than `max_ids` (without tokenizing when the text is longer than `max_ids` of the longest pieces);
 * BASE_ENOMEM. */
base_status text_encode(const text_tokenizer *tokenizer, const char *text, size_t size, size_t max_ids, text_ids *ids,
                        base_error *error);

/* A stretch of one text.  In a trusted part the spelling of a control token is that token; never let a user's words
 * into one. */
typedef struct text_part {
    const char *text;
    size_t size;
    bool is_trusted;
} text_part;

/* Append the ids of all parts joined: the text between two control tokens is tokenized as one, wherever parts begin and
 * end, so a template around a user's words gives the reference's ids.  Errors as text_encode. */
base_status text_encode_parts(const text_tokenizer *tokenizer, const text_part *parts, size_t n_parts, size_t max_ids,
                              text_ids *ids, base_error *error);

/* Append `size` bytes with malformed UTF-8 turned into U+FFFD, one for each maximal subpart or stray byte (Unicode 15,
 * section 3.9, "substitution of maximal subparts"; Python's errors="replace").  Requests are refused instead; this is
 * for tools that read files, and matches what the reference tokenizers do before they see a text.  Memory failures
 * stick in `out`. */
void text_repair(const void *text, size_t size, base_buf *out);

/* The bytes that `id` adds to a text, borrowed from the tokenizer, and their number: none for control pieces (BOS, EOS)
 * and ids outside the vocabulary; else UTF-8 text with spaces as spaces, or (text_piece_is_raw) bytes that may be part
 * of a character: one for a byte piece of SentencePiece, any number in a byte-level vocabulary. */
const char *text_piece_bytes(const text_tokenizer *tokenizer, int32_t id, size_t *size);
bool text_piece_is_raw(const text_tokenizer *tokenizer, int32_t id);
/* The spelling of a control token, borrowed; NULL for every other id. */
const char *text_control_spelling(const text_tokenizer *tokenizer, int32_t id);

/* --- ids to text, one at a time --- */

/* Deltas are whole UTF-8 characters, and joined they equal the reference decoder's text of all ids: raw bytes wait
 * until their character is complete; bytes that cannot form one become U+FFFD, one each (SentencePiece) or as
 * text_repair does (byte-level vocabularies).  Ids outside the vocabulary add nothing. */
typedef struct text_stream {
    const text_tokenizer *tokenizer; /* borrowed */
    uint8_t pending[4];              /* an incomplete character */
    size_t n_pending;
    bool at_start; /* a leading space is still to be dropped, if the model adds one */
} text_stream;

/* Begin a text; the tokenizer outlives the stream.  Nothing to release. */
void text_stream_init(text_stream *stream, const text_tokenizer *tokenizer);
/* Append to `delta` the text that `id` completes, often none.  Memory failures stick in `delta`. */
void text_stream_push(text_stream *stream, int32_t id, base_buf *delta);
/* No more ids: an incomplete character becomes U+FFFD (see above how many). */
void text_stream_finish(text_stream *stream, base_buf *delta);

/* --- stop strings --- */

/* Ends a text just before the stop string that is complete first; of two that end with the same byte the longer wins.
 * The result does not depend on how the text is cut into deltas.  Text that may begin a stop string is held back. */
typedef struct text_stop {
    const char *const *strings; /* borrowed; n of 1.. bytes of UTF-8, NUL-terminated */
    size_t n_strings;
    base_buf held;
    bool stopped;
} text_stop;

/* Begin a text; the strings [n_strings] outlive the matcher. */
void text_stop_init(text_stop *stop, const char *const *strings, size_t n_strings);
void text_stop_release(text_stop *stop);
/* Add `size` bytes (whole characters) and append to `out` what may be shown.  True when a stop string has appeared, now
 * or earlier: `out` then ends before it and later text is dropped.  Memory failures stick in `out`. */
bool text_stop_push(text_stop *stop, const void *delta, size_t size, base_buf *out);
/* No more text: append what was held back (nothing after a stop). */
void text_stop_finish(text_stop *stop, base_buf *out);

#endif
