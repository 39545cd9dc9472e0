/* kern_helpers.h - what the kernels' tests share: random numbers that repeat, memory, a product run on a team. */
#ifndef PALMGROVE_TESTS_KERN_HELPERS_H
#define PALMGROVE_TESTS_KERN_HELPERS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "worker/kernels/linear.h"

/* Knuth's MMIX generator; a test may set it, so that its numbers do not depend on the tests before it. */
static uint64_t random_state = 1;

static inline uint32_t next_random(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 32);
}

/* In [-1, 1), 24 bits. */
static inline float random_float(void)
{
    return (float)(next_random() >> 8) * 0x1p-23f - 1.0f;
}

/* [n], owned by the caller. */
static inline float *random_floats(size_t n)
{
    float *values = malloc((n + 1) * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < n; i++)
        values[i] = random_float();
    return values;
}

/* Zeros on a cache line, at least one line, owned by the caller. */
static inline void *aligned_zeros(size_t bytes)
{
    size_t lines = bytes / KERN_ALIGN + 1;
    void *memory = aligned_alloc(KERN_ALIGN, lines * KERN_ALIGN);
    assert_non_null(memory);
    return memset(memory, 0, lines * KERN_ALIGN);
}

/* w [n][k] of random values; its data is owned by the caller. */
static inline pack_matrix random_matrix(pack_type type, uint32_t n, uint32_t k, uint32_t unit)
{
    pack_matrix m = {type, n, k, unit, aligned_zeros(pack_bytes(type, n, k, unit))};
    for (uint32_t p = 0; p < pack_n_panels(n); p++) {
        float *rows = random_floats((size_t)PACK_PANEL * k);
        pack_panel_fill(&m, p, rows, n - p * PACK_PANEL < PACK_PANEL ? n - p * PACK_PANEL : PACK_PANEL, NULL);
        free(rows);
    }
    return m;
}

/* kern_linear of one product on a team of n_threads. */
typedef struct linear_call {
    kern_rows rows;
    kern_product product;
} linear_call;

static inline void linear_work(void *context, team_member *me)
{
    const linear_call *call = context;
    kern_linear(me, &call->rows, &call->product, 1);
}

static inline void linear_run(uint32_t n_threads, const kern_rows *rows, const pack_matrix *w, float *y)
{
    team *t;
    assert_int_equal(team_create(n_threads, true, &t, NULL), BASE_OK);
    linear_call call = {.rows = *rows, .product = {.w = w, .y = y, .ldy = w->n}};
    team_run(t, linear_work, &call);
    team_destroy(&t);
}

#endif
