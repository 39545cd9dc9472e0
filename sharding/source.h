/* source.h - a checkpoint directory opened for reading: tensors by name, mapped, never copied.
 *
 * Owns: the file maps.  Headers are hostile until checked: every offset, size, overlap and name is verified at open, so
 * a tensor that was found can be read without further care.  A rank touches only the rows it owns; the kernel pages in
 * only those. */
#ifndef PALMGROVE_SHARDING_SOURCE_H
#define PALMGROVE_SHARDING_SOURCE_H

#include <stdint.h>

#include "proto/base/status.h"
#include "sharding/arch.h"

typedef enum shard_type { SHARD_F32, SHARD_F16, SHARD_BF16, SHARD_OTHER } shard_type;

typedef struct shard_tensor {
    shard_type type;
    int n_dims;
    uint64_t shape[4];
    const void *data; /* borrowed from the source; aligned to the element size or less: read with memcpy */
    uint64_t bytes;
} shard_tensor;

typedef struct shard_source shard_source;

/* Open DIR/model.safetensors, or the files of DIR/model.safetensors.index.json.
 * Errors: BASE_ENOTFOUND, BASE_EFORMAT (file and what is wrong: cut short, overlapping tensors, bad header ...),
 * BASE_EIO. */
base_status shard_source_open(const char *dir, shard_source **out, base_error *error);
void shard_source_close(shard_source **source);

/* BASE_ENOTFOUND when there is no such tensor. */
base_status shard_source_find(const shard_source *source, const char *name, shard_tensor *out, base_error *error);

/* Find every tensor that `a` needs and check type and shape; the first that is missing or wrong is named with both
 * shapes. */
base_status shard_source_check(const shard_source *source, const arch *a, base_error *error);

/* Read `n_columns` elements of row `row` from column `column` of a 1- or 2-d tensor as f32 (a 1-d tensor is one row).
 */
void shard_tensor_read(const shard_tensor *tensor, uint64_t row, uint64_t column, uint64_t n_columns, float *out);

/* The same without conversion, as bf16 bit patterns; only for SHARD_BF16 tensors. */
void shard_tensor_read_bf16(const shard_tensor *tensor, uint64_t row, uint64_t column, uint64_t n_columns,
                            uint16_t *out);

/* A name for the weights: lower-case hex SHA-256 over config.json and the safetensors headers and data, 64 digits and a
 * NUL. Reads every byte, so one rank does it, in the background of loading. */
base_status shard_source_digest(const shard_source *source, const char *dir, char out[65], base_error *error);

#endif
