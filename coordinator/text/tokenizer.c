/* tokenizer.c - the calls of text.h that are the same for every kind of tokenizer.
 *
 *     parts       <s>[INST] | what is <pad>? | [/INST]     trusted, a user's words, trusted
 *     controls    <s>                                      found in trusted parts only; they cut the text
 *     stretches   [INST] what is <pad>? [/INST]            the text between two controls, joined across parts
 *     words       user-defined tokens                      found in any stretch; they cut it again
 *     backend     what is left                             ids by SentencePiece or by bpe.c
 *
 * Joining before tokenizing gives the ids of the whole text, wherever a template and a user's words meet.
 * The other direction uses the table of pieces alone, so that a text can stream byte by byte. */
#include "coordinator/text/tokenizer_int.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/grow.h"
#include "proto/base/size.h"
#include "proto/base/utf8.h"

enum { BLANK_BYTES = sizeof TEXT_METASPACE - 1 };

void text_tokenizer_close(text_tokenizer **tokenizer)
{
    text_tokenizer *t = *tokenizer;
    if (t == NULL)
        return;
    if (t->backend != NULL)
        t->close_backend(t->backend);
    free(t->pieces);
    base_buf_release(&t->bytes);
    base_buf_release(&t->chat_template);
    specials_release(&t->controls);
    specials_release(&t->user_defined);
    free(t);
    *tokenizer = NULL;
}

/* --- the table of pieces --- */

