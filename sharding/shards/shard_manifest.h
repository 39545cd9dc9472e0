/* shard_manifest.h - palmgrove.json of a shard directory; inside of shards.
 *
 *     {"format": "palmgrove-shard-2", "made_by": "palmgrove 0.1.0",
 *      "set": ID, "source": {"path", "format"}, "recipe": "int4", "importance": SUM or null,
 *      "tp": T, "pp": P, "arch": {...},
 *      "files": [{"name", "stage", "tp_rank", "bytes", "header_sum",
 *                 "tensors": {NAME: {"type", "shape": [rows, columns], "unit", "offset", "bytes", "sum"}}}],
 *      "extras": [{"name", "bytes", "sum"}],
 *      "sum": SUM}
 *
 * Offsets count from the start of the file.  The sum of a tensor covers its bytes and their padding; the last one the
 * rest of this object, as compact JSON with sorted keys.  Whatever follows from the architecture and the layout is
 * checked against them. */
#ifndef PALMGROVE_SHARD_MANIFEST_H
#define PALMGROVE_SHARD_MANIFEST_H

#include "proto/base/buf.h"
#include "sharding/arch.h"
#include "sharding/shards/shard_layout.h"

/* A file that was copied beside the shards: a tokenizer, exemplars. */
typedef struct shard_extra {
    char name[64];
    uint64_t bytes;
    char sum[SHARD_SUM_TEXT];
} shard_extra;

typedef struct shard_manifest {
    arch a;
    uint32_t tp, pp;
    char set[SHARD_SUM_TEXT];
    char made_by[64], recipe[16];
    char source[256], source_format[32]; /* for people */
    char importance[SHARD_SUM_TEXT];     /* of the importance file; "" without one */
    shard_file *files;                   /* owned; [pp][tp] */
    size_t n_files;
    shard_extra *extras; /* owned */
    size_t n_extras;
} shard_manifest;

/* The text of a complete manifest, appended.  BASE_ENOMEM. */
base_status shard_manifest_put(const shard_manifest *manifest, base_buf *out, base_error *error);

/* Read a manifest that errors call `file`; *out is owned (release) and written on success only.
 * Errors: BASE_EFORMAT damaged, or not what the architecture and layout ask for (named); BASE_EUNSUPPORTED another
 * format version; BASE_ENOMEM. */
base_status shard_manifest_parse(const char *file, const void *bytes, size_t size, shard_manifest *out,
                                 base_error *error);

void shard_manifest_release(shard_manifest *manifest);

/* Where file i of the set belongs. */
shard_place shard_manifest_place(const shard_manifest *manifest, size_t i);

#endif
