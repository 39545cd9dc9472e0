/* tokenizer_int.h - a tokenizer's table of pieces, its special tokens, and the backend that encodes text.
 *
 *     file (tokenizer.model, tokenizer.json, GGUF)
 *       -> vocab        tokens and merges as in the file                vocab_json.c, vocab_gguf.c
 *       -> backend      spm.c: the SentencePiece library; bpe.c: ours   fills pieces, specials, encode
 *       -> tokenizer    tokenizer.c: the calls of text.h on top of them */
#ifndef PALMGROVE_TEXT_TOKENIZER_H
#define PALMGROVE_TEXT_TOKENIZER_H

#include "coordinator/text/special_tokens_int.h"
#include "coordinator/text/text.h"

/* Larger vocabularies are refused before memory is taken; the largest of today have 262,144 pieces. */
#define TEXT_VOCAB_MAX (1u << 20)

/* U+2581, which is a space in pieces of SentencePiece and its relatives. */
#define TEXT_METASPACE "\xe2\x96\x81"

/* Decoding drops the space that encoding put in front of the text. */
typedef enum text_leading {
    TEXT_LEADING_KEEP, /* encoding adds none: nothing is dropped */
    TEXT_LEADING_ONE,  /* the first piece loses a leading space */
    TEXT_LEADING_ALL,  /* so does every piece until there is text */
} text_leading;

typedef struct text_piece {
    uint32_t offset, size; /* into bytes */
    bool is_raw;
    bool has_leading_space; /* begins with a space that may be dropped at the start of a text */
} text_piece;

/* Append the ids of a stretch of valid UTF-8 to `ids`, without a bound (the caller checks it).
 * Errors, `ids` in any state: BASE_EINVAL, BASE_ENOMEM, BASE_EINTERNAL. */
typedef base_status (*text_encode_fn)(const void *backend, const char *text, size_t size, text_ids *ids,
                                      base_error *error);

struct text_tokenizer {
    void *backend; /* owned: close_backend */
    text_encode_fn encode;
    void (*close_backend)(void *backend);
    uint32_t vocab_size;
    text_piece *pieces; /* [vocab_size] */
    base_buf bytes;     /* of all pieces, concatenated */
    size_t longest;     /* bytes of text that one id can encode, at least 1 */
    text_leading leading;
    bool is_byte_level;    /* decides how malformed UTF-8 is shown: see text_stream */
    specials controls;     /* made from trusted text only */
    specials user_defined; /* tokens matched in any text by their spelling, before the backend sees it */
    int32_t bos_id, eos_id, start_id;
    base_buf chat_template;
};

typedef enum text_file { TEXT_FILE_MODEL, TEXT_FILE_JSON, TEXT_FILE_GGUF } text_file;

/* A tokenizer from the bytes of one file, read only during the call, without the files next to it; errors call it
 * `name`.  Errors: those of text_tokenizer_open. */
base_status text_open_bytes(text_file kind, const char *name, const void *bytes, size_t size, text_tokenizer **out,
                            base_error *error);

/* Allocate the table of an empty tokenizer for n pieces.  Errors: BASE_EFORMAT none; BASE_ETOOBIG; BASE_ENOMEM. `name`:
 * the file's, for errors. */
base_status text_pieces_reserve(text_tokenizer *tokenizer, uint64_t n, const char *name, base_error *error);
/* Bytes appended to `bytes` between begin and end are those of piece `id`. */
text_piece *text_piece_begin(text_tokenizer *tokenizer, uint32_t id);
void text_piece_end(text_tokenizer *tokenizer, uint32_t id);

/* The value of "<0xE2>", a byte piece of SentencePiece, or -1. */
int text_byte_value(const char *text, size_t size);
/* Append with every U+2581 turned into a space. */
void text_put_spaces(base_buf *out, const char *text, size_t size);
/* True if it begins with U+2581. */
bool text_begins_with_space(const char *text, size_t size);

/* Make room for `extra` more ids; false when memory is out. */
bool text_ids_reserve(text_ids *ids, size_t extra);

/* Incremental UTF-8 decoder: `pending` [4] holds an incomplete character, which is appended to `out` when its last byte
 * arrives.  Bytes that cannot form one become U+FFFD, one per byte or (by_subpart) one per maximal subpart. */
void text_utf8_push(uint8_t *pending, size_t *n_pending, uint8_t byte, bool by_subpart, base_buf *out);
/* No more bytes: an incomplete character becomes U+FFFD. */
void text_utf8_finish(size_t *n_pending, bool by_subpart, base_buf *out);

#endif
