/* safetensors.h - the header of one safetensors file, checked.
 *
 * Layout: 8 bytes little-endian header length n, n bytes JSON {name: {dtype, shape, data_offsets: [begin, end]}}, then
 * data. Checked as strictly as the reference implementation (huggingface/safetensors) and a little more: names are
 * unique and plain, shape x element size equals the length of the range, and the ranges tile the data exactly: no
 * overlap, no hole, nothing behind the last tensor, nothing cut off.  So a tensor that was parsed lies inside the file.
 */
#ifndef PALMGROVE_SHARDING_SAFETENSORS_H
#define PALMGROVE_SHARDING_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "sharding/source.h"

/* The format's own bound on the header. */
#define SAFETENSORS_MAX_HEADER 100000000u
#define SAFETENSORS_MAX_NAME   255u

typedef struct safetensors_entry {
    char *name;        /* owned */
    const char *dtype; /* static: "BF16" */
    shard_tensor tensor;
} safetensors_entry;

/* Parse the `size` bytes of a file that errors call `file`.  *entries (owned: safetensors_release) is sorted by offset;
 * its tensors borrow from `bytes`. Errors: BASE_EFORMAT, BASE_ETOOBIG (header, dimensions), BASE_EUNSUPPORTED (element
 * type), BASE_ENOMEM. */
base_status safetensors_parse(const char *file, const void *bytes, size_t size, safetensors_entry **entries,
                              size_t *n_entries, base_error *error);

void safetensors_release(safetensors_entry **entries, size_t n_entries);

#endif
