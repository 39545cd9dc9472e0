/* model_file.h - a small file of a model directory, read whole: config.json, an index, a tokenizer, exemplars. */
#ifndef PALMGROVE_SHARDING_MODEL_FILE_H
#define PALMGROVE_SHARDING_MODEL_FILE_H

#include <stdbool.h>

#include "proto/base/buf.h"
#include "proto/base/status.h"

/* config.json has a few KiB, the index or tokenizer of a large model a few MiB. */
#define SHARD_FILE_MAX_BYTES (64u << 20)

/* Append the content of the regular file DIR/NAME, at most SHARD_FILE_MAX_BYTES, to `out`.
 * Errors: BASE_ENOTFOUND, BASE_ETOOBIG, BASE_EIO (not a regular file, unreadable), BASE_ENOMEM. */
base_status shard_file_read(const char *dir, const char *name, base_buf *out, base_error *error);

/* The first *.gguf of a directory into `path`, and how many there are; -1 when it cannot be listed or the path is too
 * long.  Files with "mmproj" in their names hold vision towers: those alone, or all others. */
int shard_find_gguf(const char *dir, bool mmproj, char *path, size_t size);

#endif
