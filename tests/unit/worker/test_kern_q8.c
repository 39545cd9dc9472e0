/* test_kern_q8.c - products with 8-bit activations, and with quantised weights altogether: the order of
 * operations that kern.h states, written out plainly here, against the reference to the bit; every variant against the
 * reference; extreme values; hostile rows. */
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

/* --- a panel whose scales and q are known --- */

typedef struct known {
    pack_matrix packed; /* one panel */
    size_t n_groups;
    float *scales; /* [32][n_groups] */
    int8_t *q;     /* [32][n_groups][PACK_GROUP], zeros after a short group */
} known;

/* Columns of group g of a row, and the first of them. */
static uint32_t group_at(const pack_matrix *w, size_t g, uint32_t *column)
{
    size_t in_unit = kern_n_groups(w->unit, w->unit);
    uint32_t begin = (uint32_t)(g / in_unit) * w->unit, end = w->k - begin < w->unit ? w->k : begin + w->unit;
    *column = begin + (uint32_t)(g % in_unit) * PACK_GROUP;
    return end - *column < PACK_GROUP ? end - *column : PACK_GROUP;
}

typedef int8_t choose_code(pack_type type, uint32_t lane, uint32_t column);

static int8_t random_code(pack_type type, uint32_t lane, uint32_t column)
{
    (void)lane, (void)column;
    return type == PACK_INT4 ? (int8_t)((int)(next_random() % 16) - 8) : (int8_t)((int)(next_random() % 255) - 127);
}

/* The q of largest size: of one sign, of the other, and in turns. */
static int8_t extreme_code(pack_type type, uint32_t lane, uint32_t column)
{
    int8_t low = type == PACK_INT4 ? -8 : -127, high = type == PACK_INT4 ? 7 : 127;
    return lane % 3 == 0 || (lane % 3 == 1 && column % 2 == 0) ? low : high;
}

static known known_create(pack_type type, uint32_t n, uint32_t k, uint32_t unit, choose_code *choose)
{
    known w = {.packed = {type, n, k, unit, aligned_zeros(pack_bytes(type, n, k, unit))},
               .n_groups = kern_n_groups(k, unit)};
    w.scales = aligned_zeros(sizeof *w.scales * KERN_PANEL * w.n_groups);
    w.q = aligned_zeros(KERN_PANEL * PACK_GROUP * w.n_groups);
    pack_panel_clear(&w.packed, 0);
    for (uint32_t lane = 0; lane < n; lane++)
        for (size_t g = 0; g < w.n_groups; g++) {
            uint32_t column, width = group_at(&w.packed, g, &column);
            int8_t *q = w.q + (lane * w.n_groups + g) * PACK_GROUP;
            uint16_t scale = half_to_f16(random_float() * 0.1f);
            for (uint32_t i = 0; i < width; i++)
                q[i] = choose(type, lane, column + i);
            w.scales[lane * w.n_groups + g] = half_from_f16(scale);
            pack_group_set(&w.packed, lane, column, scale, q, width);
        }
    return w;
}

static void known_destroy(known *w)
{
    free(w->packed.data), free(w->scales), free(w->q);
}

/* --- rounded rows --- */

static kern_activations activations_create(const kern_table *kern, const float *x, size_t m, size_t k, size_t unit)
{
    size_t n = kern_n_groups(k, unit);
    kern_activations c = {.q = aligned_zeros(m * n * PACK_GROUP),
                          .scales = aligned_zeros(m * n * sizeof(float)),
                          .corrections = aligned_zeros(m * n * sizeof(int32_t)),
                          .n_groups = n};
    for (size_t r = 0; r < m; r++)
        kern->quantise(x + r * k, k, unit, c.q + r * n * PACK_GROUP, c.scales + r * n, c.corrections + r * n);
    return c;
}

static void activations_destroy(kern_activations *c)
{
    free(c->q), free(c->scales), free(c->corrections);
}

static float *random_rows(size_t m, size_t k)
{
    float *x = aligned_zeros(m * k * sizeof *x);
    for (size_t i = 0; i < m * k; i++)
        x[i] = random_float() * (i / 7 % 5 == 0 ? 10.0f : 1.0f);
    return x;
}

