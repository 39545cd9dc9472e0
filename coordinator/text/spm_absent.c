/* spm_absent.c - in place of spm.c, spm_vocab.c and spm_shim.cc in a build without SentencePiece. */
#include "coordinator/text/spm_int.h"

bool spm_is_available(void)
{
    return false;
}

static base_status refuse(const char *name, base_error *error)
{
    return base_fail(error, BASE_EUNSUPPORTED,
                     "'%s' is a SentencePiece vocabulary, which this build cannot read; configure with "
                     "-DPALMGROVE_SENTENCEPIECE=ON, or add the model's tokenizer.json",
                     name);
}

base_status spm_open(text_tokenizer *tokenizer, const char *name, const void *bytes, size_t size, base_error *error)
{
    (void)tokenizer;
    (void)bytes;
    (void)size;
    return refuse(name, error);
}

base_status spm_open_vocab(text_tokenizer *tokenizer, const vocab *v, base_error *error)
{
    (void)tokenizer;
    return refuse(v->name, error);
}
