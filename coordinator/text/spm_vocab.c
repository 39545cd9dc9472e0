/* spm_vocab.c - a GGUF vocabulary of kind "llama", written back as the SentencePiece model it was converted from.
 *
 * Field numbers are those of sentencepiece_model.proto:
 *     ModelProto      pieces = 1 { piece = 1, score = 2, type = 3 }, trainer_spec = 2, normalizer_spec = 3
 *     TrainerSpec     model_type = 3 (BPE: 2), byte_fallback = 35, unk_piece = 45, bos_piece = 46, eos_piece = 47,
 *                     pad_piece = 48
 *     NormalizerSpec  name = 1, add_dummy_prefix = 3, remove_extra_whitespaces = 4, escape_whitespaces = 5
 * Three differences from the original: a user-defined piece has spaces in GGUF and U+2581 in a model; the unknown token
 * may be listed as a control token; and the library knows BOS and EOS by their spelling, not by id. */
#include <string.h>

#include "coordinator/text/spm_int.h"

enum { MODEL_TYPE_BPE = 2 };

static void put_varint(base_buf *out, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        base_buf_put_u8(out, (uint8_t)(value | 0x80));
    base_buf_put_u8(out, (uint8_t)value);
}

static void put_number(base_buf *out, unsigned field, uint64_t value)
{
    put_varint(out, (uint64_t)field << 3);
    put_varint(out, value);
}

static void put_bytes(base_buf *out, unsigned field, const void *bytes, size_t size)
{
    put_varint(out, (uint64_t)field << 3 | 2);
    put_varint(out, size);
    base_buf_put(out, bytes, size);
}

static void put_float(base_buf *out, unsigned field, float value)
{
    put_varint(out, (uint64_t)field << 3 | 5);
    base_buf_put_f32(out, value);
}

static void put_escaped(base_buf *out, vocab_string text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.text[i] == ' ')
            base_buf_put(out, TEXT_METASPACE, sizeof TEXT_METASPACE - 1);
        else
            base_buf_put_u8(out, (uint8_t)text.text[i]);
    }
}

static vocab_kind kind_of(const vocab *v, uint32_t id)
{
    vocab_kind kind = v->tokens[id].kind;
    if ((int32_t)id == v->unknown_id)
        return VOCAB_UNKNOWN;
    return kind == VOCAB_UNKNOWN ? VOCAB_CONTROL : kind; /* the library allows one */
}

static void put_pieces(const vocab *v, base_buf *out, base_buf *piece, base_buf *text)
{
    for (uint32_t id = 0; id < v->n; id++) {
        vocab_kind kind = kind_of(v, id);
        base_buf_clear(piece);
        base_buf_clear(text);
        if (kind == VOCAB_USER_DEFINED)
            put_escaped(text, v->tokens[id].text);
        else
            base_buf_put(text, v->tokens[id].text.text, v->tokens[id].text.size);
        put_bytes(piece, 1, text->data, text->size);
        put_float(piece, 2, v->tokens[id].score);
        put_number(piece, 3, (uint64_t)kind);
        put_bytes(out, 1, piece->data, piece->size);
    }
}

static void put_named(const vocab *v, base_buf *out, unsigned field, int32_t id)
{
    if (id >= 0)
        put_bytes(out, field, v->tokens[id].text.text, v->tokens[id].text.size);
}

static bool has_bytes(const vocab *v)
{
    bool found = false;
    for (uint32_t id = 0; id < v->n; id++)
        found |= v->tokens[id].kind == VOCAB_BYTE;
    return found;
}

static void put_model(const vocab *v, base_buf *out, base_buf *scratch, base_buf *text)
{
    put_pieces(v, out, scratch, text);
    base_buf_clear(scratch);
    put_number(scratch, 3, MODEL_TYPE_BPE);
    put_number(scratch, 35, has_bytes(v));
    put_named(v, scratch, 45, v->unknown_id);
    put_named(v, scratch, 46, v->bos_id);
    put_named(v, scratch, 47, v->eos_id);
    put_bytes(out, 2, scratch->data, scratch->size);
    base_buf_clear(scratch);
    put_bytes(scratch, 1, "identity", 8);
    put_number(scratch, 3, v->prefix != VOCAB_PREFIX_NONE);
    put_number(scratch, 4, false);
    put_number(scratch, 5, true);
    put_bytes(out, 3, scratch->data, scratch->size);
}

base_status spm_open_vocab(text_tokenizer *tokenizer, const vocab *v, base_error *error)
{
    if (v->unknown_id < 0)
        return base_fail(error, BASE_EFORMAT, "'%s' names no unknown token, which a SentencePiece vocabulary needs",
                         v->name);
    base_buf model = {0}, scratch = {0}, text = {0};
    put_model(v, &model, &scratch, &text);
    base_status status = model.failed || scratch.failed || text.failed
                             ? base_fail(error, BASE_ENOMEM, "no memory for the vocabulary of '%s'", v->name)
                             : spm_open(tokenizer, v->name, model.data, model.size, error);
    base_buf_release(&model);
    base_buf_release(&scratch);
    base_buf_release(&text);
    if (status == BASE_OK) {
        tokenizer->bos_id = v->bos_id;
        tokenizer->eos_id = v->eos_id;
        tokenizer->start_id = v->start_id;
    }
    return status;
}
