/* test_recipe.c - which type each matrix of which model gets, and the file of importances. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "sharding/planner/presets.h"
#include "sharding/recipe.h"

static arch preset(const char *name)
{
    arch a;
    base_error error = {0};
    if (preset_arch(name, &a, &error) != BASE_OK)
        fail_msg("%s", error.text);
    return a;
}

static pack_type type_of(const arch *a, recipe_kind kind, arch_part part, arch_role role, uint32_t layer)
{
    shard_recipe recipe = {.kind = kind};
    shard_slice slice = {.part = part, .role = role, .layer = layer, .is_matrix = true};
    return shard_recipe_type(&recipe, a, &slice, SHARD_BF16);
}

static void names_are_found(void **state)
{
    (void)state;
    for (int kind = 0; kind < RECIPE_N_KINDS; kind++) {
        recipe_kind found = RECIPE_N_KINDS;
        assert_true(recipe_kind_find(recipe_kind_name((recipe_kind)kind), &found));
        assert_int_equal(found, kind);
    }
    recipe_kind found;
    assert_false(recipe_kind_find("int2", &found));
    assert_false(recipe_kind_find("", &found));
}

static void auto_keeps_precision(void **state)
{
    (void)state;
    static const struct {
        shard_type from;
        pack_type to;
    } expected[] = {{SHARD_F64, PACK_F32},   {SHARD_F32, PACK_F32},     {SHARD_F16, PACK_F16},
                    {SHARD_BF16, PACK_BF16}, {SHARD_F8_E4M3, PACK_F16}, {SHARD_Q8_0, PACK_INT8},
                    {SHARD_Q4_0, PACK_INT4}, {SHARD_Q4_1, PACK_F16},    {SHARD_Q5_0, PACK_F16},
                    {SHARD_Q6_K, PACK_F16},  {SHARD_Q4_K, PACK_F16},    {SHARD_SYNTHETIC, PACK_BF16}};
    arch a = preset("palm-8b");
    shard_recipe recipe = {.kind = RECIPE_AUTO};
    shard_slice slice = {.part = ARCH_DECODER, .role = ARCH_LAYER_Q, .is_matrix = true, .unit = 4096};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        assert_int_equal(shard_recipe_type(&recipe, &a, &slice, expected[i].from), expected[i].to);

    shard_slice narrow_heads = {.part = ARCH_DECODER, .role = ARCH_LAYER_O, .is_matrix = true, .unit = 48};
    assert_int_equal(shard_recipe_type(&recipe, &a, &narrow_heads, SHARD_Q8_0), PACK_F16);
    assert_int_equal(shard_recipe_type(&recipe, &a, &narrow_heads, SHARD_Q4_0), PACK_F16);
}

static void plain_kinds_mean_every_matrix(void **state)
{
    (void)state;
    static const pack_type types[RECIPE_N_KINDS] = {
        [RECIPE_F32] = PACK_F32, [RECIPE_F16] = PACK_F16, [RECIPE_BF16] = PACK_BF16, [RECIPE_INT8] = PACK_INT8};
    arch a = preset("palm-540b");
    for (int kind = RECIPE_F32; kind <= RECIPE_INT8; kind++) {
        assert_int_equal(type_of(&a, (recipe_kind)kind, ARCH_DECODER, ARCH_EMBEDDING, 0), types[kind]);
        assert_int_equal(type_of(&a, (recipe_kind)kind, ARCH_DECODER, ARCH_LAYER_DOWN, 60), types[kind]);
        assert_int_equal(type_of(&a, (recipe_kind)kind, ARCH_TOWER, ARCH_LAYER_Q, 0), types[kind]);
    }
}

static void int4_of_wide_models(void **state)
{
    (void)state;
    arch a = preset("palm-540b");
    assert_int_equal(type_of(&a, RECIPE_INT4, ARCH_DECODER, ARCH_EMBEDDING, 0), PACK_INT8);
    assert_int_equal(type_of(&a, RECIPE_INT4, ARCH_DECODER, ARCH_LAYER_V, 60), PACK_INT8); /* one head, read by 48 */
    assert_int_equal(type_of(&a, RECIPE_INT4, ARCH_DECODER, ARCH_LAYER_Q, 0), PACK_INT4);
    assert_int_equal(type_of(&a, RECIPE_INT4, ARCH_DECODER, ARCH_LAYER_O, 0), PACK_INT4);
    assert_int_equal(type_of(&a, RECIPE_INT4, ARCH_DECODER, ARCH_LAYER_GATE, 0), PACK_INT4);
    assert_int_equal(type_of(&a, RECIPE_INT4, ARCH_DECODER, ARCH_LAYER_DOWN, 7),
                     PACK_INT8); /* 118 / 16 rounded up: 8 layers */
    assert_int_equal(type_of(&a, RECIPE_INT4, ARCH_DECODER, ARCH_LAYER_DOWN, 8), PACK_INT4);
    assert_int_equal(type_of(&a, RECIPE_INT4, ARCH_DECODER, ARCH_LAYER_DOWN, 109), PACK_INT4);
    assert_int_equal(type_of(&a, RECIPE_INT4, ARCH_DECODER, ARCH_LAYER_DOWN, 110), PACK_INT8);
    assert_int_equal(type_of(&a, RECIPE_INT4, ARCH_TOWER, ARCH_PROJECTOR, 0), PACK_INT8);
}