/* --- the contract, plainly --- */

/* One output with f32 activations: columns [from, from + width) of its groups, which are whole units. */
static float plain_f32(const known *w, uint32_t lane, const float *x, size_t first_group, size_t n_groups)
{
    float acc = 0.0f;
    for (size_t g = first_group; g < first_group + n_groups; g++) {
        uint32_t column, width = group_at(&w->packed, g, &column);
        float sum = 0.0f;
        for (uint32_t i = 0; i < width; i++)
            sum = fmaf((float)w->q[(lane * w->n_groups + g) * PACK_GROUP + i], x[column + i], sum);
        acc = fmaf(w->scales[lane * w->n_groups + g], sum, acc);
    }
    return acc;
}

/* The same with 8-bit activations; `factor` 1 or 2^KERN_FIXED_BITS. */
static float plain_q8(const known *w, uint32_t lane, const kern_activations *x, size_t row, size_t first_group,
                      size_t n_groups, float factor)
{
    float acc = 0.0f;
    for (size_t g = first_group; g < first_group + n_groups; g++) {
        const int8_t *a = w->q + (lane * w->n_groups + g) * PACK_GROUP,
                     *b = x->q + (row * x->n_groups + g) * PACK_GROUP;
        int32_t sum = 0;
        for (uint32_t i = 0; i < PACK_GROUP; i++)
            sum += a[i] * b[i];
        acc = fmaf((float)sum, w->scales[lane * w->n_groups + g] * factor * x->scales[row * x->n_groups + g], acc);
    }
    return acc;
}

/* --- one call of each kind, compared --- */

typedef struct outputs {
    float *y, *y_q8;           /* [m][KERN_PANEL] */
    int64_t *acc, *acc_q8;     /* [m][KERN_PANEL] */
    int64_t *overflow, *of_q8; /* [m] */
} outputs;

static outputs outputs_create(size_t m)
{
    outputs o = {aligned_zeros(m * KERN_PANEL * sizeof(float)),
                 aligned_zeros(m * KERN_PANEL * sizeof(float)),
                 aligned_zeros(m * KERN_PANEL * sizeof(int64_t)),
                 aligned_zeros(m * KERN_PANEL * sizeof(int64_t)),
                 aligned_zeros(m * sizeof(int64_t)),
                 aligned_zeros(m * sizeof(int64_t))};
    for (size_t i = 0; i < m * KERN_PANEL; i++) {
        o.y[i] = o.y_q8[i] = -1.5f; /* stays where nothing is written */
        o.acc[i] = o.acc_q8[i] = (int64_t)i * 1000;
    }
    return o;
}

static void outputs_destroy(outputs *o)
{
    free(o->y), free(o->y_q8), free(o->acc), free(o->acc_q8), free(o->overflow), free(o->of_q8);
}

static void run(const kern_table *kern, const known *w, const float *x, const kern_activations *act, size_t row,
                size_t m, outputs *o)
{
    const pack_matrix *p = &w->packed;
    void *scratch = aligned_zeros(kern_scratch_bytes(w->n_groups));
    if (p->unit >= p->k)
        kern->panel[p->type](p->data, p->k, x + row * p->k, p->k, m, o->y, KERN_PANEL, p->n);
    kern->panel_fixed[p->type](p->data, p->k, p->unit, x + row * p->k, p->k, m, o->acc, KERN_PANEL, p->n, o->overflow);
    kern->panel_q8[p->type](p->data, p->k, p->unit, act, row, m, o->y_q8, KERN_PANEL, p->n, scratch);
    kern->panel_q8_fixed[p->type](p->data, p->k, p->unit, act, row, m, o->acc_q8, KERN_PANEL, p->n, o->of_q8, scratch);
    free(scratch);
}

static void assert_same(const outputs *a, const outputs *b, size_t m)
{
    assert_memory_equal(a->y, b->y, m * KERN_PANEL * sizeof *a->y);
    assert_memory_equal(a->y_q8, b->y_q8, m * KERN_PANEL * sizeof *a->y_q8);
    assert_memory_equal(a->acc, b->acc, m * KERN_PANEL * sizeof *a->acc);
    assert_memory_equal(a->acc_q8, b->acc_q8, m * KERN_PANEL * sizeof *a->acc_q8);
    assert_memory_equal(a->overflow, b->overflow, m * sizeof *a->overflow);
    assert_memory_equal(a->of_q8, b->of_q8, m * sizeof *a->of_q8);
}

