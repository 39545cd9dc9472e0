/* encoder_cache.h - the image slots of a replica, and which image each still holds: an image that comes again is not
 * encoded again.
 *
 * A slot keeps its image's encoded rows on the ranks until another image is encoded into it.  So a free slot is
 * remembered by the key of its image, a digest of the pixels (prompt.h): a request with that image reuses the slot,
 * others get the one that was freed first. */
#ifndef PALMGROVE_SCHED_ENCODER_CACHE_H
#define PALMGROVE_SCHED_ENCODER_CACHE_H

#include "coordinator/sched/id_pool.h"
#include "coordinator/sched/prefix_cache.h"

typedef struct encoder_cache {
    id_pool pool;                                /* free_ids: freed first comes first */
    unsigned char (*keys)[CONTENT_DIGEST_BYTES]; /* [n_total] owned */
    bool *is_encoded; /* [n_total] owned; the slot holds, or a plan sent will put into it, the image of that key */
    uint64_t n_hits;
} encoder_cache;

/* Errors: BASE_ENOMEM (*slots untouched). */
base_status encoder_cache_init(encoder_cache *slots, uint32_t n, base_error *error);
void encoder_cache_release(encoder_cache *slots);

/* Allocate the free slot that holds the image `key`; false: none does. */
bool encoder_cache_reuse(encoder_cache *slots, const unsigned char *key, uint32_t *slot);
/* Allocate a slot to encode the image `key` into (NULL: it has none and will not be found again); at least one is
 * free. */
void encoder_cache_alloc(encoder_cache *slots, const unsigned char *key, uint32_t *slot);
/* A plan that encodes the slot's image was sent. */
void encoder_cache_mark_encoded(encoder_cache *slots, uint32_t slot);
void encoder_cache_free(encoder_cache *slots, uint32_t slot);

#endif
