/* weights.h - the weights one rank holds, packed for the kernels.
 *
 * What a rank holds is listed by shard_slices_visit; here each slice is bound to its field and gets its bytes: packed
 * from the checkpoint's tensors into an arena, or, from a shard directory, pointed at in the mapped rank file. */
#ifndef PALMGROVE_MODEL_WEIGHTS_H
#define PALMGROVE_MODEL_WEIGHTS_H

#include "sharding/arch.h"
#include "sharding/checkpoint.h"
#include "sharding/pack/pack.h"
#include "sharding/recipe.h"
#include "sharding/shards/shard_set.h"
#include "sharding/split.h"
#include "worker/model/arena.h"
#include "worker/model/model.h"
#include "worker/team/team.h"

/* A norm's parameters, [d] each; bias NULL: none. */
typedef struct model_norm {
    float *gain, *bias;
} model_norm;

/* One layer, this rank's part.  h', kv', f': local heads, KV heads, MLP columns. */
typedef struct model_layer {
    bool is_local; /* sees a window only */
    model_norm norm;
    pack_matrix q, k, v; /* [h' dh][d], [kv' dh][d] twice */
    float *q_bias, *k_bias, *v_bias;
    float *q_norm, *k_norm; /* [dh], with qk_norm */
    pack_matrix o;          /* [d][h' dh] */
    float *o_bias;          /* [d], with o_bias; added once, after the reduction */
    float *post_attn_norm;  /* [d], post-norm blocks; NULL otherwise */
    model_norm mlp_norm;    /* all but parallel blocks */
    pack_matrix gate;       /* [f'][d], gated MLPs */
    pack_matrix up;         /* [f'][d] */
    pack_matrix down;       /* [d][f'] */
    float *up_bias;         /* [f'], with mlp_bias */
    float *down_bias;       /* [d], with mlp_bias; added once, after the reduction */
    float *post_mlp_norm;   /* [d], post-norm blocks; NULL otherwise */
} model_layer;

/* A vector encoder, whole on every rank of stage 0. */
typedef struct model_encoder {
    pack_matrix in, out;       /* [hidden][width], [d][hidden] */
    float *in_bias, *out_bias; /* [hidden], [d] */
} model_encoder;

typedef struct model_weights {
    model_layer *layers;   /* decoder layers [split.layers] */
    pack_matrix embedding; /* vocabulary rows [split.vocab][d]; first stage, and last when tied */
    pack_matrix output;    /* the same rows of the output matrix; last stage, untied */
    float *rope_divisors;  /* [dh/2] with ARCH_ROPE_DIVISORS */
    float *final_norm;     /* [d]; last stage */

    model_layer *tower;                         /* all tower layers; stage 0 */
    pack_matrix patch;                          /* [w][3 patch^2] */
    float *patch_bias, *class_token, *position; /* [w] or NULL, [w] or NULL, [tower rows][w] */
    model_norm pre_norm, tower_norm;            /* before and after the layers; gain NULL: none */
    float *projector_norm;                      /* [w] or NULL */
    pack_matrix projector, projector_2;         /* [d][w], [d][d] */
    float *projector_bias, *projector_2_bias;   /* [d] or NULL */

    model_encoder encoders[ARCH_MAX_ENCODERS]; /* stage 0 */
} model_weights;

/* Where weights come from, and for which rank. */
typedef struct model_origin {
    const shard_checkpoint *checkpoint;
    const shard_recipe *recipe;
    const shard_split *split;
    shard_rank_file *file; /* of this rank, with CHECKPOINT_SHARDS; else NULL */
} model_origin;

/* Allocate the (zeroed) layer arrays.  BASE_ENOMEM. */
base_status model_weights_init(model_weights *w, const arch *a, const shard_split *split, base_error *error);
void model_weights_release(model_weights *w);

/* Give every matrix and vector its type, its shape and its memory in the arena (or only count, see arena.h); with
 * shards, its place in the rank file, and nothing is allocated. */
base_status model_weights_layout(model_weights *w, const model_origin *from, model_arena *arena, base_error *error);

/* Touch the pages of the matrices, each from the member that will read it, so that they are on its NUMA node.  By the
 * whole team; not with shards. */
void model_weights_touch_pages(team_member *me, const model_weights *w, const arch *a, const shard_split *split);

/* Read and pack this rank's slices into the memory laid out, or bring the rank file into memory. */
base_status model_weights_load(model_weights *w, const model_origin *from, model_progress *progress, void *context,
                               base_error *error);

#endif
