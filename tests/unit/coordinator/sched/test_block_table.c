/* Cache block bookkeeping: all-or-none allocation, tables that grow, no block lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/sched/block_table.h"
#include "proto/link/plan.h"

static void pool_allocates_all_or_none(void **state)
{
    (void)state;
    id_pool pool;
    uint32_t ids[4] = {9, 9, 9, 9};
    assert_int_equal(id_pool_init(&pool, 3, "blocks", NULL), BASE_OK);
    assert_false(id_pool_alloc(&pool, 4, ids));
    assert_int_equal(pool.n_free, 3);
    assert_int_equal(ids[0], 9);
    assert_true(id_pool_alloc(&pool, 3, ids));
    assert_int_equal(ids[0], 0);
    assert_int_equal(ids[2], 2);
    id_pool_free(&pool, 1, &ids[1]);
    assert_true(id_pool_alloc(&pool, 1, &ids[3]));
    assert_int_equal(ids[3], 1);
    id_pool_release(&pool);
}

static void blocks_for_positions(void **state)
{
    (void)state;
    assert_int_equal(kv_blocks_for(0), 0);
    assert_int_equal(kv_blocks_for(1), 1);
    assert_int_equal(kv_blocks_for(LINK_KV_BLOCK_TOKENS), 1);
    assert_int_equal(kv_blocks_for(LINK_KV_BLOCK_TOKENS + 1), 2);
    assert_int_equal(kv_blocks_for(UINT32_MAX), 1u << 27);
}

static void table_grows_and_clears(void **state)
{
    (void)state;
    prefix_cache cache;
    block_table table, other;
    assert_int_equal(prefix_cache_init(&cache, 4, false, NULL), BASE_OK);
    assert_int_equal(block_table_init(&table, 128, NULL), BASE_OK);
    assert_int_equal(block_table_init(&other, 128, NULL), BASE_OK);
    assert_true(block_table_reserve(&table, &cache, 32));
    assert_true(block_table_reserve(&table, &cache, 1)); /* covered already */
    assert_int_equal(table.n_blocks, 1);
    assert_true(block_table_reserve(&other, &cache, 33));
    assert_false(block_table_reserve(&table, &cache, 97)); /* needs three more, one is free */
    assert_int_equal(table.n_blocks, 1);
    assert_int_equal(cache.pool.n_free, 1);
    block_table_clear(&other, &cache);
    assert_true(block_table_reserve(&table, &cache, 97));
    assert_int_equal(cache.pool.n_free, 0);
    for (uint32_t i = 0; i < 4; i++)
        for (uint32_t j = 0; j < i; j++)
            assert_int_not_equal(table.blocks[i], table.blocks[j]);
    block_table_clear(&table, &cache);
    assert_int_equal(cache.pool.n_free, 4);
    block_table_release(&table);
    block_table_release(&other);
    prefix_cache_release(&cache);
}

/* A block is reused for its content after its parent, whatever its hash says. */
static void nodes_are_compared(void **state)
{
    (void)state;
    prefix_cache cache;
    int32_t tokens[LINK_KV_BLOCK_TOKENS] = {1, 2, 3};
    unsigned char name[CONTENT_DIGEST_BYTES] = {7};
    prefix_content plain = {.tokens = tokens}, with_image = {.tokens = tokens, .images = name};
    uint32_t ids[3];
    assert_int_equal(prefix_cache_init(&cache, 3, true, NULL), BASE_OK);
    assert_true(prefix_cache_alloc(&cache, 3, ids));
    assert_int_equal(prefix_cache_insert(&cache, ids[0], PREFIX_NONE, &plain), ids[0]);
    assert_int_equal(prefix_cache_insert(&cache, ids[1], ids[0], &plain), ids[1]); /* the same tokens further on */
    assert_int_equal(prefix_cache_insert(&cache, ids[2], PREFIX_NONE, &with_image), ids[2]);
    assert_int_equal(prefix_cache_find(&cache, PREFIX_NONE, &plain), ids[0]);
    assert_int_equal(prefix_cache_find(&cache, ids[0], &plain), ids[1]);
    assert_int_equal(prefix_cache_find(&cache, ids[1], &plain), PREFIX_NONE);
    assert_int_equal(prefix_cache_find(&cache, PREFIX_NONE, &with_image), ids[2]);
    name[31] = 1;
    assert_int_equal(prefix_cache_find(&cache, PREFIX_NONE, &with_image), PREFIX_NONE);
    cache.nodes[ids[0]].tokens[31] = 9; /* as if another content had the same hash */
    assert_int_equal(prefix_cache_find(&cache, PREFIX_NONE, &plain), PREFIX_NONE);
    cache.nodes[ids[1]].parent = ids[2];
    assert_int_equal(prefix_cache_find(&cache, ids[0], &plain), PREFIX_NONE);
    prefix_cache_release(&cache);
}

