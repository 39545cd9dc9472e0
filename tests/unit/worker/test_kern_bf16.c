/* test_kern_bf16.c - bf16 weights with bf16 activations: the arithmetic of vdpbf16ps proved on the hardware against
 * plain f32 operations, and every kernel variant against the same operations, with ordinary values and with those at
 * the ends of the format. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sharding/pack/half.h"
#include "tests/helpers/kern_helpers.h"
#include "worker/kernels/kern.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define SMALLEST 0x1p-126f /* normal number */

/* --- the arithmetic, in plain f32 operations --- */

static float flushed(float a)
{
    return fabsf(a) < SMALLEST ? copysignf(0.0f, a) : a;
}

/* a * b + c to nearest even; a result that with an endless exponent would be below 2^-126 is 0.  Such a result is found
 * as `large`, the same 2^60 times as large, which is exact where it matters: operands so large that they overflow there
 * have no sum so small. */
static float fma_flushed(float a, float b, float c)
{
    a = flushed(a), b = flushed(b), c = flushed(c);
    float sum = fmaf(a, b, c), large = fmaf(a * 0x1p60f, b, c * 0x1p60f);
    return fabsf(sum) <= SMALLEST && fabsf(large) < 0x1p-66f ? copysignf(0.0f, sum) : sum;
}

/* --- values --- */

typedef enum values { ORDINARY, TINY, HUGE_VALUES, ODD_ONES, ANY_BITS, N_VALUES } values;

static uint16_t with_exponent(uint32_t lowest, uint32_t n)
{
    return (uint16_t)((next_random() & 0x807fu) | (lowest + next_random() % n) << 7);
}

/* The zeros, infinities, a NaN, the smallest and largest denormals and normals, and 1, of both signs. */
static const uint16_t odd_ones[] = {0x0000, 0x8000, 0x7f80, 0xff80, 0x7fc0, 0x0001, 0x8001, 0x007f,
                                    0x807f, 0x0080, 0x8080, 0x7f7f, 0xff7f, 0x3f80, 0xbf80};

static uint16_t random_bf16(values kind, bool is_weight)
{
    switch (kind) {
    case ORDINARY:
        return with_exponent(119, 16);
    case TINY: /* products and sums about 2^-126, denormal weights */
        return is_weight ? with_exponent(0, 64) : with_exponent(95, 48);
    case HUGE_VALUES:
        return is_weight ? with_exponent(191, 64) : with_exponent(111, 48);
    case ODD_ONES:
        return odd_ones[next_random() % (sizeof odd_ones / sizeof *odd_ones)];
    default:
        return (uint16_t)next_random();
    }
}

static bool same(float a, float b)
{
    return half_bits_of_f32(a) == half_bits_of_f32(b) || (isnan(a) && isnan(b));
}

/* --- the instruction --- */

#if defined(__x86_64__)
enum { LANES = 16, ROUNDS = 60000 };

typedef struct operands {
    float acc[LANES];
    uint16_t w[LANES][2], x[LANES][2]; /* [0] is the low half */
} operands;

__attribute__((target("avx512f,avx512bf16"))) static void hardware(const operands *o, float out[LANES])
{
    __m512i w = _mm512_loadu_si512(o->w), x = _mm512_loadu_si512(o->x);
    _mm512_storeu_ps(out, _mm512_dpbf16_ps(_mm512_loadu_ps(o->acc), (__m512bh)w, (__m512bh)x));
}

static float random_sum(values kind)
{
    uint32_t low = next_random() & 0xffffu;
    return half_f32_from_bits((uint32_t)random_bf16(kind, kind == TINY || kind == HUGE_VALUES) << 16 |
                              (next_random() % 3 != 0 ? low : 0));
}

/* Sums that one or both products cancel, exactly or but for the last places. */
static float cancelling(const uint16_t w[2], const uint16_t x[2])
{
    float high = half_from_bf16(w[1]) * half_from_bf16(x[1]), low = half_from_bf16(w[0]) * half_from_bf16(x[0]);
    uint32_t bits = half_bits_of_f32(-(next_random() % 2 != 0 ? high : high + low));
    return half_f32_from_bits(bits + next_random() % 5 - 2);
}

static void fill(operands *o, values kind, bool cancels)
{
    for (int i = 0; i < LANES; i++) {
        for (int j = 0; j < 2; j++) {
            o->w[i][j] = random_bf16(kind, true);
            o->x[i][j] = random_bf16(kind, false);
        }
        o->acc[i] = cancels ? cancelling(o->w[i], o->x[i]) : random_sum(kind);
    }
}

