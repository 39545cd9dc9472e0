#include "worker/kernels/linear.h"

#include <string.h>

#include "proto/base/size.h"

/* Rows of x one thread takes at a time: a block of x stays in the core's cache while the panel streams. */
#define ROW_BLOCK 64u

static size_t element_bytes(kern_type type)
{
    return type == KERN_BF16 ? sizeof(uint16_t) : sizeof(float);
}

static size_t n_panels(uint32_t n)
{
    return ((size_t)n + KERN_PANEL - 1) / KERN_PANEL;
}

size_t kern_matrix_bytes(kern_type type, uint32_t n, uint32_t k)
{
    size_t elements, bytes;
    if (!base_size_mul(n_panels(n) * KERN_PANEL, k, &elements) || !base_size_mul(elements, element_bytes(type), &bytes))
        return 0;
    return bytes;
}

/* Element (row, 0) of the packed layout; the row's next elements are KERN_PANEL apart. */
static size_t lane_of(const kern_matrix *matrix, uint32_t row)
{
    return (size_t)(row / KERN_PANEL) * matrix->k * KERN_PANEL + row % KERN_PANEL;
}

void kern_matrix_set_row_bf16(const kern_matrix *matrix, uint32_t row, const uint16_t *values)
{
    uint16_t *lane = (uint16_t *)matrix->data + lane_of(matrix, row);
    for (uint32_t i = 0; i < matrix->k; i++)
        lane[(size_t)i * KERN_PANEL] = values[i];
}

void kern_matrix_set_row_f32(const kern_matrix *matrix, uint32_t row, const float *values)
{
    float *lane = (float *)matrix->data + lane_of(matrix, row);
    for (uint32_t i = 0; i < matrix->k; i++)
        lane[(size_t)i * KERN_PANEL] = values[i];
}

void kern_matrix_row(const kern_matrix *matrix, uint32_t row, float *out)
{
    size_t lane = lane_of(matrix, row);
    for (uint32_t i = 0; i < matrix->k; i++) {
        size_t at = lane + (size_t)i * KERN_PANEL;
        if (matrix->type == KERN_BF16) {
            uint32_t bits = (uint32_t)((const uint16_t *)matrix->data)[at] << 16;
            memcpy(&out[i], &bits, sizeof bits);
        } else {
            out[i] = ((const float *)matrix->data)[at];
        }
    }
}

/* One panel's first element, and how many of its outputs exist. */
static const void *panel_of(const kern_matrix *w, size_t panel, size_t *n_cols)
{
    size_t first = panel * KERN_PANEL;
    *n_cols = w->n - first < KERN_PANEL ? w->n - first : KERN_PANEL;
    return (const char *)w->data + first * w->k * element_bytes(w->type);
}

void kern_linear(const kern_matrix *w, const float *x, size_t ldx, size_t m, float *y, size_t ldy)
{
    const kern_table *kern = kern_active();
    size_t panels = n_panels(w->n);
#pragma omp parallel for collapse(2) schedule(static)
    for (size_t p = 0; p < panels; p++)
        for (size_t r = 0; r < m; r += ROW_BLOCK) {
            size_t n_cols, rows = m - r < ROW_BLOCK ? m - r : ROW_BLOCK;
            const void *panel = panel_of(w, p, &n_cols);
            float *out = y + r * ldy + p * KERN_PANEL;
            if (w->type == KERN_BF16)
                kern->panel_bf16(panel, w->k, x + r * ldx, ldx, rows, out, ldy, n_cols);
            else
                kern->panel_f32(panel, w->k, x + r * ldx, ldx, rows, out, ldy, n_cols);
        }
}

void kern_linear_fixed(const kern_matrix *w, size_t group, const float *x, size_t ldx, size_t m, int64_t *acc, size_t ldacc,
                       int64_t *overflow)
{
    const kern_table *kern = kern_active();
    size_t panels = n_panels(w->n);
#pragma omp parallel for collapse(2) schedule(static)
    for (size_t p = 0; p < panels; p++)
        for (size_t r = 0; r < m; r += ROW_BLOCK) {
            size_t n_cols, rows = m - r < ROW_BLOCK ? m - r : ROW_BLOCK;
            const void *panel = panel_of(w, p, &n_cols);
            int64_t *out = acc + r * ldacc + p * KERN_PANEL;
            if (w->type == KERN_BF16)
                kern->panel_fixed_bf16(panel, w->k, group, x + r * ldx, ldx, rows, out, ldacc, n_cols, overflow + r);
            else
                kern->panel_fixed_f32(panel, w->k, group, x + r * ldx, ldx, rows, out, ldacc, n_cols, overflow + r);
        }
}

void kern_add_fixed(float *x, size_t m, size_t d, const int64_t *acc, const float *bias)
{
    const float unit = 1.0f / 68719476736.0f; /* 2^-KERN_FIXED_BITS */
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < m; r++)
        for (size_t i = 0; i < d; i++) {
            float sum = (float)acc[r * d + i] * unit;
            if (bias != NULL)
                sum += bias[i];
            x[r * d + i] += sum;
        }
}
