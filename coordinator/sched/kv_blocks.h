/* kv_blocks.h - which blocks of the replica's key/value cache a sequence owns.
 *
 * Block b of a table holds the keys and values of positions [32 b, 32 b + 32) (LINK_KV_BLOCK_TOKENS).  Bookkeeping only; the
 * memory is on the ranks.  A prefix cache will lend one block to several tables: it fits behind these three functions, since
 * nobody else touches block ids but to copy them into plans.  Threads: one owner. */
#ifndef PALMGROVE_SCHED_KV_BLOCKS_H
#define PALMGROVE_SCHED_KV_BLOCKS_H

#include "coordinator/sched/pool.h"

typedef struct kv_table {
    uint32_t *blocks; /* [n_blocks] in position order; owned */
    uint32_t n_blocks, capacity;
} kv_table;

/* Blocks that n positions fill. */
uint32_t kv_blocks_for(uint32_t n_positions);

/* An empty table with room for n positions.  Errors: BASE_ENOMEM. */
base_status kv_table_init(kv_table *table, uint32_t n_positions, base_error *error);

/* Own blocks for the first n positions (at most those of init); false, and nothing taken, when the pool has too few. */
bool kv_table_cover(kv_table *table, sched_pool *pool, uint32_t n_positions);

/* Give all blocks back; the table stays usable. */
void kv_table_clear(kv_table *table, sched_pool *pool);

/* Free the table's own memory.  It must be empty. */
void kv_table_release(kv_table *table);

#endif
