/* shard_output.h - files that are being written: names, room on the disk, and a bound on what waits in memory to be
 * written; inside of shards. */
#ifndef PALMGROVE_SHARD_OUTPUT_H
#define PALMGROVE_SHARD_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

#define SHARD_PARTIAL_TAIL ".partial" /* of a file that is not finished */

/* DIR/NAME followed by `tail`.  BASE_EINVAL when that is too long. */
base_status shard_output_path(const char *dir, const char *name, const char *tail, char out[4096], base_error *error);

/* Size of DIR/NAME+tail and the bytes it has on the disk already; false when it is not there. */
bool shard_output_size(const char *dir, const char *name, const char *tail, uint64_t *bytes, uint64_t *allocated);

/* Can the file system of `dir` take that much more?  BASE_EIO with the needed and the available bytes. */
base_status shard_output_check_room(const char *dir, uint64_t needed, base_error *error);

/* Write a small file whole, to the disk.  Not atomic: what makes a set whole is its manifest. */
base_status shard_output_put(const char *dir, const char *name, const void *bytes, size_t size, base_error *error);

/* DIR/NAME.partial becomes DIR/NAME; to the disk. */
base_status shard_output_rename(const char *dir, const char *name, base_error *error);

/* Open DIR/NAME.partial for writing, new or as it is, with room for all of its bytes; locked until it is closed.
 * Errors: BASE_EBUSY another process writes it; BASE_EIO (a full disk with the needed and the available bytes). */
base_status shard_output_open(const char *dir, const char *name, uint64_t bytes, bool fresh, int *fd,
                              base_error *error);

/* Written ranges on their way to the disk, oldest first. */
#define SHARD_FLUSH_RANGES 1024u
typedef struct shard_flush {
    struct {
        int fd;
        uint64_t offset, bytes;
    } ranges[SHARD_FLUSH_RANGES];
    size_t first, n;
    uint64_t waiting, limit; /* bytes */
} shard_flush;

/* Write `size` bytes at `offset` and start them to the disk; when more than the limit waits, the oldest are waited for
 * and dropped from memory.  BASE_EIO; `dir` and `name` are for the error. */
base_status shard_output_write(shard_flush *flush, const char *dir, const char *name, int fd, uint64_t offset,
                               const void *bytes, size_t size, base_error *error);
/* Wait for all. */
base_status shard_output_drain(shard_flush *flush, const char *dir, base_error *error);

#endif
