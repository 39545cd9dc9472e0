/* test_kern.c - every kernel variant against the portable reference (equal bits), the reference against double
 * arithmetic and the libm. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/helpers/kern_helpers.h"
#include "worker/kernels/fmath.h"
#include "worker/kernels/kern.h"
#include "worker/kernels/linear.h"

/* A sum of k products in f32, one rounding each: |error| <= k * 2^-24 * sum |w x|; tested with a factor 2 to spare. */
#define SUM_TOLERANCE(k, magnitude) (2.0 * (k)*0x1p-24 * (magnitude))
/* kern.h states 2e-7 for exp; sigmoid and the activations add a few roundings. */
#define EXP_TOLERANCE        3e-7
#define ACTIVATION_TOLERANCE 1e-6

static const uint32_t shapes[][3] = {/* m, n, k */
                                     {1, 1, 1},    {1, 32, 7},   {2, 33, 64},  {3, 31, 100},  {7, 64, 33},
                                     {8, 96, 128}, {9, 65, 191}, {32, 40, 48}, {33, 128, 65}, {130, 100, 192}};

static void panel_run(const kern_table *kern, const pack_matrix *w, const float *x, uint32_t m, float *y)
{
    for (uint32_t p = 0; p * KERN_PANEL < w->n; p++) {
        size_t n_cols = w->n - p * KERN_PANEL < KERN_PANEL ? w->n - p * KERN_PANEL : KERN_PANEL;
        const char *panel = (const char *)w->data + p * pack_panel_bytes(w->type, w->k, w->unit);
        kern->panel[w->type](panel, w->k, x, w->k, m, y + p * KERN_PANEL, w->n, n_cols);
    }
}

static void test_linear_against_double(void **unused)
{
    (void)unused;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int type = 0; type < PACK_N_TYPES; type++) {
            uint32_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
            pack_matrix w = random_matrix((pack_type)type, n, k, k);
            float *x = random_floats((size_t)m * k), *y = random_floats((size_t)m * n), *row = random_floats(k);
            linear_run(2, &(kern_rows){.x = x, .ldx = k, .m = m}, &w, y);
            for (uint32_t o = 0; o < n; o++) {
                pack_row_get(&w, o, row);
                for (uint32_t r = 0; r < m; r++) {
                    double sum = 0.0, magnitude = 0.0;
                    for (uint32_t i = 0; i < k; i++) {
                        sum += (double)row[i] * (double)x[r * k + i];
                        magnitude += fabs((double)row[i] * (double)x[r * k + i]);
                    }
                    assert_true(fabs(sum - (double)y[r * n + o]) <= SUM_TOLERANCE(k, magnitude));
                }
            }
            free(x), free(y), free(row), free(w.data);
        }
}

static void test_panels_equal_on_all_variants(void **unused)
{
    (void)unused;
    const kern_table *kern[KERN_VARIANTS];
    size_t n_variants = kern_usable(kern);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int type = 0; type < PACK_N_TYPES; type++) {
            uint32_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
            pack_matrix w = random_matrix((pack_type)type, n, k, k);
            float *x = random_floats((size_t)m * k), *expected = random_floats((size_t)m * n),
                  *y = random_floats((size_t)m * n);
            panel_run(kern[0], &w, x, m, expected);
            for (size_t v = 1; v < n_variants; v++) {
                panel_run(kern[v], &w, x, m, y);
                assert_memory_equal(y, expected, (size_t)m * n * sizeof *y);
            }
            free(x), free(y), free(expected), free(w.data);
        }
}

/* One row alone has the bits it has among others. */
static void test_rows_do_not_matter(void **unused)
{
    (void)unused;
    const kern_table *kern[KERN_VARIANTS];
    size_t n_variants = kern_usable(kern);
    uint32_t m = 37, n = 70, k = 150;
    pack_matrix w = random_matrix(PACK_BF16, n, k, k);
    float *x = random_floats((size_t)m * k), *all = random_floats((size_t)m * n), *alone = random_floats(n);
    for (size_t v = 0; v < n_variants; v++) {
        panel_run(kern[v], &w, x, m, all);
        for (uint32_t r = 0; r < m; r++) {
            panel_run(kern[v], &w, x + r * k, 1, alone);
            assert_memory_equal(alone, all + r * n, n * sizeof *alone);
        }
    }
    free(x), free(all), free(alone), free(w.data);
}

