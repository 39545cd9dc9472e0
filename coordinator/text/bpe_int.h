/* bpe_int.h - byte-pair encoding by ranked merges (arXiv 1508.07909; GPT-2's over bytes), as in Hugging Face's
 * tokenizers: the pair with the lowest rank is joined first, of equal ones the leftmost.
 *
 * VOCAB_BYTE_BPE: a word is a sequence of bytes.  VOCAB_CHARACTER_BPE: the text is one word of characters, spaces
 * included; a character that is not a piece becomes its bytes ("<0xE2>") or the unknown token.  A byte without a piece
 * is dropped, as in the reference. */
#ifndef PALMGROVE_TEXT_BPE_H
#define PALMGROVE_TEXT_BPE_H

#include "coordinator/text/tokenizer_int.h"
#include "coordinator/text/vocab_int.h"

/* Fill an empty tokenizer from a vocabulary of bytes or characters, which need not outlive the call.  On failure the
 * caller closes the tokenizer.
 * Errors: BASE_EFORMAT a merge whose half or result is not a piece (named), a pattern that does not compile;
 * BASE_ETOOBIG; BASE_ENOMEM. */
base_status bpe_open(text_tokenizer *tokenizer, const vocab *v, base_error *error);

#endif
