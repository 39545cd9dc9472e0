/* source_entries.h - inside sharding: the list behind a shard_source, for source.c, digest.c and those who make sources
 * of other files. */
#ifndef PALMGROVE_SHARDING_SOURCE_ENTRIES_H
#define PALMGROVE_SHARDING_SOURCE_ENTRIES_H

#include "sharding/formats/gguf.h"
#include "sharding/formats/safetensors.h"

typedef struct source_entry {
    safetensors_entry parsed; /* name owned; dtype static; the tensor's data borrowed */
    uint32_t file;            /* index of the file it is in; 0 when there are no files */
} source_entry;

/* All tensors, sorted by name (bytewise); borrowed. */
const source_entry *shard_source_entries(const shard_source *source, size_t *n);

/* A source of `n` tensors whose data somebody else keeps until the source is closed (a mapped GGUF file; nobody, for
 * synthetic ones). Takes over `entries` (malloc) and their names (malloc), also on failure. Errors: BASE_EFORMAT no
 * tensors, a name that is not plain or there twice; BASE_ENOMEM. */
base_status shard_source_from_entries(source_entry *entries, size_t n, shard_source **out, base_error *error);

/* The tensors of a GGUF file, which outlives the source.  Errors as above. */
base_status shard_source_from_gguf(const gguf_file *gguf, shard_source **out, base_error *error);

#endif
