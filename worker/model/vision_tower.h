/* vision_tower.h - the vision tower and projector: pixels to the vectors that take an image's place in the prompt.
 *
 *     pixels -> patches + positions (class token first, norm) -> layers (norm)
 *            -> patches alone (averaged in squares, norm) -> projector
 *
 * What is in brackets depends on the tower (arch_tower).
 *
 * On stage 0; every tensor rank computes its heads and columns and all end with the whole image.  Patches and projector
 * are small and computed whole by each.  Results stay in the encoder cache until the coordinator reuses the slot. */
#ifndef PALMGROVE_MODEL_VISION_TOWER_H
#define PALMGROVE_MODEL_VISION_TOWER_H

#include "worker/model/stack.h"

typedef struct model_tower {
    const arch_tower *arch;
    const model_weights *weights;
    uint32_t d; /* the decoder's hidden size */
    uint32_t n_slots;
    model_stack stack;
    uint32_t *blocks; /* [ceil(rows / 32)] 0, 1, 2 ...: the one image being encoded has the whole cache */
    float *patches;   /* [n_patches][3 patch^2] normalised pixels */
    float *hidden;    /* [vectors][d] between a projector's two matrices; NULL: it has one */
    float *images;    /* [n_slots][vectors][d] the encoder cache */
    bool *overflow;   /* [n_slots] */
} model_tower;

void model_tower_init(model_tower *t, const arch *a, const shard_split *split, const model_numerics *numerics,
                      const model_weights *weights, uint32_t n_slots, par_grid *grid);
void model_tower_layout(model_tower *t, model_arena *arena);
void model_tower_start(model_tower *t);

/* Encode pixels [image_size][image_size][3] into `slot`.  Collective over the team and the tensor group; all members
 * see the image afterwards. */
void model_tower_encode(team_member *me, model_tower *t, uint32_t slot, const uint8_t *pixels, model_probe *probe,
                        void *probe_context);

/* Row `row` of the encoder cache (slot row / vectors), [d]. */
const float *model_tower_row(const model_tower *t, uint32_t row);
/* Did encoding the image of that row leave the fixed-point range? */
bool model_tower_row_overflow(const model_tower *t, uint32_t row);

#endif
