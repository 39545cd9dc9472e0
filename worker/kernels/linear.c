/* linear.c - matrix products divided among a team.
 *
 * The unit of work is an item: some rows times some outputs, computed whole by one thread, so the division changes no
 * bit.  Rows that OpenBLAS multiplies (kern_rows.spans) are cut into items of its own; the gaps between them, and all
 * rows of quantised matrices, are tiles of our kernels:
 *
 *     rows of a step                 outputs of a matrix
 *     | decode | prompt | decode |   | panel | panel | ...        tile: one panel x up to ROW_BLOCK rows of a gap
 *       gap      span     gap        |  256 outputs   | ...       item of OpenBLAS: 256 outputs x up to 512 rows of a
 * span
 *
 * In fixed point an item runs all terms of its sum one after the other: no other thread adds to its part of acc. */
#include "worker/kernels/linear.h"

#include "worker/kernels/blas/openblas.h"

/* Rows one thread takes at a time: a block of them stays in the core's cache while panels stream past.  8-bit rows
 * are four times smaller, and int4 panels are unpacked once for each block. */
#define ROW_BLOCK    64u
#define ROW_BLOCK_Q8 128u

#define OPENBLAS_PANELS (KERN_OPENBLAS_COLUMNS / KERN_PANEL)

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static bool meets_q8(const pack_matrix *w, const kern_rows *rows)
{
    return rows->quantised != NULL && pack_type_is_quantised(w->type);
}

static bool meets_bf16(const pack_matrix *w, const kern_rows *rows)
{
    return rows->quantised != NULL && rows->quantised->bf16 != NULL && w->type == PACK_BF16;
}

static bool meets_openblas(const pack_matrix *w, const kern_rows *rows)
{
    return rows->n_spans > 0 && !pack_type_is_quantised(w->type);
}

static size_t row_block(const pack_matrix *w, const kern_rows *rows)
{
    return meets_q8(w, rows) ? ROW_BLOCK_Q8 : ROW_BLOCK;
}

/* --- which rows --- */

/* Gap g: the rows between span g - 1 and span g; there is one gap more than spans. */
static kern_span gap_of(const kern_rows *rows, size_t n_spans, size_t g)
{
    size_t begin = g > 0 ? rows->spans[g - 1].row + rows->spans[g - 1].n : 0;
    size_t end = g < n_spans ? rows->spans[g].row : rows->m;
    return (kern_span){begin, end - begin};
}

/* Blocks of at most `block` rows of all gaps, or of all spans. */
typedef struct blocks {
    const kern_rows *rows;
    size_t n_spans; /* 0: one gap, all rows */
    bool of_spans;
    size_t block;
} blocks;

static size_t n_runs(const blocks *b)
{
    return b->of_spans ? b->n_spans : b->n_spans + 1;
}

static kern_span run_of(const blocks *b, size_t i)
{
    return b->of_spans ? b->rows->spans[i] : gap_of(b->rows, b->n_spans, i);
}

static size_t blocks_of(size_t n, size_t block)
{
    return (n + block - 1) / block;
}

static size_t n_blocks(const blocks *b)
{
    size_t n = 0;
    for (size_t i = 0; i < n_runs(b); i++)
        n += blocks_of(run_of(b, i).n, b->block);
    return n;
}

/* Block `index` < n_blocks. */
static kern_span block_at(const blocks *b, size_t index)
{
    size_t i = 0;
    for (size_t n; index >= (n = blocks_of(run_of(b, i).n, b->block)); i++)
        index -= n;
    kern_span run = run_of(b, i);
    size_t skipped = index * b->block;
    return (kern_span){run.row + skipped, least(run.n - skipped, b->block)};
}

/* --- tiles of our kernels: one panel, some rows --- */

static const void *panel_of(const pack_matrix *w, size_t panel)
{
    return (const char *)w->data + panel * pack_panel_bytes(w->type, w->k, w->unit);
}