/* The fixed-point sum of a contraction is the sum of its parts, cut at any unit. */
static void splits_exactly(pack_type type)
{
    const kern_table *kern[KERN_VARIANTS];
    size_t n_variants = kern_usable(kern);
    enum { M = 11, N = 32, K = 200, UNIT = 48 };
    pack_matrix w = random_matrix(type, N, K, UNIT);
    size_t unit_bytes = pack_panel_bytes(type, UNIT, UNIT);
    float *x = random_floats(M * K), *row = random_floats(K);
    int64_t whole[M * N] = {0}, overflow[M] = {0};
    kern[0]->panel_fixed[type](w.data, K, UNIT, x, K, M, whole, N, N, overflow);
    for (size_t v = 0; v < n_variants; v++)
        for (size_t cut = 1; cut * UNIT < K; cut++) {
            int64_t parts[M * N] = {0};
            kern[v]->panel_fixed[type]((char *)w.data + cut * unit_bytes, K - cut * UNIT, UNIT, x + cut * UNIT, K, M,
                                       parts, N, N, overflow);
            kern[v]->panel_fixed[type](w.data, cut * UNIT, UNIT, x, K, M, parts, N, N, overflow);
            assert_memory_equal(parts, whole, sizeof whole);
        }
    for (int r = 0; r < M; r++)
        assert_int_equal(overflow[r], 0);

    float out[M * N] = {0};
    for (uint32_t r = 0; r < M; r++)
        kern[0]->add_fixed(out + r * N, N, whole + r * N, NULL);
    for (uint32_t o = 0; o < N; o++) {
        pack_row_get(&w, o, row);
        for (uint32_t r = 0; r < M; r++) {
            double sum = 0.0;
            for (uint32_t i = 0; i < K; i++)
                sum += (double)row[i] * (double)x[r * K + i];
            assert_true(fabs(sum - (double)out[r * N + o]) <= SUM_TOLERANCE(K, K * 0.25));
        }
    }
    free(x), free(row), free(w.data);
}

static void test_fixed_point_splits_exactly(void **unused)
{
    (void)unused;
    for (int type = 0; type < PACK_N_TYPES; type++)
        splits_exactly((pack_type)type);
}

static void test_overflow_is_marked_per_row(void **unused)
{
    (void)unused;
    const kern_table *kern[KERN_VARIANTS];
    size_t n_variants = kern_usable(kern);
    const float hostile[] = {0x1p26f, -0x1p26f, INFINITY, NAN, 3e38f};
    for (size_t v = 0; v < n_variants; v++)
        for (size_t h = 0; h < sizeof hostile / sizeof *hostile; h++)
            for (size_t n_cols = 1; n_cols <= KERN_PANEL; n_cols += 31) {
                float panel[KERN_PANEL] = {1.0f}, x[3] = {0x1p25f, hostile[h], 1.0f};
                int64_t acc[3 * KERN_PANEL] = {0}, overflow[3] = {0};
                kern[v]->panel_fixed[PACK_F32](panel, 1, 1, x, 1, 3, acc, KERN_PANEL, n_cols, overflow);
                assert_int_equal(overflow[0], 0);
                assert_int_equal(overflow[1], 1);
                assert_int_equal(overflow[2], 0);
                assert_true(acc[0] == INT64_C(1) << 61 && acc[2 * KERN_PANEL] == INT64_C(1) << 36);
            }
}

#define N_ELEMENTWISE 10
/* The formula's own 1.5e-7 of Phi, halved, and some roundings. */
#define GELU_TOLERANCE 3e-7

/* Far out: the halves of the line, and what is no number. */
static void test_gelu_at_the_ends(void **unused)
{
    (void)unused;
    const kern_table *kern[KERN_VARIANTS];
    size_t n_variants = kern_usable(kern);
    for (size_t v = 0; v < n_variants; v++) {
        float x[] = {0.0f, 30.0f, -30.0f, 1e18f, -1e18f, NAN, 1e-30f};
        kern[v]->gelu(x, NULL, 7);
        assert_true(x[0] == 0.0f && x[1] == 30.0f && fabsf(x[2]) < 1e-30f && x[3] == 1e18f && fabsf(x[4]) < 1e-15f &&
                    isnan(x[5]) && x[6] > 4.9e-31f && x[6] < 5.1e-31f);
    }
}

