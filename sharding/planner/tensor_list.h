/* tensor_list.h - inside the planner: the tensors of a checkpoint in one walk, whatever its format, and what types they
 * have. */
#ifndef PALMGROVE_PLANNER_TENSOR_LIST_H
#define PALMGROVE_PLANNER_TENSOR_LIST_H

#include "sharding/checkpoint.h"

/* A tensor of a source, or a packed slice of a rank's shard. */
typedef struct listed_tensor {
    const char *name, *type;
    int n_dims;
    uint64_t shape[4];
    uint64_t bytes;
    bool is_sharded;
    uint32_t tp_rank, stage; /* with is_sharded: whose */
} listed_tensor;

typedef void tensor_list_visitor(void *context, const listed_tensor *tensor);

/* In the order of names; shards: in the order of their ranks. */
void tensor_list_visit(const shard_checkpoint *checkpoint, tensor_list_visitor *visit, void *context);

/* How many tensors of each type there are, and their bytes. */
#define TENSOR_TYPES_MAX 32u
typedef struct tensor_types {
    size_t n;
    struct {
        const char *type;
        uint64_t n_tensors, bytes;
    } rows[TENSOR_TYPES_MAX];
    uint64_t n_tensors, bytes; /* in all */
} tensor_types;

tensor_types tensor_types_of(const shard_checkpoint *checkpoint);

#endif
