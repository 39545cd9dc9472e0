/* prefix_cache.h - the replica's key/value cache blocks: free ones, and those that keep what they hold for a later
 * request.
 *
 * Positions are absolute and a position's keys and values depend on nothing but the tokens up to it, so a full block of
 * one sequence is, bit for bit, the block of every sequence that begins with the same tokens (DESIGN section 6).  A
 * computed block becomes a node of a tree: its parent is the node of the block before it, its content the 32 tokens.  A
 * node is found by a hash and then compared, parent and content: equal prefixes are equal tokens, not equal hashes, so
 * no request can be given another's keys by a collision.  Only the pixels of images are compared by a digest of 256
 * bits.
 *
 * A node's number is its block's.  It is used by the tables that count in `refs`; unused ones stand in the order in
 * which they fell idle, and the oldest is given away first when free blocks run out.  A table gives its blocks back
 * from the last to the first, so a child is always older than its parent and no parent is given away before its
 * children.
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
    uint32_t older, newer; /* among the idle */
} prefix_node;

typedef struct prefix_cache {
    id_pool pool;       /* blocks that hold nothing of use */
    prefix_node *nodes; /* [pool.n_total] owned; NULL: blocks keep nothing */
    uint32_t *buckets;  /* [n_buckets] first node of each */
    uint32_t n_buckets; /* a power of two */
    uint32_t lru_oldest, lru_newest, n_evictable;
} prefix_cache;

/* Blocks 0 .. n_blocks - 1, all free.  `keeps`: remember contents.  Errors: BASE_ENOMEM (*cache untouched). */
base_status prefix_cache_init(prefix_cache *cache, uint32_t n_blocks, bool keeps, base_error *error);
void prefix_cache_release(prefix_cache *cache);

/* Blocks that can be had: free and idle ones. */
uint32_t prefix_cache_available(const prefix_cache *cache);

/* Take n blocks into ids [n], all or none; idle nodes are forgotten for it, the oldest first. */
bool prefix_cache_alloc(prefix_cache *cache, uint32_t n, uint32_t *ids);

/* The node of this content after node `parent`; PREFIX_NONE when there is none. */
uint32_t prefix_cache_find(const prefix_cache *cache, uint32_t parent, const prefix_content *content);

/* Block `id`, which was taken and now holds this content after `parent`, becomes a node, unless there is one: returns
 * the node, used once more. Only with `keeps`.  The parent is in use. */
uint32_t prefix_cache_insert(prefix_cache *cache, uint32_t id, uint32_t parent, const prefix_content *content);

/* Use a node once more, or once less. */
void prefix_cache_ref(prefix_cache *cache, uint32_t node);
void prefix_cache_unref(prefix_cache *cache, uint32_t node);

#endif