static void test_elementwise(void **unused)
{
    (void)unused;
    const kern_table *kern[KERN_VARIANTS];
    size_t n_variants = kern_usable(kern);
    for (size_t n = 1; n <= 129; n += n < 40 ? 1 : 31) {
        float *a = random_floats(n), *b = random_floats(n), *gain = random_floats(n);
        for (size_t i = 0; i < n; i++)
            a[i] *= 20.0f;
        float *first[N_ELEMENTWISE] = {NULL};
        for (size_t v = 0; v < n_variants; v++) {
            float *out[N_ELEMENTWISE];
            for (int i = 0; i < N_ELEMENTWISE; i++)
                out[i] = random_floats(n);
            kern[v]->norm_rms(a, gain, 1e-6f, n, out[0]);
            kern[v]->norm_layer(a, gain, NULL, 1e-6f, n, out[1]);
            memcpy(out[2], a, n * sizeof *a);
            kern[v]->swiglu(out[2], b, n);
            memcpy(out[3], a, n * sizeof *a);
            kern[v]->gelu_tanh(out[3], b, n);
            kern[v]->exp_shifted(a, n, 1.0f, out[4]);
            out[5][0] = kern[v]->sum_exp(a, n, 20.0f);
            memcpy(out[6], a, n * sizeof *a);
            kern[v]->geglu_tanh(out[6], b, n);
            kern[v]->norm_layer(a, gain, b, 1e-6f, n, out[7]);
            memcpy(out[8], a, n * sizeof *a);
            kern[v]->gelu(out[8], b, n);
            memcpy(out[9], a, n * sizeof *a);
            kern[v]->gelu_quick(out[9], b, n);
            for (int i = 0; i < N_ELEMENTWISE; i++) {
                if (v > 0)
                    assert_memory_equal(out[i], first[i], (i == 5 ? 1 : n) * sizeof(float));
                if (v == 0)
                    first[i] = out[i];
                else
                    free(out[i]);
            }
        }
        double squares = 0.0;
        for (size_t i = 0; i < n; i++)
            squares += (double)a[i] * (double)a[i];
        double factor = 1.0 / sqrt(squares / (double)n + 1e-6);
        for (size_t i = 0; i < n; i++) {
            double x = (double)a[i], silu = x / (1.0 + exp(-x)) * (double)b[i], g = x + (double)b[i];
            double gelu = 0.5 * g * (1.0 + tanh(0.79788456080286535588 * (g + 0.044715 * g * g * g)));
            assert_true(fabs((double)first[0][i] - x * factor * (double)gain[i]) <= ACTIVATION_TOLERANCE * 20);
            assert_true(fabs((double)first[2][i] - silu) <= ACTIVATION_TOLERANCE * (1.0 + fabs(silu)));
            assert_true(fabs((double)first[3][i] - gelu) <= 4 * ACTIVATION_TOLERANCE * (1.0 + fabs(gelu)));
            double geglu = 0.5 * x * (1.0 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x))) * (double)b[i];
            assert_true(fabs((double)first[6][i] - geglu) <= 4 * ACTIVATION_TOLERANCE * (1.0 + fabs(geglu)));
            assert_true(first[7][i] == first[1][i] + b[i]);
            assert_true(fabs((double)first[8][i] - 0.5 * g * erfc(-g * 0.70710678118654752440)) <=
                        GELU_TOLERANCE * (1.0 + fabs(g)));
            double quick = g / (1.0 + exp(-1.702 * g));
            assert_true(fabs((double)first[9][i] - quick) <= 4 * ACTIVATION_TOLERANCE * (1.0 + fabs(quick)));
            double e = exp((double)(a[i] - 1.0f));
            assert_true(fabs((double)first[4][i] - e) <= EXP_TOLERANCE * e);
        }
        for (int i = 0; i < N_ELEMENTWISE; i++)
            free(first[i]);
        free(a), free(b), free(gain);
    }
}

static void test_fmath(void **unused)
{
    (void)unused;
    for (double x = -30.0; x < 30.0; x += 0.0137) {
        assert_true(fabs(kern_exp(x) - exp(x)) <= 4e-16 * 4 * exp(x));
        double positive = exp(x), sine, cosine;
        assert_true(fabs(kern_log(positive) - log(positive)) <= 1e-15 * (1.0 + fabs(log(positive))));
        kern_sincos(x * 1000.0, &sine, &cosine);
        assert_true(fabs(sine - sin(x * 1000.0)) <= 1e-14 && fabs(cosine - cos(x * 1000.0)) <= 1e-14);
    }
}

static void test_select(void **unused)
{
    (void)unused;
    base_error error;
    assert_int_equal(kern_select("sse9", &error), BASE_EINVAL);
    assert_non_null(strstr(error.text, "sse9"));
    assert_int_equal(kern_select("ref", &error), BASE_OK);
    assert_string_equal(kern_active()->name, "ref");
    assert_int_equal(kern_select("auto", &error), BASE_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear_against_double),
        cmocka_unit_test(test_panels_equal_on_all_variants),
        cmocka_unit_test(test_rows_do_not_matter),
        cmocka_unit_test(test_fixed_point_splits_exactly),
        cmocka_unit_test(test_overflow_is_marked_per_row),
        cmocka_unit_test(test_gelu_at_the_ends),
        cmocka_unit_test(test_elementwise),
        cmocka_unit_test(test_fmath),
        cmocka_unit_test(test_select),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
