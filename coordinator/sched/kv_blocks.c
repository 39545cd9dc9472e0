#include "coordinator/sched/kv_blocks.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/link/plan.h"

uint32_t kv_blocks_for(uint32_t n_positions)
{
    return n_positions / LINK_KV_BLOCK_TOKENS + (n_positions % LINK_KV_BLOCK_TOKENS != 0);
}

base_status kv_table_init(kv_table *table, uint32_t n_positions, base_error *error)
{
    uint32_t capacity = kv_blocks_for(n_positions);
    uint32_t *blocks = calloc(capacity > 0 ? capacity : 1, sizeof *blocks);
    if (blocks == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a table of %u cache blocks", capacity);
    *table = (kv_table){.blocks = blocks, .capacity = capacity};
    return BASE_OK;
}

bool kv_table_cover(kv_table *table, sched_pool *pool, uint32_t n_positions)
{
    uint32_t needed = kv_blocks_for(n_positions);
    if (needed <= table->n_blocks)
        return true;
    assert(needed <= table->capacity);
    if (!sched_pool_take(pool, needed - table->n_blocks, table->blocks + table->n_blocks))
        return false;
    table->n_blocks = needed;
    return true;
}

void kv_table_clear(kv_table *table, sched_pool *pool)
{
    sched_pool_give(pool, table->n_blocks, table->blocks);
    table->n_blocks = 0;
}

void kv_table_release(kv_table *table)
{
    assert(table->n_blocks == 0);
    free(table->blocks);
    *table = (kv_table){0};
}
