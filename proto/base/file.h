/* file.h - whole files: read within a limit, replaced atomically.  Safe from any thread. */
#ifndef PALMGROVE_BASE_FILE_H
#define PALMGROVE_BASE_FILE_H

#include "proto/base/buf.h"
#include "proto/base/status.h"

/* Append the content of a regular file of at most `max` bytes to `out`.  Never
 * hangs, not even on a FIFO. Errors: BASE_ENOTFOUND; BASE_ETOOBIG; BASE_EIO not a regular file, unreadable;
 * BASE_ENOMEM. */
base_status base_file_read(const char *path, size_t max, base_buf *out, base_error *error);

/* Replace a file atomically: write PATH.part, flush it to disk, rename.
 * Errors: BASE_EIO; BASE_EINVAL the path is too long; BASE_ENOMEM `bytes` has failed. */
base_status base_file_replace(const char *path, const base_buf *bytes, base_error *error);

#endif
