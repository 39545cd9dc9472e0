/* test_kern_blas.c - OpenBLAS as an outside witness of the packed matrix product. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cblas.h>
#include <cmocka.h>

#include "tests/helpers/kern_helpers.h"

/* Both sides round a sum of k products in an order of their own: 2 k 2^-24 of the sum of their sizes, k * 1 at most
 * here. */
#define TOLERANCE(k) (2.0 * (k)*0x1p-24 * (k))

static void compare_with_sgemm(uint32_t m, uint32_t n, uint32_t k)
{
    float *w = random_floats((size_t)n * k), *x = random_floats((size_t)m * k);
    float *y = random_floats((size_t)m * n), *witness = random_floats((size_t)m * n);
    pack_matrix packed = {PACK_F32, n, k, k, calloc(1, pack_bytes(PACK_F32, n, k, k))};
    assert_non_null(packed.data);
    for (uint32_t p = 0; p < pack_n_panels(n); p++) {
        uint32_t row = p * PACK_PANEL;
        pack_panel_fill(&packed, p, w + (size_t)row * k, n - row < PACK_PANEL ? n - row : PACK_PANEL, NULL);
    }

    linear_run(1, &(kern_rows){.x = x, .ldx = k, .m = m}, &packed, y);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)m, (blasint)n, (blasint)k, 1.0f, x, (blasint)k, w,
                (blasint)k, 0.0f, witness, (blasint)n);
    for (size_t i = 0; i < (size_t)m * n; i++)
        assert_true(fabs((double)y[i] - (double)witness[i]) <= TOLERANCE(k));
    free(w), free(x), free(y), free(witness), free(packed.data);
}

static void test_linear_against_openblas(void **unused)
{
    (void)unused;
    base_error error;
    openblas_set_num_threads(1);
    assert_int_equal(kern_select("auto", &error), BASE_OK);
    const uint32_t shapes[][3] = {{1, 192, 192}, {7, 288, 192}, {256, 192, 588}, {64, 1024, 192}, {33, 100, 75}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        compare_with_sgemm(shapes[i][0], shapes[i][1], shapes[i][2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_linear_against_openblas)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
