/* Vectors as they travel between nodes: exact at every length and width, never longer than promised; bf16 rounds to
 * nearest even. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/par/wire_codec_int.h"

enum { MOST = 1100 };

static int64_t values[MOST], back[MOST];
static _Alignas(8) unsigned char message[MOST * 9];

/* Values of exactly `bits` bits with their sign, both ends of the range among them. */
static void fill(size_t n, unsigned bits, uint64_t seed)
{
    uint64_t h = seed;
    for (size_t i = 0; i < n; i++) {
        h = h * 6364136223846793005u + 1442695040888963407u;
        values[i] = bits == 0 ? 0 : (int64_t)h >> (64 - bits);
    }
    if (bits > 0 && n > 1) {
        values[0] = (int64_t)((UINT64_C(1) << (bits - 1)) - 1);
        values[n - 1] = -values[0] - 1;
    }
}

static size_t there_and_back(par_wire wire, size_t n)
{
    memset(message, 0xee, sizeof message);
    size_t bytes = par_wire_encode(wire, PAR_SUM_I64, values, n, message);
    assert_true(bytes <= par_wire_bytes_max(PAR_SUM_I64, n));
    assert_int_equal(message[bytes], 0xee);
    memset(back, 0x55, sizeof back);
    par_wire_decode(PAR_SUM_I64, message, n, back);
    return bytes;
}

static void exact_at_every_length_and_width(void **state)
{
    (void)state;
    for (size_t n = 0; n <= 530; n++) {
        for (unsigned bits = 0; bits <= 64; bits += bits < 28 ? 7 : 1) {
            fill(n, bits, n * 100 + bits);
            there_and_back(PAR_WIRE_EXACT, n);
            assert_memory_equal(back, values, n * sizeof *values);
        }
    }
}

static void blocks_choose_their_widths(void **state)
{
    (void)state;
    static const unsigned bits[] = {0, 32, 40, 48, 64};
    static const size_t bytes_each[] = {0, 4, 5, 6, 8};
    for (size_t i = 0; i < 5; i++) {
        fill(1024, bits[i], i);
        assert_int_equal(there_and_back(PAR_WIRE_EXACT, 1024), 8 + 1024 * bytes_each[i]);
    }
    fill(1024, 31, 9);
    values[700] = INT64_MIN; /* one block pays for its own */
    assert_int_equal(there_and_back(PAR_WIRE_EXACT, 1024), 8 + 768 * 4 + 256 * 8);
    assert_memory_equal(back, values, sizeof(int64_t) * 1024);
}

static void adding_adds(void **state)
{
    (void)state;
    fill(777, 39, 3);
    values[5] = INT64_MAX;
    par_wire_encode(PAR_WIRE_EXACT, PAR_SUM_I64, values, 777, message);
    for (size_t i = 0; i < 777; i++)
        back[i] = (int64_t)i - 300;
    back[5] = 1; /* wraps, like the sums in memory */
    par_wire_accumulate(PAR_SUM_I64, message, 777, back);
    for (size_t i = 0; i < 777; i++)
        assert_true(back[i] == (i == 5 ? INT64_MIN : values[i] + (int64_t)i - 300));
}

static void bits_are_united(void **state)
{
    (void)state;
    static uint32_t bits[MOST], united[MOST];
    for (size_t i = 0; i < 600; i++)
        bits[i] = i < 256 ? 0 : (uint32_t)i * 2654435761u;
    size_t bytes = par_wire_encode(PAR_WIRE_BF16, PAR_OR_U32, bits, 600, message); /* exact on any wire */
    assert_int_equal(bytes, 8 + (600 - 256) * 4);
    for (size_t i = 0; i < 600; i++)
        united[i] = 0x80000001u;
    par_wire_accumulate(PAR_OR_U32, message, 600, united);
    for (size_t i = 0; i < 600; i++)
        assert_int_equal(united[i], bits[i] | 0x80000001u);
    par_wire_decode(PAR_OR_U32, message, 600, united);
    assert_memory_equal(united, bits, 600 * sizeof *bits);
}

static void bf16_rounds_to_nearest_even(void **state)
{
    (void)state;
    static const int64_t cases[][2] = {
        {0, 0},
        {1, 1},
        {-1, -1},
        {255, 255},
        {256, 256},
        {257, 256},
        {259, 260},
        {258, 258},
        {-257, -256},
        {513, 512},
        {515, 516},
        {514, 512},
        {518, 520},
        {INT64_MAX, INT64_MAX},
        {INT64_MIN, INT64_MIN},
        {(int64_t)1 << 40, (int64_t)1 << 40},
    };
    size_t n = sizeof cases / sizeof cases[0];
    for (size_t i = 0; i < n; i++)
        values[i] = cases[i][0];
    assert_int_equal(there_and_back(PAR_WIRE_BF16, n), 8 + 2 * n);
    for (size_t i = 0; i < n; i++)
        assert_true(back[i] == cases[i][1]);
    memcpy(values, back, n * sizeof *back); /* what was rounded stays as it is */
    there_and_back(PAR_WIRE_BF16, n);
    assert_memory_equal(back, values, n * sizeof *back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_at_every_length_and_width),
        cmocka_unit_test(blocks_choose_their_widths),
        cmocka_unit_test(adding_adds),
        cmocka_unit_test(bits_are_united),
        cmocka_unit_test(bf16_rounds_to_nearest_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
