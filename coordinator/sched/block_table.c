#include "coordinator/sched/block_table.h"

#include <assert.h>
#include <stdlib.h>

uint32_t kv_blocks_for(uint32_t n_positions)
{
    return n_positions / LINK_KV_BLOCK_TOKENS + (n_positions % LINK_KV_BLOCK_TOKENS != 0);
}

base_status block_table_init(block_table *table, uint32_t n_positions, base_error *error)
{
    uint32_t capacity = kv_blocks_for(n_positions);
    uint32_t *blocks = calloc(capacity > 0 ? 2 * (size_t)capacity : 1, sizeof *blocks);
    if (blocks == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a table of %u cache blocks", capacity);
    *table = (block_table){.blocks = blocks, .nodes = blocks + capacity, .capacity = capacity};
    return BASE_OK;
}

bool block_table_reserve(block_table *table, prefix_cache *cache, uint32_t n_positions)
{
    uint32_t needed = kv_blocks_for(n_positions);
    if (needed <= table->n_blocks)
        return true;
    assert(needed <= table->capacity);
    if (!prefix_cache_alloc(cache, needed - table->n_blocks, table->blocks + table->n_blocks))
        return false;
    table->n_blocks = needed;
    return true;
}

static uint32_t parent_of(const block_table *table)
{
    return table->n_cached > 0 ? table->nodes[table->n_cached - 1] : PREFIX_NONE;
}

bool block_table_reuse(block_table *table, prefix_cache *cache, const prefix_content *content)
{
    uint32_t node = prefix_cache_find(cache, parent_of(table), content);
    if (node == PREFIX_NONE)
        return false;
    assert(table->n_cached < table->capacity);
    prefix_cache_ref(cache, node);
    if (table->n_cached < table->n_blocks)
        id_pool_free(&cache->pool, 1, &table->blocks[table->n_cached]);
    else
        table->n_blocks++;
    table->blocks[table->n_cached] = table->nodes[table->n_cached] = node;
    table->n_cached++;
    return true;
}

void block_table_publish(block_table *table, prefix_cache *cache, const prefix_content *content)
{
    if (cache->nodes == NULL)
        return;
    assert(table->n_cached < table->n_blocks);
    table->nodes[table->n_cached] =
        prefix_cache_insert(cache, table->blocks[table->n_cached], parent_of(table), content);
    table->n_cached++;
}

/* From the last to the first: prefix_cache.h says why. */
void block_table_clear(block_table *table, prefix_cache *cache)
{
    for (; table->n_blocks > 0; table->n_blocks--) {
        uint32_t b = table->n_blocks - 1;
        if (b >= table->n_cached || table->nodes[b] != table->blocks[b])
            id_pool_free(&cache->pool, 1, &table->blocks[b]);
        if (b < table->n_cached)
            prefix_cache_unref(cache, table->nodes[b]);
    }
    table->n_cached = 0;
}

void block_table_release(block_table *table)
{
    assert(table->n_blocks == 0);
    free(table->blocks);
    *table = (block_table){0};
}
