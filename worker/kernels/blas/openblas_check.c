/* openblas_check.c - is this OpenBLAS to be trusted?  Products against the reference kernels before it is used.
 *
 * A build that chose kernels for the wrong core, or one that is not safe to call from several threads, computes wrong
 * sums without a word; so each shape is computed by THREADS threads at once and every output is compared:
 *
 *     random w [n][k], x [m][k] in [-1, 1)  --> kern_openblas_linear ----> y      |y - reference| <= TOLERANCE(k, sum
 * |w x|)
 *                                           --> reference panel kernels -> reference
 *
 * Shapes: one of each, edges of sgemm's tiles (odd, one more and one less than powers of two), more than one block of
 * outputs, more than one piece of k.  Only the form that is used is checked: row-major, nothing transposed, ldx > k. */
#include "worker/kernels/blas/openblas_int.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "proto/base/size.h"
#include "worker/kernels/kern.h"

/* Both sides round a sum of k products in orders of their own: each is off by k 2^-24 sum |w x| at most (Higham 2002,
 * section 3.1), so two of them by twice that. */
#define TOLERANCE(k, magnitude) (2.0f * (float)(k)*0x1p-24f * (magnitude))

#define THREADS 4

typedef struct shape {
    pack_type type;
    uint32_t m, n, k;
} shape;

static const shape shapes[] = {
    {PACK_F32, 1, 1, 1},      {PACK_F32, 3, 5, 7},     {PACK_F32, 8, 32, 33},   {PACK_F32, 31, 33, 65},
    {PACK_F32, 64, 96, 127},  {PACK_F32, 17, 257, 64}, {PACK_F32, 65, 48, 513}, {PACK_BF16, 9, 65, 129},
    {PACK_BF16, 66, 40, 520}, {PACK_F16, 7, 31, 100},  {PACK_F16, 130, 33, 48},
};

typedef struct trial {
    const shape *shape;
    pack_matrix w;
    size_t ldx;
    float *x;         /* [m][ldx] */
    float *reference; /* [m][n] */
    float *magnitude; /* [m][n] sum of |w x| */
} trial;

static float next_value(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) * 0x1p-23f - 1.0f;
}

/* Rows that a NaN separates: what lies between them must not be read. */
static void fill_rows(trial *t, uint32_t *state)
{
    for (size_t r = 0; r < t->shape->m; r++)
        for (size_t i = 0; i < t->ldx; i++)
            t->x[r * t->ldx + i] = i < t->shape->k ? next_value(state) : NAN;
}

static void fill_matrix(trial *t, float *rows, uint32_t *state)
{
    for (uint32_t p = 0; p < pack_n_panels(t->w.n); p++) {
        for (size_t i = 0; i < (size_t)PACK_PANEL * t->w.k; i++)
            rows[i] = next_value(state);
        uint32_t left = t->w.n - p * PACK_PANEL;
        pack_panel_fill(&t->w, p, rows, left < PACK_PANEL ? left : PACK_PANEL, NULL);
    }
}

/* `row` [k]: an output's weights. */
static void compute_reference(trial *t, const kern_table *reference, float *row)
{
    const shape *s = t->shape;
    for (size_t column = 0; column < s->n; column += KERN_PANEL) {
        const char *panel = (const char *)t->w.data + column / KERN_PANEL * pack_panel_bytes(s->type, s->k, s->k);
        reference->panel[s->type](panel, s->k, t->x, t->ldx, s->m, t->reference + column, s->n,
                                  s->n - column < KERN_PANEL ? s->n - column : KERN_PANEL);
    }
    for (uint32_t o = 0; o < s->n; o++) {
        pack_row_get(&t->w, o, row);
        for (size_t r = 0; r < s->m; r++) {
            float sum = 0.0f;
            for (size_t i = 0; i < s->k; i++)
                sum += fabsf(row[i] * t->x[r * t->ldx + i]);
            t->magnitude[r * s->n + o] = sum;
        }
    }
}

/* One thread's computation. */
typedef struct attempt {
    const trial *t;
    float *y; /* [m][n] */
    void *scratch;
} attempt;

