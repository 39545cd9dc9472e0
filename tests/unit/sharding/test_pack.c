/* test_pack.c - 16-bit floats, and the layout of packed matrices: what is put in comes out, wherever the groups fall.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sharding/pack/half.h"
#include "sharding/pack/pack.h"

static void test_every_half_survives(void **unused)
{
    (void)unused;
    for (uint32_t bits = 0; bits <= 0xffffu; bits++) {
        float f16 = half_from_f16((uint16_t)bits), bf16 = half_from_bf16((uint16_t)bits);
        if (isnan(f16))
            assert_true(isnan(half_from_f16(half_to_f16(f16))));
        else
            assert_int_equal(half_to_f16(f16), bits);
        if (isnan(bf16))
            assert_true(isnan(half_from_bf16(half_to_bf16(bf16))));
        else
            assert_int_equal(half_to_bf16(bf16), bits);
    }
}

/* Between two neighbours the nearer one wins, the even one when they are equally near. */
static void check_rounding(uint16_t (*to)(float), float (*from)(uint16_t), uint16_t last)
{
    for (uint16_t bits = 0; bits < last; bits++) {
        double low = (double)from(bits), high = (double)from((uint16_t)(bits + 1)), middle = (low + high) / 2.0;
        uint16_t even = bits % 2 == 0 ? bits : (uint16_t)(bits + 1);
        assert_int_equal(to((float)middle), even);
        assert_int_equal(to(nextafterf((float)middle, 0.0f)), bits);
        assert_int_equal(to(nextafterf((float)middle, INFINITY)), bits + 1);
        assert_int_equal(to(-(float)middle), even | 0x8000u);
    }
}

static void test_rounding_to_nearest_even(void **unused)
{
    (void)unused;
    check_rounding(half_to_f16, half_from_f16, 0x7bff);
    check_rounding(half_to_bf16, half_from_bf16, 0x7f7f);
    assert_int_equal(half_to_f16(65519.0f), 0x7bff);
    assert_int_equal(half_to_f16(65520.0f), 0x7c00);
    assert_int_equal(half_to_f16(-INFINITY), 0xfc00);
}

/* Element (row, i) of the test's matrices: exact in every type (a multiple of 1/8 within a group's range of codes). */
static float element(uint32_t row, uint32_t i)
{
    return (float)((int)((row * 7 + i * 3) % 15) - 8) / 8.0f;
}

static void round_trip(pack_type type, uint32_t n, uint32_t k, uint32_t unit)
{
    size_t bytes = pack_bytes(type, n, k, unit), panel_bytes = pack_panel_bytes(type, k, unit);
    assert_int_equal(bytes, pack_n_panels(n) * panel_bytes);
    unsigned char *data = malloc(bytes + 1);
    float *rows = malloc(sizeof *rows * PACK_PANEL * k), *back = malloc(sizeof *back * k);
    assert_true(data != NULL && rows != NULL && back != NULL);
    memset(data, 0xa5, bytes + 1);
    pack_matrix m = {type, n, k, unit, data};
    for (uint32_t p = 0; p < pack_n_panels(n); p++) {
        uint32_t n_rows = n - p * PACK_PANEL < PACK_PANEL ? n - p * PACK_PANEL : PACK_PANEL;
        for (uint32_t r = 0; r < n_rows; r++)
            for (uint32_t i = 0; i < k; i++)
                rows[(size_t)r * k + i] = element(p * PACK_PANEL + r, i);
        pack_panel_fill(&m, p, rows, n_rows, NULL);
    }
    assert_int_equal(data[bytes], 0xa5); /* nothing behind the end */
    for (uint32_t row = 0; row < n; row++) {
        pack_row_get(&m, row, back);
        for (uint32_t i = 0; i < k; i++) {
            /* int8 has no scale that makes an eighth exact in general; half a code of amax 1 is the bound */
            float allowed = type == PACK_INT8 ? 0.5f / 127.0f : 0.0f;
            if (type == PACK_INT4)
                allowed = 1.0f / 14.0f; /* half a code of amax 1 at the coarsest scale */
            assert_true(fabsf(back[i] - element(row, i)) <= allowed * 1.01f);
        }
    }
    free(data), free(rows), free(back);
}

static const uint32_t shapes[][3] = {/* n, k, unit */
                                     {1, 1, 1},    {31, 33, 33},  {32, 32, 32},  {33, 64, 64}, {5, 100, 100},
                                     {40, 96, 48}, {64, 200, 64}, {70, 144, 48}, {1, 7, 3},    {96, 130, 256}};

static void test_round_trip(void **unused)
{
    (void)unused;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int type = 0; type < PACK_N_TYPES; type++)
            round_trip((pack_type)type, shapes[s][0], shapes[s][1], shapes[s][2]);
}

