/* encoder_cache.h - the image slots of a replica, and what lies in those that nobody holds: an image that comes again
 * is not encoded again.
 *
 * A slot keeps its vectors on the ranks until another image is encoded into it.  So a free slot is remembered by the
 * name of its image; whoever wants that image takes that slot, others the one that was given back first.  Names are
 * those of pixels (prompt.h). */
#ifndef PALMGROVE_SCHED_ENCODER_CACHE_H
#define PALMGROVE_SCHED_ENCODER_CACHE_H

#include "coordinator/sched/id_pool.h"
#include "coordinator/sched/prefix_cache.h"

typedef struct encoder_cache {
    id_pool pool;                                 /* free_ids: given back first stands first */
    unsigned char (*names)[CONTENT_DIGEST_BYTES]; /* [n_total] owned */
    bool *is_encoded; /* [n_total] owned; the slot holds, or a plan sent will put into it, the image of that name */
    uint64_t n_reused;
} encoder_cache;

/* Errors: BASE_ENOMEM (*slots untouched). */
base_status encoder_cache_init(encoder_cache *slots, uint32_t n, base_error *error);
void encoder_cache_release(encoder_cache *slots);

/* Take the free slot that holds the image `name`; false: none does. */
bool encoder_cache_reuse(encoder_cache *slots, const unsigned char *name, uint32_t *slot);
/* Take a slot to encode the image `name` into (NULL: it has none and will not be found again); at least one is free. */
void encoder_cache_alloc(encoder_cache *slots, const unsigned char *name, uint32_t *slot);
/* A plan that encodes the slot's image was sent. */
void encoder_cache_mark_encoded(encoder_cache *slots, uint32_t slot);
void encoder_cache_free(encoder_cache *slots, uint32_t slot);

#endif
