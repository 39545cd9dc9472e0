/* linear_tpl.h - part of kern_tpl.h: matrix products over packed weights, f32 activations.
 *
 * A tile is 1 to VEC_TILE_ROWS rows of x against a piece of one panel: its sums stay in registers while k runs, and a
 * vector of weights is made once for all its rows.  m rows are cut into blocks of VEC_BLOCK_ROWS and those into tiles
 * of nearly equal height; a piece has VEC_PIECE columns (or whole units), and all tiles of a block meet a piece before
 * the next one, so that the core's first cache holds it.  Between pieces the sums wait in memory: that changes no bit.
 */

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
#define AHEAD          4096u            /* how far before its use a weight is asked for where memory is the limit */
#define AHEAD_MAX_ROWS 4u               /* in tiles of that many rows or fewer */

/* For each type: a unit of k columns of a panel, added to the sums of a tile's rows.  Returns what lies behind the
 * unit.
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

/* Vectors [v0, v0 + n) of the sums of a tile's rows: from memory to registers (their first n) and back. */
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

/* s[r] += w * x[r][0], one fma each, over n vectors. */
INLINE void add_column(vec s[][VECS], size_t rows, const vec w[VECS], size_t n, const float *x, size_t ldx)
{
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        vec xr = vec_set(x[r * ldx]);
        UNROLL
        for (size_t v = 0; v < n; v++) {
            s[r][v] = vec_fma(w[v], xr, s[r][v]);
            VEC_KEEP(s[r][v]);
        }
        ROW_BY_ROW();
    }
}

/* Ask for the weights AHEAD of p, in tiles of few rows.  A macro: a function that does nothing else is taken for one
 * without effect. */
#define PREFETCH(p, bytes, rows)                                                          \
    for (size_t line = 0; (rows) <= AHEAD_MAX_ROWS && line < (bytes); line += KERN_ALIGN) \
    __builtin_prefetch((const char *)(p) + AHEAD + line)

