/* test_openblas.c - OpenBLAS as the provider of products: an outside witness of our kernels, what a span's bits depend
 * on, and broken libraries that must be refused. */
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
#include "worker/kernels/blas/openblas.h"
#include "worker/model/batch.h"
#include "worker/model/numerics.h"

/* Both sides round a sum of k products below 1 in orders of their own: k 2^-24 k each (openblas_check.c). */
#define TOLERANCE(k) (2.0 * (k)*0x1p-24 * (k))

/* --- broken libraries; before the real one is opened, which stays --- */

static void refuse(const char *library, const char *fault, base_status expected, const char *text)
{
    base_error error;
    setenv("PALMGROVE_OPENBLAS_LIBRARY", library, 1);
    setenv("FAKE_OPENBLAS", fault, 1);
    assert_int_equal(kern_openblas_open(&error), expected);
    unsetenv("PALMGROVE_OPENBLAS_LIBRARY"), unsetenv("FAKE_OPENBLAS");
    assert_non_null(strstr(error.text, text));
    assert_false(kern_openblas_is_open());
    assert_string_equal(kern_openblas_name(), "");
}

static void test_refused(void **unused)
{
    (void)unused;
    refuse("/nonexistent/libopenblas.so", "", BASE_EUNSUPPORTED, "cannot load OpenBLAS");
    refuse("libm.so.6", "", BASE_EUNSUPPORTED, "lacks a function of OpenBLAS");
    refuse(FAKE_OPENBLAS_LIBRARY, "config", BASE_EUNSUPPORTED, "describes itself as 'Intel MKL'");
    refuse(FAKE_OPENBLAS_LIBRARY, "corner", BASE_ENUMERIC, "openblas-9.8.7-Fake computes wrong products");
    refuse(FAKE_OPENBLAS_LIBRARY, "some", BASE_ENUMERIC, "openblas-9.8.7-Fake computes wrong products");
}

/* --- the real one; where it is not installed, the fake that computes correctly --- */

static void open_library(void)
{
    base_error error;
    if (kern_openblas_open(&error) == BASE_OK)
        return;
    printf("%s; the products of the fake library are tested\n", error.text);
    setenv("PALMGROVE_OPENBLAS_LIBRARY", FAKE_OPENBLAS_LIBRARY, 1);
    assert_int_equal(kern_openblas_open(&error), BASE_OK);
}

static void test_opened(void **unused)
{
    (void)unused;
    open_library();
    assert_true(kern_openblas_is_open());
    assert_int_equal(strncmp(kern_openblas_name(), "openblas-", 9), 0);
    assert_int_equal(kern_openblas_open(NULL), BASE_OK); /* a second call does nothing */
}

/* A product whose rows in `spans` OpenBLAS computes. */
typedef struct problem {
    pack_matrix w;
    float *x;
    kern_rows rows;
} problem;

static problem create(pack_type type, uint32_t m, uint32_t n, uint32_t k, uint32_t unit, const kern_span *spans,
                      size_t n_spans)
{
    problem p = {.w = random_matrix(type, n, k, unit), .x = random_floats((size_t)m * k)};
    size_t stride = kern_openblas_scratch_bytes();
    p.rows = (kern_rows){.x = p.x,
                         .ldx = k,
                         .m = m,
                         .scratch = aligned_zeros(2 * stride),
                         .scratch_stride = stride,
                         .spans = spans,
                         .n_spans = n_spans};
    return p;
}

static void destroy(problem *p)
{
    free(p->w.data), free(p->x), free(p->rows.scratch);
}

static const pack_type plain[] = {PACK_F32, PACK_F16, PACK_BF16};

