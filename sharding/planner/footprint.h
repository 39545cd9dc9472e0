/* footprint.h - what a rank will hold, from dimensions alone: parameters, and bytes of weights, KV cache and workspace.
 *
 * The same numbers as model_memory_of of the worker (worker/model), which needs the checkpoint at hand; a test compares
 * the two over several layouts.  Weights are counted by the slices walk and pack_bytes.  Sums that leave 64 bits stay
 * at the largest value: such a model fits nowhere. */
#ifndef PALMGROVE_PLANNER_FOOTPRINT_H
#define PALMGROVE_PLANNER_FOOTPRINT_H

#include "proto/base/status.h"
#include "proto/link/plan.h"
#include "sharding/checkpoint.h"
#include "sharding/recipe.h"
#include "sharding/split.h"

/* What is to be run: an architecture, and the type that each of its matrices is packed in. */
typedef struct plan_model {
    const arch *a;                                              /* borrowed */
    uint8_t types[ARCH_N_PARTS][ARCH_N_ROLES][ARCH_MAX_LAYERS]; /* pack_type by part, role, layer */
    uint32_t only_tp, only_pp;                                  /* shards: the layout they were written for; 0: any */
    pack_type kv_type; /* of the decoder's cache: PACK_F32, PACK_BF16, PACK_INT8; plan_model_init says f32 */
} plan_model;

/* `checkpoint`: its tensors have types of their own, shards are packed already; NULL: everything is bf16, as models are
 * published. BASE_ENOTFOUND the checkpoint lacks a tensor. */
base_status plan_model_init(plan_model *model, const arch *a, const shard_checkpoint *checkpoint, recipe_kind recipe,
                            base_error *error);
pack_type plan_model_type(const plan_model *model, const shard_slice *slice);

/* Weights of decoder, tower (projector included) and vector encoders, each tensor counted once. */
typedef struct plan_parameters {
    uint64_t decoder, tower, encoders;
} plan_parameters;
plan_parameters plan_parameters_of(const arch *a);

typedef struct plan_bytes {
    uint64_t weights, kv, workspace;
} plan_bytes;
uint64_t plan_bytes_total(const plan_bytes *bytes);

/* Bytes of a block of LINK_KV_BLOCK_TOKENS positions, one layer and KV head (kern_block_bytes of the worker). */
uint64_t plan_kv_block_bytes(pack_type type, const arch_stack *stack);

/* One rank of a grid.  `limits` as for model_memory_of: max_seqs, max_positions, max_step_tokens, n_kv_blocks,
 * n_image_slots. BASE_EINVAL the grid cannot hold the model (shard_split_of). */
base_status plan_rank_bytes(const plan_model *model, uint32_t tp, uint32_t pp, uint32_t tp_rank, uint32_t stage,
                            const link_limits *limits, plan_bytes *out, base_error *error);

#endif
