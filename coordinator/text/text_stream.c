/* text_stream.c - ids to text, one at a time, never half a character. */
#include <string.h>

#include "coordinator/text/pieces.h"
#include "proto/base/utf8.h"

/* U+FFFD */
static const char replacement[] = "\xef\xbf\xbd";

void text_stream_init(text_stream *stream, const text_tokenizer *tokenizer)
{
    *stream = (text_stream){.tokenizer = tokenizer, .at_start = text_leading_of(tokenizer) != TEXT_LEADING_KEEP};
}

/* Bytes of the character that begins with `lead`; 0 when no character does. */
static size_t character_bytes(uint8_t lead)
{
    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead <= 0xdf)
        return 2;
    if (lead >= 0xe0 && lead <= 0xef)
        return 3;
    return lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
}

/* Can these bytes, fewer than their lead asks for, still become a character?  Filled up with the lowest and with the
 * highest continuation byte, one of the two is valid if any filling is. */
static bool may_become_character(const uint8_t *bytes, size_t n, size_t needed)
{
    uint8_t low[4], high[4];
    memset(low, 0x80, sizeof low);
    memset(high, 0xbf, sizeof high);
    memcpy(low, bytes, n);
    memcpy(high, bytes, n);
    return base_utf8_is_valid(low, needed) || base_utf8_is_valid(high, needed);
}

static void drop_pending(text_stream *stream, size_t n)
{
    memmove(stream->pending, stream->pending + n, stream->n_pending - n);
    stream->n_pending -= n;
}

/* Let out what the pending bytes make: whole characters, U+FFFD for a byte that cannot begin one. */
static void settle(text_stream *stream, base_buf *delta)
{
    while (stream->n_pending > 0) {
        size_t needed = character_bytes(stream->pending[0]);
        if (needed > stream->n_pending && may_become_character(stream->pending, stream->n_pending, needed))
            return;
        if (needed > 0 && needed <= stream->n_pending && base_utf8_is_valid(stream->pending, needed)) {
            base_buf_put(delta, stream->pending, needed);
            drop_pending(stream, needed);
        } else {
            base_buf_put(delta, replacement, sizeof replacement - 1);
            drop_pending(stream, 1);
        }
    }
}

void text_stream_finish(text_stream *stream, base_buf *delta)
{
    for (; stream->n_pending > 0; stream->n_pending--)
        base_buf_put(delta, replacement, sizeof replacement - 1);
}

static void push_text(text_stream *stream, int32_t id, const char *text, size_t size, base_buf *delta)
{
    text_stream_finish(stream, delta); /* a piece of text ends a run of bytes */
    if (size == 0)
        return;
    bool drops = stream->at_start && text_piece_has_blank(stream->tokenizer, id);
    bool is_all = text_leading_of(stream->tokenizer) == TEXT_LEADING_ALL;
    if (!drops || size > 1 || !is_all)
        stream->at_start = false;
    base_buf_put(delta, text + (drops ? 1 : 0), size - (drops ? 1 : 0));
}

void text_stream_push(text_stream *stream, int32_t id, base_buf *delta)
{
    size_t size;
    const char *bytes = text_piece_bytes(stream->tokenizer, id, &size);
    if (!text_piece_is_byte(stream->tokenizer, id)) {
        push_text(stream, id, bytes, size, delta);
        return;
    }
    stream->at_start = false;
    stream->pending[stream->n_pending++] = (uint8_t)bytes[0];
    settle(stream, delta);
}