static void test_linear_against_openblas(void **unused)
{
    (void)unused;
    open_library();
    const uint32_t shapes[][3] = {{1, 192, 192},   {7, 288, 192}, {600, 192, 588},
                                  {64, 1024, 192}, {33, 100, 75}, {3, 40, 1100}}; /* m, n, k */
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t t = 0; t < 3; t++) {
            uint32_t m = shapes[i][0], n = shapes[i][1], k = shapes[i][2];
            const kern_span all = {0, m};
            problem p = create(plain[t], m, n, k, k, &all, 1);
            float *ours = random_floats((size_t)m * n), *theirs = random_floats((size_t)m * n);
            linear_run(2, &p.rows, &p.w, theirs);
            p.rows.n_spans = 0;
            linear_run(2, &p.rows, &p.w, ours);
            for (size_t o = 0; o < (size_t)m * n; o++)
                assert_true(fabs((double)ours[o] - (double)theirs[o]) <= TOLERANCE(k));
            free(ours), free(theirs), destroy(&p);
        }
}

/* Rows 5 to 70 and 71 to 90 of 100 are spans. */
static const kern_span two_spans[] = {{5, 65}, {71, 19}};
enum { M = 100, N = 330, K = 150, UNIT = 64 };

static bool in_span(size_t r)
{
    return (r >= 5 && r < 70) || (r >= 71 && r < 90);
}

/* Rows outside have our kernels' bits; a span has the bits that it has alone. */
static void test_spans(void **unused)
{
    (void)unused;
    open_library();
    problem p = create(PACK_BF16, M, N, K, K, two_spans, 2);
    float *both = random_floats(M * N), *ours = random_floats(M * N), *alone = random_floats(M * N);
    linear_run(2, &p.rows, &p.w, both);
    kern_rows rows = p.rows;
    rows.n_spans = 0;
    linear_run(2, &rows, &p.w, ours);
    for (size_t r = 0; r < M; r++)
        if (!in_span(r))
            assert_memory_equal(both + r * N, ours + r * N, N * sizeof *both);
    for (size_t s = 0; s < 2; s++) {
        const kern_span all = {0, two_spans[s].n};
        rows = p.rows;
        rows.x += two_spans[s].row * K, rows.m = all.n, rows.spans = &all, rows.n_spans = 1;
        linear_run(1, &rows, &p.w, alone);
        assert_memory_equal(both + two_spans[s].row * N, alone, all.n * N * sizeof *both);
    }
    free(both), free(ours), free(alone), destroy(&p);
}

/* --- sums in fixed point --- */

typedef struct fixed_call {
    kern_term terms[2];
    int64_t *acc, *overflow;
    uint32_t n;
} fixed_call;

static void fixed_work(void *context, team_member *me)
{
    const fixed_call *call = context;
    kern_linear_fixed(me, call->terms, 2, call->acc, call->n, call->overflow);
}

static void fixed_run(const problem *a, const problem *b, int64_t *acc, int64_t *overflow)
{
    team *t;
    fixed_call call = {{{&a->rows, &a->w}, {&b->rows, &b->w}}, acc, overflow, N};
    memset(acc, 0, M * N * sizeof *acc);
    memset(overflow, 0, M * sizeof *overflow);
    assert_int_equal(team_create(2, true, &t, NULL), BASE_OK);
    team_run(t, fixed_work, &call);
    team_destroy(&t);
}

/* A sum of a term that OpenBLAS computes and one that it does not (int8); an overflow is the row's own. */
static void test_fixed(void **unused)
{
    (void)unused;
    open_library();
    problem a = create(PACK_F32, M, N, K, UNIT, two_spans, 2), b = create(PACK_INT8, M, N, K, UNIT, two_spans, 2);
    int64_t *both = aligned_zeros(M * N * sizeof *both), *ours = aligned_zeros(M * N * sizeof *ours);
    int64_t overflow[M];
    a.x[30 * K + 7] = 1e30f; /* in the first span */
    a.x[90 * K + 7] = NAN;   /* in the last gap */
    fixed_run(&a, &b, both, overflow);
    for (size_t r = 0; r < M; r++)
        assert_int_equal(overflow[r], r == 30 || r == 90);
    a.rows.n_spans = b.rows.n_spans = 0;
    fixed_run(&a, &b, ours, overflow);
    for (size_t r = 0; r < M; r++)
        for (size_t i = 0; i < N && r != 30 && r != 90; i++) {
            int64_t difference = llabs(both[r * N + i] - ours[r * N + i]);
            assert_true(in_span(r) ? (double)difference <= 0x1p36 * TOLERANCE(K) : difference == 0);
        }
    free(both), free(ours), destroy(&a), destroy(&b);
}

