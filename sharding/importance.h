/* importance.h - how strongly each column of each matrix is driven: the mean square of the activations that meet it,
 * measured on a calibration text by `palmgrove calibrate` and used by the quantiser (activation-aware scales, as in
 * arXiv 2306.00978 and llama.cpp's importance matrix).
 *
 * File: safetensors, one F32 tensor per matrix, named as in shard_slice_name, of the matrix's whole width. */
#ifndef PALMGROVE_SHARDING_IMPORTANCE_H
#define PALMGROVE_SHARDING_IMPORTANCE_H

#include "proto/base/status.h"
#include "sharding/slices.h"

typedef struct shard_importance shard_importance;

/* Errors: BASE_ENOTFOUND, BASE_EFORMAT (also a value that is no finite number >= 0), BASE_EIO, BASE_ENOMEM; BASE_EINVAL
 * when a width is not that of `a`, or a tensor is none of its matrices. */
base_status shard_importance_open(const char *path, const arch *a, shard_importance **out, base_error *error);
void shard_importance_close(shard_importance **importance);

/* The columns of `slice`, f32 [width of slice->columns]; NULL when the file has none for it. */
const float *shard_importance_of(const shard_importance *importance, const shard_slice *slice);

/* One matrix of a file that is written. */
typedef struct shard_importance_row {
    char name[SHARD_SLICE_NAME];
    uint32_t width;
    const float *values; /* [width]; borrowed */
} shard_importance_row;

/* Write PATH: whole or not at all.  Errors: BASE_EIO (a file of that name is left as it was), BASE_ENOMEM. */
base_status shard_importance_write(const char *path, const shard_importance_row *rows, size_t n_rows,
                                   base_error *error);

/* Row i in the order of names, borrowed; false past the end. */
bool shard_importance_row_at(const shard_importance *importance, size_t i, shard_importance_row *out);

#endif
