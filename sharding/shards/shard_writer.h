/* shard_writer.h - inside of a shard_writer, for shard_write.c (what happens once) and shard_stream.c (the data). */
#ifndef PALMGROVE_SHARD_WRITER_H
#define PALMGROVE_SHARD_WRITER_H

#include "sharding/pack_slice.h"
#include "sharding/shards/shard_manifest.h"
#include "sharding/shards/shard_write.h"

struct shard_writer {
    const shard_checkpoint *from;
    shard_write_options options;
    shard_manifest manifest; /* all files, planned and laid out */
    /* memory */
    uint32_t n_lanes;     /* threads */
    size_t buffer_bytes;  /* of packed panels in flight */
    size_t in_flight;     /* the same with what is read for them */
    uint64_t flush_limit; /* bytes that may wait for the disk */
    uint64_t memory;      /* the bound */
};

/* The checkpoint's tensor behind a slice. */
base_status shard_writer_tensor(const shard_writer *writer, const shard_slice *slice, shard_tensor *out,
                                base_error *error);

/* Rows that are packed together (a panel of a matrix, a row of a table), and the bytes they take packed and in the
 * checkpoint. */
uint32_t shard_unit_rows(const shard_slice *slice);
size_t shard_unit_bytes(const shard_record *record);
size_t shard_unit_source_bytes(const shard_slice *slice, const shard_tensor *tensor);

/* Is the set in the directory already, every file with its size? */
bool shard_writer_is_whole(const shard_writer *writer);

#endif
