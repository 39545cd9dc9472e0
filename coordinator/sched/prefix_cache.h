/* prefix_cache.h - allocator of the replica's key/value cache blocks, and the cache of computed ones by prefix.
 *
 * Positions are absolute and a position's keys and values depend on nothing but the tokens up to it, so a full block of
 * one sequence is, bit for bit, the block of every sequence that begins with the same tokens (DESIGN section 6).  A
 * computed block becomes a node of a tree: its parent is the node of the block before it, its content the 32 tokens.  A
 * node is found by a hash and then compared, parent and content: equal prefixes are equal tokens, not equal hashes, so
 * no request can be given another's keys by a collision.  Only the pixels of images are compared by a digest of 256
 * bits.
 *
 * A node's number is its block's.  `refcount` counts the tables that use it; unreferenced nodes form an LRU list, and
 * the oldest is evicted first when free blocks run out.  A table frees its blocks from the last to the first, so a
 * child is always older in the list than its parent, and no parent is evicted before its children.
 *
 * Bookkeeping only; the memory is on the ranks.  Threads: one owner. */
#ifndef PALMGROVE_SCHED_PREFIX_CACHE_H
#define PALMGROVE_SCHED_PREFIX_CACHE_H

#include "coordinator/content.h"
#include "coordinator/sched/id_pool.h"
#include "proto/link/plan.h"

#define PREFIX_NONE UINT32_MAX

/* What a full block holds, given the blocks before it. */
typedef struct prefix_content {
    const int32_t *tokens;       /* [LINK_KV_BLOCK_TOKENS] */
    const unsigned char *images; /* [CONTENT_DIGEST_BYTES] digest of all images up to the last row of the block; NULL:
                                    no row of an image */
} prefix_content;

typedef struct prefix_node {
    int32_t tokens[LINK_KV_BLOCK_TOKENS];
    unsigned char images[CONTENT_DIGEST_BYTES]; /* zero without images */
    uint64_t hash;
    uint32_t parent;   /* PREFIX_NONE: the first block of a sequence */
    uint32_t refcount; /* tables that use it */
    uint32_t n_children;
    uint32_t next;         /* in the bucket */
    uint32_t older, newer; /* in the LRU list */
} prefix_node;

typedef struct prefix_cache {
    id_pool pool;       /* free blocks, with no content worth keeping */
    prefix_node *nodes; /* [pool.n_total] owned; NULL: nothing is cached, this is an allocator only */
    uint32_t *buckets;  /* [n_buckets] first node of each */
    uint32_t n_buckets; /* a power of two */
    uint32_t lru_oldest, lru_newest, n_evictable; /* the LRU list of unreferenced nodes */
} prefix_cache;

/* Blocks 0 .. n_blocks - 1, all free.  `is_enabled`: cache contents.  Errors: BASE_ENOMEM (*cache untouched). */
base_status prefix_cache_init(prefix_cache *cache, uint32_t n_blocks, bool is_enabled, base_error *error);
void prefix_cache_release(prefix_cache *cache);

/* Blocks that can be allocated: free and evictable ones. */
uint32_t prefix_cache_available(const prefix_cache *cache);

/* Allocate n blocks into ids [n], all or none; evicts unreferenced nodes as needed, least recently used first. */
bool prefix_cache_alloc(prefix_cache *cache, uint32_t n, uint32_t *ids);

/* The node of this content after node `parent`; PREFIX_NONE when there is none. */
uint32_t prefix_cache_find(const prefix_cache *cache, uint32_t parent, const prefix_content *content);

/* Allocated block `id`, which now holds this content after `parent`, becomes a node, unless there is one of this
 * content already: returns the node, its refcount one higher.  Only if enabled; the parent is referenced. */
uint32_t prefix_cache_insert(prefix_cache *cache, uint32_t id, uint32_t parent, const prefix_content *content);

/* Refcount up; down, and at 0 to the newest end of the LRU list. */
void prefix_cache_ref(prefix_cache *cache, uint32_t node);
void prefix_cache_unref(prefix_cache *cache, uint32_t node);

#endif
