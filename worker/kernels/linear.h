/* linear.h - matrix products over packed weights, divided among the OpenMP team by outputs and blocks of rows.
 *
 * The division changes nothing in the result: a (row, output) pair is computed whole by one thread. */
#ifndef PALMGROVE_LINEAR_H
#define PALMGROVE_LINEAR_H

#include <stddef.h>
#include <stdint.h>

#include "worker/kernels/kern.h"

/* Bytes of `data` for a packed [n][k] matrix; 0 when the product does not fit a size_t. */
size_t kern_matrix_bytes(kern_type type, uint32_t n, uint32_t k);

/* Put row `row` (its k elements, bf16 patterns or f32 as the matrix is) into its lane of its panel. */
void kern_matrix_set_row_bf16(const kern_matrix *matrix, uint32_t row, const uint16_t *values);
void kern_matrix_set_row_f32(const kern_matrix *matrix, uint32_t row, const float *values);

/* Read row `row` back as f32 (an embedding look-up). */
void kern_matrix_row(const kern_matrix *matrix, uint32_t row, float *out);

/* y[m][n] = x[m][k] W^T; rows of x and y are ldx and ldy floats apart. */
void kern_linear(const kern_matrix *w, const float *x, size_t ldx, size_t m, float *y, size_t ldy);

/* acc[m][n] += x[m][k] W^T in fixed point, groups of `group` along k (kern.h); overflow [m]. */
void kern_linear_fixed(const kern_matrix *w, size_t group, const float *x, size_t ldx, size_t m, int64_t *acc, size_t ldacc,
                       int64_t *overflow);

/* x[m][d] += acc * 2^-KERN_FIXED_BITS + bias (bias [d] or NULL); one rounding of the sum to f32, one for the bias, one for x. */
void kern_add_fixed(float *x, size_t m, size_t d, const int64_t *acc, const float *bias);

#endif
