/* panel_tpl.h - a block of rows times a panel of packed weights: the loops that all types of weights share.
 *
 * m rows are cut into blocks of VEC_BLOCK_ROWS and those into tiles of 1 to VEC_TILE_ROWS rows of nearly equal height;
 * a panel is cut into pieces of VEC_PIECE columns (or whole units).  All tiles of a block meet a piece before the next
 * one, so that the first cache holds the piece:
 *
 *              k ->   piece 0      piece 1                     panel, for each column i of k: 32 outputs
 *          +--------+------------+------------+---                i      VECS vectors of VEC_LANES
 *     m    | tile 0 |  1st       |  4th       |                 +----+----+----+----+
 *     rows | tile 1 |  2nd       |  5th       |                 | w0 | w1 | w2 | w3 |  loaded, unpacked to f32 once
 *     of x | tile 2 |  3rd       |  ...       |                 +----+----+----+----+
 *          +--------+------------+------------+---       x[r][i] -> s[r][v] = fma(w_v, x[r][i], s[r][v])  each row r
 *
 * s[rows][VECS] are the sums of a tile, in registers while k runs.  Where registers hold only half of them (AVX2: 6
 * rows x 2 of 4 vectors), the piece is walked once for each half (EACH_PART).  Between pieces sums wait in memory: that
 * changes no bit.  After the last piece they go to y, or, in fixed point, after every unit of k:
 *
 *     partial of a unit (f32) --x 2^36--> absmax per tile, rounded to int64 --> fixed[row][32] --after all--> acc
 *
 * A template of weights (linear_tpl.h, linear_bf16_tpl.h) defines row_TYPE, STRIDE_TYPE and unit_TYPE, which adds one
 * unit of k columns to a tile's sums; DEFINE_PANEL makes tiles of every height and the two panel kernels of it. */
#ifndef PALMGROVE_KERN_PANEL_TPL_H
#define PALMGROVE_KERN_PANEL_TPL_H

#include "worker/kernels/tile_tpl.h"

#define FIXED_SCALE      68719476736.0f /* 2^KERN_FIXED_BITS */
#define FIXED_LIMIT_BITS 0x5e800000u    /* 2^62 as f32: from there on a scaled partial is out of range */

/* Vector v of a column, for each plain type of pack.h. */
#define LOAD_f32(column, v)  vec_load((const float *)(const void *)(column) + (v)*VEC_LANES)
#define LOAD_f16(column, v)  vec_load_f16((const uint16_t *)(const void *)(column) + (v)*VEC_LANES)
#define LOAD_bf16(column, v) vec_load_bf16((const uint16_t *)(const void *)(column) + (v)*VEC_LANES)
/* Vector v of column j of a quad, for each quantised type.  In int4, lanes 0 to 15 are the low halves of 64 bytes,
 * lanes 16 to 31 the high ones. */
#define LOAD_int8(quad, v, j) vec_column_int8((const uint8_t *)(quad) + 4 * VEC_LANES * (v), j)
#define LOAD_int4(quad, v, j)                                                            \
    vec_column_int4((const uint8_t *)(quad) + 4 * ((v)*VEC_LANES % (KERN_PANEL / 2)), j, \
                    (v)*VEC_LANES >= KERN_PANEL / 2)

#define COLUMN_f32     (4 * KERN_PANEL) /* bytes */
#define COLUMN_f16     (2 * KERN_PANEL)
#define COLUMN_bf16    (2 * KERN_PANEL)
#define QUAD_int8      (4 * KERN_PANEL)
#define QUAD_int4      (2 * KERN_PANEL)
#define SCALES         (2 * KERN_PANEL) /* of a group */
#define AHEAD          4096u            /* bytes between the prefetch of a weight and its use */
#define AHEAD_MAX_ROWS 4u               /* in tiles of that many rows or fewer */

/* For each type: a unit of k columns of a panel, added to the sums of a tile's rows.  Returns the end of
 * the unit.
 *
 * It is walked once for all vectors of the panel where registers hold their sums, else once for each half of them. */
