/* pack_slice.h - from a checkpoint's tensor to a rank's packed matrix.
 *
 * The one way weights are packed: a rank that loads a checkpoint and the shard writer both call it, so a shard file
 * holds exactly the bytes that loading would have made.  A caller with several threads gives each its own panels and
 * its own scratch. */
#ifndef PALMGROVE_SHARDING_PACK_SLICE_H
#define PALMGROVE_SHARDING_PACK_SLICE_H

#include "proto/base/status.h"
#include "sharding/pack/pack.h"
#include "sharding/recipe.h"
#include "sharding/slices.h"
#include "sharding/source.h"

/* Memory that packing one panel needs; one per thread. */
typedef struct shard_pack_scratch {
    float *rows;      /* owned; [PACK_PANEL][width] */
    uint16_t *scales; /* owned; of one row's groups */
    int8_t *codes;    /* owned; [width] */
    uint32_t width;   /* of the widest slice that fits */
} shard_pack_scratch;

/* The widest row that any matrix of the model has: enough for every slice in every layout. */
uint32_t shard_pack_widest(const arch *a);

/* What a scratch of that width takes. */
size_t shard_pack_scratch_bytes(uint32_t width);
/* BASE_ENOMEM leaves it empty. */
base_status shard_pack_scratch_init(shard_pack_scratch *scratch, uint32_t width, base_error *error);
void shard_pack_scratch_release(shard_pack_scratch *scratch);

/* The matrix of a slice, without data: type by the recipe, n, k and unit by the slice. */
pack_matrix shard_pack_matrix(const arch *a, const shard_slice *slice, const shard_tensor *tensor,
                              const shard_recipe *recipe);

/* Fill panels [first_panel, first_panel + n_panels) of the packed matrix of `slice` from `tensor`.  `matrix` describes
 * the whole matrix (shard_pack_matrix) except that data points at panel first_panel.  Values become f32 and are packed
 * by `pack_panel_fill`; Q8_0 as int8 and Q4_0 as int4 keep scales and codes as they are where the groups fall together
 * (the slice begins at one and the units hold whole ones), and are quantised anew elsewhere. Errors: BASE_EFORMAT the
 * slice reaches outside the tensor; BASE_EINVAL the scratch is too narrow, or the panels are not there. */
base_status shard_pack_slice(const shard_slice *slice, const shard_tensor *tensor, const shard_recipe *recipe,
                             pack_matrix *matrix, uint32_t first_panel, uint32_t n_panels, shard_pack_scratch *scratch,
                             base_error *error);

/* A vector (or table) slice as f32 [rows][columns].  Gains come as they are applied: 1 is added where the checkpoint
 * stores w for 1 + w. The tensor has the shape that the architecture asks for (checked when the checkpoint was opened).
 */
void shard_read_vector(const arch *a, const shard_slice *slice, const shard_tensor *tensor, float *out);

#endif
