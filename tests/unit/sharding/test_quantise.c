/* test_quantise.c - the quantiser against what it promises: never worse than plain rounding, exact where exactness is
 * possible, sane with any bits, and the same codes on every machine. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sharding/pack/half.h"
#include "sharding/pack/pack.h"

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* Roughly normal, from sums of uniform numbers. */
static float next_value(uint32_t *state)
{
    float sum = 0.0f;
    for (int i = 0; i < 6; i++)
        sum += (float)next_random(state) * 0x1p-24f - 0.5f;
    return sum;
}

static double error_of(const float *x, const float *w, uint32_t n, uint16_t scale, const int8_t *q)
{
    double error = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        double difference = (double)x[i] - (double)half_from_f16(scale) * q[i];
        error += (w != NULL ? (double)w[i] : 1.0) * difference * difference;
    }
    return error;
}

/* Q4_0's way: the extreme element to -8, everything rounded by the stored scale. */
static double plain_error(const float *x, const float *w, uint32_t n)
{
    float extreme = 0.0f;
    for (uint32_t i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(extreme))
            extreme = x[i];
    uint16_t bits = half_to_f16(extreme / -8.0f);
    int8_t q[PACK_GROUP];
    for (uint32_t i = 0; i < n; i++) {
        float code = roundf(x[i] / half_from_f16(bits));
        q[i] = (int8_t)(code < -8.0f ? -8.0f : code > 7.0f ? 7.0f : code);
    }
    return error_of(x, w, n, bits, q);
}

static void assert_codes(pack_type type, uint16_t scale, const int8_t *q, uint32_t n)
{
    assert_true(isfinite(half_from_f16(scale)));
    for (uint32_t i = 0; i < n; i++) {
        assert_true(q[i] >= (type == PACK_INT4 ? -8 : -127));
        assert_true(q[i] <= (type == PACK_INT4 ? 7 : 127));
    }
}

static void never_worse_than_rounding(void **state)
{
    (void)state;
    uint32_t seed = 1;
    double sum = 0.0, plain_sum = 0.0;
    for (uint32_t i = 0; i < 20000; i++) {
        float x[PACK_GROUP], w[PACK_GROUP];
        int8_t q[PACK_GROUP];
        uint32_t n = i % PACK_GROUP + 1;
        for (uint32_t j = 0; j < n; j++) {
            x[j] = next_value(&seed) * (j % 7 == 0 ? 4.0f : 1.0f);
            w[j] = next_value(&seed) * next_value(&seed);
            w[j] *= w[j];
        }
        const float *weights = i % 2 == 0 ? NULL : w;
        uint16_t scale = pack_group_quantise(PACK_INT4, x, weights, n, q);
        double error = error_of(x, weights, n, scale, q), plain = plain_error(x, weights, n);
        assert_codes(PACK_INT4, scale, q, n);
        /* sums in f32 with weights relative to the largest decide between candidates: a few roundings of 2^-24 */
        assert_true(error <= plain * (1.0 + 1e-5) + 1e-12);
        sum += error;
        plain_sum += plain;
    }
    assert_true(sum < 0.9 * plain_sum); /* on bell-shaped groups the search takes 11 % off, more where weights differ */
}

static void int8_is_near(void **state)
{
    (void)state;
    uint32_t seed = 2;
    for (uint32_t i = 0; i < 2000; i++) {
        float x[PACK_GROUP], largest = 0.0f;
        int8_t q[PACK_GROUP];
        uint32_t n = i % PACK_GROUP + 1;
        for (uint32_t j = 0; j < n; j++) {
            x[j] = next_value(&seed);
            largest = fmaxf(largest, fabsf(x[j]));
        }
        uint16_t scale = pack_group_quantise(PACK_INT8, x, NULL, n, q);
        assert_codes(PACK_INT8, scale, q, n);
        for (uint32_t j = 0; j < n; j++) /* half a step, and 127 times the rounding of the scale to f16, 2^-11 */
            assert_true(fabsf(x[j] - half_from_f16(scale) * (float)q[j]) <=
                        largest / 127.0f * (0.5f + 127.0f * 0x1p-11f) * 1.001f);
    }
}

/* Groups that are scale times codes come back with the same values; the scale's sign may be the other one where no code
 * is -8. */
static void representable_groups_are_exact(void **state)
{
    (void)state;
    uint32_t seed = 3;
    for (uint32_t i = 0; i < 4000; i++) {
        pack_type type = i % 2 == 0 ? PACK_INT4 : PACK_INT8;
        float x[PACK_GROUP];
        int8_t codes[PACK_GROUP], q[PACK_GROUP];
        uint16_t scale = (uint16_t)(0x1400u + next_random(&seed) % 0x2000u + (type == PACK_INT4 ? (i & 2u) << 14 : 0));
        for (uint32_t j = 0; j < PACK_GROUP; j++)
            codes[j] = type == PACK_INT4 ? (int8_t)(next_random(&seed) % 16) - 8
                                         : (int8_t)((int)(next_random(&seed) % 255) - 127);
        codes[i % PACK_GROUP] = type == PACK_INT4 ? -8 : -127;
        for (uint32_t j = 0; j < PACK_GROUP; j++)
            x[j] = half_from_f16(scale) * (float)codes[j];
        uint16_t found = pack_group_quantise(type, x, NULL, PACK_GROUP, q);
        assert_int_equal(found, scale);
        assert_memory_equal(q, codes, sizeof q);
    }
}

