#include "coordinator/sched/image_slots.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

base_status image_slots_init(image_slots *slots, uint32_t n, base_error *error)
{
    image_slots made = {.names = calloc(n + 1u, sizeof *made.names),
                        .is_encoded = calloc(n + 1u, sizeof *made.is_encoded)};
    base_status status = sched_pool_init(&made.pool, n, "image slots", error);
    if (status == BASE_OK && (made.names == NULL || made.is_encoded == NULL))
        status = base_fail(error, BASE_ENOMEM, "no memory to keep track of %u image slots", n);
    if (status == BASE_OK)
        *slots = made;
    else
        image_slots_release(&made);
    return status;
}

void image_slots_release(image_slots *slots)
{
    sched_pool_release(&slots->pool);
    free(slots->names);
    free(slots->is_encoded);
    *slots = (image_slots){0};
}

/* Take the i-th of the free. */
static uint32_t take_at(sched_pool *pool, uint32_t i)
{
    uint32_t slot = pool->free_ids[i];
    pool->n_free--;
    memmove(pool->free_ids + i, pool->free_ids + i + 1, (pool->n_free - i) * sizeof *pool->free_ids);
    return slot;
}

bool image_slots_take_held(image_slots *slots, const unsigned char *name, uint32_t *slot)
{
    for (uint32_t i = 0; i < slots->pool.n_free; i++) {
        uint32_t id = slots->pool.free_ids[i];
        if (slots->is_encoded[id] && memcmp(slots->names[id], name, PREFIX_IMAGES_BYTES) == 0) {
            *slot = take_at(&slots->pool, i);
            slots->n_reused++;
            return true;
        }
    }
    return false;
}

void image_slots_take(image_slots *slots, const unsigned char *name, uint32_t *slot)
{
    assert(slots->pool.n_free > 0);
    *slot = take_at(&slots->pool, 0);
    slots->is_encoded[*slot] = false;
    if (name != NULL)
        memcpy(slots->names[*slot], name, PREFIX_IMAGES_BYTES);
}

void image_slots_encoded(image_slots *slots, uint32_t slot)
{
    slots->is_encoded[slot] = true;
}

void image_slots_give(image_slots *slots, uint32_t slot)
{
    sched_pool_give(&slots->pool, 1, &slot);
}