/* The reference's outputs are the contract's, to the bit. */
static void assert_contract(const outputs *o, const known *w, const float *x, const kern_activations *act, size_t m)
{
    const pack_matrix *p = &w->packed;
    size_t in_unit = kern_n_groups(p->unit, p->unit);
    for (size_t r = 0; r < m; r++)
        for (uint32_t lane = 0; lane < KERN_PANEL; lane++) {
            size_t i = r * KERN_PANEL + lane;
            int64_t acc = (int64_t)i * 1000, acc_q8 = acc;
            float y = -1.5f, y_q8 = -1.5f;
            if (lane < p->n) {
                if (p->unit >= p->k)
                    y = plain_f32(w, lane, x + r * p->k, 0, w->n_groups);
                y_q8 = plain_q8(w, lane, act, r, 0, w->n_groups, 1.0f);
                for (size_t g = 0; g < w->n_groups; g += in_unit) {
                    size_t n = w->n_groups - g < in_unit ? w->n_groups - g : in_unit;
                    acc += llrintf(plain_f32(w, lane, x + r * p->k, g, n) * 0x1p36f);
                    acc_q8 += llrintf(plain_q8(w, lane, act, r, g, n, 0x1p36f));
                }
            }
            assert_true(o->y[i] == y && o->y_q8[i] == y_q8);
            assert_true(o->acc[i] == acc && o->acc_q8[i] == acc_q8);
        }
}

static const uint32_t shapes[][4] = {/* m, n, k, unit */
                                     {1, 32, 32, 32},  {1, 1, 1, 1},      {2, 32, 7, 7},      {3, 31, 100, 100},
                                     {4, 32, 128, 64}, {5, 32, 160, 80},  {6, 17, 200, 48},   {7, 32, 256, 128},
                                     {8, 32, 130, 64}, {9, 5, 33, 11},    {13, 32, 96, 96},   {23, 32, 192, 64},
                                     {40, 32, 75, 30}, {64, 32, 200, 80}, {71, 32, 128, 128}, {130, 9, 70, 35}};

static void test_contract_and_variants(void **unused)
{
    (void)unused;
    const kern_table *kern[KERN_VARIANTS];
    size_t n_variants = kern_usable(kern);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int type = PACK_INT8; type <= PACK_INT4; type++) {
            size_t m = shapes[s][0], k = shapes[s][2];
            known w = known_create((pack_type)type, shapes[s][1], shapes[s][2], shapes[s][3], random_code);
            float *x = random_rows(m, k);
            kern_activations act = activations_create(kern[0], x, m, k, w.packed.unit);
            outputs expected = outputs_create(m);
            run(kern[0], &w, x, &act, 0, m, &expected);
            assert_contract(&expected, &w, x, &act, m);
            for (size_t v = 1; v < n_variants; v++) {
                outputs o = outputs_create(m);
                run(kern[v], &w, x, &act, 0, m, &o);
                assert_same(&o, &expected, m);
                outputs_destroy(&o);
            }
            outputs_destroy(&expected);
            activations_destroy(&act);
            free(x);
            known_destroy(&w);
        }
}

/* A row has the same bits alone and among 1 to 40 others or 63 to 69 (many rows take another path), wherever it stands.
 */
