/* linear.h - matrix products over packed weights, divided among a rank's team by outputs and blocks of rows.
 *
 * The division changes nothing in the result: a (row, output) pair is computed whole by one thread.  Every member of
 * the team calls these functions with the same arguments; none of them waits at its end, so the caller puts a barrier
 * between what writes and what reads (team.h). */
#ifndef PALMGROVE_LINEAR_H
#define PALMGROVE_LINEAR_H

#include <stddef.h>
#include <stdint.h>

#include "worker/kernels/kern.h"
#include "worker/team/team.h"

/* Neighbouring rows. */
typedef struct kern_span {
    size_t row, n;
} kern_span;

/* m rows of activations: in f32 and, where quantised ones are wanted, in 8 bits (for int8, int4) and bf16 too. */
typedef struct kern_rows {
    const float *x; /* row r at x + r * ldx */
    size_t ldx, m;
    const kern_activations *quantised; /* NULL: every matrix is multiplied with x */
    /* [team size][scratch_stride]: kern_scratch_bytes with `quantised`, kern_openblas_scratch_bytes with spans, the
     * larger of the two with both. */
    char *scratch;
    size_t scratch_stride;
    /* Rows that OpenBLAS multiplies with matrices that are not quantised, in f32: those of prompts and images
     * (docs/decisions/0010-openblas-provider.md).  In order, apart from each other; each is multiplied as a call of its
     * own, so that its bits do not depend on the other rows.  Needs x, scratch and kern_openblas_is_open. */
    const kern_span *spans;
    size_t n_spans;
} kern_rows;

/* One product: y[m][n] = rows W^T, rows of y ldy floats apart; w is not split (its unit is its k). */
typedef struct kern_product {
    const pack_matrix *w;
    float *y;
    size_t ldy;
} kern_product;

#define KERN_PRODUCTS_MAX 8u

/* Several products over the same rows at once, KERN_PRODUCTS_MAX at most.  No call can fail; rows, products and what
 * they point to must live until all members have passed the caller's barrier. */
void kern_linear(team_member *me, const kern_rows *rows, const kern_product *products, size_t n_products);

/* One contraction that adds to a sum. */
typedef struct kern_term {
    const kern_rows *rows;
    const pack_matrix *w;
} kern_term;

/* acc[m][n] += the terms' rows W^T in fixed point, a partial for each unit of w (kern.h); overflow [m].  All terms have
 * the same m and n, at least one term. */
void kern_linear_fixed(team_member *me, const kern_term *terms, size_t n_terms, int64_t *acc, size_t ldacc,
                       int64_t *overflow);

#endif
