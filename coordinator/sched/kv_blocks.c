#include "coordinator/sched/kv_blocks.h"

#include <assert.h>
#include <stdlib.h>

uint32_t kv_blocks_for(uint32_t n_positions)
{
    return n_positions / LINK_KV_BLOCK_TOKENS + (n_positions % LINK_KV_BLOCK_TOKENS != 0);
}

base_status kv_table_init(kv_table *table, uint32_t n_positions, base_error *error)
{
    uint32_t capacity = kv_blocks_for(n_positions);
    uint32_t *blocks = calloc(capacity > 0 ? 2 * (size_t)capacity : 1, sizeof *blocks);
    if (blocks == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a table of %u cache blocks", capacity);
    *table = (kv_table){.blocks = blocks, .nodes = blocks + capacity, .capacity = capacity};
    return BASE_OK;
}

bool kv_table_cover(kv_table *table, prefix_cache *cache, uint32_t n_positions)
{
    uint32_t needed = kv_blocks_for(n_positions);
    if (needed <= table->n_blocks)
        return true;
    assert(needed <= table->capacity);
    if (!prefix_cache_take(cache, needed - table->n_blocks, table->blocks + table->n_blocks))
        return false;
    table->n_blocks = needed;
    return true;
}

static uint32_t parent_of(const kv_table *table)
{
    return table->n_known > 0 ? table->nodes[table->n_known - 1] : PREFIX_NONE;
}

bool kv_table_borrow(kv_table *table, prefix_cache *cache, const prefix_content *content)
{
    uint32_t node = prefix_cache_find(cache, parent_of(table), content);
    if (node == PREFIX_NONE)
        return false;
    assert(table->n_known < table->capacity);
    prefix_cache_use(cache, node);
    if (table->n_known < table->n_blocks)
        sched_pool_give(&cache->pool, 1, &table->blocks[table->n_known]);
    else
        table->n_blocks++;
    table->blocks[table->n_known] = table->nodes[table->n_known] = node;
    table->n_known++;
    return true;
}

void kv_table_publish(kv_table *table, prefix_cache *cache, const prefix_content *content)
{
    if (cache->nodes == NULL)
        return;
    assert(table->n_known < table->n_blocks);
    table->nodes[table->n_known] = prefix_cache_keep(cache, table->blocks[table->n_known], parent_of(table), content);
    table->n_known++;
}

/* From the last to the first: prefix.h says why. */
void kv_table_clear(kv_table *table, prefix_cache *cache)
{
    for (; table->n_blocks > 0; table->n_blocks--) {
        uint32_t b = table->n_blocks - 1;
        if (b >= table->n_known || table->nodes[b] != table->blocks[b])
            sched_pool_give(&cache->pool, 1, &table->blocks[b]);
        if (b < table->n_known)
            prefix_cache_leave(cache, table->nodes[b]);
    }
    table->n_known = 0;
}

void kv_table_release(kv_table *table)
{
    assert(table->n_blocks == 0);
    free(table->blocks);
    *table = (kv_table){0};
}
