/* pretokenize_int.h - a text cut into words, which merges of a BPE never cross.
 *
 * Patterns are applied one after the other, each inside the pieces that the one before left (so "end of text" and
 * lookahead mean the piece); matches and what lies between them both stay.  That is Hugging Face's Split with behaviour
 * "Isolated", and llama.cpp's. Patterns come from the model's files, so they run under limits of steps, depth and heap.
 * The dialect is PCRE2's with Unicode properties; "\s" is rewritten to Unicode's White_Space, as in the reference's
 * engine (PCRE2's own adds U+180E). */
#ifndef PALMGROVE_TEXT_PRETOKENIZE_H
#define PALMGROVE_TEXT_PRETOKENIZE_H

#include <stdbool.h>
#include <stddef.h>

#include "coordinator/text/vocab_int.h"
#include "proto/base/status.h"

typedef struct pretokenizer pretokenizer;

/* GPT-2's own pattern. */
extern const char pretokenize_gpt2[];

/* Set v->patterns from the name in GGUF's tokenizer.ggml.pre, and what else the name implies: ignore_merges, nfc,
 * whether BOS is added unless the file says otherwise (start_id: bos_id or -1).  Errors: BASE_EUNSUPPORTED unknown name
 * (the known ones are listed). */
base_status pretokenize_by_name(const char *name, size_t size, vocab *v, base_error *error);

/* Compile v->patterns; the caller owns *out (pretokenizer_close).  Errors, *out unchanged: BASE_EFORMAT a pattern does
 * not compile (its number and why); BASE_ETOOBIG one is longer than 4,096 bytes; BASE_ENOMEM. */
base_status pretokenizer_open(const vocab *v, pretokenizer **out, base_error *error);
void pretokenizer_close(pretokenizer **p);

/* Called with each word in order; any status but BASE_OK stops the cutting and is returned. */
typedef base_status (*pretokenize_fn)(void *context, const char *word, size_t size, base_error *error);

/* Cut valid UTF-8.  Without patterns the text is one word.  Any thread.
 * Errors: BASE_EINVAL a pattern gives up (it would take too long); BASE_ENOMEM; the callback's. */
base_status pretokenizer_cut(const pretokenizer *p, const char *text, size_t size, pretokenize_fn on_word,
                             void *context, base_error *error);

#endif
