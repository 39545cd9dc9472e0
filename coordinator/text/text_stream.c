/* text_stream.c - the streaming detokenizer: ids to text, one at a time, whole characters only.
 *
 * A piece of text is appended at once; raw bytes go through the UTF-8 decoder (utf8_repair.c), which holds an
 * incomplete character back.  In a SentencePiece vocabulary a piece of text ends a run of bytes, complete or not. */
#include <string.h>

#include "coordinator/text/tokenizer_int.h"

void text_stream_init(text_stream *stream, const text_tokenizer *tokenizer)
{
    *stream = (text_stream){.tokenizer = tokenizer, .at_start = tokenizer->leading != TEXT_LEADING_KEEP};
}

void text_stream_finish(text_stream *stream, base_buf *delta)
{
    text_utf8_finish(&stream->n_pending, stream->tokenizer->is_byte_level, delta);
}

static bool begins_with_blank(const text_tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->vocab_size && t->pieces[id].has_leading_space;
}

static void push_text(text_stream *stream, int32_t id, const char *text, size_t size, base_buf *delta)
{
    text_stream_finish(stream, delta); /* a piece of text ends a run of byte pieces */
    if (size == 0)
        return;
    bool drops = stream->at_start && begins_with_blank(stream->tokenizer, id);
    bool is_all = stream->tokenizer->leading == TEXT_LEADING_ALL;
    if (!drops || size > 1 || !is_all)
        stream->at_start = false;
    base_buf_put(delta, text + (drops ? 1 : 0), size - (drops ? 1 : 0));
}

void text_stream_push(text_stream *stream, int32_t id, base_buf *delta)
{
    size_t size;
    const char *bytes = text_piece_bytes(stream->tokenizer, id, &size);
    bool is_byte_level = stream->tokenizer->is_byte_level;
    if (!is_byte_level && !text_piece_is_raw(stream->tokenizer, id)) {
        push_text(stream, id, bytes, size, delta);
        return;
    }
    stream->at_start = stream->at_start && size == 0;
    for (size_t i = 0; i < size; i++)
        text_utf8_push(stream->pending, &stream->n_pending, (uint8_t)bytes[i], is_byte_level, delta);
}
