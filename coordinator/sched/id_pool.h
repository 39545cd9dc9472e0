/* id_pool.h - a fixed set of numbered things (KV blocks, sequence slots, image slots), lent and given back.
 *
 * Bookkeeping only: the things themselves live on the ranks.  The last one given back is lent first, because it is the
 * one most likely still warm in a cache.  Threads: one owner. */
#ifndef PALMGROVE_SCHED_ID_POOL_H
#define PALMGROVE_SCHED_ID_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/status.h"

typedef struct id_pool {
    uint32_t *free_ids; /* [n_total], the first n_free are free; owned */
    uint32_t n_free, n_total;
} id_pool;

/* Ids 0 .. n - 1, all free; ids are lent in rising order at first.  n may be 0.  Errors: BASE_ENOMEM (*pool untouched).
 */
base_status id_pool_init(id_pool *pool, uint32_t n, const char *what, base_error *error);
void id_pool_release(id_pool *pool);

/* Lend n ids into `ids` [n], all or none; false when fewer are free. */
bool id_pool_alloc(id_pool *pool, uint32_t n, uint32_t *ids);

/* Give n ids back.  Each was lent by this pool and not given back since. */
void id_pool_free(id_pool *pool, uint32_t n, const uint32_t *ids);

#endif