#define DEFINE_UNIT_PLAIN(TYPE)                                                                                     \
    INLINE void part_##TYPE(const char *at, size_t k, const float *x, size_t ldx, size_t rows, size_t v0, size_t n, \
                            vec sums[][VECS])                                                                       \
    {                                                                                                               \
        vec s[VEC_TILE_ROWS][VECS];                                                                                 \
        load_sums(s, sums, rows, v0, n);                                                                            \
        for (size_t i = 0; i < k; i++, at += COLUMN_##TYPE) {                                                       \
            vec w[VECS];                                                                                            \
            PREFETCH(at, COLUMN_##TYPE, rows);                                                                      \
            UNROLL                                                                                                  \
            for (size_t v = 0; v < n; v++)                                                                          \
                w[v] = LOAD_##TYPE(at, v0 + v);                                                                     \
            add_column(s, rows, w, n, x + i, ldx);                                                                  \
        }                                                                                                           \
        store_sums(sums, s, rows, v0, n);                                                                           \
    }                                                                                                               \
    INLINE const char *unit_##TYPE(const char *at, size_t k, const float *x, size_t ldx, size_t rows,               \
                                   vec sums[][VECS])                                                                \
    {                                                                                                               \
        EACH_PART(rows, part_##TYPE, at, k, x, ldx, sums);                                                          \
        return at + k * COLUMN_##TYPE;                                                                              \
    }

DEFINE_UNIT_PLAIN(f32)
DEFINE_UNIT_PLAIN(f16)
DEFINE_UNIT_PLAIN(bf16)

#define DEFINE_UNIT_QUANTISED(TYPE)                                                                                  \
    /* s += the first n_columns of a quad, n vectors from v0 on. */                                                  \
    INLINE void add_quad_##TYPE(vec s[][VECS], size_t rows, size_t v0, size_t n, const char *quad, size_t n_columns, \
                                const float *x, size_t ldx)                                                          \
    {                                                                                                                \
        PREFETCH(quad, QUAD_##TYPE, rows);                                                                           \
        UNROLL                                                                                                       \
        for (int j = 0; j < 4; j++) {                                                                                \
            vec w[VECS];                                                                                             \
            if ((size_t)j == n_columns)                                                                              \
                break;                                                                                               \
            UNROLL                                                                                                   \
            for (size_t v = 0; v < n; v++)                                                                           \
                w[v] = LOAD_##TYPE(quad, v0 + v, j);                                                                 \
            add_column(s, rows, w, n, x + j, ldx);                                                                   \
        }                                                                                                            \
    }                                                                                                                \
    /* sums += a group of n_columns, n vectors from v0 on. */                                                        \
    INLINE void part_##TYPE(const char *group, size_t n_columns, const float *x, size_t ldx, size_t rows, size_t v0, \
                            size_t n, vec sums[][VECS])                                                              \
    {                                                                                                                \
        vec s[VEC_TILE_ROWS][VECS];                                                                                  \
        const char *quad = group + SCALES;                                                                           \
        size_t i = 0;                                                                                                \
        set_zero(s, rows);                                                                                           \
        for (; i + 4 <= n_columns; i += 4, quad += QUAD_##TYPE)                                                      \
            add_quad_##TYPE(s, rows, v0, n, quad, 4, x + i, ldx);                                                    \
        if (i < n_columns)                                                                                           \
            add_quad_##TYPE(s, rows, v0, n, quad, n_columns - i, x + i, ldx);                                        \
        UNROLL                                                                                                       \
        for (size_t v = 0; v < n; v++) {                                                                             \
            vec scale = LOAD_f16(group, v0 + v);                                                                     \
            UNROLL                                                                                                   \
            for (size_t r = 0; r < rows; r++)                                                                        \
                sums[r][v0 + v] = vec_fma(scale, s[r][v], sums[r][v0 + v]);                                          \
        }                                                                                                            \
    }                                                                                                                \
    INLINE const char *unit_##TYPE(const char *at, size_t k, const float *x, size_t ldx, size_t rows,                \
                                   vec sums[][VECS])                                                                 \
    {                                                                                                                \
        for (size_t i = 0, n; i < k; i += n, at += SCALES + (n + 3) / 4 * QUAD_##TYPE) {                             \
            n = k - i < PACK_GROUP ? k - i : PACK_GROUP;                                                             \
            EACH_PART(rows, part_##TYPE, at, n, x + i, ldx, sums);                                                   \
        }                                                                                                            \
        return at;                                                                                                   \
    }

DEFINE_UNIT_QUANTISED(int8)
DEFINE_UNIT_QUANTISED(int4)

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

/* Add whole sums of n_units partials to rows of acc; modulo 2^64, because partials out of range leave anything. */
static void add_to_rows(int64_t sum[][KERN_PANEL], size_t n_units, size_t rows, int64_t *acc, size_t ldacc,
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

/* fixed += n vectors of a unit's partials, times `scale`, a power of two; returns the largest of them and `absmax`.  As
 * long as all were small, a short way to integers does, of the same bits. */
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
    FORGET_MEMORY(); /* or gcc carries the sums over to the next unit in registers that it does not have, and stores
                        them twice */
    return absmax;
}

/* --- tiles of each height, and m rows cut into blocks and those into tiles --- */

/* What a row's elements are, and how many of them a unit of its columns takes. */
typedef float row_f32, row_f16, row_bf16, row_int8, row_int4;
typedef uint16_t row_bf16_act;
#define STRIDE_f32(unit)      (unit)
#define STRIDE_f16(unit)      (unit)
#define STRIDE_bf16(unit)     (unit)
#define STRIDE_int8(unit)     (unit)
#define STRIDE_int4(unit)     (unit)
#define STRIDE_bf16_act(unit) ((unit) + (unit) % 2)

static void flag_overflow(int64_t *overflow)
{
    __atomic_store_n(overflow, 1, __ATOMIC_RELAXED);
}

static inline size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The height of the next tile when `left` rows are left. */
static inline size_t tile_height(size_t left, size_t highest)
{
    size_t n_tiles = (left + highest - 1) / highest;
    return (left + n_tiles - 1) / n_tiles;
}

/* Columns of a piece of a panel that is cut into units, and of one that is not. */
static inline size_t piece_of_units(size_t unit)
{
    return unit >= VEC_PIECE ? unit : VEC_PIECE / unit * unit;
}

#define DEFINE_TILE(TYPE, ROWS)                                                                                       \
    /* sums += a piece of k columns; returns what lies behind it. */                                                  \
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
    static void panel_##TYPE(const void *panel, size_t k, const row_##TYPE *x, size_t ldx, size_t m, float *y,         \
                             size_t ldy, size_t n_cols)                                                                \
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
            for (size_t i = r; i < r + rows; i++) { /* whose was it?  ask each row alone */                            \
                vec_absmax absmax = vec_absmax_zero();                                                                 \
                tiles_fixed_##TYPE[0](panel, k, unit, x + i * ldx, ldx, fixed, &absmax);                               \
                if (vec_absmax_across(absmax) >= FIXED_LIMIT_BITS)                                                     \
                    flag_overflow(overflow + i);                                                                       \
            }                                                                                                          \
        }                                                                                                              \
    }                                                                                                                  \
    static void panel_fixed_##TYPE(const void *panel, size_t k, size_t unit, const row_##TYPE *x, size_t ldx,          \
                                   size_t m, int64_t *acc, size_t ldacc, size_t n_cols, int64_t *overflow)             \
    {                                                                                                                  \
        for (size_t r = 0; r < m; r += VEC_BLOCK_ROWS)                                                                 \
            block_fixed_##TYPE(panel, k, unit, x + r * ldx, ldx, least(m - r, VEC_BLOCK_ROWS), acc + r * ldacc, ldacc, \
                               n_cols, overflow + r);                                                                  \
    }

DEFINE_PANEL(f32)
DEFINE_PANEL(f16)
DEFINE_PANEL(bf16)
DEFINE_PANEL(int8)
DEFINE_PANEL(int4)
