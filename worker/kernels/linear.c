#include "worker/kernels/linear.h"

/* Rows of x one thread takes at a time: a block of x stays in the core's cache while the panel streams. */
#define ROW_BLOCK 64u

/* The unit of work: one panel's outputs for a block of rows.  Tiles of a panel follow one another. */
typedef struct tile {
    const void *panel;
    size_t column, n_columns; /* first output, and how many of the panel's exist */
    size_t row, n_rows;
} tile;

static size_t n_tiles(const pack_matrix *w, size_t m)
{
    return pack_n_panels(w->n) * ((m + ROW_BLOCK - 1) / ROW_BLOCK);
}

static tile tile_of(const pack_matrix *w, size_t m, size_t index)
{
    size_t row_blocks = (m + ROW_BLOCK - 1) / ROW_BLOCK;
    size_t column = index / row_blocks * KERN_PANEL, row = index % row_blocks * ROW_BLOCK;
    return (tile){
        .panel = (const char *)w->data + column / KERN_PANEL * pack_panel_bytes(w->type, w->k, w->unit),
        .column = column,
        .n_columns = w->n - column < KERN_PANEL ? w->n - column : KERN_PANEL,
        .row = row,
        .n_rows = m - row < ROW_BLOCK ? m - row : ROW_BLOCK,
    };
}

void kern_linear(const pack_matrix *w, const float *x, size_t ldx, size_t m, float *y, size_t ldy)
{
    const kern_table *kern = kern_active();
    size_t n = n_tiles(w, m);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) {
        tile t = tile_of(w, m, i);
        const float *in = x + t.row * ldx;
        float *out = y + t.row * ldy + t.column;
        kern->panel[w->type](t.panel, w->k, in, ldx, t.n_rows, out, ldy, t.n_columns);
    }
}

void kern_linear_fixed(const pack_matrix *w, const float *x, size_t ldx, size_t m, int64_t *acc, size_t ldacc,
                       int64_t *overflow)
{
    const kern_table *kern = kern_active();
    size_t n = n_tiles(w, m);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) {
        tile t = tile_of(w, m, i);
        const float *in = x + t.row * ldx;
        int64_t *out = acc + t.row * ldacc + t.column;
        kern->panel_fixed[w->type](t.panel, w->k, w->unit, in, ldx, t.n_rows, out, ldacc, t.n_columns, overflow + t.row);
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
