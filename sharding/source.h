/* source.h - tensors by name, mapped, never copied, whatever file they are in.
 *
 * Owns: the file maps.  Headers are hostile until checked: every offset, size, overlap and name is verified at open, so
 * a tensor that was found can be read without further care.  A rank touches only the rows it owns; the kernel pages in
 * only those. */
#ifndef PALMGROVE_SHARDING_SOURCE_H
#define PALMGROVE_SHARDING_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "sharding/arch.h"

/* Element types.  The quantised ones are GGUF's blocks along a row (formats/blocks.c); a row is a whole number of
 * blocks. SHARD_SYNTHETIC has no bytes: `seed` and `spread` make the values. */
typedef enum shard_type {
    SHARD_F64,
    SHARD_F32,
    SHARD_F16,
    SHARD_BF16,
    SHARD_F8_E4M3,
    SHARD_F8_E5M2,
    SHARD_Q8_0,
    SHARD_Q4_0,
    SHARD_Q4_1,
    SHARD_Q5_0,
    SHARD_Q5_1,
    SHARD_Q2_K,
    SHARD_Q3_K,
    SHARD_Q4_K,
    SHARD_Q5_K,
    SHARD_Q6_K,
    SHARD_SYNTHETIC,
    SHARD_OTHER, /* known to the format, never computed with: integers, booleans */
} shard_type;

typedef struct shard_tensor {
    shard_type type;
    int n_dims;
    uint64_t shape[4];
    const void *data; /* borrowed from the source; aligned to the element size or less: read with memcpy */
    uint64_t bytes;
    uint64_t seed;   /* SHARD_SYNTHETIC */
    float spread;    /* SHARD_SYNTHETIC: standard deviation */
    bool transposed; /* the file holds [shape[1]][shape[0]]; 2 dimensions, read by shard_tensor_read */
} shard_tensor;

typedef struct shard_source shard_source;

/* Open DIR/model.safetensors, or the files of DIR/model.safetensors.index.json.
 * Errors: BASE_ENOTFOUND, BASE_EFORMAT (file and what is wrong: cut short, overlapping tensors, bad header ...),
 * BASE_EIO. */
base_status shard_source_open(const char *dir, shard_source **out, base_error *error);
void shard_source_close(shard_source **source);

/* Add the tensors of another open source (moved: *added is NULL afterwards, also on errors), `prefix` before their
 * names. Errors: BASE_EFORMAT a name is in both; BASE_ENOMEM. */
base_status shard_source_add(shard_source *source, shard_source **added, const char *prefix, base_error *error);

/* BASE_ENOTFOUND when there is no such tensor. */
base_status shard_source_find(const shard_source *source, const char *name, shard_tensor *out, base_error *error);

/* The tensor of a part's role, as arch_tensor_shape has it: dimensions behind the first as one (a convolution's
 * kernel), and turned round where the checkpoint stores it so.  Errors as above; BASE_EINTERNAL the family has no name
 * for it. */
base_status shard_source_find_role(const shard_source *source, const arch *a, arch_part part, arch_role role,
                                   uint32_t layer, shard_tensor *out, base_error *error);

/* Find every tensor that `a` needs and check type and shape; the first that is missing or wrong is named with both
 * shapes. */
base_status shard_source_check(const shard_source *source, const arch *a, base_error *error);

/* "BF16", "Q4_K", ...; static. */
const char *shard_type_name(shard_type type);

/* Elements of a block and its bytes: 1 and the element's size for plain types; 32 and 34 for Q8_0; 256 and 144 for Q4_K
 * ... */
void shard_type_block(shard_type type, uint32_t *n_elements, uint32_t *n_bytes);

/* Read `n_columns` elements of row `row` from column `column` of a 1- or 2-d tensor as f32 (a 1-d tensor is one row).
 * Any range, also inside a block. */
void shard_tensor_read(const shard_tensor *tensor, uint64_t row, uint64_t column, uint64_t n_columns, float *out);

/* Groups of 32 of a SHARD_Q8_0 or SHARD_Q4_0 tensor as they are: scales in f16 bits [n_columns / 32], q [n_columns]
 * signed (Q4_0: -8..7).  column and n_columns are multiples of 32. */
void shard_tensor_read_groups(const shard_tensor *tensor, uint64_t row, uint64_t column, uint64_t n_columns,
                              uint16_t *scales, int8_t *q);

/* A tensor's pages are not needed any more: lets the kernel drop them (bounded memory while a large model streams
 * through). */
void shard_tensor_forget(const shard_tensor *tensor, uint64_t first_row, uint64_t n_rows);

/* A SHA-256 over `config` (the bytes that describe the model: config.json, or the metadata of a GGUF file) and all
 * tensors; lower-case hex, 64 digits and a NUL.  Reads every byte. */
base_status shard_source_digest(const shard_source *source, const void *config, size_t config_bytes, char out[65],
                                base_error *error);

#endif