static void test_company_does_not_matter(void **unused)
{
    (void)unused;
    enum { M = 70, K = 150, UNIT = 64 };
    const kern_table *kern[KERN_VARIANTS];
    size_t n_variants = kern_usable(kern);
    for (int type = PACK_INT8; type <= PACK_INT4; type++) {
        known w = known_create((pack_type)type, KERN_PANEL, K, UNIT, random_code);
        float *x = random_rows(M, K);
        kern_activations act = activations_create(kern[0], x, M, K, UNIT);
        outputs alone[M];
        for (size_t r = 0; r < M; r++) {
            alone[r] = outputs_create(1);
            run(kern[0], &w, x, &act, r, 1, &alone[r]);
        }
        for (size_t v = 0; v < n_variants; v++)
            for (size_t m = 1; m <= M; m = m == 41 ? 64 : m + 1) {
                outputs o = outputs_create(m);
                size_t first = (M - m) / 2;
                run(kern[v], &w, x, &act, first, m, &o);
                for (size_t r = 0; r < m; r++)
                    for (size_t i = 0; i < KERN_PANEL; i++) {
                        int64_t began =
                            (int64_t)(r * KERN_PANEL) * 1000; /* what outputs_create puts there more than for row 0 */
                        assert_true(o.y_q8[r * KERN_PANEL + i] == alone[first + r].y_q8[i]);
                        assert_true(o.acc_q8[r * KERN_PANEL + i] - began == alone[first + r].acc_q8[i]);
                        assert_true(o.acc[r * KERN_PANEL + i] - began == alone[first + r].acc[i]);
                    }
                outputs_destroy(&o);
            }
        for (size_t r = 0; r < M; r++)
            outputs_destroy(&alone[r]);
        activations_destroy(&act);
        free(x);
        known_destroy(&w);
    }
}

/* Codes of largest size everywhere, of equal and of changing signs: an instruction that saturates shows here. */
static void test_extreme_values(void **unused)
{
    (void)unused;
    enum { M = 12, K = 96 };
    const kern_table *kern[KERN_VARIANTS];
    size_t n_variants = kern_usable(kern);
    for (int type = PACK_INT8; type <= PACK_INT4; type++) {
        known w = known_create((pack_type)type, KERN_PANEL, K, 32, extreme_code);
        float *x = aligned_zeros(M * K * sizeof *x);
        for (size_t r = 0; r < M; r++)
            for (size_t i = 0; i < K; i++)
                x[r * K + i] = r % 3 == 0 ? 127.0f : r % 3 == 1 ? -127.0f : i % 2 == 0 ? 127.0f : -127.0f;
        for (size_t v = 0; v < n_variants; v++) {
            kern_activations act = activations_create(kern[v], x, M, K, 32);
            for (size_t i = 0; i < M * K; i++)
                assert_int_equal(act.q[i], (int8_t)x[i]);
            outputs o = outputs_create(M);
            run(kern[v], &w, x, &act, 0, M, &o);
            assert_contract(&o, &w, x, &act, M);
            outputs_destroy(&o);
            activations_destroy(&act);
        }
        free(x);
        known_destroy(&w);
    }
}

/* Cut at any unit, the parts' integer sums are the whole's. */
static void test_splits_exactly(void **unused)
{
    (void)unused;
    enum { M = 9, K = 400, UNIT = 80, GROUPS = 3 /* of a unit */ };
    const kern_table *kern[KERN_VARIANTS];
    size_t n_variants = kern_usable(kern);
    for (int type = PACK_INT8; type <= PACK_INT4; type++) {
        known w = known_create((pack_type)type, KERN_PANEL, K, UNIT, random_code);
        float *x = random_rows(M, K);
        kern_activations act = activations_create(kern[0], x, M, K, UNIT);
        outputs whole = outputs_create(M);
        run(kern[0], &w, x, &act, 0, M, &whole);
        size_t unit_bytes = pack_panel_bytes((pack_type)type, UNIT, UNIT);
        void *scratch = aligned_zeros(kern_scratch_bytes(w.n_groups));
        for (size_t v = 0; v < n_variants; v++)
            for (size_t cut = 1; cut < K / UNIT; cut++) {
                outputs parts = outputs_create(M);
                /* the ranks of a split hold only their own units of a row */
                size_t left = K - cut * UNIT;
                float *rest = aligned_zeros(M * left * sizeof *rest);
                for (size_t r = 0; r < M; r++)
                    memcpy(rest + r * left, x + r * K + cut * UNIT, left * sizeof *rest);
                kern_activations of_rest = activations_create(kern[v], rest, M, left, UNIT);
                assert_memory_equal(of_rest.scales, act.scales + cut * GROUPS, of_rest.n_groups * sizeof(float));
                kern[v]->panel_q8_fixed[type]((char *)w.packed.data + cut * unit_bytes, left, UNIT, &of_rest, 0, M,
                                              parts.acc_q8, KERN_PANEL, KERN_PANEL, parts.of_q8, scratch);
                kern[v]->panel_q8_fixed[type](w.packed.data, cut * UNIT, UNIT, &act, 0, M, parts.acc_q8, KERN_PANEL,
                                              KERN_PANEL, parts.of_q8, scratch);
                assert_memory_equal(parts.acc_q8, whole.acc_q8, M * KERN_PANEL * sizeof(int64_t));
                activations_destroy(&of_rest);
                free(rest);
                outputs_destroy(&parts);
            }
        free(scratch);
        outputs_destroy(&whole);
        activations_destroy(&act);
        free(x);
        known_destroy(&w);
    }
}

