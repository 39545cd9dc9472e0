/* weights.h - the weights one rank holds, packed for the kernels.
 *
 * One walk (weights.c) names every tensor slice of a rank; it is used to count bytes and to load, so a new tensor
 * is added in one place. */
#ifndef PALMGROVE_MODEL_WEIGHTS_H
#define PALMGROVE_MODEL_WEIGHTS_H

#include "sharding/arch.h"
#include "sharding/source.h"
#include "sharding/split.h"
#include "worker/kernels/kern.h"
#include "worker/model/arena.h"
#include "worker/model/model.h"

/* One layer, this rank's part.  h', kv', f': local heads, KV heads, MLP columns. */
typedef struct model_layer {
    float *norm;         /* [d] */
    kern_matrix q, k, v; /* [h' dh][d], [kv' dh][d] twice */
    float *q_norm, *k_norm; /* [dh], with qk_norm */
    kern_matrix o;       /* [d][h' dh] */
    kern_matrix gate;    /* [f'][d], swiglu */
    kern_matrix up;      /* [f'][d] */
    kern_matrix down;    /* [d][f'] */
    float *up_bias;      /* [f'], with mlp_bias */
    float *down_bias;    /* [d], with mlp_bias; added once, after the reduction */
} model_layer;

typedef struct model_weights {
    model_layer *layers;   /* decoder layers [split.layers] */
    kern_matrix embedding; /* vocabulary rows [split.vocab][d]; first and last stage */
    float *final_norm;     /* [d]; last stage */

    model_layer *tower;    /* all tower layers; stage 0 */
    kern_matrix patch;     /* [w][3 patch patch] */
    float *patch_bias, *position, *tower_norm; /* [w], [n_patches][w], [w] */
    kern_matrix projector; /* [d][w] */
    float *projector_bias; /* [d] */
} model_weights;

/* Take the (zeroed) layer arrays.  BASE_ENOMEM. */
base_status model_weights_init(model_weights *w, const arch *a, const shard_split *split, base_error *error);
void model_weights_release(model_weights *w);

/* Give every matrix and vector its memory (or only count, see arena.h).  The matrix types follow the checkpoint's. */
base_status model_weights_layout(model_weights *w, const arch *a, const shard_split *split, const shard_source *source,
                                 model_arena *arena, base_error *error);

/* Read this rank's slices into the memory laid out. */
base_status model_weights_load(model_weights *w, const arch *a, const shard_split *split, const shard_source *source,
                               model_progress *progress, void *context, base_error *error);

#endif
