/* shard_layout.h - which bytes stand where in a set of shard files; inside of shards, for the writer and the reader.
 *
 * A file is safetensors:
 *
 *     u64 length of the header, the header (JSON, padded with blanks), so that the data begin on a multiple of
 * SHARD_ALIGNMENT tensor, zeros to the next multiple of SHARD_ALIGNMENT (in the header: a tensor "padding.N"), tensor,
 * ...
 *
 * A plain matrix is [panels][k][32] of F32, F16 or BF16; a quantised one is U8 [panels][bytes of a panel]
 * (pack/pack.h); a vector is F32 [n], a table F32 [rows][n].  `__metadata__` says which set, rank and layout the file
 * belongs to. */
#ifndef PALMGROVE_SHARD_LAYOUT_H
#define PALMGROVE_SHARD_LAYOUT_H

#include "proto/base/buf.h"
#include "proto/base/status.h"
#include "sharding/pack/pack.h"
#include "sharding/shards/shard_sum.h"
#include "sharding/slices.h"

#define SHARD_ALIGNMENT 64u
#define SHARD_FORMAT    "palmgrove-shard-2"
#define SHARD_PADDING   "padding." /* begins the names of tensors that hold nothing */
#define SHARD_MANIFEST  "palmgrove.json"

typedef struct shard_record {
    shard_slice slice;
    pack_type type;           /* PACK_F32 for vectors */
    uint64_t offset, bytes;   /* in the file; without padding */
    char sum[SHARD_SUM_TEXT]; /* of the bytes and their padding; "" while not known */
} shard_record;

typedef struct shard_file {
    char name[64];
    uint32_t stage, tp_rank;
    shard_record *records; /* owned; in the order of shard_slices_visit */
    size_t n_records;
    uint64_t data_offset, bytes;
    char header_sum[SHARD_SUM_TEXT]; /* of the bytes before data_offset */
} shard_file;

/* What a file says about itself, and must agree with its manifest. */
typedef struct shard_place {
    char set[SHARD_SUM_TEXT]; /* names the set: source, recipe and layout (shard_identity.h) */
    uint32_t tp, pp, tp_rank, stage;
} shard_place;

static inline uint64_t shard_padded(uint64_t bytes)
{
    return (bytes + SHARD_ALIGNMENT - 1) / SHARD_ALIGNMENT * SHARD_ALIGNMENT;
}

static inline bool shard_slice_is_same(const shard_slice *a, const shard_slice *b)
{
    return a->part == b->part && a->role == b->role && a->layer == b->layer;
}

/* "rank-STAGE-T-of-PPxTP.safetensors". */
void shard_file_name(const shard_place *place, char name[64]);

/* Bytes of a slice in a file: packed as `type`, or f32; 0 when that does not fit a size_t. */
size_t shard_slice_bytes(const shard_slice *slice, pack_type type);

/* The records of a rank: its slices with types from `type_of` (vectors: PACK_F32), offset, bytes and sum not yet known.
 * Errors: those of shard_split_of and `type_of`; BASE_ENOMEM. */
typedef base_status shard_type_of(void *context, const shard_slice *slice, pack_type *out, base_error *error);
base_status shard_file_plan(const arch *a, const shard_place *place, shard_type_of *type_of, void *context,
                            shard_file *out, base_error *error);

/* Lay out a planned file: offsets, sizes, and its header (appended to `header`, data_offset bytes).  BASE_ENOMEM,
 * BASE_ETOOBIG. */
base_status shard_file_lay_out(shard_file *file, const shard_place *place, base_buf *header, base_error *error);

void shard_file_release(shard_file *file);

#endif