#define EACH_PART(rows, add, at, k, x, ldx, sums)               \
    do {                                                        \
        if ((rows)*VECS <= VEC_SUMS) {                          \
            add(at, k, x, ldx, rows, 0, VECS, sums);            \
        } else {                                                \
            add(at, k, x, ldx, rows, 0, VECS / 2, sums);        \
            add(at, k, x, ldx, rows, VECS / 2, VECS / 2, sums); \
        }                                                       \
    } while (0)

INLINE void set_zero(vec s[][VECS], size_t rows)
{
    UNROLL
    for (size_t r = 0; r < rows; r++)
        UNROLL
    for (size_t v = 0; v < VECS; v++)
        s[r][v] = vec_set(0.0f);
}

/* Vectors [v0, v0 + n) of the sums of a tile's rows: from memory to registers (the first n there) and back. */
INLINE void load_sums(vec s[][VECS], vec sums[][VECS], size_t rows, size_t v0, size_t n)
{
    UNROLL
    for (size_t r = 0; r < rows; r++)
        UNROLL
    for (size_t v = 0; v < n; v++)
        s[r][v] = sums[r][v0 + v];
}

INLINE void store_sums(vec sums[][VECS], vec s[][VECS], size_t rows, size_t v0, size_t n)
{
    UNROLL
    for (size_t r = 0; r < rows; r++)
        UNROLL
    for (size_t v = 0; v < n; v++)
        sums[r][v0 + v] = s[r][v];
}

/* Prefetch the weights AHEAD of p, in tiles of few rows.  A macro, because gcc 12 drops a function that only prefetches
 * as having no side effects. */
#define PREFETCH(p, bytes, rows)                                                          \
    for (size_t line = 0; (rows) <= AHEAD_MAX_ROWS && line < (bytes); line += KERN_ALIGN) \
    __builtin_prefetch((const char *)(p) + AHEAD + line)

/* --- where sums go --- */

/* Store one row's sums, all of a panel or its first n_cols. */
INLINE void store_row(const vec sum[VECS], float *y, size_t n_cols)
{
    if (n_cols == KERN_PANEL) {
        for (size_t v = 0; v < VECS; v++)
            vec_store(y + v * VEC_LANES, sum[v]);
        return;
    }
    float lanes[KERN_PANEL];
    for (size_t v = 0; v < VECS; v++)
        vec_store(lanes + v * VEC_LANES, sum[v]);
    memcpy(y, lanes, n_cols * sizeof *y);
}

/* Add whole sums of n_units partials to rows of acc; modulo 2^64, because partials out of range leave an undefined sum.
 */
static inline void add_to_rows(int64_t sum[][KERN_PANEL], size_t n_units, size_t rows, int64_t *acc, size_t ldacc,
                               size_t n_cols)
{
    uint64_t bias = VEC_FIXED_BIAS * (uint64_t)n_units;
    for (size_t r = 0; r < rows; r++, acc += ldacc)
        for (size_t i = 0; i < n_cols; i++)
            acc[i] = (int64_t)((uint64_t)acc[i] + (uint64_t)sum[r][i] - bias);
}

static inline size_t units_of(size_t k, size_t unit)
{
    return (k + unit - 1) / unit;
}

/* fixed += n vectors of a unit's partials, times `scale`, a power of two; returns the largest of them and `absmax`.
 * While all were small, a shorter conversion to integers gives the same bits. */
BY_MEMORY vec_absmax add_fixed_vecs(int64_t *fixed, vec *partial, size_t n, float scale, vec_absmax absmax)
{
    for (size_t i = 0; i < n; i++) {
        if (scale != 1.0f)
            partial[i] = vec_mul(partial[i], vec_set(scale));
        absmax = vec_absmax_update(absmax, partial[i]);
    }
    if (vec_absmax_is_small(absmax))
        for (size_t i = 0; i < n; i++)
            vec_add_small_fixed(fixed + i * VEC_LANES, &partial[i]);
    else
        for (size_t i = 0; i < n; i++)
            vec_add_fixed(fixed + i * VEC_LANES, &partial[i]);
    FORGET_MEMORY(); /* compiler_int.h */
    return absmax;
}

