/* spm.c - a SentencePiece model, with its pieces turned into bytes.
 *
 * The library encodes; decoding is ours (docs/decisions/0003-own-detokeniser.md).  At open every piece is decoded both
 * ways, so a model whose decoder does more than join pieces (a denormaliser) is refused instead of decoded wrongly. */
#include "coordinator/text/spm_int.h"

#include <stdlib.h>
#include <string.h>

#include "coordinator/text/spm_shim_int.h"
#include "proto/base/utf8.h"

/* Append the library's text of an unknown piece. */
static bool put_unknown(const spm_model *model, int32_t id, base_buf *out)
{
    char *text = NULL;
    size_t size = 0;
    bool good = spm_decode(model, &id, 1, &text, &size) == SPM_OK && base_utf8_is_valid(text, size);
    if (good)
        base_buf_put(out, text, size);
    free(text);
    return good;
}

/* Append the bytes of one piece; false when it is neither text nor a byte. */
static bool put_piece(text_tokenizer *t, const spm_model *model, int32_t id, text_piece *out)
{
    size_t size;
    const char *text = spm_piece_text(model, id, &size);
    int value;
    switch (spm_piece_kind(model, id)) {
    case SPM_CONTROL:
        return true;
    case SPM_UNKNOWN:
        return put_unknown(model, id, &t->bytes);
    case SPM_BYTE:
        value = text_byte_value(text, size);
        out->is_raw = true;
        base_buf_put_u8(&t->bytes, (uint8_t)value);
        return value >= 0;
    case SPM_TEXT:
        out->has_leading_space = text_begins_with_space(text, size);
        text_put_spaces(&t->bytes, text, size);
        return size > 0 && base_utf8_is_valid(text, size);
    }
    return false;
}

static base_status build_pieces(text_tokenizer *t, const char *name, const spm_model *model, base_error *error)
{
    size_t longest = 1;
    for (uint32_t id = 0; id < t->vocab_size; id++) {
        if (!put_piece(t, model, (int32_t)id, text_piece_begin(t, id)))
            return base_fail(error, BASE_EFORMAT, "'%s': piece %u is neither text nor a byte", name, id);
        text_piece_end(t, id);
        size_t size;
        const char *text = spm_piece_text(model, (int32_t)id, &size);
        longest = size > longest ? size : longest;
        bool is_control = spm_piece_kind(model, (int32_t)id) == SPM_CONTROL && size > 0;
        base_status status = is_control ? specials_add(&t->controls, text, size, (int32_t)id, name, error) : BASE_OK;
        if (status != BASE_OK)
            return status;
    }
    t->longest = longest;
    specials_sort(&t->controls);
    return t->bytes.failed ? base_fail(error, BASE_ENOMEM, "no memory for a vocabulary of %u pieces", t->vocab_size)
                           : BASE_OK;
}

/* An id whose text begins with a space, preferably one that is only a space. */
static int32_t find_blank(const text_tokenizer *t)
{
    int32_t found = -1;
    for (uint32_t id = 0; id < t->vocab_size; id++) {
        const text_piece *p = &t->pieces[id];
        if (!p->has_leading_space)
            continue;
        if (p->size == 1)
            return (int32_t)id;
        found = found < 0 ? (int32_t)id : found;
    }
    return found;
}

/* The library does not tell how a model treats leading spaces, so it decodes one piece twice: both spaces, one or none
 * remain.  A piece that is more than a space is text at once, so there "all" and "one" are the same. */
static base_status probe_leading(text_tokenizer *t, const char *name, const spm_model *model, base_error *error)
{
    int32_t blank = find_blank(t);
    if (blank < 0)
        return BASE_OK;
    int32_t ids[2] = {blank, blank};
    char *text = NULL;
    size_t size = 0;
    if (spm_decode(model, ids, 2, &text, &size) != SPM_OK)
        return base_fail(error, BASE_EFORMAT, "'%s' cannot decode piece %d", name, blank);
    size_t whole = 2 * (size_t)t->pieces[blank].size;
    t->leading = size == whole ? TEXT_LEADING_KEEP : size + 1 == whole ? TEXT_LEADING_ONE : TEXT_LEADING_ALL;
    free(text);
    return BASE_OK;
}

static bool decodes_the_same(const text_tokenizer *t, const spm_model *model, int32_t id, base_buf *ours)
{
    text_stream stream;
    base_buf_clear(ours);
    text_stream_init(&stream, t);
    text_stream_push(&stream, id, ours);
    text_stream_finish(&stream, ours);
    char *text = NULL;
    size_t size = 0;
    bool same = spm_decode(model, &id, 1, &text, &size) == SPM_OK && !ours->failed && size == ours->size &&
                (size == 0 || memcmp(text, ours->data, size) == 0);
    free(text);
    return same;
}

static base_status check_pieces(const text_tokenizer *t, const char *name, const spm_model *model, base_error *error)
{
    base_buf ours = {0};
    base_status status = BASE_OK;
    for (uint32_t id = 0; id < t->vocab_size && status == BASE_OK; id++)
        if (!decodes_the_same(t, model, (int32_t)id, &ours))
            status = base_fail(
                error, BASE_EUNSUPPORTED,
                "'%s' decodes piece %u to other text than the piece's own; is there a denormaliser in it? none is "
                "supported",
                name, id);
    base_buf_release(&ours);
    return status;
}

static base_status encode(const void *backend, const char *text, size_t size, text_ids *ids, base_error *error)
{
    int32_t *found = NULL;
    size_t n = 0;
    spm_result result = spm_encode(backend, text, size, &found, &n);
    if (result == SPM_OK && !text_ids_reserve(ids, n))
        result = SPM_NO_MEMORY;
    if (result == SPM_OK && n > 0) {
        memcpy(ids->ids + ids->n, found, n * sizeof *found);
        ids->n += n;
    }
    free(found);
    if (result == SPM_NO_MEMORY)
        return base_fail(error, BASE_ENOMEM, "no memory to tokenize a text of %zu bytes", size);
    return result == SPM_OK ? BASE_OK
                            : base_fail(error, BASE_EINTERNAL, "the tokenizer failed on a text of %zu bytes", size);
}

static void close_backend(void *backend)
{
    spm_model_close(backend);
}

bool spm_is_available(void)
{
    return true;
}

base_status spm_open(text_tokenizer *tokenizer, const char *name, const void *bytes, size_t size, base_error *error)
{
    spm_model *model = NULL;
    spm_result result = spm_model_open(bytes, size, &model);
    if (result == SPM_NO_MEMORY)
        return base_fail(error, BASE_ENOMEM, "no memory for '%s'", name);
    if (result != SPM_OK)
        return base_fail(error, BASE_EFORMAT, "'%s' is not a SentencePiece model; is the download complete?", name);
    tokenizer->backend = model;
    tokenizer->encode = encode;
    tokenizer->close_backend = close_backend;
    int32_t n = spm_vocab_size(model);
    base_status status = text_pieces_reserve(tokenizer, n > 0 ? (uint64_t)n : 0, name, error);
    if (status == BASE_OK)
        status = build_pieces(tokenizer, name, model, error);
    if (status == BASE_OK)
        status = probe_leading(tokenizer, name, model, error);
    if (status == BASE_OK)
        status = check_pieces(tokenizer, name, model, error);
    tokenizer->bos_id = spm_bos_id(model);
    tokenizer->eos_id = spm_eos_id(model);
    tokenizer->start_id = tokenizer->bos_id;
    return status;
}