static void assert_as_emulated(const operands *o)
{
    float out[LANES];
    hardware(o, out);
    for (int i = 0; i < LANES; i++) {
        float sum = fma_flushed(half_from_bf16(o->w[i][1]), half_from_bf16(o->x[i][1]), o->acc[i]);
        sum = fma_flushed(half_from_bf16(o->w[i][0]), half_from_bf16(o->x[i][0]), sum);
        assert_true(same(out[i], sum));
    }
}

/* Just below 2^-126: rounded to 24 bits some reach it, others stay below, and with fewer bits more would. */
static void assert_tininess_after_rounding(void)
{
    operands o = {.acc = {0}};
    for (uint32_t step = 0; step < 4096; step++) {
        for (int i = 0; i < LANES; i++) { /* 2^-126 + 2^-149 n less w x, w x about 2^-149 n + 2^-151 */
            o.acc[i] = half_f32_from_bits(0x00800000u + (uint32_t)i);
            o.w[i][1] = (uint16_t)(0x8000u | (0x0080u + step % 64 * 2 + 1));
            o.x[i][1] = (uint16_t)((127u - 25u + step / 64 % 32) << 7 | step / 2048);
            o.w[i][0] = 0, o.x[i][0] = 0x8000;
        }
        assert_as_emulated(&o);
    }
}

static void test_instruction(void **unused)
{
    (void)unused;
    if (!__builtin_cpu_supports("avx512bf16"))
        skip();
    for (int kind = 0; kind < N_VALUES; kind++)
        for (int round = 0; round < ROUNDS; round++) {
            operands o;
            fill(&o, (values)kind, round % 3 == 0);
            assert_as_emulated(&o);
        }
    assert_tininess_after_rounding();
}
#endif

/* --- rows --- */

static void test_rounding_of_rows(void **unused)
{
    (void)unused;
    const kern_table *kern[KERN_VARIANTS];
    size_t n_variants = kern_usable(kern);
    enum { MOST = 131 };
    for (size_t k = 1; k <= MOST; k += k < 40 ? 1 : 13)
        for (size_t unit = 1; unit <= k; unit += 1 + unit / 3) {
            float x[MOST];
            uint16_t got[2 * MOST + 2];
            for (size_t i = 0; i < k; i++)
                x[i] = half_f32_from_bits(next_random() % 8 == 0 ? next_random() & 0x80ffffffu : next_random());
            for (size_t v = 0; v < n_variants; v++) {
                memset(got, 0x55, sizeof got);
                kern[v]->round_bf16(x, k, unit, got);
                size_t n = kern_n_bf16(k, unit), in_unit = unit + unit % 2;
                assert_int_equal(got[n], 0x5555);
                for (size_t at = 0; at < n; at++) {
                    size_t column = at / in_unit * unit + (at % in_unit ^ 1u);
                    bool is_padding = (at % in_unit ^ 1u) >= unit || column >= k;
                    float expected = is_padding ? -0.0f : half_from_bf16(half_to_bf16(flushed(x[column])));
                    assert_true(same(half_from_bf16(got[at]), expected));
                }
            }
        }
}

/* --- panels --- */

typedef struct problem {
    uint32_t m, n, k, unit;
    size_t n_bf16;
    pack_matrix w;
    float *x;       /* [m][k], all of them bf16 */
    uint16_t *bf16; /* [m][n_bf16] */
    float *sums;    /* [m][n][units], emulated */
} problem;

static uint32_t n_units(const problem *p)
{
    return (p->k + p->unit - 1) / p->unit;
}

static void emulate(problem *p)
{
    float *row = aligned_zeros(p->k * sizeof *row);
    for (uint32_t o = 0; o < p->n; o++) {
        pack_row_get(&p->w, o, row);
        for (uint32_t r = 0; r < p->m; r++)
            for (uint32_t u = 0; u < n_units(p); u++) {
                float sum = 0.0f;
                for (uint32_t i = u * p->unit; i < p->k && i < (u + 1) * p->unit; i++)
                    sum = fma_flushed(row[i], p->x[(size_t)r * p->k + i], sum);
                p->sums[((size_t)r * p->n + o) * n_units(p) + u] = sum;
            }
    }
    free(row);
}

