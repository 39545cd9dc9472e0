/* body_linear.h - part of kern_body.h: matrix products over packed weights, f32 activations.
 *
 * A tile is 1 to VEC_TILE_ROWS rows of x against one panel: its sums stay in registers while k runs, and a vector of weights is made
 * once for all its rows.  m rows are cut into tiles of nearly equal height, so a panel is read once for up to VEC_TILE_ROWS rows. */

/* Vector v of a column, for each plain type of pack.h. */
#define LOAD_f32(column, v) vec_load((const float *)(const void *)(column) + (v) * VEC_LANES)
#define LOAD_f16(column, v) vec_load_f16((const uint16_t *)(const void *)(column) + (v) * VEC_LANES)
#define LOAD_bf16(column, v) vec_load_bf16((const uint16_t *)(const void *)(column) + (v) * VEC_LANES)
/* Vector v of column j of a quad, for each quantised type.  In int4, lanes 0 to 15 are the low halves of 64 bytes, lanes 16 to 31 the high ones. */
#define LOAD_int8(quad, v, j) vec_column_int8((const uint8_t *)(quad) + 4 * VEC_LANES * (v), j)
#define LOAD_int4(quad, v, j)                                                                                          \
    vec_column_int4((const uint8_t *)(quad) + 4 * ((v) * VEC_LANES % (KERN_PANEL / 2)), j, (v) * VEC_LANES >= KERN_PANEL / 2)

#define COLUMN_f32 (4 * KERN_PANEL) /* bytes */
#define COLUMN_f16 (2 * KERN_PANEL)
#define COLUMN_bf16 (2 * KERN_PANEL)
#define QUAD_int8 (4 * KERN_PANEL)
#define QUAD_int4 (2 * KERN_PANEL)
#define SCALES (2 * KERN_PANEL) /* of a group */
#define AHEAD 4096u             /* how far before its use a weight is asked for where memory is the limit */
#define AHEAD_MAX_ROWS 4u       /* in tiles of that many rows or fewer */

typedef struct tile_sums {
    vec s[VEC_TILE_ROWS][VECS];
} tile_sums;

INLINE void set_zero(vec s[][VECS], size_t rows)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t v = 0; v < VECS; v++)
            s[r][v] = vec_set(0.0f);
}

/* s[r] += w * x[r][0], one fma each. */
INLINE void add_column(vec s[][VECS], size_t rows, const vec w[VECS], const float *x, size_t ldx)
{
    for (size_t r = 0; r < rows; r++) {
        vec xr = vec_set(x[r * ldx]);
        for (size_t v = 0; v < VECS; v++)
            s[r][v] = vec_fma(w[v], xr, s[r][v]);
    }
}

/* Ask for the weights AHEAD of p, in tiles of few rows.  A macro: a function that does nothing else is taken for one without effect. */
#define PREFETCH(p, bytes, rows)                                                                                       \
    for (size_t line = 0; (rows) <= AHEAD_MAX_ROWS && line < (bytes); line += KERN_ALIGN)                              \
    __builtin_prefetch((const char *)(p) + AHEAD + line)

