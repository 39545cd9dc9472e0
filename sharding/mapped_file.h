/* mapped_file.h - a whole regular file mapped read-only: checkpoints, GGUF files, shards. */
#ifndef PALMGROVE_SHARDING_MAPPED_FILE_H
#define PALMGROVE_SHARDING_MAPPED_FILE_H

#include <stddef.h>

#include "proto/base/status.h"

/* {0}: nothing is mapped. */
typedef struct mapped_file {
    void *map; /* owned */
    size_t bytes;
} mapped_file;

/* Map PATH.  *out is written only on success; close it with mapped_file_close.
 * Errors: BASE_ENOTFOUND, BASE_EIO (unreadable, not a regular file), BASE_EFORMAT (empty). */
base_status mapped_file_open(const char *path, mapped_file *out, base_error *error);

/* Unmap; a file that is not mapped is left alone. */
void mapped_file_close(mapped_file *file);

#endif
