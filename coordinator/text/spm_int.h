/* spm_int.h - tokenizers whose encoder is the SentencePiece library. */
#ifndef PALMGROVE_TEXT_SPM_H
#define PALMGROVE_TEXT_SPM_H

#include "coordinator/text/tokenizer_int.h"
#include "coordinator/text/vocab_int.h"

/* False in a build without the library (CMake: PALMGROVE_SENTENCEPIECE=OFF), where both calls below return
 * BASE_EUNSUPPORTED. */
bool spm_is_available(void);

/* Fill an empty tokenizer from a serialised SentencePiece model; errors call it `name`.  On failure the caller
 * closes the tokenizer. Errors: BASE_EFORMAT not such a model, or one with pieces that are not text; BASE_EUNSUPPORTED
 * it decodes to more than its pieces (a denormaliser); BASE_ETOOBIG; BASE_ENOMEM. */
base_status spm_open(text_tokenizer *tokenizer, const char *name, const void *bytes, size_t size, base_error *error);

/* The same from the vocabulary of a GGUF file: its tokens, scores and kinds are serialised as a model
 * (sentencepiece_model.proto) that the library loads, so that both files are encoded by the same code.  Errors as
 * spm_open; BASE_EFORMAT no unknown token. */
base_status spm_open_vocab(text_tokenizer *tokenizer, const vocab *v, base_error *error);

#endif
