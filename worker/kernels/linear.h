/* linear.h - matrix products over packed weights, divided among the OpenMP team by outputs and blocks of rows.
 *
 * The division changes nothing in the result: a (row, output) pair is computed whole by one thread. */
#ifndef PALMGROVE_LINEAR_H
#define PALMGROVE_LINEAR_H

#include <stddef.h>
#include <stdint.h>

#include "worker/kernels/kern.h"

/* y[m][n] = x[m][k] W^T, w not split (its unit is k); rows of x and y are ldx and ldy floats apart. */
void kern_linear(const pack_matrix *w, const float *x, size_t ldx, size_t m, float *y, size_t ldy);

/* acc[m][n] += x[m][k] W^T in fixed point, a partial for each unit (kern.h); overflow [m]. */
void kern_linear_fixed(const pack_matrix *w, const float *x, size_t ldx, size_t m, int64_t *acc, size_t ldacc,
                       int64_t *overflow);

/* x[m][d] += acc * 2^-KERN_FIXED_BITS + bias (bias [d] or NULL); one rounding of the sum to f32, one for the bias, one for x. */
void kern_add_fixed(float *x, size_t m, size_t d, const int64_t *acc, const float *bias);

#endif