static size_t panel_columns(const pack_matrix *w, size_t panel)
{
    return least(w->n - panel * KERN_PANEL, KERN_PANEL);
}

static char *scratch_of(const team_member *me, const kern_rows *rows)
{
    return rows->scratch + me->index * rows->scratch_stride;
}

static void multiply_tile(const team_member *me, const kern_rows *rows, const kern_product *product, size_t p,
                          kern_span at)
{
    const kern_table *kern = kern_active();
    const pack_matrix *w = product->w;
    const void *panel = panel_of(w, p);
    float *y = product->y + at.row * product->ldy + p * KERN_PANEL;
    size_t n_cols = panel_columns(w, p);
    if (meets_q8(w, rows))
        kern->panel_q8[w->type](panel, w->k, w->unit, rows->quantised, at.row, at.n, y, product->ldy, n_cols,
                                scratch_of(me, rows));
    else if (meets_bf16(w, rows))
        kern->panel_bf16_bf16(panel, w->k, rows->quantised->bf16 + at.row * rows->quantised->n_bf16,
                              rows->quantised->n_bf16, at.n, y, product->ldy, n_cols);
    else
        kern->panel[w->type](panel, w->k, rows->x + at.row * rows->ldx, rows->ldx, at.n, y, product->ldy, n_cols);
}

/* A sum in fixed point. */
typedef struct fixed_sum {
    const kern_term *terms;
    size_t n_terms;
    int64_t *acc;
    size_t ldacc;
    int64_t *overflow;
} fixed_sum;

static void add_tile(const team_member *me, const fixed_sum *sum, const kern_term *term, size_t p, kern_span at)
{
    const kern_table *kern = kern_active();
    const kern_rows *rows = term->rows;
    const pack_matrix *w = term->w;
    const void *panel = panel_of(w, p);
    int64_t *acc = sum->acc + at.row * sum->ldacc + p * KERN_PANEL, *overflow = sum->overflow + at.row;
    size_t n_cols = panel_columns(w, p);
    if (meets_q8(w, rows))
        kern->panel_q8_fixed[w->type](panel, w->k, w->unit, rows->quantised, at.row, at.n, acc, sum->ldacc, n_cols,
                                      overflow, scratch_of(me, rows));
    else if (meets_bf16(w, rows))
        kern->panel_bf16_bf16_fixed(panel, w->k, w->unit, rows->quantised->bf16 + at.row * rows->quantised->n_bf16,
                                    rows->quantised->n_bf16, at.n, acc, sum->ldacc, n_cols, overflow);
    else
        kern->panel_fixed[w->type](panel, w->k, w->unit, rows->x + at.row * rows->ldx, rows->ldx, at.n, acc, sum->ldacc,
                                   n_cols, overflow);
}

/* --- products --- */

/* Items of one product: tiles, the blocks of a panel following one another, then OpenBLAS's. */
typedef struct product_items {
    blocks gaps, spans;
    size_t n_tiles, n_openblas;
} product_items;

static product_items items_of(const pack_matrix *w, const kern_rows *rows)
{
    size_t n_spans = meets_openblas(w, rows) ? rows->n_spans : 0;
    product_items items = {.gaps = {rows, n_spans, false, row_block(w, rows)},
                           .spans = {rows, n_spans, true, KERN_OPENBLAS_ROWS}};
    items.n_tiles = pack_n_panels(w->n) * n_blocks(&items.gaps);
    items.n_openblas = blocks_of(w->n, KERN_OPENBLAS_COLUMNS) * n_blocks(&items.spans);
    return items;
}

static kern_openblas_block openblas_block(const pack_matrix *w, const kern_rows *rows, size_t column, kern_span at)
{
    return (kern_openblas_block){w, column, rows->x + at.row * rows->ldx, rows->ldx, at.n};
}

