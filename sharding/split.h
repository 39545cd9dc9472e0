/* split.h - who owns what: pure arithmetic from dimensions and a grid to ranges.  No files, no MPI.
 *
 * Units of tensor parallelism: query heads, blocks of SHARD_MLP_GROUP MLP columns, panels of vocabulary rows; of
 * pipeline parallelism: layers.  A range is [begin, end).  n units over p parts: the first n % p parts get one more.
 * Key/value heads follow the query heads that read them, so a KV head may live on several ranks (always, with
 * multi-query). */
#ifndef PALMGROVE_SHARDING_SPLIT_H
#define PALMGROVE_SHARDING_SPLIT_H

#include <stdint.h>

#include "proto/base/status.h"
#include "sharding/arch.h"

/* Columns of the MLP that are summed before a partial is rounded (the canonical group of DESIGN section 6). */
#define SHARD_MLP_GROUP 64u
/* Vocabulary rows that stay together (a panel of the kernels). */
#define SHARD_VOCAB_GROUP 32u

typedef struct shard_range {
    uint32_t begin, end;
} shard_range;

static inline uint32_t shard_range_width(shard_range range)
{
    return range.end - range.begin;
}

/* Part `part` of `n_parts` of n units. */
shard_range shard_range_of(uint32_t n, uint32_t n_parts, uint32_t part);

/* What one tensor-parallel rank owns of a stack. */
typedef struct shard_stack_split {
    shard_range heads;    /* query heads */
    shard_range kv_heads; /* key/value heads that those read */
    shard_range mlp;      /* MLP columns; multiples of SHARD_MLP_GROUP except the last column of all */
} shard_stack_split;

shard_stack_split shard_stack_split_of(const arch_stack *stack, uint32_t tp, uint32_t tp_rank);

/* What one rank of the grid owns of a model. */
typedef struct shard_split {
    shard_range layers; /* decoder layers of the stage */
    shard_stack_split decoder;
    shard_stack_split tower; /* stage 0 only; empty ranges elsewhere */
    shard_range vocab;       /* embedding rows: first and last stage; empty elsewhere */
} shard_split;

/* Errors: BASE_EINVAL when the grid cannot hold the model (more tensor ranks than heads, MLP groups or vocabulary
 * groups; more stages than layers): says which, the limit, and the nearest layout that fits. */
base_status shard_split_of(const arch *a, uint32_t tp, uint32_t pp, uint32_t tp_rank, uint32_t stage, shard_split *out,
                           base_error *error);

/* Choose a layout for n ranks when the user names none or one of tp, pp (0: free).  Rule: tp * pp = n, tp as large as
 * fits. BASE_EINVAL when nothing fits, with the largest count that does. */
base_status shard_layout_choose(const arch *a, uint32_t n_ranks, uint32_t *tp, uint32_t *pp, base_error *error);

#endif