/* --- tiles of each height, and m rows cut into blocks and those into tiles --- */

static inline void flag_overflow(int64_t *overflow)
{
    __atomic_store_n(overflow, 1, __ATOMIC_RELAXED);
}

/* Columns of a piece of a panel that is cut into units, and of one that is not. */
static inline size_t piece_of_units(size_t unit)
{
    return unit >= VEC_PIECE ? unit : VEC_PIECE / unit * unit;
}

#define DEFINE_TILE(TYPE, ROWS)                                                                                       \
    /* sums += a piece of k columns; returns its end.         */                                                      \
    static const char *tile_##TYPE##_##ROWS(const char *piece, size_t k, const row_##TYPE *x, size_t ldx,             \
                                            vec sums[][VECS])                                                         \
    {                                                                                                                 \
        return unit_##TYPE(piece, k, x, ldx, ROWS, sums);                                                             \
    }                                                                                                                 \
    /* fixed += the partials of a piece's units, times 2^KERN_FIXED_BITS; *absmax grows to the largest of them: float \
     * bits without the sign. */                                                                                      \
    static const char *tile_fixed_##TYPE##_##ROWS(const char *piece, size_t k, size_t unit, const row_##TYPE *x,      \
                                                  size_t ldx, int64_t fixed[][KERN_PANEL], vec_absmax *absmax)        \
    {                                                                                                                 \
        vec_absmax largest = *absmax;                                                                                 \
        for (size_t i = 0; i < k; i += unit, x += STRIDE_##TYPE(unit)) {                                              \
            vec sums[ROWS][VECS];                                                                                     \
            set_zero(sums, ROWS);                                                                                     \
            piece = unit_##TYPE(piece, least(k - i, unit), x, ldx, ROWS, sums);                                       \
            largest = add_fixed_vecs(fixed[0], sums[0], ROWS * VECS, FIXED_SCALE, largest);                           \
        }                                                                                                             \
        *absmax = largest;                                                                                            \
        return piece;                                                                                                 \
    }

#define NAME_TILE(TYPE, ROWS)       tile_##TYPE##_##ROWS,
#define NAME_TILE_FIXED(TYPE, ROWS) tile_fixed_##TYPE##_##ROWS,