/* Gemma 3 270M: 18 layers; a quarter is 5 of them rounded up, an eighth 3. */
static void int4_of_narrow_models(void **state)
{
    (void)state;
    arch a = preset("gemma-3-270m");
    for (uint32_t il = 0; il < 18; il++) {
        bool is_middle = il >= 5 && il < 13;
        assert_int_equal(type_of(&a, RECIPE_INT4, ARCH_DECODER, ARCH_LAYER_GATE, il),
                         is_middle ? PACK_INT4 : PACK_INT8);
        assert_int_equal(type_of(&a, RECIPE_INT4, ARCH_DECODER, ARCH_LAYER_UP, il), is_middle ? PACK_INT4 : PACK_INT8);
        assert_int_equal(type_of(&a, RECIPE_INT4, ARCH_DECODER, ARCH_LAYER_DOWN, il), PACK_INT8);
        assert_int_equal(type_of(&a, RECIPE_INT4, ARCH_DECODER, ARCH_LAYER_Q, il), PACK_INT8);
    }
}

typedef struct bits {
    const arch *a;
    double weights, bits;
} bits;

static base_status count_bits(void *context, const shard_slice *slice, base_error *error)
{
    (void)error;
    bits *b = context;
    if (!slice->is_matrix)
        return BASE_OK;
    shard_recipe recipe = {.kind = RECIPE_INT4};
    uint32_t n = shard_range_width(slice->rows), k = shard_range_width(slice->columns);
    b->weights += (double)n * k;
    b->bits += 8.0 * (double)pack_bytes(shard_recipe_type(&recipe, b->a, slice, SHARD_BF16), n, k, slice->unit);
    return BASE_OK;
}

static double bits_per_weight(const char *name)
{
    arch a = preset(name);
    shard_split split;
    bits b = {.a = &a};
    assert_int_equal(shard_split_of(&a, 1, 1, 0, 0, &split, NULL), BASE_OK);
    assert_int_equal(shard_slices_visit(&a, &split, count_bits, &b, NULL), BASE_OK);
    return b.bits / b.weights;
}

/* int4 alone is 4.5 bits: what stays finer must not eat what int4 wins at the sizes where it matters. */
static void large_models_stay_near_four_bits(void **state)
{
    (void)state;
    assert_true(bits_per_weight("palm-540b") < 4.8);
    assert_true(bits_per_weight("palm-62b") < 4.9);
    assert_true(bits_per_weight("llama-3.1-405b") < 4.8);
}

/* --- importance --- */

