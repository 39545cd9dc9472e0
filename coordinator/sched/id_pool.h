/* id_pool.h - free list of a fixed set of numbered things (KV blocks, sequence slots, image slots).
 *
 * Bookkeeping only: the things themselves live on the ranks.  The last one freed is allocated first, because it is
 * the one most likely still warm in a cache.  Threads: one owner. */
#ifndef PALMGROVE_SCHED_ID_POOL_H
#define PALMGROVE_SCHED_ID_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/status.h"

typedef struct id_pool {
    uint32_t *free_ids; /* [n_total], the first n_free are free; owned */
    uint32_t n_free, n_total;
} id_pool;

/* Ids 0 .. n - 1, all free; ids are allocated in rising order at first.  n may be 0.  Errors: BASE_ENOMEM (*pool
 * untouched).
 */
base_status id_pool_init(id_pool *pool, uint32_t n, const char *what, base_error *error);
void id_pool_release(id_pool *pool);

/* Allocate n ids into `ids` [n], all or none; false when fewer are free. */
bool id_pool_alloc(id_pool *pool, uint32_t n, uint32_t *ids);

/* Free n ids.  Each was allocated from this pool and not freed since. */
void id_pool_free(id_pool *pool, uint32_t n, const uint32_t *ids);

#endif
