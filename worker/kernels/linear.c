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

/* The unit of work: one panel's outputs for a block of rows.  Tiles of a panel follow one another. */
typedef struct tile {
    const void *panel;
    size_t column, n_columns; /* first output, and how many of the panel's exist */
    size_t row, n_rows;
} tile;

static size_t n_tiles(const kern_matrix *w, size_t m)
{
    return n_panels(w->n) * ((m + ROW_BLOCK - 1) / ROW_BLOCK);
}

static tile tile_of(const kern_matrix *w, size_t m, size_t index)
{
    size_t row_blocks = (m + ROW_BLOCK - 1) / ROW_BLOCK;
    size_t column = index / row_blocks * KERN_PANEL, row = index % row_blocks * ROW_BLOCK;
    return (tile){
        .panel = (const char *)w->data + column * w->k * element_bytes(w->type),
        .column = column,
        .n_columns = w->n - column < KERN_PANEL ? w->n - column : KERN_PANEL,
        .row = row,
        .n_rows = m - row < ROW_BLOCK ? m - row : ROW_BLOCK,
    };
}

void kern_linear(const kern_matrix *w, const float *x, size_t ldx, size_t m, float *y, size_t ldy)
{
    const kern_table *kern = kern_active();
    size_t n = n_tiles(w, m);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) {
        tile t = tile_of(w, m, i);
        const float *in = x + t.row * ldx;
        float *out = y + t.row * ldy + t.column;
        if (w->type == KERN_BF16)
            kern->panel_bf16(t.panel, w->k, in, ldx, t.n_rows, out, ldy, t.n_columns);
        else
            kern->panel_f32(t.panel, w->k, in, ldx, t.n_rows, out, ldy, t.n_columns);
    }
}

void kern_linear_fixed(const kern_matrix *w, size_t group, const float *x, size_t ldx, size_t m, int64_t *acc, size_t ldacc,
                       int64_t *overflow)
{
    const kern_table *kern = kern_active();
    size_t n = n_tiles(w, m);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) {
        tile t = tile_of(w, m, i);
        const float *in = x + t.row * ldx;
        int64_t *out = acc + t.row * ldacc + t.column;
        if (w->type == KERN_BF16)
            kern->panel_fixed_bf16(t.panel, w->k, group, in, ldx, t.n_rows, out, ldacc, t.n_columns, overflow + t.row);
        else
            kern->panel_fixed_f32(t.panel, w->k, group, in, ldx, t.n_rows, out, ldacc, t.n_columns, overflow + t.row);
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
