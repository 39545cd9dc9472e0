/* write.h - write all bytes to a file, or fail. */
#ifndef PALMGROVE_BASE_WRITE_H
#define PALMGROVE_BASE_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Write `size` bytes at `offset` of an open file, in as many calls as it takes; false with errno set on failure. */
bool base_write_at(int fd, uint64_t offset, const void *bytes, size_t size);

#endif