base_status text_pieces_reserve(text_tokenizer *tokenizer, uint64_t n, const char *name, base_error *error)
{
    if (n == 0)
        return base_fail(error, BASE_EFORMAT, "'%s' has an empty vocabulary", name);
    if (n > TEXT_VOCAB_MAX)
        return base_fail(error, BASE_ETOOBIG, "'%s' has %llu pieces; at most %u are read", name, (unsigned long long)n,
                         TEXT_VOCAB_MAX);
    tokenizer->pieces = calloc(n, sizeof *tokenizer->pieces);
    if (tokenizer->pieces == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a vocabulary of %llu pieces", (unsigned long long)n);
    tokenizer->vocab_size = (uint32_t)n;
    tokenizer->longest = 1;
    return BASE_OK;
}

text_piece *text_piece_begin(text_tokenizer *tokenizer, uint32_t id)
{
    tokenizer->pieces[id].offset = (uint32_t)tokenizer->bytes.size;
    return &tokenizer->pieces[id];
}

void text_piece_end(text_tokenizer *tokenizer, uint32_t id)
{
    text_piece *p = &tokenizer->pieces[id];
    if (tokenizer->bytes.size > UINT32_MAX)
        tokenizer->bytes.failed = true;
    p->size = (uint32_t)tokenizer->bytes.size - p->offset;
    tokenizer->longest = p->size > tokenizer->longest ? p->size : tokenizer->longest;
}

int text_byte_value(const char *text, size_t size)
{
    static const char digits[] = "0123456789ABCDEF";
    if (size != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    const char *high = memchr(digits, text[3], 16), *low = memchr(digits, text[4], 16);
    return high == NULL || low == NULL ? -1 : (int)((high - digits) * 16 + (low - digits));
}

bool text_begins_with_space(const char *text, size_t size)
{
    return size >= BLANK_BYTES && memcmp(text, TEXT_METASPACE, BLANK_BYTES) == 0;
}

void text_put_spaces(base_buf *out, const char *text, size_t size)
{
    for (size_t i = 0; i < size;) {
        bool is_blank = text_begins_with_space(text + i, size - i);
        base_buf_put_u8(out, is_blank ? ' ' : (uint8_t)text[i]);
        i += is_blank ? BLANK_BYTES : 1;
    }
}

static bool is_known(const text_tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && (uint32_t)id < tokenizer->vocab_size;
}

uint32_t text_vocab_size(const text_tokenizer *tokenizer)
{
    return tokenizer->vocab_size;
}

int32_t text_bos_id(const text_tokenizer *tokenizer)
{
    return tokenizer->bos_id;
}

int32_t text_eos_id(const text_tokenizer *tokenizer)
{
    return tokenizer->eos_id;
}

int32_t text_start_id(const text_tokenizer *tokenizer)
{
    return tokenizer->start_id;
}

const char *text_chat_template(const text_tokenizer *tokenizer, size_t *size)
{
    *size = tokenizer->chat_template.size;
    return *size > 0 ? (const char *)tokenizer->chat_template.data : "";
}

const char *text_piece_bytes(const text_tokenizer *tokenizer, int32_t id, size_t *size)
{
    *size = is_known(tokenizer, id) ? tokenizer->pieces[id].size : 0;
    return *size == 0 ? "" : (const char *)tokenizer->bytes.data + tokenizer->pieces[id].offset;
}

bool text_piece_is_raw(const text_tokenizer *tokenizer, int32_t id)
{
    return is_known(tokenizer, id) && tokenizer->pieces[id].is_raw;
}

const char *text_control_spelling(const text_tokenizer *tokenizer, int32_t id)
{
    return specials_spelling(&tokenizer->controls, id);
}

int32_t text_find_id(const text_tokenizer *tokenizer, const char *spelling)
{
    size_t length = strlen(spelling), begin, bytes;
    int32_t id = specials_find(&tokenizer->controls, spelling, length, 0, &begin, &bytes);
    if (id >= 0 && bytes == length)
        return id;
    for (uint32_t i = 0; length > 0 && i < tokenizer->vocab_size; i++)
        if (tokenizer->pieces[i].size == length &&
            memcmp(tokenizer->bytes.data + tokenizer->pieces[i].offset, spelling, length) == 0)
            return (int32_t)i;
    return -1;
}

/* --- lists of ids --- */

void text_ids_release(text_ids *ids)
{
    free(ids->ids);
    *ids = (text_ids){0};
}

bool text_ids_reserve(text_ids *ids, size_t extra)
{
    size_t needed;
    return base_size_add(ids->n, extra, &needed) && base_grow(&ids->ids, &ids->capacity, needed, sizeof *ids->ids);
}

bool text_ids_push(text_ids *ids, int32_t id)
{
    if (!text_ids_reserve(ids, 1))
        return false;
    ids->ids[ids->n++] = id;
    return true;
}

/* --- text to ids --- */

/* A stretch without control tokens. */
static base_status encode_stretch(const text_tokenizer *t, const char *text, size_t size, text_ids *ids,
                                  base_error *error)
{
    base_status status = BASE_OK;
    for (size_t at = 0; at < size && status == BASE_OK;) {
        size_t begin = size, bytes = 0;
        int32_t id = specials_find(&t->user_defined, text, size, at, &begin, &bytes);
        if (begin > at)
            status = t->encode(t->backend, text + at, begin - at, ids, error);
        if (status == BASE_OK && id >= 0 && !text_ids_push(ids, id))
            status = base_fail(error, BASE_ENOMEM, "no memory for the tokens of a text");
        at = begin + bytes;
    }
    return status;
}

/* Tokenize what has been joined so far and empty it. */
static base_status encode_joined(const text_tokenizer *t, base_buf *joined, text_ids *ids, base_error *error)
{
    if (joined->failed)
        return base_fail(error, BASE_ENOMEM, "no memory for a text of %zu bytes", joined->size);
    base_status status = encode_stretch(t, (const char *)joined->data, joined->size, ids, error);
    base_buf_clear(joined);
    return status;
}

static base_status encode_trusted(const text_tokenizer *t, const text_part *part, base_buf *joined, text_ids *ids,
                                  base_error *error)
{
    size_t at = 0, begin, bytes;
    int32_t id;
    while ((id = specials_find(&t->controls, part->text, part->size, at, &begin, &bytes)) >= 0) {
        base_buf_put(joined, part->text + at, begin - at);
        base_status status = encode_joined(t, joined, ids, error);
        if (status == BASE_OK && !text_ids_push(ids, id))
            status = base_fail(error, BASE_ENOMEM, "no memory for the tokens of a text");
        if (status != BASE_OK)
            return status;
        at = begin + bytes;
    }
    base_buf_put(joined, part->text + at, part->size - at);
    return BASE_OK;
}

static base_status encode_parts(const text_tokenizer *t, const text_part *parts, size_t n_parts, text_ids *ids,
                                base_error *error)
{
    if (n_parts == 1 && !parts[0].is_trusted)
        return encode_stretch(t, parts[0].text, parts[0].size, ids, error);
    base_buf joined = {0};
    base_status status = BASE_OK;
    for (size_t i = 0; i < n_parts && status == BASE_OK; i++) {
        if (parts[i].is_trusted)
            status = encode_trusted(t, &parts[i], &joined, ids, error);
        else
            base_buf_put(&joined, parts[i].text, parts[i].size);
    }
    if (status == BASE_OK)
        status = encode_joined(t, &joined, ids, error);
    base_buf_release(&joined);
    return status;
}

/* Refuse what can be refused before tokenizing. */
static base_status check_parts(const text_tokenizer *t, const text_part *parts, size_t n_parts, size_t room,
                               base_error *error)
{
    size_t size = 0;
    for (size_t i = 0; i < n_parts; i++) {
        if (!base_utf8_is_valid(parts[i].text, parts[i].size))
            return base_fail(error, BASE_EINVAL, "the text is not valid UTF-8");
        size += parts[i].size;
    }
    if (size / t->longest > room)
        return base_fail(error, BASE_ETOOBIG, "the text of %zu bytes is too long for the %zu tokens there is room for",
                         size, room);
    return BASE_OK;
}

base_status text_encode_parts(const text_tokenizer *tokenizer, const text_part *parts, size_t n_parts, size_t max_ids,
                              text_ids *ids, base_error *error)
{
    size_t before = ids->n, room = max_ids > before ? max_ids - before : 0;
    base_status status = check_parts(tokenizer, parts, n_parts, room, error);
    if (status == BASE_OK)
        status = encode_parts(tokenizer, parts, n_parts, ids, error);
    size_t n = ids->n - before;
    if (status == BASE_OK && n > room)
        status = base_fail(error, BASE_ETOOBIG, "the text has %zu tokens; there is room for %zu", n, room);
    if (status != BASE_OK)
        ids->n = before;
    return status;
}

base_status text_encode(const text_tokenizer *tokenizer, const char *text, size_t size, size_t max_ids, text_ids *ids,
                        base_error *error)
{
    text_part part = {.text = text, .size = size};
    return text_encode_parts(tokenizer, &part, 1, max_ids, ids, error);
}