/* Codes and scales that are set are the codes and scales that are read. */
static void test_groups_as_they_are(void **unused)
{
    (void)unused;
    for (int type = PACK_INT8; type <= PACK_INT4; type++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            uint32_t n = shapes[s][0], k = shapes[s][1], unit = shapes[s][2];
            pack_matrix m = {(pack_type)type, n, k, unit, calloc(1, pack_bytes((pack_type)type, n, k, unit))};
            float *back = malloc(sizeof *back * k);
            assert_true(m.data != NULL && back != NULL);
            int8_t q[PACK_GROUP];
            for (uint32_t row = 0; row < n; row++)
                for (uint32_t column = 0, width; column < k; column += width) {
                    width = unit - column % unit < PACK_GROUP ? unit - column % unit : PACK_GROUP;
                    width = width < k - column ? width : k - column;
                    for (uint32_t i = 0; i < width; i++)
                        q[i] = (int8_t)((int)((row + column + i) % 15) - 8);
                    pack_group_set(&m, row, column, half_to_f16((float)(row % 4 + 1) * 0.25f), q, width);
                }
            for (uint32_t row = 0; row < n; row++) {
                pack_row_get(&m, row, back);
                for (uint32_t i = 0; i < k; i++)
                    assert_true(back[i] == (float)(row % 4 + 1) * 0.25f * (float)((int)((row + i) % 15) - 8));
            }
            free(m.data), free(back);
        }
}

/* The layout pack.h states, byte for byte. */
static void test_layout(void **unused)
{
    (void)unused;
    assert_int_equal(pack_panel_bytes(PACK_F32, 10, 10), 10 * 128);
    assert_int_equal(pack_panel_bytes(PACK_BF16, 10, 10), 10 * 64);
    assert_int_equal(pack_panel_bytes(PACK_INT8, 96, 48), 4 * 64 + 24 * 128); /* groups 32, 16, 32, 16 */
    assert_int_equal(pack_panel_bytes(PACK_INT4, 100, 64), 4 * 64 + 25 * 64); /* groups 32, 32, 32, 4 */
    assert_int_equal(pack_panel_bytes(PACK_INT4, 14, 6), 3 * 64 + 5 * 64);    /* groups 6, 6, 2: short quads */
    assert_int_equal(pack_bytes(PACK_INT4, 33, 32, 32), 2 * (64 + 32 * 16));

    unsigned char data[64 + 2 * 128];
    memset(data, 0xff, sizeof data);
    pack_matrix m = {PACK_INT4, 32, 5, 5, data};
    pack_panel_clear(&m, 0);
    for (size_t i = 0; i < 64 + 2 * 64; i++)
        assert_int_equal(data[i], i < 64 ? 0 : 0x88);
    assert_int_equal(data[64 + 2 * 64], 0xff);
    pack_group_set(&m, 3, 0, 0x3c00, (const int8_t[]){-8, 7, 0, 0, 2}, 5);
    pack_group_set(&m, 19, 0, 0x4000, (const int8_t[]){1, -1, 0, 0, 3}, 5);
    assert_int_equal(data[3 * 2 + 1], 0x3c);
    assert_int_equal(data[19 * 2 + 1], 0x40);
    assert_int_equal(data[64 + 4 * 3], 0x0 | 0x9 << 4); /* lane 3 low, lane 19 high */
    assert_int_equal(data[64 + 4 * 3 + 1], 0xf | 0x7 << 4);
    assert_int_equal(data[64 + 64 + 4 * 3], 0xa | 0xb << 4); /* the second quad */
    assert_int_equal(data[64 + 64 + 4 * 3 + 1], 0x88);       /* filled up with zeros */

    m.type = PACK_INT8;
    pack_panel_clear(&m, 0);
    for (size_t i = 0; i < sizeof data; i++)
        assert_int_equal(data[i], i < 64 ? 0 : 128);
    pack_group_set(&m, 19, 0, 0x4000, (const int8_t[]){-127, 127, 0, 1, 2}, 5);
    const unsigned char quads[] = {1, 255, 128, 129};
    assert_memory_equal(data + 64 + 4 * 19, quads, sizeof quads);
    assert_int_equal(data[64 + 128 + 4 * 19], 130);
    assert_int_equal(data[64 + 128 + 4 * 19 + 1], 128);
}

static void test_names(void **unused)
{
    (void)unused;
    for (int type = 0; type < PACK_N_TYPES; type++) {
        pack_type found;
        assert_true(pack_type_find(pack_type_name((pack_type)type), &found));
        assert_int_equal(found, type);
    }
    pack_type none;
    assert_false(pack_type_find("int3", &none));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_half_survives),
        cmocka_unit_test(test_rounding_to_nearest_even),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_groups_as_they_are),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
