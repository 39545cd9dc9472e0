/* tokenizer_int.h - inside coordinator/text: a tokenizer's table of pieces, its control tokens, and the backend that
 * makes ids of text.
 *
 *     file (tokenizer.model, tokenizer.json, GGUF)
 *       -> vocab        tokens and merges as the file has them          vocab_json.c, vocab_gguf.c
 *       -> backend      spm.c: the SentencePiece library; bpe.c: ours   fills pieces, specials, encode
 *       -> tokenizer    tokenizer.c: the calls of text.h over these */
#ifndef PALMGROVE_TEXT_TOKENIZER_H
#define PALMGROVE_TEXT_TOKENIZER_H

#include "coordinator/text/special_tokens_int.h"
#include "coordinator/text/text.h"

/* Larger vocabularies are refused before memory is taken; the largest of today have 262,144 pieces. */
#define TEXT_VOCAB_MAX (1u << 20)

/* U+2581, the blank inside pieces of SentencePiece and its kin. */
#define TEXT_METASPACE "\xe2\x96\x81"

/* What happens to the blank that a model puts in front of a text when it tokenizes. */
typedef enum text_leading {
    TEXT_LEADING_KEEP, /* it puts none: nothing is dropped */
    TEXT_LEADING_ONE,  /* the first piece loses a leading blank */
    TEXT_LEADING_ALL,  /* so does every piece until there is text */
} text_leading;

typedef struct text_piece {
    uint32_t offset, size; /* into bytes */
    bool is_raw;
    bool has_leading_space; /* begins with a blank that may be dropped at the start of a text */
} text_piece;

/* Append the ids of a stretch of valid UTF-8 to `ids`, without a bound (the caller has one).
 * Errors, `ids` in any state: BASE_EINVAL, BASE_ENOMEM, BASE_EINTERNAL. */
typedef base_status (*text_encode_fn)(const void *backend, const char *text, size_t size, text_ids *ids,
                                      base_error *error);

struct text_tokenizer {
    void *backend; /* owned: close_backend */
    text_encode_fn encode;
    void (*close_backend)(void *backend);
    uint32_t vocab_size;
    text_piece *pieces; /* [vocab_size] */
    base_buf bytes;     /* of all pieces, one behind the other */
    size_t longest;     /* bytes of text that one id can stand for, at least 1 */
    text_leading leading;
    bool is_byte_level;    /* how broken characters are shown: see text_stream */
    specials controls;     /* by their spelling */
    specials user_defined; /* tokens matched in any text by their spelling, before the backend sees it */
    int32_t bos_id, eos_id, start_id;
    base_buf chat_template;
};

/* A tokenizer from the bytes of one file, borrowed for the call, without what may lie beside it; errors call it `name`.
 * Errors: those of text_tokenizer_open. */
typedef enum text_file { TEXT_FILE_MODEL, TEXT_FILE_JSON, TEXT_FILE_GGUF } text_file;
base_status text_open_bytes(text_file kind, const char *name, const void *bytes, size_t size, text_tokenizer **out,
                            base_error *error);

/* The table of an empty tokenizer of n pieces.  Errors: BASE_EFORMAT none; BASE_ETOOBIG; BASE_ENOMEM.  `name` is the
 * file's. */
base_status text_pieces_reserve(text_tokenizer *tokenizer, uint64_t n, const char *name, base_error *error);
/* Piece `id` begins here: bytes that are appended to `bytes` until text_piece_end belong to it. */
text_piece *text_piece_begin(text_tokenizer *tokenizer, uint32_t id);
void text_piece_end(text_tokenizer *tokenizer, uint32_t id);

/* The value of "<0xE2>", a byte piece of SentencePiece, or -1. */
int text_byte_value(const char *text, size_t size);
/* Append with every U+2581 as a blank. */
void text_put_spaces(base_buf *out, const char *text, size_t size);
/* Does it begin with U+2581? */
bool text_begins_with_space(const char *text, size_t size);

/* Make room for `extra` more ids; false when memory is out. */
bool text_ids_reserve(text_ids *ids, size_t extra);

/* Characters out of bytes that come one at a time: `pending` [4] holds the beginning of one.  The byte is appended to
 * `out` as soon as its character is whole; what cannot become one turns into U+FFFD, per byte or (by_subpart) per
 * longest beginning of a character. */
void text_utf8_push(uint8_t *pending, size_t *n_pending, uint8_t byte, bool by_subpart, base_buf *out);
/* No more bytes. */
void text_utf8_finish(size_t *n_pending, bool by_subpart, base_buf *out);

#endif