/* --- rounding --- */

static void assert_quantised(const float *x, size_t k, size_t unit, const kern_activations *c)
{
    size_t g = 0;
    for (size_t begin = 0; begin < k; begin += unit)
        for (size_t i = begin, end = k - begin < unit ? k : begin + unit; i < end; i += PACK_GROUP, g++) {
            float max = 0.0f;
            int32_t sum = 0;
            for (size_t j = 0; j < PACK_GROUP; j++) {
                float value = i + j < end ? x[i + j] : 0.0f;
                int8_t code = c->q[g * PACK_GROUP + j];
                max = fmaxf(max, fabsf(value));
                sum += code;
                assert_true(code >= -127);
                /* half a step; the scale and its inverse are rounded, which moves a code of 127 by less than 2^-14 */
                assert_true(fabs((double)value - (double)c->scales[g] * code) <=
                            (double)c->scales[g] * (0.5 + 0x1p-14));
                if (i + j >= end)
                    assert_int_equal(code, 0);
            }
            assert_true(c->scales[g] == max / 127.0f);
            assert_int_equal(c->corrections[g], -8 * sum);
        }
    assert_int_equal(g, c->n_groups);
}

static void test_quantise(void **unused)
{
    (void)unused;
    const kern_table *kern[KERN_VARIANTS];
    size_t n_variants = kern_usable(kern);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        size_t k = shapes[s][2], unit = shapes[s][3];
        float *x = random_rows(1, k);
        kern_activations expected = activations_create(kern[0], x, 1, k, unit);
        assert_quantised(x, k, unit, &expected);
        for (size_t v = 1; v < n_variants; v++) {
            kern_activations c = activations_create(kern[v], x, 1, k, unit);
            assert_memory_equal(c.q, expected.q, c.n_groups * PACK_GROUP);
            assert_memory_equal(c.scales, expected.scales, c.n_groups * sizeof *c.scales);
            assert_memory_equal(c.corrections, expected.corrections, c.n_groups * sizeof *c.corrections);
            activations_destroy(&c);
        }
        activations_destroy(&expected);
        free(x);
    }
}

/* Ties go to the even code; the ends of the range of f32 are met. */
static void test_quantise_edges(void **unused)
{
    (void)unused;
    const kern_table *kern[KERN_VARIANTS];
    size_t n_variants = kern_usable(kern);
    for (size_t v = 0; v < n_variants; v++) {
        float x[PACK_GROUP] = {127.0f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -126.5f}, scale;
        const int8_t expected[PACK_GROUP] = {127, 0, 2, 2, 0, -2, -126};
        int8_t q[PACK_GROUP];
        int32_t correction;
        kern[v]->quantise(x, PACK_GROUP, PACK_GROUP, q, &scale, &correction);
        assert_memory_equal(q, expected, sizeof q);
        assert_true(scale == 1.0f && correction == -8 * (127 + 2 + 2 - 2 - 126));

        const float sizes[] = {3.4e38f, 1e-20f, 0x1p-100f};
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            const float edge[3] = {sizes[i], -sizes[i], sizes[i] / 2.0f};
            kern[v]->quantise(edge, 3, 3, q, &scale, &correction);
            assert_true(scale == sizes[i] / 127.0f && q[0] == 127 && q[1] == -127 && q[2] == 64 &&
                        correction == -8 * 64);
        }
        const float nothing[] = {0.0f, -0.0f, 0x1p-101f, 1e-45f};
        memset(q, 1, sizeof q);
        kern[v]->quantise(nothing, 4, 4, q, &scale, &correction);
        assert_true(scale == 0.0f && !signbit(scale) && correction == 0);
        for (size_t i = 0; i < PACK_GROUP; i++)
            assert_int_equal(q[i], 0);
    }
}

