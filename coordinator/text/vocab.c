/* vocab.c - the arrays of a vocabulary, which both readers fill. */
#include "coordinator/text/vocab_int.h"

#include <stdlib.h>
#include <string.h>

#include "coordinator/text/tokenizer_int.h"

/* Merges of the largest vocabularies of today: 580,000 (Gemma's tokenizer.json). */
enum { MERGES_MAX = 4 << 20 };

base_status vocab_reserve(vocab *v, uint64_t n, uint64_t m, base_error *error)
{
    if (n == 0)
        return base_fail(error, BASE_EFORMAT, "'%s' has an empty vocabulary", v->name);
    if (n > TEXT_VOCAB_MAX || m > MERGES_MAX)
        return base_fail(error, BASE_ETOOBIG, "'%s' has %llu tokens and %llu merges; at most %u and %d are read",
                         v->name, (unsigned long long)n, (unsigned long long)m, TEXT_VOCAB_MAX, MERGES_MAX);
    v->tokens = calloc(n, sizeof *v->tokens);
    v->merges = calloc(m + 1, sizeof *v->merges);
    if (v->tokens == NULL || v->merges == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the vocabulary of '%s'", v->name);
    v->n = (uint32_t)n;
    v->n_merges = (uint32_t)m;
    for (uint32_t id = 0; id < v->n; id++)
        v->tokens[id] = (vocab_token){.text = {"", 0}, .kind = VOCAB_UNUSED};
    return BASE_OK;
}

void vocab_release(vocab *v)
{
    free(v->tokens);
    free(v->merges);
    *v = (vocab){0};
}

int32_t vocab_find(const vocab *v, const char *text, size_t size)
{
    for (uint32_t id = 0; id < v->n; id++)
        if (v->tokens[id].text.size == size && size > 0 && memcmp(v->tokens[id].text.text, text, size) == 0)
            return (int32_t)id;
    return -1;
}
