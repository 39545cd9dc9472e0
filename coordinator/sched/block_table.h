/* block_table.h - which blocks of the replica's key/value cache a sequence uses (PagedAttention, arXiv 2309.06180).
 *
 * Block b of a table holds the keys and values of positions [32 b, 32 b + 32) (LINK_KV_BLOCK_TOKENS).  The first
 * n_cached blocks are full, computed, and nodes of the prefix cache: they may be shared with other tables and are never
 * written again.  The others are the table's own.  Bookkeeping only; the memory is on the ranks.  Threads: one
 * owner. */
#ifndef PALMGROVE_SCHED_BLOCK_TABLE_H
#define PALMGROVE_SCHED_BLOCK_TABLE_H

#include "coordinator/sched/prefix_cache.h"

typedef struct block_table {
    uint32_t *blocks; /* [n_blocks] in position order; owned */
    uint32_t *nodes;  /* [n_cached] owned.  nodes[b] != blocks[b]: the content was cached already when the table's own
                         block b was full */
    uint32_t n_blocks, n_cached, capacity;
} block_table;

/* Blocks that n positions fill. */
uint32_t kv_blocks_for(uint32_t n_positions);

/* An empty table with room for n positions.  Errors: BASE_ENOMEM. */
base_status block_table_init(block_table *table, uint32_t n_positions, base_error *error);

/* Have blocks for the first n positions (at most those of init); false, with nothing allocated, when too few are
 * available. */
bool block_table_reserve(block_table *table, prefix_cache *cache, uint32_t n_positions);

/* Use the cached block for block n_cached, instead of the table's own if there is one, which must not have been written
 * by a plan.  False: none is cached. */
bool block_table_reuse(block_table *table, prefix_cache *cache, const prefix_content *content);

/* Block n_cached has been computed in full: others may reuse it from now on.  No effect when the cache is disabled. */
void block_table_publish(block_table *table, prefix_cache *cache, const prefix_content *content);

/* Free all blocks; the table stays usable. */
void block_table_clear(block_table *table, prefix_cache *cache);

/* Free the table's own memory.  It must be empty. */
void block_table_release(block_table *table);

#endif
