/* gguf.h - a GGUF file (v2, v3; https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), its header checked.
 *
 * Layout: magic "GGUF", u32 version, u64 tensor count, u64 metadata count, metadata (name, type, value)*, tensor infos
 * (name, n_dims, ne[], type, offset)*, padding to general.alignment, data.  ne[0] is the fastest dimension: shape here
 * is reversed to [rows][columns]. Headers are hostile until checked: counts against the bytes left, name and string
 * lengths, types, nested arrays, alignment, offsets, overlaps, tensors past the end.
 *
 * Owns: the map of the file.  Everything returned is borrowed from it and lives as long as the gguf_file. */
#ifndef PALMGROVE_SHARDING_GGUF_H
#define PALMGROVE_SHARDING_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/status.h"
#include "sharding/source.h"

#define GGUF_MAX_DIMS 4

typedef struct gguf_file gguf_file;

typedef struct gguf_string {
    const char *bytes; /* not NUL-terminated */
    size_t size;
} gguf_string;

/* Errors: BASE_ENOTFOUND, BASE_EIO, BASE_EFORMAT (what is wrong and where), BASE_EUNSUPPORTED (version, big-endian, a
 * tensor type that is not computed with), BASE_ETOOBIG, BASE_ENOMEM. */
base_status gguf_open(const char *path, gguf_file **out, base_error *error);
/* The same over bytes in memory, borrowed (fuzzing, tests). */
base_status gguf_open_bytes(const char *name, const void *bytes, size_t size, gguf_file **out, base_error *error);
void gguf_close(gguf_file **file);

/* Metadata.  False when the key is missing or of another kind; integers of any width convert when the value fits. */
bool gguf_has(const gguf_file *file, const char *key);
bool gguf_get_u64(const gguf_file *file, const char *key, uint64_t *out);
bool gguf_get_f64(const gguf_file *file, const char *key, double *out); /* also from integers */
bool gguf_get_bool(const gguf_file *file, const char *key, bool *out);
bool gguf_get_string(const gguf_file *file, const char *key, gguf_string *out);

/* Arrays: the length (0 when missing), then elements; false when i is outside or the elements are of another kind. */
size_t gguf_array_size(const gguf_file *file, const char *key);
bool gguf_array_string(const gguf_file *file, const char *key, size_t i, gguf_string *out);
bool gguf_array_f64(const gguf_file *file, const char *key, size_t i, double *out);
/* Booleans count as 0 and 1: some arrays of flags are written as either. */
bool gguf_array_i64(const gguf_file *file, const char *key, size_t i, int64_t *out);

/* The i-th key in the file's order and a printable one-line rendering of its value (arrays: length and kind); false
 * past the end. */
bool gguf_describe(const gguf_file *file, size_t i, gguf_string *key, char *value, size_t size);

/* Tensors. */
size_t gguf_n_tensors(const gguf_file *file);
void gguf_tensor(const gguf_file *file, size_t i, gguf_string *name, shard_tensor *out);

/* The bytes from the start of the file to the first tensor info: what describes the model. */
void gguf_metadata(const gguf_file *file, const void **bytes, size_t *size);

/* A GGUF file without tensors that holds the architecture's name and the tokenizer's metadata, appended (out->failed:
 * no memory). */
void gguf_put_vocabulary(const gguf_file *file, base_buf *out);

#endif
