/* source_entries.h - inside sharding: the list behind a shard_source, for source.c, digest.c and the shard writer. */
#ifndef PALMGROVE_SHARDING_SOURCE_ENTRIES_H
#define PALMGROVE_SHARDING_SOURCE_ENTRIES_H

#include "sharding/safetensors.h"

typedef struct source_entry {
    safetensors_entry parsed;
    uint32_t file; /* index of the file it is in */
} source_entry;

/* All tensors, sorted by name (bytewise); borrowed. */
const source_entry *shard_source_entries(const shard_source *source, size_t *n);

#endif