/* The sums of a unit of k columns that begins at *unit, which moves on behind it. */
#define DEFINE_UNIT_PLAIN(TYPE)                                                                                        \
    INLINE void unit_##TYPE(const char **unit, size_t k, const float *x, size_t ldx, size_t rows, tile_sums *out)      \
    {                                                                                                                  \
        vec s[VEC_TILE_ROWS][VECS];                                                                                    \
        const char *at = *unit;                                                                                        \
        set_zero(s, rows);                                                                                             \
        for (size_t i = 0; i < k; i++, at += COLUMN_##TYPE) {                                                          \
            vec w[VECS];                                                                                               \
            PREFETCH(at, COLUMN_##TYPE, rows);                                                                         \
            for (size_t v = 0; v < VECS; v++)                                                                          \
                w[v] = LOAD_##TYPE(at, v);                                                                             \
            add_column(s, rows, w, x + i, ldx);                                                                        \
        }                                                                                                              \
        *unit = at;                                                                                                    \
        memcpy(out->s, s, rows * sizeof *s);                                                                           \
    }

DEFINE_UNIT_PLAIN(f32)
DEFINE_UNIT_PLAIN(f16)
DEFINE_UNIT_PLAIN(bf16)

/* s += the first n columns of a quad. */
#define DEFINE_UNIT_QUANTISED(TYPE)                                                                                    \
    INLINE void add_quad_##TYPE(vec s[][VECS], size_t rows, const char *quad, size_t n, const float *x, size_t ldx)    \
    {                                                                                                                  \
        PREFETCH(quad, QUAD_##TYPE, rows);                                                                             \
        for (int j = 0; j < 4; j++) {                                                                                  \
            vec w[VECS];                                                                                               \
            if ((size_t)j == n)                                                                                        \
                break;                                                                                                 \
            for (size_t v = 0; v < VECS; v++)                                                                          \
                w[v] = LOAD_##TYPE(quad, v, j);                                                                        \
            add_column(s, rows, w, x + j, ldx);                                                                        \
        }                                                                                                              \
    }                                                                                                                  \
    INLINE void unit_##TYPE(const char **unit, size_t k, const float *x, size_t ldx, size_t rows, tile_sums *out)      \
    {                                                                                                                  \
        vec total[VEC_TILE_ROWS][VECS];                                                                                \
        const char *at = *unit;                                                                                        \
        set_zero(total, rows);                                                                                         \
        for (size_t i = 0; i < k; i += PACK_GROUP) {                                                                   \
            size_t n = k - i < PACK_GROUP ? k - i : PACK_GROUP, j = 0;                                                 \
            const char *scales = at;                                                                                   \
            vec s[VEC_TILE_ROWS][VECS];                                                                                \
            set_zero(s, rows);                                                                                         \
            at += SCALES;                                                                                              \
            for (; j + 4 <= n; j += 4, at += QUAD_##TYPE)                                                              \
                add_quad_##TYPE(s, rows, at, 4, x + i + j, ldx);                                                       \
            if (j < n) {                                                                                               \
                add_quad_##TYPE(s, rows, at, n - j, x + i + j, ldx);                                                   \
                at += QUAD_##TYPE;                                                                                     \
            }                                                                                                          \
            for (size_t v = 0; v < VECS; v++) {                                                                        \
                vec scale = LOAD_f16(scales, v);                                                                       \
                for (size_t r = 0; r < rows; r++)                                                                      \
                    total[r][v] = vec_fma(scale, s[r][v], total[r][v]);                                                \
            }                                                                                                          \
        }                                                                                                              \
        *unit = at;                                                                                                    \
        memcpy(out->s, total, rows * sizeof *total);                                                                   \
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

/* Add whole sums of a tile to its rows of acc; modulo 2^64, because partials out of range leave anything. */
static void add_to_rows(int64_t sum[][KERN_PANEL], size_t rows, int64_t *acc, size_t ldacc, size_t n_cols)
{
    for (size_t r = 0; r < rows; r++, acc += ldacc)
        for (size_t i = 0; i < n_cols; i++)
            acc[i] = (int64_t)((uint64_t)acc[i] + (uint64_t)sum[r][i]);
}

/* --- tiles of each height, and m rows cut into them --- */

/* What a row's elements are, and how many a unit of its columns takes. */
typedef float row_f32, row_f16, row_bf16, row_int8, row_int4;
typedef uint16_t row_rounded;
#define STRIDE_f32(unit) (unit)
#define STRIDE_f16(unit) (unit)
#define STRIDE_bf16(unit) (unit)
#define STRIDE_int8(unit) (unit)
#define STRIDE_int4(unit) (unit)
#define STRIDE_rounded(unit) ((unit) + (unit) % 2)


/* No instruction: the compiler may not carry sums over in registers, of which there are too few: it would store them twice. */
INLINE void forget_memory(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

#define DEFINE_TILE(TYPE, ROWS)                                                                                        \
    static void tile_##TYPE##_##ROWS(const char *panel, size_t k, const row_##TYPE *x, size_t ldx, float *y,           \
                                     size_t ldy, size_t n_cols)                                                        \
    {                                                                                                                  \
        tile_sums sum;                                                                                                      \
        unit_##TYPE(&panel, k, x, ldx, ROWS, &sum);                                                                    \
        for (size_t r = 0; r < ROWS; r++)                                                                              \
            store_row(sum.s[r], y + r * ldy, n_cols);                                                                  \
    }                                                                                                                  \
    static uint32_t tile_fixed_##TYPE##_##ROWS(const char *panel, size_t k, size_t unit, const row_##TYPE *x,          \
                                               size_t ldx, int64_t fixed[][KERN_PANEL])                                \
    {                                                                                                                  \
        vec_peak peak = vec_peak_zero();                                                                               \
        for (size_t i = 0; i < k; i += unit, x += STRIDE_##TYPE(unit)) {                                               \
            tile_sums sum;                                                                                                  \
            unit_##TYPE(&panel, k - i < unit ? k - i : unit, x, ldx, ROWS, &sum);                                      \
            for (size_t r = 0; r < ROWS; r++)                                                                          \
                for (size_t v = 0; v < VECS; v++) {                                                                    \
                    vec scaled = vec_mul(sum.s[r][v], vec_set(FIXED_SCALE));                                           \
                    peak = vec_peak_of(peak, scaled);                                                                  \
                    vec_add_fixed(fixed[r] + v * VEC_LANES, scaled);                                                   \
                }                                                                                                      \
            forget_memory();                                                                                           \
        }                                                                                                              \
        return vec_peak_max(peak);                                                                                     \
    }

static void mark(int64_t *overflow)
{
    __atomic_store_n(overflow, 1, __ATOMIC_RELAXED);
}

/* The height of the next tile when `left` rows are left. */
static inline size_t tile_height(size_t left, size_t highest)
{
    size_t n_tiles = (left + highest - 1) / highest;
    return (left + n_tiles - 1) / n_tiles;
}

#define NAME_TILE(TYPE, ROWS) tile_##TYPE##_##ROWS,
#define NAME_TILE_FIXED(TYPE, ROWS) tile_fixed_##TYPE##_##ROWS,

#define DEFINE_PANEL(TYPE)                                                                                             \
    EACH_HEIGHT(VEC_TILE_ROWS, DEFINE_TILE, TYPE)                                                                      \
    typedef void tile_of_##TYPE(const char *panel, size_t k, const row_##TYPE *x, size_t ldx, float *y, size_t ldy,    \
                                size_t n_cols);                                                                        \
    /* fixed[r] += the units' partials, times 2^KERN_FIXED_BITS; returns their peak: float bits without the sign. */   \
    typedef uint32_t tile_fixed_of_##TYPE(const char *panel, size_t k, size_t unit, const row_##TYPE *x, size_t ldx,   \
                                          int64_t fixed[][KERN_PANEL]);                                                \
    static void panel_##TYPE(const void *panel, size_t k, const row_##TYPE *x, size_t ldx, size_t m, float *y,         \
                             size_t ldy, size_t n_cols)                                                                \
    {                                                                                                                  \
        static tile_of_##TYPE *const tiles[] = {EACH_HEIGHT(VEC_TILE_ROWS, NAME_TILE, TYPE)};                                \
        for (size_t r = 0, rows; r < m; r += rows) {                                                                   \
            rows = tile_height(m - r, VEC_TILE_ROWS);                                                                  \
            tiles[rows - 1](panel, k, x + r * ldx, ldx, y + r * ldy, ldy, n_cols);                                     \
        }                                                                                                              \
    }                                                                                                                  \
    static void panel_fixed_##TYPE(const void *panel, size_t k, size_t unit, const row_##TYPE *x, size_t ldx,          \
                                   size_t m, int64_t *acc, size_t ldacc, size_t n_cols, int64_t *overflow)             \
    {                                                                                                                  \
        static tile_fixed_of_##TYPE *const tiles[] = {EACH_HEIGHT(VEC_TILE_ROWS, NAME_TILE_FIXED, TYPE)};              \
        for (size_t r = 0, rows; r < m; r += rows) {                                                                   \
            _Alignas(KERN_ALIGN) int64_t fixed[VEC_TILE_ROWS][KERN_PANEL] = {{0}};                                     \
            rows = tile_height(m - r, VEC_TILE_ROWS);                                                                  \
            uint32_t peak = tiles[rows - 1](panel, k, unit, x + r * ldx, ldx, fixed);                                  \
            add_to_rows(fixed, rows, acc + r * ldacc, ldacc, n_cols);                                                  \
            if (peak < FIXED_LIMIT_BITS)                                                                               \
                continue;                                                                                              \
            for (size_t i = r; i < r + rows; i++) /* whose was it?  ask each row alone */                              \
                if (tiles[0](panel, k, unit, x + i * ldx, ldx, fixed) >= FIXED_LIMIT_BITS)                             \
                    mark(overflow + i);                                                                                \
        }                                                                                                              \
    }

DEFINE_PANEL(f32)
DEFINE_PANEL(f16)
DEFINE_PANEL(bf16)
DEFINE_PANEL(int8)
DEFINE_PANEL(int4)
