#include "coordinator/sched/id_pool.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

base_status id_pool_init(id_pool *pool, uint32_t n, const char *what, base_error *error)
{
    uint32_t *ids = calloc(n > 0 ? n : 1, sizeof *ids);
    if (ids == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory to keep track of %u %s", n, what);
    for (uint32_t i = 0; i < n; i++)
        ids[i] = n - 1 - i;
    *pool = (id_pool){.free_ids = ids, .n_free = n, .n_total = n};
    return BASE_OK;
}

void id_pool_release(id_pool *pool)
{
    free(pool->free_ids);
    *pool = (id_pool){0};
}

bool id_pool_alloc(id_pool *pool, uint32_t n, uint32_t *ids)
{
    if (n > pool->n_free)
        return false;
    for (uint32_t i = 0; i < n; i++)
        ids[i] = pool->free_ids[--pool->n_free];
    return true;
}

void id_pool_free(id_pool *pool, uint32_t n, const uint32_t *ids)
{
    assert(n <= pool->n_total - pool->n_free);
    for (uint32_t i = 0; i < n; i++)
        pool->free_ids[pool->n_free++] = ids[i];
}