static void multiply_openblas(const team_member *me, const kern_rows *rows, const kern_product *product, size_t column,
                              kern_span at)
{
    kern_openblas_block block = openblas_block(product->w, rows, column, at);
    kern_openblas_linear(&block, product->y + at.row * product->ldy + column, product->ldy, scratch_of(me, rows));
}

void kern_linear(team_member *me, const kern_rows *rows, const kern_product *products, size_t n_products)
{
    product_items items[KERN_PRODUCTS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < n_products; i++) {
        items[i] = items_of(products[i].w, rows);
        n += items[i].n_tiles + items[i].n_openblas;
    }
    for (size_t index; team_take(me, n, &index);) {
        size_t i = 0;
        for (; index >= items[i].n_tiles + items[i].n_openblas; i++)
            index -= items[i].n_tiles + items[i].n_openblas;
        if (index < items[i].n_tiles) {
            size_t n_rows = n_blocks(&items[i].gaps);
            multiply_tile(me, rows, &products[i], index / n_rows, block_at(&items[i].gaps, index % n_rows));
            continue;
        }
        size_t n_rows = n_blocks(&items[i].spans);
        index -= items[i].n_tiles;
        multiply_openblas(me, rows, &products[i], index / n_rows * KERN_OPENBLAS_COLUMNS,
                          block_at(&items[i].spans, index % n_rows));
    }
}

/* --- sums in fixed point --- */

/* The rows' blocks that all terms share: OpenBLAS's if one of them is its, the lowest of our kernels'. */
static product_items items_of_sum(const kern_term *terms, size_t n_terms)
{
    product_items items = items_of(terms[0].w, terms[0].rows);
    for (size_t i = 1; i < n_terms; i++) {
        product_items others = items_of(terms[i].w, terms[i].rows);
        size_t block = least(items.gaps.block, others.gaps.block);
        if (others.n_openblas > 0)
            items = others;
        items.gaps.block = block;
    }
    items.n_tiles = pack_n_panels(terms[0].w->n) * n_blocks(&items.gaps);
    return items;
}

/* An item of OpenBLAS's size; terms that it does not multiply go through our kernels, panel by panel. */
static void add_openblas(const team_member *me, const fixed_sum *sum, const kern_term *term, size_t column,
                         kern_span at)
{
    if (meets_openblas(term->w, term->rows)) {
        kern_openblas_block block = openblas_block(term->w, term->rows, column, at);
        kern_openblas_linear_fixed(&block, sum->acc + at.row * sum->ldacc + column, sum->ldacc, sum->overflow + at.row,
                                   scratch_of(me, term->rows));
        return;
    }
    size_t first = column / KERN_PANEL, n = least(pack_n_panels(term->w->n) - first, OPENBLAS_PANELS);
    size_t block = row_block(term->w, term->rows);
    for (size_t p = first; p < first + n; p++)
        for (size_t r = 0; r < at.n; r += block)
            add_tile(me, sum, term, p, (kern_span){at.row + r, least(at.n - r, block)});
}

void kern_linear_fixed(team_member *me, const kern_term *terms, size_t n_terms, int64_t *acc, size_t ldacc,
                       int64_t *overflow)
{
    const fixed_sum sum = {terms, n_terms, acc, ldacc, overflow};
    const product_items items = items_of_sum(terms, n_terms);
    size_t n_gaps = n_blocks(&items.gaps), n_spans = n_blocks(&items.spans);
    for (size_t index; team_take(me, items.n_tiles + items.n_openblas, &index);)
        for (size_t i = 0; i < n_terms; i++)
            if (index < items.n_tiles)
                add_tile(me, &sum, &terms[i], index / n_gaps, block_at(&items.gaps, index % n_gaps));
            else
                add_openblas(me, &sum, &terms[i], (index - items.n_tiles) / n_spans * KERN_OPENBLAS_COLUMNS,
                             block_at(&items.spans, (index - items.n_tiles) % n_spans));
}
