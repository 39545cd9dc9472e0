/* test_split.c - who owns what, over many models and grids: nothing twice, nothing forgotten, shares within one unit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sharding/split.h"

static arch model_of(uint32_t h, uint32_t kv, uint32_t f, uint32_t vocab, uint32_t layers)
{
    arch a = {.family = "palm_e"};
    a.decoder.stack = (arch_stack){.n_layers = layers, .d = 64, .h = h, .kv = kv, .dh = 16, .f = f};
    a.decoder.vocab_size = vocab;
    return a;
}

static void ranges_tile_and_are_even(void **state)
{
    (void)state;
    for (uint32_t n = 0; n < 60; n++)
        for (uint32_t parts = 1; parts < 20; parts++) {
            uint32_t at = 0, least = UINT32_MAX, most = 0;
            for (uint32_t i = 0; i < parts; i++) {
                shard_range r = shard_range_of(n, parts, i);
                assert_int_equal(r.begin, at);
                uint32_t share = r.end - r.begin;
                assert_int_equal(share, n / parts + (i < n % parts ? 1 : 0));
                least = share < least ? share : least;
                most = share > most ? share : most;
                at = r.end;
            }
            assert_int_equal(at, n);
            assert_true(most - least <= 1);
        }
}

static void assert_stack_tiles(const arch_stack *stack, uint32_t tp)
{
    uint32_t head = 0, column = 0;
    for (uint32_t t = 0; t < tp; t++) {
        shard_stack_split s = shard_stack_split_of(stack, tp, t);
        assert_int_equal(s.heads.begin, head);
        assert_true(s.heads.end > s.heads.begin);
        assert_int_equal(s.kv_heads.begin, s.heads.begin / (stack->h / stack->kv));
        assert_int_equal(s.kv_heads.end, (s.heads.end - 1) / (stack->h / stack->kv) + 1);
        assert_int_equal(s.mlp.begin, column);
        assert_int_equal(s.mlp.begin % SHARD_MLP_GROUP, 0);
        assert_true(s.mlp.end > s.mlp.begin);
        head = s.heads.end;
        column = s.mlp.end;
    }
    assert_int_equal(head, stack->h);
    assert_int_equal(column, stack->f);
}

static void stacks_tile(void **state)
{
    (void)state;
    for (uint32_t h = 1; h <= 16; h++)
        for (uint32_t kv = 1; kv <= h; kv++)
            for (uint32_t tp = 1; tp <= h && h % kv == 0; tp++) {
                uint32_t f = tp * SHARD_MLP_GROUP + (h * 7) % SHARD_MLP_GROUP;
                arch a = model_of(h, kv, f, 4096, 4);
                assert_stack_tiles(&a.decoder.stack, tp);
            }
}

static void grids_tile_layers_and_vocabulary(void **state)
{
    (void)state;
    arch a = model_of(8, 2, 1000, 1001, 7);
    a.has_tower = true;
    a.tower.stack = (arch_stack){.n_layers = 2, .d = 32, .h = 9, .kv = 9, .dh = 8, .f = 600};
    for (uint32_t pp = 1; pp <= 7; pp++)
        for (uint32_t tp = 1; tp <= 8; tp++)
            for (uint32_t t = 0; t < tp; t++) {
                uint32_t layer = 0;
                for (uint32_t stage = 0; stage < pp; stage++) {
                    shard_split s;
                    assert_int_equal(shard_split_of(&a, tp, pp, t, stage, &s, NULL), BASE_OK);
                    assert_int_equal(s.layers.begin, layer);
                    layer = s.layers.end;
                    bool has_vocab = stage == 0 || stage == pp - 1;
                    shard_range groups = shard_range_of(32, tp, t);
                    assert_int_equal(s.vocab.begin, has_vocab ? groups.begin * 32 : 0);
                    assert_int_equal(s.vocab.end, !has_vocab ? 0 : groups.end * 32 > 1001 ? 1001 : groups.end * 32);
                    assert_int_equal(s.tower.heads.end > s.tower.heads.begin, stage == 0);
                }
                assert_int_equal(layer, 7);
            }
}

static void assert_refused(const arch *a, uint32_t tp, uint32_t pp, const char *text)
{
    shard_split s;
    base_error error = {0};
    assert_int_equal(shard_split_of(a, tp, pp, 0, 0, &s, &error), BASE_EINVAL);
    if (strstr(error.text, text) == NULL)
        fail_msg("'%s' is not in '%s'", text, error.text);
}

static void grids_that_cannot_hold_the_model_are_refused(void **state)
{
    (void)state;
    arch a = model_of(4, 1, 1024, 4096, 6);
    assert_refused(&a, 5, 1,
                   "--tp 5 is more than the model's 4 attention heads; the nearest layout that fits is --tp 1 --pp 5");
    assert_refused(&a, 1, 7,
                   "--pp 7 is more than the model's 6 layers; the nearest layout that fits is --tp 3 --pp 2 (6 ranks)");
    assert_refused(&a, 4000000000u, 4000000000u, "the nearest layout that fits is --tp 4 --pp 6 (24 ranks)");
    assert_refused(&a, 0, 3, "empty");
    arch narrow = model_of(8, 1, 130, 4096, 6);
    assert_refused(&narrow, 4, 1, "3 groups of 64 MLP columns");
    arch few = model_of(8, 1, 1024, 33, 6);
    assert_refused(&few, 3, 1, "2 groups of 32 vocabulary rows");
    a.has_tower = true;
    a.tower.stack = (arch_stack){.n_layers = 2, .h = 2, .kv = 2, .f = 1024};
    assert_refused(&a, 3, 1, "2 attention heads of the vision tower");
    shard_split s;
    assert_int_equal(shard_split_of(&a, 2, 2, 2, 0, &s, NULL), BASE_EINVAL);
    assert_int_equal(shard_split_of(&a, 2, 2, 0, 2, &s, NULL), BASE_EINVAL);
}

static void assert_layout(const arch *a, uint32_t n, uint32_t tp, uint32_t pp, uint32_t expected_tp,
                          uint32_t expected_pp)
{
    base_error error = {0};
    if (shard_layout_choose(a, n, &tp, &pp, &error) != BASE_OK)
        fail_msg("%s", error.text);
    assert_int_equal(tp, expected_tp);
    assert_int_equal(pp, expected_pp);
}

static void layouts_are_chosen(void **state)
{
    (void)state;
    arch a = model_of(4, 1, 1024, 4096, 6);
    assert_layout(&a, 1, 0, 0, 1, 1);
    assert_layout(&a, 3, 0, 0, 3, 1);
    assert_layout(&a, 4, 0, 0, 4, 1);
    assert_layout(&a, 4, 2, 0, 2, 2);
    assert_layout(&a, 4, 0, 4, 1, 4);
    assert_layout(&a, 6, 0, 0, 3, 2);
    assert_layout(&a, 24, 0, 0, 4, 6);
    assert_layout(&a, 5, 0, 0, 1, 5);
}

static void assert_no_layout(const arch *a, uint32_t n, uint32_t tp, uint32_t pp, const char *text)
{
    base_error error = {0};
    uint32_t given_tp = tp, given_pp = pp;
    assert_int_equal(shard_layout_choose(a, n, &tp, &pp, &error), BASE_EINVAL);
    assert_int_equal(tp, given_tp);
    assert_int_equal(pp, given_pp);
    if (strstr(error.text, text) == NULL)
        fail_msg("'%s' is not in '%s'", text, error.text);
}

static void impossible_layouts_are_refused(void **state)
{
    (void)state;
    arch a = model_of(4, 1, 1024, 4096, 6);
    assert_no_layout(&a, 7, 0, 0, "the largest that does is --tp 3 --pp 2 (6 ranks)");
    assert_no_layout(&a, 100, 0, 0, "the largest that does is --tp 4 --pp 6 (24 ranks)");
    assert_no_layout(&a, 4, 3, 0, "tp x pp must be the rank count");
    assert_no_layout(&a, 4, 2, 3, "tp x pp must be the rank count");
    assert_no_layout(&a, 0, 0, 0, "at least one rank");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_tile_and_are_even),
        cmocka_unit_test(stacks_tile),
        cmocka_unit_test(grids_tile_layers_and_vocabulary),
        cmocka_unit_test(grids_that_cannot_hold_the_model_are_refused),
        cmocka_unit_test(layouts_are_chosen),
        cmocka_unit_test(impossible_layouts_are_refused),
    };
    return cmocka_run_group_tests_name("split", tests, NULL, NULL);
}
