#include "sharding/planner/tensor_list.h"

#include <string.h>

#include "sharding/shards/shard_set.h"
#include "sharding/source_entries.h"

static void visit_source(const shard_source *source, tensor_list_visitor *visit, void *context)
{
    size_t n;
    const source_entry *entries = shard_source_entries(source, &n);
    for (size_t i = 0; i < n; i++) {
        const shard_tensor *t = &entries[i].parsed.tensor;
        listed_tensor listed = {
            .name = entries[i].parsed.name, .type = entries[i].parsed.dtype, .n_dims = t->n_dims, .bytes = t->bytes};
        memcpy(listed.shape, t->shape, sizeof listed.shape);
        visit(context, &listed);
    }
}

static void visit_rank(const shard_set *set, uint32_t tp_rank, uint32_t stage, tensor_list_visitor *visit,
                       void *context)
{
    shard_slice slice;
    pack_type type;
    uint64_t bytes;
    for (size_t i = 0; shard_set_tensor(set, tp_rank, stage, i, &slice, &type, &bytes); i++) {
        char name[SHARD_SLICE_NAME];
        shard_slice_name(&slice, name);
        listed_tensor listed = {.name = name,
                                .type = slice.is_matrix ? pack_type_name(type) : "f32 vector",
                                .n_dims = 2,
                                .shape = {shard_range_width(slice.rows), shard_range_width(slice.columns)},
                                .bytes = bytes,
                                .is_sharded = true,
                                .tp_rank = tp_rank,
                                .stage = stage};
        visit(context, &listed);
    }
}

void tensor_list_visit(const shard_checkpoint *checkpoint, tensor_list_visitor *visit, void *context)
{
    if (checkpoint->source != NULL)
        visit_source(checkpoint->source, visit, context);
    if (checkpoint->shards == NULL)
        return;
    uint32_t tp, pp;
    shard_set_layout(checkpoint->shards, &tp, &pp);
    for (uint32_t stage = 0; stage < pp; stage++)
        for (uint32_t tp_rank = 0; tp_rank < tp; tp_rank++)
            visit_rank(checkpoint->shards, tp_rank, stage, visit, context);
}

static void count_type(void *context, const listed_tensor *tensor)
{
    tensor_types *types = context;
    size_t i = 0;
    while (i < types->n && strcmp(types->rows[i].type, tensor->type) != 0)
        i++;
    if (i == TENSOR_TYPES_MAX) /* formats know fewer */
        return;
    if (i == types->n)
        types->rows[types->n++].type = tensor->type;
    types->rows[i].n_tensors++;
    types->rows[i].bytes += tensor->bytes;
    types->n_tensors++;
    types->bytes += tensor->bytes;
}

tensor_types tensor_types_of(const shard_checkpoint *checkpoint)
{
    tensor_types types = {0};
    tensor_list_visit(checkpoint, count_type, &types);
    return types;
}