static void zeros_have_no_scale(void **state)
{
    (void)state;
    float x[PACK_GROUP] = {0};
    for (int type = PACK_INT8; type <= PACK_INT4; type++)
        for (uint32_t n = 1; n <= PACK_GROUP; n++) {
            int8_t q[PACK_GROUP];
            memset(q, 1, sizeof q);
            x[0] = -0.0f;
            assert_int_equal(pack_group_quantise((pack_type)type, x, NULL, n, q), 0);
            for (uint32_t i = 0; i < n; i++)
                assert_int_equal(q[i], 0);
        }
}

/* What no f16 scale reaches is clipped, what is no number is zero, and nothing is read or written past n. */
static void extreme_values(void **state)
{
    (void)state;
    static const float values[] = {1e-45f, 1e-38f, 1e-9f, 3e-8f,    6e-8f,     1e-6f, 65504.0f,
                                   1e6f,   1e9f,   3e38f, INFINITY, -INFINITY, NAN};
    enum { N = sizeof values / sizeof *values };
    for (int type = PACK_INT8; type <= PACK_INT4; type++)
        for (size_t a = 0; a < N; a++)
            for (size_t b = 0; b < N; b++) {
                float x[3] = {values[a], -values[b], 0.5f * values[a]};
                float w[3] = {values[b], values[a], -1.0f};
                int8_t q[4] = {0, 0, 0, 99};
                uint16_t scale = pack_group_quantise((pack_type)type, x, (a + b) % 2 == 0 ? w : NULL, 3, q);
                assert_codes((pack_type)type, scale, q, 3);
                assert_int_equal(q[3], 99);
            }
}

static void one_bad_element_spares_the_others(void **state)
{
    (void)state;
    float x[PACK_GROUP];
    int8_t q[PACK_GROUP];
    for (uint32_t i = 0; i < PACK_GROUP; i++)
        x[i] = (float)i - 8.0f;
    x[PACK_GROUP - 1] = NAN;
    x[PACK_GROUP - 2] = -INFINITY;
    uint16_t scale = pack_group_quantise(PACK_INT8, x, NULL, PACK_GROUP, q);
    assert_int_equal(q[PACK_GROUP - 1], 0);
    assert_int_equal(q[PACK_GROUP - 2], 0);
    assert_true(fabsf(half_from_f16(scale) * (float)q[0] - x[0]) < 0.1f); /* steps of 21 / 127 */
}

/* The element that matters is met best. */
static void importance_steers(void **state)
{
    (void)state;
    uint32_t seed = 5;
    double with = 0.0, without = 0.0;
    for (uint32_t i = 0; i < 1000; i++) {
        float x[PACK_GROUP], w[PACK_GROUP];
        int8_t q[PACK_GROUP];
        for (uint32_t j = 0; j < PACK_GROUP; j++) {
            x[j] = next_value(&seed);
            w[j] = j == 5 ? 1000.0f : 1.0f;
        }
        uint16_t scale = pack_group_quantise(PACK_INT4, x, w, PACK_GROUP, q);
        with += error_of(x + 5, NULL, 1, scale, q + 5);
        scale = pack_group_quantise(PACK_INT4, x, NULL, PACK_GROUP, q);
        without += error_of(x + 5, NULL, 1, scale, q + 5);
    }
    assert_true(with < 0.25 * without);
}

static void importance_without_meaning_is_none(void **state)
{
    (void)state;
    uint32_t seed = 6;
    static const float useless[] = {0.0f, -1.0f, NAN, INFINITY};
    for (size_t i = 0; i < sizeof useless / sizeof *useless; i++) {
        float x[PACK_GROUP], w[PACK_GROUP];
        int8_t q[PACK_GROUP], plain[PACK_GROUP];
        for (uint32_t j = 0; j < PACK_GROUP; j++) {
            x[j] = next_value(&seed);
            w[j] = useless[i];
        }
        assert_int_equal(pack_group_quantise(PACK_INT4, x, w, PACK_GROUP, q),
                         pack_group_quantise(PACK_INT4, x, NULL, PACK_GROUP, plain));
        assert_memory_equal(q, plain, sizeof q);
    }
}

/* A fold over scales and codes of fixed groups: every compiler and machine must find the same.  The number is what this
 * test printed when it was written (gcc 12 and clang 14, x86-64). */
#define GOLDEN UINT64_C(0xcb4c8b93e7776046)

static void same_on_every_machine(void **state)
{
    (void)state;
    uint32_t seed = 7;
    uint64_t digest = UINT64_C(0xcbf29ce484222325);
    for (uint32_t i = 0; i < 4000; i++) {
        float x[PACK_GROUP], w[PACK_GROUP];
        int8_t q[PACK_GROUP];
        uint32_t n = i % 5 == 0 ? 16 : PACK_GROUP;
        for (uint32_t j = 0; j < n; j++) {
            x[j] = next_value(&seed) * 0.03f;
            w[j] = fabsf(next_value(&seed));
        }
        uint16_t scale = pack_group_quantise(i % 4 == 3 ? PACK_INT8 : PACK_INT4, x, i % 2 == 0 ? NULL : w, n, q);
        digest = (digest ^ scale) * UINT64_C(0x100000001b3);
        for (uint32_t j = 0; j < n; j++)
            digest = (digest ^ (uint8_t)q[j]) * UINT64_C(0x100000001b3);
    }
    if (digest != GOLDEN)
        print_error("digest 0x%016llx\n", (unsigned long long)digest);
    assert_true(digest == GOLDEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_worse_than_rounding),
        cmocka_unit_test(int8_is_near),
        cmocka_unit_test(representable_groups_are_exact),
        cmocka_unit_test(zeros_have_no_scale),
        cmocka_unit_test(extreme_values),
        cmocka_unit_test(one_bad_element_spares_the_others),
        cmocka_unit_test(importance_steers),
        cmocka_unit_test(importance_without_meaning_is_none),
        cmocka_unit_test(same_on_every_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
