/* tokenizer.c - a SentencePiece model, with its pieces turned into bytes.
 *
 * The table of pieces makes the way back (ids to text) ours: it is used byte by byte while a text streams, which the
 * library cannot do.  That the two agree is checked at open for every piece, so a model whose decoder does more than
 * join pieces (a denormaliser, say) is refused instead of read wrongly. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/text/pieces.h"
#include "coordinator/text/spm_shim.h"
#include "proto/base/size.h"
#include "proto/base/utf8.h"
#include "sharding/model_file.h"

#define MODEL_FILE "tokenizer.model"
/* U+2581, the blank inside pieces. */
#define SPACE_SYMBOL       "\xe2\x96\x81"
#define SPACE_SYMBOL_BYTES 3u

typedef struct piece {
    uint32_t offset, size; /* into bytes */
    bool is_byte;
    bool has_blank; /* begins with a SPACE_SYMBOL, which may be dropped at the start of a text */
} piece;

struct text_tokenizer {
    spm_model *model;
    uint32_t vocab_size;
    piece *pieces;  /* [vocab_size] */
    base_buf bytes; /* of all pieces, one behind the other */
    size_t longest; /* bytes of text that the longest piece stands for, at least 1 */
    text_leading leading;
};

text_leading text_leading_of(const text_tokenizer *tokenizer)
{
    return tokenizer->leading;
}