static void *multiply(void *context)
{
    const attempt *a = context;
    const shape *s = a->t->shape;
    for (size_t column = 0; column < s->n; column += KERN_OPENBLAS_COLUMNS) {
        const kern_openblas_block block = {&a->t->w, column, a->t->x, a->t->ldx, s->m};
        kern_openblas_linear(&block, a->y + column, s->n, a->scratch);
    }
    return NULL;
}

static base_status compare(const trial *t, const float *y, const char *name, base_error *error)
{
    const shape *s = t->shape;
    for (size_t i = 0; i < (size_t)s->m * s->n; i++)
        if (!(fabsf(y[i] - t->reference[i]) <= TOLERANCE(s->k, t->magnitude[i])))
            return base_fail(error, BASE_ENUMERIC,
                             "%s computes wrong products: %u x %u x %u in %s, row %zu, output %zu: %g instead of %g; "
                             "use --products own, or name another core in OPENBLAS_CORETYPE",
                             name, s->m, s->n, s->k, pack_type_name(s->type), i / s->n, i % s->n, (double)y[i],
                             (double)t->reference[i]);
    return BASE_OK;
}

/* Where a thread cannot be started its share is computed here. */
static base_status run_attempts(attempt attempts[THREADS], const char *name, base_error *error)
{
    pthread_t threads[THREADS];
    bool started[THREADS];
    for (int i = 0; i < THREADS; i++) {
        started[i] = i > 0 && pthread_create(&threads[i], NULL, multiply, &attempts[i]) == 0;
        if (!started[i])
            multiply(&attempts[i]);
    }
    base_status status = BASE_OK;
    for (int i = 0; i < THREADS; i++) {
        if (started[i])
            pthread_join(threads[i], NULL);
        if (status == BASE_OK)
            status = compare(attempts[i].t, attempts[i].y, name, error);
    }
    return status;
}

static void *lines(size_t bytes)
{
    return aligned_alloc(KERN_ALIGN, base_size_round_up(bytes + 1, KERN_ALIGN));
}

static base_status try_shape(const shape *s, const kern_table *reference, void *scratches[THREADS], const char *name,
                             base_error *error)
{
    trial t = {
        .shape = s, .ldx = s->k + 3, .w = {s->type, s->n, s->k, s->k, lines(pack_bytes(s->type, s->n, s->k, s->k))}};
    size_t outputs = (size_t)s->m * s->n * sizeof(float);
    float *rows = lines((size_t)PACK_PANEL * s->k * sizeof *rows);
    t.x = lines(s->m * t.ldx * sizeof *t.x);
    t.reference = lines(outputs);
    t.magnitude = lines(outputs);
    bool ok = t.w.data != NULL && rows != NULL && t.x != NULL && t.reference != NULL && t.magnitude != NULL;
    attempt attempts[THREADS];
    for (int i = 0; i < THREADS; i++) {
        attempts[i] = (attempt){&t, lines(outputs), scratches[i]};
        ok = ok && attempts[i].y != NULL;
    }
    base_status status = ok ? BASE_OK : base_fail(error, BASE_ENOMEM, "no memory to check %s", name);
    if (ok) {
        uint32_t state = 1;
        fill_rows(&t, &state);
        fill_matrix(&t, rows, &state);
        compute_reference(&t, reference, rows);
        status = run_attempts(attempts, name, error);
    }
    for (int i = 0; i < THREADS; i++)
        free(attempts[i].y);
    free(t.w.data), free(rows), free(t.x), free(t.reference), free(t.magnitude);
    return status;
}

base_status kern_openblas_check(const char *name, base_error *error)
{
    const kern_table *usable[KERN_VARIANTS];
    void *scratches[THREADS];
    bool ok = kern_usable(usable) > 0;
    for (int i = 0; i < THREADS; i++) {
        scratches[i] = lines(kern_openblas_scratch_bytes());
        ok = ok && scratches[i] != NULL;
    }
    base_status status = ok ? BASE_OK : base_fail(error, BASE_ENOMEM, "no memory to check %s", name);
    for (size_t i = 0; status == BASE_OK && i < sizeof shapes / sizeof *shapes; i++)
        status = try_shape(&shapes[i], usable[0], scratches, name, error); /* the first is the reference (kern.h) */
    for (int i = 0; i < THREADS; i++)
        free(scratches[i]);
    return status;
}