static problem create(uint32_t m, uint32_t n, uint32_t k, uint32_t unit, values kind)
{
    problem p = {.m = m, .n = n, .k = k, .unit = unit, .n_bf16 = kern_n_bf16(k, unit)};
    p.w = (pack_matrix){PACK_BF16, n, k, unit, aligned_zeros(pack_bytes(PACK_BF16, n, k, unit))};
    p.x = aligned_zeros((size_t)m * k * sizeof *p.x);
    p.bf16 = aligned_zeros(m * p.n_bf16 * sizeof *p.bf16);
    p.sums = aligned_zeros((size_t)m * n * n_units(&p) * sizeof *p.sums);
    float *rows = aligned_zeros(sizeof *rows * PACK_PANEL * k);
    for (uint32_t i = 0; i < pack_n_panels(n); i++) {
        for (size_t j = 0; j < (size_t)PACK_PANEL * k; j++)
            rows[j] = half_from_bf16(random_bf16(kind, true));
        pack_panel_fill(&p.w, i, rows, n - i * PACK_PANEL < PACK_PANEL ? n - i * PACK_PANEL : PACK_PANEL, NULL);
    }
    free(rows);
    for (size_t i = 0; i < (size_t)m * k; i++)
        p.x[i] = half_from_bf16(random_bf16(kind, false));
    for (uint32_t r = 0; r < m; r++)
        kern_active()->round_bf16(p.x + (size_t)r * k, k, unit, p.bf16 + r * p.n_bf16);
    emulate(&p);
    return p;
}

static void destroy(problem *p)
{
    free(p->w.data), free(p->x), free(p->bf16), free(p->sums);
}

/* y[m][n] of rows that begin at `bf16`. */
static void panels_run(const kern_table *kern, const problem *p, const uint16_t *bf16, uint32_t m, float *y)
{
    for (uint32_t i = 0; i < pack_n_panels(p->n); i++) {
        size_t n_cols = p->n - i * KERN_PANEL < KERN_PANEL ? p->n - i * KERN_PANEL : KERN_PANEL;
        const char *panel = (const char *)p->w.data + i * pack_panel_bytes(PACK_BF16, p->k, p->unit);
        kern->panel_bf16_bf16(panel, p->k, bf16, p->n_bf16, m, y + i * KERN_PANEL, p->n, n_cols);
    }
}

/* Equal bits, but for Arm's zeros (kern.h). */
static bool agrees(const kern_table *kern, uint32_t k, float a, float b)
{
    return same(a, b) || (strncmp(kern->name, "neon", 4) == 0 && fabsf(a - b) <= (float)k * SMALLEST);
}

static void hold_panels(uint32_t m, uint32_t n, uint32_t k, values kind)
{
    const kern_table *kern[KERN_VARIANTS];
    size_t n_variants = kern_usable(kern);
    problem p = create(m, n, k, k, kind);
    float *y = aligned_zeros((size_t)m * n * sizeof *y), *alone = aligned_zeros(n * sizeof *alone);
    for (size_t v = 0; v < n_variants; v++) {
        panels_run(kern[v], &p, p.bf16, m, y);
        for (size_t i = 0; i < (size_t)m * n; i++)
            assert_true(agrees(kern[v], k, y[i], p.sums[i]));
        for (uint32_t r = 0; r < m; r += 1 + m / 5) { /* a row alone has the bits it has among others */
            panels_run(kern[v], &p, p.bf16 + r * p.n_bf16, 1, alone);
            for (uint32_t o = 0; o < n; o++)
                assert_true(same(alone[o], y[(size_t)r * n + o]));
        }
    }
    volatile float smallest = SMALLEST; /* the processor's mode is as it was */
    assert_true(smallest * 0.5f > 0.0f);
    free(y), free(alone), destroy(&p);
}

static void test_panels(void **unused)
{
    (void)unused;
    static const uint32_t sizes[] = {1, 2, 3, 7, 31, 32, 33, 128};
    enum { N = sizeof sizes / sizeof *sizes };
    for (int m = 0; m < N; m++)
        for (int k = 0; k < N; k++) {
            hold_panels(sizes[m], sizes[(m + k) % N], sizes[k], ORDINARY);
            hold_panels(sizes[m], 32, sizes[k], (values)((m + k) % N_VALUES));
        }
    for (int kind = 0; kind < N_VALUES; kind++)
        hold_panels(33, 64, 33, (values)kind);
}