/* The value of "<0xE2>", or -1. */
static int byte_value(const char *text, size_t size)
{
    static const char digits[] = "0123456789ABCDEF";
    if (size != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    const char *high = memchr(digits, text[3], 16), *low = memchr(digits, text[4], 16);
    return high == NULL || low == NULL ? -1 : (int)((high - digits) * 16 + (low - digits));
}

static void put_with_blanks(base_buf *out, const char *text, size_t size)
{
    size_t i = 0;
    while (i < size) {
        if (size - i >= SPACE_SYMBOL_BYTES && memcmp(text + i, SPACE_SYMBOL, SPACE_SYMBOL_BYTES) == 0) {
            base_buf_put_u8(out, ' ');
            i += SPACE_SYMBOL_BYTES;
        } else {
            base_buf_put_u8(out, (uint8_t)text[i++]);
        }
    }
}

/* What the library shows for an unknown piece. */
static bool put_unknown(const text_tokenizer *tokenizer, int32_t id, base_buf *out)
{
    char *text = NULL;
    size_t size = 0;
    bool good = spm_decode(tokenizer->model, &id, 1, &text, &size) == SPM_OK && base_utf8_is_valid(text, size);
    if (good)
        base_buf_put(out, text, size);
    free(text);
    return good;
}

/* Append the bytes of one piece; false when it is neither text nor a byte. */
static bool put_piece(text_tokenizer *tokenizer, int32_t id, piece *out)
{
    base_buf *bytes = &tokenizer->bytes;
    size_t size;
    const char *text = spm_piece_text(tokenizer->model, id, &size);
    out->offset = (uint32_t)bytes->size;
    int value;
    switch (spm_piece_kind(tokenizer->model, id)) {
    case SPM_CONTROL:
        break;
    case SPM_UNKNOWN:
        if (!put_unknown(tokenizer, id, bytes))
            return false;
        break;
    case SPM_BYTE:
        value = byte_value(text, size);
        if (value < 0)
            return false;
        out->is_byte = true;
        base_buf_put_u8(bytes, (uint8_t)value);
        break;
    case SPM_TEXT:
        if (size == 0 || !base_utf8_is_valid(text, size))
            return false;
        out->has_blank = size >= SPACE_SYMBOL_BYTES && memcmp(text, SPACE_SYMBOL, SPACE_SYMBOL_BYTES) == 0;
        tokenizer->longest = size > tokenizer->longest ? size : tokenizer->longest;
        put_with_blanks(bytes, text, size);
        break;
    }
    out->size = (uint32_t)(bytes->size - out->offset);
    return true;
}

static base_status build_pieces(text_tokenizer *tokenizer, base_error *error)
{
    tokenizer->pieces = calloc(tokenizer->vocab_size, sizeof *tokenizer->pieces);
    if (tokenizer->pieces == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a vocabulary of %u pieces", tokenizer->vocab_size);
    tokenizer->longest = 1;
    for (uint32_t id = 0; id < tokenizer->vocab_size; id++)
        if (!put_piece(tokenizer, (int32_t)id, &tokenizer->pieces[id]))
            return base_fail(error, BASE_EFORMAT, "'" MODEL_FILE "': piece %u is neither text nor a byte", id);
    if (tokenizer->bytes.failed)
        return base_fail(error, BASE_ENOMEM, "no memory for a vocabulary of %u pieces", tokenizer->vocab_size);
    return BASE_OK;
}

/* An id whose text begins with a blank; one that is nothing else when there is such. */
static int32_t find_blank(const text_tokenizer *tokenizer)
{
    int32_t found = -1;
    for (uint32_t id = 0; id < tokenizer->vocab_size; id++) {
        const piece *p = &tokenizer->pieces[id];
        if (!p->has_blank)
            continue;
        if (p->size == 1)
            return (int32_t)id;
        found = found < 0 ? (int32_t)id : found;
    }
    return found;
}

/* The library does not tell how a model treats leading blanks, so it is asked to decode one piece twice: of the two
 * blanks both, one or none remain.  A piece that is more than a blank gives text at once, so there "all" and "one" are
 * the same. */
static base_status probe_leading(text_tokenizer *tokenizer, base_error *error)
{
    int32_t blank = find_blank(tokenizer);
    if (blank < 0)
        return BASE_OK;
    int32_t ids[2] = {blank, blank};
    char *text = NULL;
    size_t size = 0;
    if (spm_decode(tokenizer->model, ids, 2, &text, &size) != SPM_OK)
        return base_fail(error, BASE_EFORMAT, "'" MODEL_FILE "' cannot decode piece %d", blank);
    size_t whole = 2 * (size_t)tokenizer->pieces[blank].size;
    tokenizer->leading = size == whole ? TEXT_LEADING_KEEP : size + 1 == whole ? TEXT_LEADING_ONE : TEXT_LEADING_ALL;
    free(text);
    return BASE_OK;
}

static base_status check_piece(const text_tokenizer *tokenizer, int32_t id, base_buf *ours, base_error *error)
{
    text_stream stream;
    base_buf_clear(ours);
    text_stream_init(&stream, tokenizer);
    text_stream_push(&stream, id, ours);
    text_stream_finish(&stream, ours);
    char *text = NULL;
    size_t size = 0;
    bool same = spm_decode(tokenizer->model, &id, 1, &text, &size) == SPM_OK && !ours->failed && size == ours->size &&
                (size == 0 || memcmp(text, ours->data, size) == 0);
    free(text);
    if (!same)
        return base_fail(error, BASE_EUNSUPPORTED,
                         "'" MODEL_FILE "' decodes piece %d to other text than the piece's own; is there a "
                         "denormaliser in it? none is supported",
                         id);
    return BASE_OK;
}

static base_status check_pieces(const text_tokenizer *tokenizer, base_error *error)
{
    base_buf ours = {0};
    base_status status = BASE_OK;
    for (uint32_t id = 0; id < tokenizer->vocab_size && status == BASE_OK; id++)
        status = check_piece(tokenizer, (int32_t)id, &ours, error);
    base_buf_release(&ours);
    return status;
}

static base_status load_model(text_tokenizer *tokenizer, const char *dir, base_error *error)
{
    base_buf serialized = {0};
    base_status status = shard_file_read(dir, MODEL_FILE, &serialized, error);
    if (status == BASE_OK) {
        spm_result result = spm_model_open(serialized.data, serialized.size, &tokenizer->model);
        if (result == SPM_NO_MEMORY)
            status = base_fail(error, BASE_ENOMEM, "no memory for '%s/" MODEL_FILE "'", dir);
        else if (result != SPM_OK)
            status = base_fail(error, BASE_EFORMAT,
                               "'%s/" MODEL_FILE "' is not a SentencePiece model; is the download complete?", dir);
    }
    base_buf_release(&serialized);
    return status;
}

static base_status fill_tokenizer(text_tokenizer *tokenizer, const char *dir, base_error *error)
{
    base_status status = load_model(tokenizer, dir, error);
    if (status != BASE_OK)
        return status;
    int32_t n = spm_vocab_size(tokenizer->model);
    if (n < 1)
        return base_fail(error, BASE_EFORMAT, "'%s/" MODEL_FILE "' has an empty vocabulary", dir);
    tokenizer->vocab_size = (uint32_t)n;
    status = build_pieces(tokenizer, error);
    if (status == BASE_OK)
        status = probe_leading(tokenizer, error);
    return status != BASE_OK ? status : check_pieces(tokenizer, error);
}

base_status text_tokenizer_open(const char *dir, text_tokenizer **out, base_error *error)
{
    text_tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    if (tokenizer == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory to open the tokenizer of '%s'", dir);
    base_status status = fill_tokenizer(tokenizer, dir, error);
    if (status != BASE_OK) {
        text_tokenizer_close(&tokenizer);
        return status;
    }
    *out = tokenizer;
    return BASE_OK;
}

void text_tokenizer_close(text_tokenizer **tokenizer)
{
    text_tokenizer *t = *tokenizer;
    if (t == NULL)
        return;
    if (t->model != NULL)
        spm_model_close(t->model);
    free(t->pieces);
    base_buf_release(&t->bytes);
    free(t);
    *tokenizer = NULL;
}

uint32_t text_vocab_size(const text_tokenizer *tokenizer)
{
    return tokenizer->vocab_size;
}

int32_t text_bos_id(const text_tokenizer *tokenizer)
{
    return spm_bos_id(tokenizer->model);
}

int32_t text_eos_id(const text_tokenizer *tokenizer)
{
    return spm_eos_id(tokenizer->model);
}

static bool is_known(const text_tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && (uint32_t)id < tokenizer->vocab_size;
}

const char *text_piece_bytes(const text_tokenizer *tokenizer, int32_t id, size_t *size)
{
    *size = is_known(tokenizer, id) ? tokenizer->pieces[id].size : 0;
    return *size == 0 ? "" : (const char *)tokenizer->bytes.data + tokenizer->pieces[id].offset;
}

bool text_piece_is_byte(const text_tokenizer *tokenizer, int32_t id)
{
    return is_known(tokenizer, id) && tokenizer->pieces[id].is_byte;
}

bool text_piece_has_blank(const text_tokenizer *tokenizer, int32_t id)
{
    return is_known(tokenizer, id) && tokenizer->pieces[id].has_blank;
}

/* --- lists of ids --- */

void text_ids_release(text_ids *ids)
{
    free(ids->ids);
    *ids = (text_ids){0};
}

static bool reserve_ids(text_ids *ids, size_t extra)
{
    size_t needed, bytes;
    if (!base_size_add(ids->n, extra, &needed))
        return false;
    if (needed <= ids->capacity)
        return true;
    size_t capacity = needed < 2 * ids->capacity ? 2 * ids->capacity : needed;
    if (!base_size_mul(capacity, sizeof *ids->ids, &bytes))
        return false;
    int32_t *grown = realloc(ids->ids, bytes);
    if (grown == NULL)
        return false;
    ids->ids = grown;
    ids->capacity = capacity;
    return true;
}

bool text_ids_push(text_ids *ids, int32_t id)
{
    if (!reserve_ids(ids, 1))
        return false;
    ids->ids[ids->n++] = id;
    return true;
}

static base_status append_ids(const int32_t *found, size_t n, size_t room, text_ids *ids, base_error *error)
{
    if (n > room)
        return base_fail(error, BASE_ETOOBIG, "the text has %zu tokens; there is room for %zu", n, room);
    if (!reserve_ids(ids, n))
        return base_fail(error, BASE_ENOMEM, "no memory for %zu tokens", n);
    if (n > 0)
        memcpy(ids->ids + ids->n, found, n * sizeof *found);
    ids->n += n;
    return BASE_OK;
}

base_status text_encode(const text_tokenizer *tokenizer, const char *text, size_t size, size_t max_ids, text_ids *ids,
                        base_error *error)
{
    size_t room = max_ids > ids->n ? max_ids - ids->n : 0;
    if (!base_utf8_is_valid(text, size))
        return base_fail(error, BASE_EINVAL, "the text is not valid UTF-8");
    if (size / tokenizer->longest > room)
        return base_fail(error, BASE_ETOOBIG, "the text of %zu bytes is too long for the %zu tokens there is room for",
                         size, room);
    int32_t *found = NULL;
    size_t n = 0;
    spm_result result = spm_encode(tokenizer->model, text, size, &found, &n);
    base_status status;
    if (result == SPM_NO_MEMORY)
        status = base_fail(error, BASE_ENOMEM, "no memory to tokenize a text of %zu bytes", size);
    else if (result != SPM_OK)
        status = base_fail(error, BASE_EINTERNAL, "the tokenizer failed on a text of %zu bytes", size);
    else
        status = append_ids(found, n, room, ids, error);
    free(found);
    return status;
}
