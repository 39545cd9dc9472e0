/* gguf_file.h - inside formats: what gguf.c has read of a file and gguf_metadata.c answers from. */
#ifndef PALMGROVE_SHARDING_GGUF_FILE_H
#define PALMGROVE_SHARDING_GGUF_FILE_H

#include "sharding/formats/gguf.h"
#include "sharding/mapped_file.h"

/* The format's numbers of the value types. */
typedef enum gguf_kind {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_N_KINDS,
} gguf_kind;

/* A value, or an array of n.  Numbers lie side by side from `at`; a string is its u64 length and its bytes, and the
 * i-th of an array starts `starts[i]` bytes behind `at`. */
typedef struct gguf_value {
    gguf_kind kind; /* of the elements; never GGUF_ARRAY */
    bool is_array;
    uint64_t n; /* 1 unless an array */
    const uint8_t *at;
    uint64_t *starts; /* [n], owned; NULL: a single string, or numbers */
} gguf_value;

typedef struct gguf_pair {
    gguf_string key;
    gguf_value value;
} gguf_pair;

typedef struct gguf_entry {
    gguf_string name;
    shard_tensor tensor;
    uint64_t offset; /* from the start of the data */
} gguf_entry;

struct gguf_file {
    mapped_file mapped; /* {0} when the bytes are borrowed */
    const uint8_t *bytes;
    size_t size;
    size_t metadata_bytes; /* up to the first tensor info */
    gguf_pair *pairs;      /* in the file's order */
    size_t n_pairs;
    const gguf_pair **sorted; /* the same by key, bytewise */
    gguf_entry *tensors;      /* in the file's order */
    size_t n_tensors;
};

/* Bytes of a number of this kind; 0 for strings and arrays. */
size_t gguf_kind_bytes(gguf_kind kind);

/* Bytewise; a prefix stands before what it begins. */
int gguf_string_compare(gguf_string a, gguf_string b);

/* The value of a key; NULL when there is none. */
const gguf_value *gguf_find(const gguf_file *file, gguf_string key);

#endif