static void hold_fixed(uint32_t m, uint32_t k, uint32_t unit)
{
    const kern_table *kern[KERN_VARIANTS];
    size_t n_variants = kern_usable(kern);
    problem p = create(m, 31, k, unit, ORDINARY);
    for (size_t v = 0; v < n_variants; v++) {
        int64_t *acc = aligned_zeros((size_t)m * p.n * sizeof *acc), *overflow = aligned_zeros(m * sizeof *overflow);
        kern[v]->panel_bf16_bf16_fixed(p.w.data, k, unit, p.bf16, p.n_bf16, m, acc, p.n, p.n, overflow);
        for (size_t i = 0; i < (size_t)m * p.n; i++) {
            int64_t sum = 0;
            for (uint32_t u = 0; u < n_units(&p); u++)
                sum += llrintf(p.sums[i * n_units(&p) + u] * 0x1p36f);
            assert_true(acc[i] == sum && overflow[i / p.n] == 0);
        }
        free(acc), free(overflow);
    }
    destroy(&p);
}

static void test_fixed_point(void **unused)
{
    (void)unused;
    static const uint32_t sizes[][3] = {/* m, k, unit */
                                        {1, 64, 64}, {2, 128, 64},   {9, 99, 33}, {7, 40, 7},
                                        {33, 31, 1}, {130, 192, 64}, {3, 100, 48}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        hold_fixed(sizes[i][0], sizes[i][1], sizes[i][2]);
}

/* Hostile rows are marked, their neighbours are not. */
static void test_overflow(void **unused)
{
    (void)unused;
    const kern_table *kern[KERN_VARIANTS];
    size_t n_variants = kern_usable(kern);
    const float hostile[] = {0x1p26f, -0x1p26f, INFINITY, NAN, 3.4e38f};
    _Alignas(KERN_ALIGN) uint16_t panel[KERN_PANEL] = {half_to_bf16(1.0f)};
    for (size_t v = 0; v < n_variants; v++)
        for (size_t h = 0; h < sizeof hostile / sizeof *hostile; h++) {
            uint16_t bf16[3][2];
            const float x[3] = {0x1p25f, hostile[h], 1.0f};
            int64_t acc[3 * KERN_PANEL] = {0}, overflow[3] = {0};
            for (int r = 0; r < 3; r++)
                kern[v]->round_bf16(x + r, 1, 1, bf16[r]);
            kern[v]->panel_bf16_bf16_fixed(panel, 1, 1, bf16[0], 2, 3, acc, KERN_PANEL, KERN_PANEL, overflow);
            assert_true(overflow[0] == 0 && overflow[1] == 1 && overflow[2] == 0);
            assert_true(acc[0] == INT64_C(1) << 61 && acc[2 * KERN_PANEL] == INT64_C(1) << 36);
        }
}

/* --- the product as the model calls it --- */

/* A bf16 matrix is multiplied with bf16 activations where there are some, else with f32. */
static void test_linear_takes_bf16_activations(void **unused)
{
    (void)unused;
    assert_int_equal(kern_select("auto", NULL), BASE_OK);
    enum { M = 150, N = 70, K = 130 };
    problem p = create(M, N, K, K, ORDINARY);
    kern_activations act = {.bf16 = p.bf16, .n_bf16 = p.n_bf16};
    float *y = aligned_zeros(sizeof *y * M * N), *exact = aligned_zeros(sizeof *exact * M * K);
    memcpy(exact, p.x, sizeof *exact * M * K);
    for (size_t i = 0; i < (size_t)M * K; i++)
        exact[i] *= 1.0f + 0x1p-12f; /* rounds back to p.x */
    const kern_rows rows = {.x = exact, .ldx = K, .m = M, .quantised = &act};
    linear_run(2, &rows, &p.w, y);
    for (size_t i = 0; i < (size_t)M * N; i++)
        assert_true(agrees(kern_active(), K, y[i], p.sums[i]));
    act.bf16 = NULL;
    linear_run(2, &rows, &p.w, y);
    size_t n_differ = 0;
    for (size_t i = 0; i < (size_t)M * N; i++)
        n_differ += !same(y[i], p.sums[i]);
    assert_true(n_differ > (size_t)M * N / 2);
    free(y), free(exact), destroy(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#if defined(__x86_64__)
        cmocka_unit_test(test_instruction),
#endif
        cmocka_unit_test(test_rounding_of_rows),
        cmocka_unit_test(test_panels),
        cmocka_unit_test(test_fixed_point),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_linear_takes_bf16_activations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