/* --- which rows --- */

static void layout_batch(model_batch *batch, uint32_t max_rows)
{
    model_arena arena = {0};
    model_batch_layout(batch, max_rows, 1, 0, &arena);
    arena = (model_arena){.base = aligned_zeros(arena.used)};
    model_batch_layout(batch, max_rows, 1, 0, &arena);
}

/* Slices of a plan by tokens and samples: decoding, a prompt's chunk, its end, drafts that are verified. */
static const uint32_t slices[][2] = {{1, 1}, {10, 0}, {5, 1}, {4, 4}, {1, 0}};
enum { N_SLICES = sizeof slices / sizeof *slices, N_ROWS = 1 + 10 + 5 + 4 + 1 };

/* A span for each slice of a prompt, none where every position is sampled; all rows for teacher forcing; none with our
 * products. */
static void test_rows_of_prompts(void **unused)
{
    (void)unused;
    const kern_span expected[] = {{1, 10}, {11, 5}, {20, 1}};
    const model_heads heads = {{0, 1}, {0, 1}, 1};
    const link_limits no_images = {0};
    uint32_t blocks[1] = {0};
    int32_t tokens[N_ROWS] = {0};
    link_slice all[N_SLICES] = {{0}};
    uint32_t first = 0;
    for (size_t i = 0; i < N_SLICES; first += slices[i++][0])
        all[i] = (link_slice){.n_tokens = slices[i][0], .n_sampled = slices[i][1], .first_token = first};
    const link_plan plan = {
        .n_slices = N_SLICES, .n_tokens = N_ROWS, .slices = all, .tokens = tokens, .blocks = blocks};
    for (int has_spans = 0; has_spans < 2; has_spans++) {
        model_batch batch = {.has_spans = has_spans != 0};
        layout_batch(&batch, N_ROWS);
        model_batch_from_plan(&batch, &plan, &no_images, &heads);
        assert_int_equal(batch.n_spans, has_spans ? 3 : 0);
        for (size_t i = 0; i < batch.n_spans; i++)
            assert_true(batch.spans[i].row == expected[i].row && batch.spans[i].n == expected[i].n);
        batch.all_prompts = true;
        model_batch_from_plan(&batch, &plan, &no_images, &heads);
        assert_int_equal(batch.n_spans, has_spans);
        assert_true(!has_spans || (batch.spans[0].row == 0 && batch.spans[0].n == N_ROWS));
        free(batch.pos); /* the arena's first */
    }
}

static void test_rows_of_images(void **unused)
{
    (void)unused;
    const model_heads heads = {{0, 1}, {0, 1}, 1};
    uint32_t blocks[MODEL_OPENBLAS_ROWS] = {0};
    model_batch batch = {.has_spans = true};
    layout_batch(&batch, MODEL_OPENBLAS_ROWS);
    model_batch_from_image(&batch, MODEL_OPENBLAS_ROWS - 1, blocks, &heads);
    assert_int_equal(batch.n_spans, 0);
    model_batch_from_image(&batch, MODEL_OPENBLAS_ROWS, blocks, &heads);
    assert_true(batch.n_spans == 1 && batch.spans[0].row == 0 && batch.spans[0].n == MODEL_OPENBLAS_ROWS);
    free(batch.pos);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_opened),
        cmocka_unit_test(test_linear_against_openblas),
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_fixed),
        cmocka_unit_test(test_rows_of_prompts),
        cmocka_unit_test(test_rows_of_images),
    };
    base_error error;
    if (kern_select("auto", &error) != BASE_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
