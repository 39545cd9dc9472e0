/* spm_int.h - inside coordinator/text: tokenizers that the SentencePiece library runs. */
#ifndef PALMGROVE_TEXT_SPM_H
#define PALMGROVE_TEXT_SPM_H

#include "coordinator/text/tokenizer_int.h"
#include "coordinator/text/vocab_int.h"

/* Fill an empty tokenizer from a serialised SentencePiece model; errors call it `name`.  On failure the tokenizer is to
 * be closed. Errors: BASE_EFORMAT not such a model, or one with pieces that are not text; BASE_EUNSUPPORTED it decodes
 * to more than its pieces; BASE_ETOOBIG; BASE_ENOMEM. */
base_status spm_open(text_tokenizer *tokenizer, const char *name, const void *bytes, size_t size, base_error *error);

/* The same from the vocabulary of a GGUF file: tokens, scores and kinds are written out as a model for the library to
 * read (sentencepiece_model.proto), so the library that defines these tokenizers does the work here too. */
base_status spm_open_vocab(text_tokenizer *tokenizer, const vocab *v, base_error *error);

#endif
