#include "worker/kernels/linear.h"

/* Rows one thread takes at a time: a block of them stays in the core's cache while panels stream past.  8-bit rows
 * are four times smaller, and int4 panels are unpacked once for each block. */
#define ROW_BLOCK    64u
#define ROW_BLOCK_Q8 128u

/* The unit of work: one panel's outputs for a block of rows.  The blocks of a panel follow one another. */
typedef struct tile {
    size_t panel;
    size_t column, n_columns; /* first output, and how many of the panel's exist */
    size_t row, n_rows;
} tile;

static bool meets_q8(const pack_matrix *w, const kern_rows *rows)
{
    return rows->quantised != NULL && pack_type_is_quantised(w->type);
}

static bool meets_bf16(const pack_matrix *w, const kern_rows *rows)
{
    return rows->quantised != NULL && rows->quantised->bf16 != NULL && w->type == PACK_BF16;
}

static size_t row_block(const pack_matrix *w, const kern_rows *rows)
{
    return meets_q8(w, rows) ? ROW_BLOCK_Q8 : ROW_BLOCK;
}

static size_t n_tiles(const pack_matrix *w, size_t m, size_t block)
{
    return pack_n_panels(w->n) * ((m + block - 1) / block);
}

static tile tile_of(const pack_matrix *w, size_t m, size_t block, size_t index)
{
    size_t n_blocks = (m + block - 1) / block, panel = index / n_blocks, row = index % n_blocks * block;
    size_t column = panel * KERN_PANEL;
    return (tile){
        .panel = panel,
        .column = column,
        .n_columns = w->n - column < KERN_PANEL ? w->n - column : KERN_PANEL,
        .row = row,
        .n_rows = m - row < block ? m - row : block,
    };
}

static const void *panel_of(const pack_matrix *w, size_t panel)
{
    return (const char *)w->data + panel * pack_panel_bytes(w->type, w->k, w->unit);
}

static char *scratch_of(const team_member *me, const kern_rows *rows)
{
    return rows->scratch + me->index * rows->scratch_stride;
}

static void multiply(const team_member *me, const kern_rows *rows, const kern_product *product, const tile *t)
{
    const kern_table *kern = kern_active();
    const pack_matrix *w = product->w;
    const void *panel = panel_of(w, t->panel);
    float *out = product->y + t->row * product->ldy + t->column;
    if (meets_q8(w, rows))
        kern->panel_q8[w->type](panel, w->k, w->unit, rows->quantised, t->row, t->n_rows, out, product->ldy,
                                t->n_columns, scratch_of(me, rows));
    else if (meets_bf16(w, rows))
        kern->panel_bf16_bf16(panel, w->k, rows->quantised->bf16 + t->row * rows->quantised->n_bf16,
                              rows->quantised->n_bf16, t->n_rows, out, product->ldy, t->n_columns);
    else
        kern->panel[w->type](panel, w->k, rows->x + t->row * rows->ldx, rows->ldx, t->n_rows, out, product->ldy,
                             t->n_columns);
}

void kern_linear(team_member *me, const kern_rows *rows, const kern_product *products, size_t n_products)
{
    size_t n = 0;
    for (size_t i = 0; i < n_products; i++)
        n += n_tiles(products[i].w, rows->m, row_block(products[i].w, rows));
    for (size_t index; team_take(me, n, &index);) {
        const kern_product *product = products;
        for (size_t tiles; index >= (tiles = n_tiles(product->w, rows->m, row_block(product->w, rows))); product++)
            index -= tiles;
        tile t = tile_of(product->w, rows->m, row_block(product->w, rows), index);
        multiply(me, rows, product, &t);
    }
}

static void add_term(const team_member *me, const kern_term *term, const tile *t, int64_t *acc, size_t ldacc,
                     int64_t *overflow)
{
    const kern_table *kern = kern_active();
    const kern_rows *rows = term->rows;
    const pack_matrix *w = term->w;
    const void *panel = panel_of(w, t->panel);
    if (meets_q8(w, rows))
        kern->panel_q8_fixed[w->type](panel, w->k, w->unit, rows->quantised, t->row, t->n_rows, acc, ldacc,
                                      t->n_columns, overflow, scratch_of(me, rows));
    else if (meets_bf16(w, rows))
        kern->panel_bf16_bf16_fixed(panel, w->k, w->unit, rows->quantised->bf16 + t->row * rows->quantised->n_bf16,
                                    rows->quantised->n_bf16, t->n_rows, acc, ldacc, t->n_columns, overflow);
    else
        kern->panel_fixed[w->type](panel, w->k, w->unit, rows->x + t->row * rows->ldx, rows->ldx, t->n_rows, acc, ldacc,
                                   t->n_columns, overflow);
}

/* The terms of a tile run one after the other on one thread: no other thread adds to its part of acc. */
void kern_linear_fixed(team_member *me, const kern_term *terms, size_t n_terms, int64_t *acc, size_t ldacc,
                       int64_t *overflow)
{
    size_t m = terms[0].rows->m, block = ROW_BLOCK_Q8;
    for (size_t i = 0; i < n_terms; i++)
        block = row_block(terms[i].w, terms[i].rows) < block ? row_block(terms[i].w, terms[i].rows) : block;
    size_t n = n_tiles(terms[0].w, m, block);
    for (size_t index; team_take(me, n, &index);) {
        tile t = tile_of(terms[0].w, m, block, index);
        for (size_t i = 0; i < n_terms; i++)
            add_term(me, &terms[i], &t, acc + t.row * ldacc + t.column, ldacc, overflow + t.row);
    }
}
