#include "coordinator/sched/encoder_cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

base_status encoder_cache_init(encoder_cache *slots, uint32_t n, base_error *error)
{
    encoder_cache made = {.keys = calloc(n + 1u, sizeof *made.keys),
                          .is_encoded = calloc(n + 1u, sizeof *made.is_encoded)};
    base_status status = id_pool_init(&made.pool, n, "image slots", error);
    if (status == BASE_OK && (made.keys == NULL || made.is_encoded == NULL))
        status = base_fail(error, BASE_ENOMEM, "no memory to keep track of %u image slots", n);
    if (status == BASE_OK)
        *slots = made;
    else
        encoder_cache_release(&made);
    return status;
}

void encoder_cache_release(encoder_cache *slots)
{
    id_pool_release(&slots->pool);
    free(slots->keys);
    free(slots->is_encoded);
    *slots = (encoder_cache){0};
}

/* Allocate the i-th free slot. */
static uint32_t remove_at(id_pool *pool, uint32_t i)
{
    uint32_t slot = pool->free_ids[i];
    pool->n_free--;
    memmove(pool->free_ids + i, pool->free_ids + i + 1, (pool->n_free - i) * sizeof *pool->free_ids);
    return slot;
}

bool encoder_cache_reuse(encoder_cache *slots, const unsigned char *key, uint32_t *slot)
{
    for (uint32_t i = 0; i < slots->pool.n_free; i++) {
        uint32_t id = slots->pool.free_ids[i];
        if (slots->is_encoded[id] && memcmp(slots->keys[id], key, CONTENT_DIGEST_BYTES) == 0) {
            *slot = remove_at(&slots->pool, i);
            slots->n_hits++;
            return true;
        }
    }
    return false;
}

void encoder_cache_alloc(encoder_cache *slots, const unsigned char *key, uint32_t *slot)
{
    assert(slots->pool.n_free > 0);
    *slot = remove_at(&slots->pool, 0);
    slots->is_encoded[*slot] = false;
    if (key != NULL)
        memcpy(slots->keys[*slot], key, CONTENT_DIGEST_BYTES);
}

void encoder_cache_mark_encoded(encoder_cache *slots, uint32_t slot)
{
    slots->is_encoded[slot] = true;
}

void encoder_cache_free(encoder_cache *slots, uint32_t slot)
{
    id_pool_free(&slots->pool, 1, &slot);
}