/* A table that computed what was known already keeps its own block, and gives both back. */
static void twins_are_kept_once(void **state)
{
    (void)state;
    prefix_cache cache;
    block_table a, b;
    int32_t tokens[LINK_KV_BLOCK_TOKENS] = {4};
    prefix_content content = {.tokens = tokens};
    assert_int_equal(prefix_cache_init(&cache, 4, true, NULL), BASE_OK);
    assert_int_equal(block_table_init(&a, 64, NULL), BASE_OK);
    assert_int_equal(block_table_init(&b, 64, NULL), BASE_OK);
    assert_true(block_table_reserve(&a, &cache, 33) && block_table_reserve(&b, &cache, 33));
    block_table_publish(&a, &cache, &content);
    block_table_publish(&b, &cache, &content);
    assert_int_not_equal(a.blocks[0], b.blocks[0]);
    assert_int_equal(b.nodes[0], a.blocks[0]);
    block_table_clear(&a, &cache);
    assert_int_equal(cache.n_evictable, 0); /* b goes by it */
    assert_int_equal(prefix_cache_available(&cache), 1);
    block_table_clear(&b, &cache);
    assert_int_equal(cache.n_evictable, 1);
    assert_int_equal(prefix_cache_available(&cache), 4);
    assert_true(block_table_reuse(&b, &cache, &content));
    assert_int_equal(cache.n_evictable, 0);
    block_table_clear(&b, &cache);
    block_table_release(&a);
    block_table_release(&b);
    prefix_cache_release(&cache);
}

/* The end of a chain goes before its beginning, what was used lately last. */
static void the_oldest_is_forgotten_first(void **state)
{
    (void)state;
    prefix_cache cache;
    block_table table;
    int32_t tokens[2][LINK_KV_BLOCK_TOKENS] = {{1}, {2}};
    assert_int_equal(prefix_cache_init(&cache, 4, true, NULL), BASE_OK);
    assert_int_equal(block_table_init(&table, 64, NULL), BASE_OK);
    for (int chain = 0; chain < 2; chain++) {
        prefix_content content = {.tokens = tokens[chain]};
        assert_true(block_table_reserve(&table, &cache, 64));
        block_table_publish(&table, &cache, &content);
        block_table_publish(&table, &cache, &content);
        block_table_clear(&table, &cache);
    }
    prefix_content first = {.tokens = tokens[0]}, second = {.tokens = tokens[1]};
    assert_true(block_table_reuse(&table, &cache, &first)); /* used again: now younger than the second chain */
    block_table_clear(&table, &cache);
    uint32_t id, root = prefix_cache_find(&cache, PREFIX_NONE, &first);
    static const uint32_t left[] = {3, 2, 1, 0};
    for (uint32_t i = 0; i < 4; i++) {
        assert_true(prefix_cache_alloc(&cache, 1, &id));
        assert_int_equal(cache.n_evictable, left[i]);
        assert_int_equal(prefix_cache_find(&cache, PREFIX_NONE, &first) != PREFIX_NONE, i < 3);
        assert_int_equal(prefix_cache_find(&cache, root, &first) != PREFIX_NONE, false);
        assert_int_equal(prefix_cache_find(&cache, PREFIX_NONE, &second) != PREFIX_NONE, i < 2);
    }
    assert_false(prefix_cache_alloc(&cache, 1, &id));
    block_table_release(&table);
    prefix_cache_release(&cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool_allocates_all_or_none), cmocka_unit_test(blocks_for_positions),
        cmocka_unit_test(table_grows_and_clears),     cmocka_unit_test(nodes_are_compared),
        cmocka_unit_test(twins_are_kept_once),        cmocka_unit_test(the_oldest_is_forgotten_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
