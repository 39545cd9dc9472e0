/* prefix_cache.c - a tree of computed blocks in a hash table, with an LRU list of those that no table references.
 *
 *     node 7 [tokens 0-31] --- node 3 [32-63] --- node 9 [64-95]       parent <- child, found by hash(parent, content)
 *                         \--- node 4 [32-63]                          another request that differs from token 32 on
 *
 *     pool (free)  --alloc-->  a table's own block  --insert-->  node, refcount 1  <--ref, unref-->  refcount 0
 *        ^                                                                                          in the LRU list
 *        +----------------------------------------- evict_lru ---------------------------------------------+
 */
#include "coordinator/sched/prefix_cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const unsigned char no_images[CONTENT_DIGEST_BYTES];

/* ---- create and destroy ---- */

static uint32_t power_of_two_from(uint32_t n)
{
    uint32_t power = 1;
    while (power < n)
        power *= 2;
    return power;
}

/* n_blocks is at most 2^28 (sched.c checks the replica's limits). */
static base_status init_nodes(prefix_cache *cache, uint32_t n_blocks, base_error *error)
{
    cache->n_buckets = power_of_two_from(n_blocks);
    cache->nodes = calloc(n_blocks, sizeof *cache->nodes);
    cache->buckets = malloc(cache->n_buckets * sizeof *cache->buckets);
    if (cache->nodes == NULL || cache->buckets == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a prefix cache of %u blocks", n_blocks);
    memset(cache->buckets, 0xff, cache->n_buckets * sizeof *cache->buckets); /* PREFIX_NONE */
    return BASE_OK;
}

base_status prefix_cache_init(prefix_cache *out, uint32_t n_blocks, bool is_enabled, base_error *error)
{
    prefix_cache cache = {.lru_oldest = PREFIX_NONE, .lru_newest = PREFIX_NONE};
    base_status status = id_pool_init(&cache.pool, n_blocks, "cache blocks", error);
    if (status == BASE_OK && is_enabled)
        status = init_nodes(&cache, n_blocks, error);
    if (status == BASE_OK)
        *out = cache;
    else
        prefix_cache_release(&cache);
    return status;
}

void prefix_cache_release(prefix_cache *cache)
{
    id_pool_release(&cache->pool);
    free(cache->nodes);
    free(cache->buckets);
    *cache = (prefix_cache){0};
}

uint32_t prefix_cache_available(const prefix_cache *cache)
{
    return cache->pool.n_free + cache->n_evictable;
}

/* ---- the LRU list, oldest to newest ---- */

static void lru_append(prefix_cache *cache, uint32_t node)
{
    cache->nodes[node].older = cache->lru_newest;
    cache->nodes[node].newer = PREFIX_NONE;
    if (cache->lru_newest != PREFIX_NONE)
        cache->nodes[cache->lru_newest].newer = node;
    else
        cache->lru_oldest = node;
    cache->lru_newest = node;
    cache->n_evictable++;
}

static void lru_remove(prefix_cache *cache, uint32_t node)
{
    uint32_t older = cache->nodes[node].older, newer = cache->nodes[node].newer;
    if (older != PREFIX_NONE)
        cache->nodes[older].newer = newer;
    else
        cache->lru_oldest = newer;
    if (newer != PREFIX_NONE)
        cache->nodes[newer].older = older;
    else
        cache->lru_newest = older;
    cache->n_evictable--;
}

void prefix_cache_ref(prefix_cache *cache, uint32_t node)
{
    if (cache->nodes[node].refcount++ == 0)
        lru_remove(cache, node);
}

void prefix_cache_unref(prefix_cache *cache, uint32_t node)
{
    assert(cache->nodes[node].refcount > 0);
    if (--cache->nodes[node].refcount == 0)
        lru_append(cache, node);
}

/* ---- finding ---- */

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ (hash >> 29);
}

static uint64_t hash_of(uint32_t parent, const prefix_content *content)
{
    uint64_t hash = mix(0x2545f4914f6cdd1du, parent), word;
    for (uint32_t i = 0; i < LINK_KV_BLOCK_TOKENS; i++)
        hash = mix(hash, (uint32_t)content->tokens[i]);
    if (content->images != NULL) {
        memcpy(&word, content->images, sizeof word);
        hash = mix(hash, word);
    }
    return hash;
}

static bool has_content(const prefix_node *node, uint32_t parent, const prefix_content *content)
{
    const unsigned char *images = content->images != NULL ? content->images : no_images;
    return node->parent == parent && memcmp(node->tokens, content->tokens, sizeof node->tokens) == 0 &&
           memcmp(node->images, images, sizeof node->images) == 0;
}

static uint32_t *bucket_of(const prefix_cache *cache, uint64_t hash)
{
    return &cache->buckets[hash & (cache->n_buckets - 1)];
}

static uint32_t find(const prefix_cache *cache, uint32_t parent, const prefix_content *content, uint64_t hash)
{
    uint32_t at = *bucket_of(cache, hash);
    while (at != PREFIX_NONE && !(cache->nodes[at].hash == hash && has_content(&cache->nodes[at], parent, content)))
        at = cache->nodes[at].next;
    return at;
}

uint32_t prefix_cache_find(const prefix_cache *cache, uint32_t parent, const prefix_content *content)
{
    return cache->nodes != NULL ? find(cache, parent, content, hash_of(parent, content)) : PREFIX_NONE;
}

/* ---- insertion and eviction ---- */

uint32_t prefix_cache_insert(prefix_cache *cache, uint32_t id, uint32_t parent, const prefix_content *content)
{
    uint64_t hash = hash_of(parent, content);
    uint32_t known = find(cache, parent, content, hash), *bucket = bucket_of(cache, hash);
    if (known != PREFIX_NONE) {
        prefix_cache_ref(cache, known);
        return known;
    }
    prefix_node *node = &cache->nodes[id];
    *node = (prefix_node){
        .hash = hash, .parent = parent, .refcount = 1, .next = *bucket, .older = PREFIX_NONE, .newer = PREFIX_NONE};
    memcpy(node->tokens, content->tokens, sizeof node->tokens);
    if (content->images != NULL)
        memcpy(node->images, content->images, sizeof node->images);
    if (parent != PREFIX_NONE)
        cache->nodes[parent].n_children++;
    *bucket = id;
    return id;
}

/* The least recently used node becomes a free block. */
static void evict_lru(prefix_cache *cache)
{
    uint32_t id = cache->lru_oldest;
    prefix_node *node = &cache->nodes[id];
    assert(node->refcount == 0 && node->n_children == 0);
    lru_remove(cache, id);
    uint32_t *link = bucket_of(cache, node->hash);
    while (*link != id)
        link = &cache->nodes[*link].next;
    *link = node->next;
    if (node->parent != PREFIX_NONE)
        cache->nodes[node->parent].n_children--;
    id_pool_free(&cache->pool, 1, &id);
}

bool prefix_cache_alloc(prefix_cache *cache, uint32_t n, uint32_t *ids)
{
    if (n > prefix_cache_available(cache))
        return false;
    while (cache->pool.n_free < n)
        evict_lru(cache);
    return id_pool_alloc(&cache->pool, n, ids);
}
