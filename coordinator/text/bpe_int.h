/* bpe_int.h - inside coordinator/text: byte-pair encoding by ranked merges (arXiv 1508.07909; GPT-2's over bytes), as
 * in Hugging Face's tokenizers: the pair with the lowest rank is joined first, of equal ones the leftmost.
 *
 * VOCAB_BYTE_BPE: a word is a row of bytes.  VOCAB_CHARACTER_BPE: the text is one word of characters, blanks included;
 * a character that is no piece becomes its bytes ("<0xE2>") or the unknown token.  A byte without a piece is left out,
 * as in the reference. */
#ifndef PALMGROVE_TEXT_BPE_H
#define PALMGROVE_TEXT_BPE_H

#include "coordinator/text/tokenizer_int.h"
#include "coordinator/text/vocab_int.h"

/* Fill an empty tokenizer from a vocabulary of bytes or characters.  On failure the tokenizer is to be closed.
 * Errors: BASE_EFORMAT a merge of or into what is no piece (named), a pattern that does not compile; BASE_ETOOBIG;
 * BASE_ENOMEM. */
base_status bpe_open(text_tokenizer *tokenizer, const vocab *v, base_error *error);

#endif