/* Rows that are no numbers, or too large, are marked; their neighbours keep their bits. */
static void test_hostile_rows(void **unused)
{
    (void)unused;
    enum { M = 14, K = 128 };
    const float hostile[] = {NAN, -NAN, INFINITY, -INFINITY, 1e30f, 3.4e38f};
    const kern_table *kern[KERN_VARIANTS];
    size_t n_variants = kern_usable(kern);
    for (int type = PACK_INT8; type <= PACK_INT4; type++)
        for (size_t h = 0; h < sizeof hostile / sizeof *hostile; h++) {
            known w = known_create((pack_type)type, h % 2 == 0 ? KERN_PANEL : 7, K, 64, extreme_code);
            float *x = random_rows(M, K);
            kern_activations act = activations_create(kern[0], x, M, K, 64);
            outputs expected = outputs_create(M);
            run(kern[0], &w, x, &act, 0, M, &expected);
            activations_destroy(&act);
            const size_t bad = 5 * h % M;
            x[bad * K + 77] = hostile[h];
            for (size_t v = 0; v < n_variants; v++) {
                outputs o = outputs_create(M);
                act = activations_create(kern[v], x, M, K, 64);
                run(kern[v], &w, x, &act, 0, M, &o);
                for (size_t r = 0; r < M; r++) {
                    assert_int_equal(o.overflow[r], r == bad);
                    assert_int_equal(o.of_q8[r], r == bad);
                    size_t at = r * KERN_PANEL, bytes = KERN_PANEL * sizeof(int64_t);
                    if (r != bad) {
                        assert_memory_equal(o.acc + at, expected.acc + at, bytes);
                        assert_memory_equal(o.acc_q8 + at, expected.acc_q8 + at, bytes);
                        assert_memory_equal(o.y_q8 + at, expected.y_q8 + at, KERN_PANEL * sizeof(float));
                    } else if (!isfinite(hostile[h])) {
                        for (uint32_t lane = 0; lane < w.packed.n; lane++)
                            assert_true(isnan(o.y_q8[at + lane]) != 0);
                    }
                }
                activations_destroy(&act);
                outputs_destroy(&o);
            }
            outputs_destroy(&expected);
            free(x);
            known_destroy(&w);
        }
}

/* Groups of zeros add nothing, whatever the weights. */
static void test_zero_rows(void **unused)
{
    (void)unused;
    enum { M = 3, K = 96 };
    const kern_table *kern[KERN_VARIANTS];
    size_t n_variants = kern_usable(kern);
    for (int type = PACK_INT8; type <= PACK_INT4; type++) {
        known w = known_create((pack_type)type, KERN_PANEL, K, K, extreme_code);
        float *x = aligned_zeros(M * K * sizeof *x);
        x[K + 40] = 1.0f; /* row 1 has one group that is none */
        for (size_t v = 0; v < n_variants; v++) {
            kern_activations act = activations_create(kern[v], x, M, K, K);
            outputs o = outputs_create(M);
            run(kern[v], &w, x, &act, 0, M, &o);
            assert_contract(&o, &w, x, &act, M);
            for (size_t i = 0; i < KERN_PANEL; i++) {
                assert_true(o.y_q8[i] == 0.0f && o.y_q8[2 * KERN_PANEL + i] == 0.0f);
                assert_true(o.acc_q8[i] == (int64_t)i * 1000);
            }
            outputs_destroy(&o);
            activations_destroy(&act);
        }
        free(x);
        known_destroy(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contract_and_variants),
        cmocka_unit_test(test_company_does_not_matter),
        cmocka_unit_test(test_extreme_values),
        cmocka_unit_test(test_splits_exactly),
        cmocka_unit_test(test_quantise),
        cmocka_unit_test(test_quantise_edges),
        cmocka_unit_test(test_hostile_rows),
        cmocka_unit_test(test_zero_rows),
    };
    return cmocka_run_group_tests_name("kern_activations", tests, NULL, NULL);
}
