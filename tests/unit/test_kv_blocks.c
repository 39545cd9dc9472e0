/* Cache block bookkeeping: all-or-none lending, tables that grow, nothing lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/sched/kv_blocks.h"
#include "proto/link/plan.h"

static void pool_lends_all_or_none(void **state)
{
    (void)state;
    sched_pool pool;
    uint32_t ids[4] = {9, 9, 9, 9};
    assert_int_equal(sched_pool_init(&pool, 3, "blocks", NULL), BASE_OK);
    assert_false(sched_pool_take(&pool, 4, ids));
    assert_int_equal(pool.n_free, 3);
    assert_int_equal(ids[0], 9);
    assert_true(sched_pool_take(&pool, 3, ids));
    assert_int_equal(ids[0], 0);
    assert_int_equal(ids[2], 2);
    sched_pool_give(&pool, 1, &ids[1]);
    assert_true(sched_pool_take(&pool, 1, &ids[3]));
    assert_int_equal(ids[3], 1);
    sched_pool_release(&pool);
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
    kv_table table, other;
    assert_int_equal(prefix_cache_init(&cache, 4, false, NULL), BASE_OK);
    assert_int_equal(kv_table_init(&table, 128, NULL), BASE_OK);
    assert_int_equal(kv_table_init(&other, 128, NULL), BASE_OK);
    assert_true(kv_table_cover(&table, &cache, 32));
    assert_true(kv_table_cover(&table, &cache, 1)); /* covered already */
    assert_int_equal(table.n_blocks, 1);
    assert_true(kv_table_cover(&other, &cache, 33));
    assert_false(kv_table_cover(&table, &cache, 97)); /* needs three more, one is free */
    assert_int_equal(table.n_blocks, 1);
    assert_int_equal(cache.pool.n_free, 1);
    kv_table_clear(&other, &cache);
    assert_true(kv_table_cover(&table, &cache, 97));
    assert_int_equal(cache.pool.n_free, 0);
    for (uint32_t i = 0; i < 4; i++)
        for (uint32_t j = 0; j < i; j++)
            assert_int_not_equal(table.blocks[i], table.blocks[j]);
    kv_table_clear(&table, &cache);
    assert_int_equal(cache.pool.n_free, 4);
    kv_table_release(&table);
    kv_table_release(&other);
    prefix_cache_release(&cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool_lends_all_or_none),
        cmocka_unit_test(blocks_for_positions),
        cmocka_unit_test(table_grows_and_clears),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