#define DEFINE_PANEL(TYPE)                                                                                             \
    EACH_HEIGHT(VEC_TILE_ROWS, DEFINE_TILE, TYPE)                                                                      \
    typedef const char *tile_of_##TYPE(const char *piece, size_t k, const row_##TYPE *x, size_t ldx,                   \
                                       vec sums[][VECS]);                                                              \
    typedef const char *tile_fixed_of_##TYPE(const char *piece, size_t k, size_t unit, const row_##TYPE *x,            \
                                             size_t ldx, int64_t fixed[][KERN_PANEL], vec_absmax *absmax);             \
    static tile_of_##TYPE *const tiles_##TYPE[] = {EACH_HEIGHT(VEC_TILE_ROWS, NAME_TILE, TYPE)};                       \
    static tile_fixed_of_##TYPE *const tiles_fixed_##TYPE[] = {EACH_HEIGHT(VEC_TILE_ROWS, NAME_TILE_FIXED, TYPE)};     \
                                                                                                                       \
    static void block_##TYPE(const char *piece, size_t k, const row_##TYPE *x, size_t ldx, size_t m, float *y,         \
                             size_t ldy, size_t n_cols)                                                                \
    {                                                                                                                  \
        vec sums[VEC_BLOCK_ROWS][VECS];                                                                                \
        const char *next = piece;                                                                                      \
        for (size_t r = 0; r < m; r++)                                                                                 \
            set_zero(sums + r, 1);                                                                                     \
        for (size_t i = 0; i < k; i += VEC_PIECE, piece = next)                                                        \
            for (size_t r = 0, rows; r < m; r += rows) {                                                               \
                rows = tile_height(m - r, VEC_TILE_ROWS);                                                              \
                next = tiles_##TYPE[rows - 1](piece, least(k - i, VEC_PIECE), x + r * ldx + i, ldx, sums + r);         \
            }                                                                                                          \
        for (size_t r = 0; r < m; r++)                                                                                 \
            store_row(sums[r], y + r * ldy, n_cols);                                                                   \
    }                                                                                                                  \
    void KERN_FN(panel_##TYPE)(const void *panel, size_t k, const row_##TYPE *x, size_t ldx, size_t m, float *y,       \
                               size_t ldy, size_t n_cols)                                                              \
    {                                                                                                                  \
        for (size_t r = 0; r < m; r += VEC_BLOCK_ROWS)                                                                 \
            block_##TYPE(panel, k, x + r * ldx, ldx, least(m - r, VEC_BLOCK_ROWS), y + r * ldy, ldy, n_cols);          \
    }                                                                                                                  \
                                                                                                                       \
    static void block_fixed_##TYPE(const char *panel, size_t k, size_t unit, const row_##TYPE *x, size_t ldx,          \
                                   size_t m, int64_t *acc, size_t ldacc, size_t n_cols, int64_t *overflow)             \
    {                                                                                                                  \
        _Alignas(KERN_ALIGN) int64_t fixed[VEC_BLOCK_ROWS][KERN_PANEL];                                                \
        vec_absmax absmax_of[VEC_BLOCK_ROWS]; /* of the tile that begins there */                                      \
        const char *piece = panel, *next = panel;                                                                      \
        size_t n_columns = piece_of_units(unit);                                                                       \
        memset(fixed, 0, m * sizeof *fixed);                                                                           \
        for (size_t r = 0; r < m; r++)                                                                                 \
            absmax_of[r] = vec_absmax_zero();                                                                          \
        for (size_t i = 0, rows; i < k; i += n_columns, piece = next)                                                  \
            for (size_t r = 0; r < m; r += rows) {                                                                     \
                rows = tile_height(m - r, VEC_TILE_ROWS);                                                              \
                next = tiles_fixed_##TYPE[rows - 1](piece, least(k - i, n_columns), unit,                              \
                                                    x + r * ldx + i / unit * STRIDE_##TYPE(unit), ldx, fixed + r,      \
                                                    &absmax_of[r]);                                                    \
            }                                                                                                          \
        add_to_rows(fixed, units_of(k, unit), m, acc, ldacc, n_cols);                                                  \
        for (size_t r = 0; r < m; r++) {                                                                               \
            if (vec_absmax_across(absmax_of[r]) < FIXED_LIMIT_BITS)                                                    \
                continue;                                                                                              \
            size_t rows = tile_height(m - r, VEC_TILE_ROWS);                                                           \
            for (size_t i = r; i < r + rows; i++) { /* which row was it?  try each alone */                            \
                vec_absmax absmax = vec_absmax_zero();                                                                 \
                tiles_fixed_##TYPE[0](panel, k, unit, x + i * ldx, ldx, fixed, &absmax);                               \
                if (vec_absmax_across(absmax) >= FIXED_LIMIT_BITS)                                                     \
                    flag_overflow(overflow + i);                                                                       \
            }                                                                                                          \
        }                                                                                                              \
    }                                                                                                                  \
    void KERN_FN(panel_fixed_##TYPE)(const void *panel, size_t k, size_t unit, const row_##TYPE *x, size_t ldx,        \
                                     size_t m, int64_t *acc, size_t ldacc, size_t n_cols, int64_t *overflow)           \
    {                                                                                                                  \
        for (size_t r = 0; r < m; r += VEC_BLOCK_ROWS)                                                                 \
            block_fixed_##TYPE(panel, k, unit, x + r * ldx, ldx, least(m - r, VEC_BLOCK_ROWS), acc + r * ldacc, ldacc, \
                               n_cols, overflow + r);                                                                  \
    }

#endif
