/* pool.h - a fixed set of numbered things (KV blocks, sequence slots, image slots), lent and given back.
 *
 * Bookkeeping only: the things themselves live on the ranks.  The last one given back is lent first, because it is the
 * one most likely still warm in a cache.  Threads: one owner. */
#ifndef PALMGROVE_SCHED_POOL_H
#define PALMGROVE_SCHED_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/status.h"

typedef struct sched_pool {
    uint32_t *free_ids; /* [n_total], the first n_free are free; owned */
    uint32_t n_free, n_total;
} sched_pool;

/* Ids 0 .. n - 1, all free; ids are lent in rising order at first.  n may be 0.  Errors: BASE_ENOMEM (*pool untouched).
 */
base_status sched_pool_init(sched_pool *pool, uint32_t n, const char *what, base_error *error);
void sched_pool_release(sched_pool *pool);

/* Lend n ids into `ids` [n], all or none; false when fewer are free. */
bool sched_pool_take(sched_pool *pool, uint32_t n, uint32_t *ids);

/* Give n ids back.  Each was lent by this pool and not given back since. */
void sched_pool_give(sched_pool *pool, uint32_t n, const uint32_t *ids);

#endif
