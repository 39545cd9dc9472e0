/* test_synthetic.c - synthetic models: the same values wherever a range begins, nearly normal, of the preset's shapes.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sharding/formats/synthetic.h"
#include "sharding/source.h"

static shard_tensor tensor_of(uint64_t seed)
{
    return (shard_tensor){.type = SHARD_SYNTHETIC, .n_dims = 2, .shape = {1000, 101}, .seed = seed, .spread = 0.5f};
}

static void test_ranges_agree(void **unused)
{
    (void)unused;
    shard_tensor tensor = tensor_of(7);
    float whole[101], part[101];
    for (uint64_t row = 0; row < 3; row++) {
        shard_tensor_read(&tensor, row, 0, 101, whole);
        for (uint64_t begin = 0; begin <= 101; begin++)
            for (uint64_t n = 0; n <= 101 - begin; n += 1 + n / 3) {
                shard_tensor_read(&tensor, row, begin, n, part);
                assert_memory_equal(part, whole + begin, n * sizeof *part);
            }
    }
}

/* Changing the generator changes every measurement made with it: values written down once (seed 7, row 1, columns 0 to
 * 3, as sums of bytes less their mean: value / 0.5 * 147.8016). */
static void test_values_stay(void **unused)
{
    (void)unused;
    static const float sums[4] = {260.0f, -26.0f, 140.0f, 121.0f};
    shard_tensor tensor = tensor_of(7);
    float values[4];
    shard_tensor_read(&tensor, 1, 0, 4, values);
    for (int i = 0; i < 4; i++)
        assert_float_equal(values[i] * (147.8016f / 0.5f), sums[i], 1e-3f);
}

/* Over 101000 values the mean has a standard error of 0.0016, the variance one of 0.0010: bounds of five of them. */
static void test_moments(void **unused)
{
    (void)unused;
    shard_tensor tensor = tensor_of(1);
    double sum = 0, squares = 0, neighbours = 0;
    float row[101];
    for (uint64_t i = 0; i < 1000; i++) {
        shard_tensor_read(&tensor, i, 0, 101, row);
        for (int k = 0; k < 101; k++) {
            sum += row[k];
            squares += (double)row[k] * row[k];
            neighbours += k > 0 ? (double)row[k] * row[k - 1] : 0;
        }
    }
    assert_true(fabs(sum / 101000) < 0.008);
    assert_true(fabs(squares / 101000 - 0.25) < 0.005);
    assert_true(fabs(neighbours / 100000) < 0.005);
}

static void open_model(const char *spec, arch *a, shard_source **source)
{
    base_error error = {0};
    if (synthetic_open(spec, a, source, &error) != BASE_OK)
        fail_msg("%s", error.text);
    if (shard_source_check(*source, a, &error) != BASE_OK)
        fail_msg("%s", error.text);
}

static void read_one(const shard_source *source, const arch *a, arch_role role, uint32_t layer, float out[8])
{
    char name[256];
    shard_tensor tensor;
    assert_true(arch_tensor_name(a, ARCH_DECODER, role, layer, name, sizeof name));
    assert_int_equal(shard_source_find(source, name, &tensor, NULL), BASE_OK);
    assert_int_equal(tensor.type, SHARD_SYNTHETIC);
    shard_tensor_read(&tensor, 0, 0, 8, out);
}

static void test_models(void **unused)
{
    (void)unused;
    static const char *const specs[] = {"synthetic:palm-540b", "synthetic:palm-e-562b", "synthetic:gemma-3-270m",
                                        "synthetic:llama-3.1-405b", "synthetic:qwen2.5-7b"};
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        arch a;
        shard_source *source = NULL;
        float gain[8], weights[8];
        open_model(specs[i], &a, &source);
        assert_false(a.decoder.stack.norm_plus_one);
        read_one(source, &a, ARCH_LAYER_NORM, 0, gain);
        read_one(source, &a, ARCH_LAYER_Q, 0, weights);
        for (int k = 0; k < 8; k++)
            assert_true(gain[k] == 1.0f);
        assert_true(weights[0] != weights[1]);
        shard_source_close(&source);
    }
}

static void test_layers_are_the_first(void **unused)
{
    (void)unused;
    arch all, few;
    shard_source *source = NULL, *cut = NULL;
    float a[8], b[8], other[8];
    open_model("synthetic:palm-540b", &all, &source);
    open_model("synthetic:palm-540b,layers=2", &few, &cut);
    assert_int_equal(all.decoder.stack.n_layers, 118);
    assert_int_equal(few.decoder.stack.n_layers, 2);
    read_one(source, &all, ARCH_LAYER_UP, 1, a);
    read_one(cut, &few, ARCH_LAYER_UP, 1, b);
    read_one(cut, &few, ARCH_LAYER_UP, 0, other);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a, other, sizeof a);
    shard_source_close(&source);
    shard_source_close(&cut);
}

static void test_refusals(void **unused)
{
    (void)unused;
    static const struct {
        const char *spec;
        base_status status;
    } cases[] = {{"synthetic:palm-541b", BASE_ENOTFOUND},
                 {"synthetic:", BASE_ENOTFOUND},
                 {"palm-540b", BASE_EINVAL},
                 {"synthetic:palm-540b,layers=0", BASE_EINVAL},
                 {"synthetic:palm-540b,layers=119", BASE_EINVAL},
                 {"synthetic:palm-540b,layers=", BASE_EINVAL},
                 {"synthetic:palm-540b,layers=2x", BASE_EINVAL},
                 {"synthetic:palm-540b,heads=2", BASE_EINVAL},
                 {"synthetic:palm-540b,layers=-1", BASE_EINVAL}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        arch a;
        shard_source *source = NULL;
        base_error error = {0};
        assert_int_equal(synthetic_open(cases[i].spec, &a, &source, &error), cases[i].status);
        assert_null(source);
        assert_true(error.text[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges_agree),
        cmocka_unit_test(test_values_stay),
        cmocka_unit_test(test_moments),
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_layers_are_the_first),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests_name("synthetic", tests, NULL, NULL);
}
