/* image_slots.h - the image slots of a replica, and what lies in those that nobody holds: an image that comes again is
 * not encoded again.
 *
 * A slot keeps its vectors on the ranks until another image is encoded into it.  So a free slot is remembered by the
 * name of its image; whoever wants that image takes that slot, others the one that was given back first.  Names are
 * those of pixels (prompt.h). */
#ifndef PALMGROVE_SCHED_IMAGE_SLOTS_H
#define PALMGROVE_SCHED_IMAGE_SLOTS_H

#include "coordinator/sched/pool.h"
#include "coordinator/sched/prefix.h"

typedef struct image_slots {
    sched_pool pool;                             /* free_ids: given back first stands first */
    unsigned char (*names)[PREFIX_IMAGES_BYTES]; /* [n_total] owned */
    bool *is_encoded; /* [n_total] owned; the slot holds, or a plan sent will put into it, the image of that name */
    uint64_t n_reused;
} image_slots;

/* Errors: BASE_ENOMEM (*slots untouched). */
base_status image_slots_init(image_slots *slots, uint32_t n, base_error *error);
void image_slots_release(image_slots *slots);

/* Take the free slot that holds the image `name`; false: none does. */
bool image_slots_take_held(image_slots *slots, const unsigned char *name, uint32_t *slot);
/* Take a slot to encode the image `name` into (NULL: it has none and will not be found again); at least one is free. */
void image_slots_take(image_slots *slots, const unsigned char *name, uint32_t *slot);
/* A plan that encodes the slot's image was sent. */
void image_slots_encoded(image_slots *slots, uint32_t slot);
void image_slots_give(image_slots *slots, uint32_t slot);

#endif
