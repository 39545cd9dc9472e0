/* slices.h - which pieces of which tensors a rank holds, in one walk.
 *
 * The one list of a rank's weights: the worker lays out and loads by it, the shard writer writes by it, the planner
 * counts by it. */
#ifndef PALMGROVE_SHARDING_SLICES_H
#define PALMGROVE_SHARDING_SLICES_H

#include "sharding/arch.h"
#include "sharding/split.h"

/* Rows and columns of one tensor of the checkpoint.  A vector is one row (a table of positions several), kept in f32; a
 * matrix is packed (pack.h). */
typedef struct shard_slice {
    arch_part part;
    arch_role role;
    uint32_t layer; /* in the whole model */
    shard_range rows, columns;
    bool is_matrix;
    uint32_t unit; /* canonical group of columns: dh, SHARD_MLP_GROUP, or the width of `columns` */
} shard_slice;

typedef base_status shard_slice_visitor(void *context, const shard_slice *slice, base_error *error);

/* Visit every slice of the rank that `split` describes, in the order of the data's way through the model; stops at the
 * first failure and returns it. */
base_status shard_slices_visit(const arch *a, const shard_split *split, shard_slice_visitor *visit, void *context,
                               base_error *error);

/* The name of a slice's tensor in a shard file: "decoder.layers.3.attn_q", "tower.patch", "encoders.0.in".  No family's
 * names: ours. */
#define SHARD_SLICE_NAME 64u
void shard_slice_name(const shard_slice *slice, char name[SHARD_SLICE_NAME]);

#endif