static void temporary_path(char path[64])
{
    snprintf(path, 64, "/tmp/palmgrove-recipe-XXXXXX");
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
}

static arch tiny(void)
{
    arch a = preset("palm-8b");
    a.decoder.stack.n_layers = 2;
    return a;
}

/* A row as wide as `width`, values 1, 2, 3 ... */
static void write_row(const char *path, arch_role role, uint32_t layer, uint32_t width, float first)
{
    shard_slice slice = {.part = ARCH_DECODER, .role = role, .layer = layer, .is_matrix = true};
    shard_importance_row row = {.width = width};
    shard_slice_name(&slice, row.name);
    float *values = malloc(width * sizeof *values);
    assert_non_null(values);
    for (uint32_t i = 0; i < width; i++)
        values[i] = first + (float)i;
    row.values = values;
    base_error error = {0};
    assert_int_equal(shard_importance_write(path, &row, 1, &error), BASE_OK);
    free(values);
}

static void importance_round_trip(void **state)
{
    (void)state;
    char path[64];
    arch a = tiny();
    uint32_t f = a.decoder.stack.f;
    shard_importance *importance = NULL;
    base_error error = {0};
    temporary_path(path);
    write_row(path, ARCH_LAYER_DOWN, 1, f, 0.0f);
    if (shard_importance_open(path, &a, &importance, &error) != BASE_OK)
        fail_msg("%s", error.text);
    shard_slice slice = {
        .part = ARCH_DECODER, .role = ARCH_LAYER_DOWN, .layer = 1, .columns = {64, f}, .is_matrix = true};
    const float *columns = shard_importance_of(importance, &slice);
    assert_non_null(columns);
    assert_true(columns[0] == 64.0f && columns[f - 65] == (float)(f - 1));
    slice.layer = 0;
    assert_null(shard_importance_of(importance, &slice));
    shard_importance_close(&importance);
    assert_null(importance);
    unlink(path);
}

static void refused(const char *path, const arch *a, base_status expected)
{
    shard_importance *importance = NULL;
    base_error error = {0};
    assert_int_equal(shard_importance_open(path, a, &importance, &error), expected);
    assert_null(importance);
    assert_true(error.text[0] != '\0');
}

static void importance_of_another_model_is_refused(void **state)
{
    (void)state;
    char path[64];
    arch a = tiny();
    uint32_t f = a.decoder.stack.f;
    temporary_path(path);
    write_row(path, ARCH_LAYER_DOWN, 0, f - 1, 0.0f);
    refused(path, &a, BASE_EINVAL);
    write_row(path, ARCH_LAYER_DOWN, 2, f, 0.0f); /* the model has two layers */
    refused(path, &a, BASE_EINVAL);
    write_row(path, ARCH_LAYER_NORM, 0, a.decoder.stack.d, 0.0f); /* no matrix */
    refused(path, &a, BASE_EINVAL);
    unlink(path);
}

static void importance_that_is_no_number_is_refused(void **state)
{
    (void)state;
    char path[64];
    arch a = tiny();
    temporary_path(path);
    write_row(path, ARCH_LAYER_DOWN, 0, a.decoder.stack.f, -1.0f);
    refused(path, &a, BASE_EFORMAT);
    write_row(path, ARCH_LAYER_DOWN, 0, a.decoder.stack.f, NAN);
    refused(path, &a, BASE_EFORMAT);
    unlink(path);
    refused(path, &a, BASE_ENOTFOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_found),
        cmocka_unit_test(auto_keeps_precision),
        cmocka_unit_test(plain_kinds_mean_every_matrix),
        cmocka_unit_test(int4_of_wide_models),
        cmocka_unit_test(int4_of_narrow_models),
        cmocka_unit_test(large_models_stay_near_four_bits),
        cmocka_unit_test(importance_round_trip),
        cmocka_unit_test(importance_of_another_model_is_refused),
        cmocka_unit_test(importance_that_is_no_number_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
