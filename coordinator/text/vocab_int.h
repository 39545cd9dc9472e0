/* vocab_int.h - a vocabulary as it is in a file, before a backend builds a tokenizer from it.
 *
 * Strings are borrowed from the file (the JSON tree or the mapped GGUF), which outlives the vocab.  Only what
 * the types need is checked: kinds are in range, ids below n. */
#ifndef PALMGROVE_TEXT_VOCAB_H
#define PALMGROVE_TEXT_VOCAB_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "sharding/formats/gguf.h"

/* The numbers of SentencePiece's ModelProto.SentencePiece.Type and of GGUF's tokenizer.ggml.token_type. */
typedef enum vocab_kind {
    VOCAB_NORMAL = 1,
    VOCAB_UNKNOWN = 2,
    VOCAB_CONTROL = 3,
    VOCAB_USER_DEFINED = 4, /* matched in any text by its spelling */
    VOCAB_UNUSED = 5,
    VOCAB_BYTE = 6,
} vocab_kind;

typedef struct vocab_string {
    const char *text; /* not NUL-terminated */
    size_t size;
} vocab_string;

typedef struct vocab_token {
    vocab_string text;
    float score;
    vocab_kind kind;
} vocab_token;

typedef struct vocab_merge {
    vocab_string left, right;
} vocab_merge;

/* Pre-tokenizer patterns, applied in order: each cuts the pieces that the previous one left. */
#define VOCAB_PATTERNS_MAX 8u

/* The space that a character vocabulary puts in front of a text (SentencePiece: add_dummy_prefix). */
typedef enum vocab_prefix { VOCAB_PREFIX_NONE, VOCAB_PREFIX_SPACE, VOCAB_PREFIX_UNLESS_SPACE } vocab_prefix;

typedef enum vocab_model {
    VOCAB_SENTENCEPIECE, /* scores decide */
    VOCAB_BYTE_BPE,      /* merges of bytes */
    VOCAB_CHARACTER_BPE, /* merges of characters; byte pieces for characters that are not one */
} vocab_model;

typedef struct vocab {
    const char *name; /* of the file, for errors */
    vocab_model model;
    vocab_token *tokens; /* [n] owned; a hole is VOCAB_UNUSED without text */
    uint32_t n;
    vocab_merge *merges; /* [n_merges] owned; by rank, lowest first */
    uint32_t n_merges;
    vocab_string patterns[VOCAB_PATTERNS_MAX];
    uint32_t n_patterns;
    bool ignore_merges; /* a word that is a piece becomes it without merging */
    bool nfc;           /* texts are normalised first (Unicode NFC) */
    bool fuse_unknown;
    vocab_prefix prefix;
    int32_t bos_id, eos_id, unknown_id, start_id; /* -1: none */
} vocab;

/* From the root of a tokenizer.json.  bos, eos and start come from the post-processor, else -1.
 * Errors: BASE_EFORMAT (field named), BASE_EUNSUPPORTED (a kind of model, normaliser or pre-tokenizer that is not
 * known), BASE_ETOOBIG, BASE_ENOMEM.  On failure *out is empty. */
base_status vocab_from_json(const char *name, const json_t *root, vocab *out, base_error *error);
/* From the tokenizer.ggml.* keys.  Errors as above; BASE_ENOTFOUND: the file has none. */
base_status vocab_from_gguf(const char *name, const gguf_file *file, vocab *out, base_error *error);
/* Free the arrays; the strings are the file's. */
void vocab_release(vocab *v);

/* Room for n tokens (holes) and m merges in an empty vocab.  Errors: BASE_EFORMAT none; BASE_ETOOBIG; BASE_ENOMEM. */
base_status vocab_reserve(vocab *v, uint64_t n, uint64_t m, base_error *error);

/* The id of the token with this spelling, of any kind; -1 when there is none.  Linear. */
int32_t vocab_find(const vocab *v, const char *text, size_t size);

#endif
