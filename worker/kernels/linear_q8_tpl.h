/* linear_q8_tpl.h - activations quantised to 8 bits, and their products with packed int8 and int4 weights.
 *
 * A group's products are summed exactly in int32 (at most 32 * 127 * 128 < 2^24, so the sum is exact as f32 too), then
 * one fma brings them into the row's f32 sum.  A tile is 1 to VEC_Q8_ROWS rows times one panel:
 *
 *     group: scale f16[32] | quad 0 | quad 1 | ... quad 7         a quad: 4 neighbouring columns of 32 outputs
 *                              x q[r][0..3]   x q[r][4..7]        int32 s[r][v] += dot of 4 bytes   (vec_dot_int8)
 *     then total[r][v] = fma((float)s, scale * row_scale, total[r][v])
 *
 * Weights are packed with a zero point (128, 8).  A variant whose dot product takes them so starts its sums at the
 * row's zero-point correction, minus zero point times the sum of its q; one that takes signed weights takes the zero
 * point off instead.  For many rows an int4 panel is unpacked to bytes first. */
#include "worker/kernels/panel_tpl.h"

/* --- quantising rows --- */

/* Groups whose largest element is smaller count as zeros: 127 / max would leave the range. */
#define SMALLEST_MAX 0x1p-100f
/* Adding 1.5 * 2^23 rounds to an integer, which is then in the low bits. */
#define ROUND_TO_INTEGER 12582912.0f

/* The largest |x|, or a NaN where an element is no finite number. */
static inline float group_max(const vec x[VECS])
{
    vec max = vec_set(0.0f), bad = vec_set(0.0f);
    for (size_t v = 0; v < VECS; v++) {
        max = vec_max(max, vec_max(x[v], vec_sub(vec_set(0.0f), x[v])));
        bad = vec_fma(x[v], vec_set(0.0f), bad);
    }
    return vec_max_across(max) + vec_sum_across(bad); /* zeros or NaNs */
}

/* One group, filled up with zeros. */
static inline void quantise_group(const float *x, int8_t *q, float *scale, int32_t *correction)
{
    vec group[VECS];
    for (size_t v = 0; v < VECS; v++)
        group[v] = vec_load(x + v * VEC_LANES);
    float max = group_max(group);
    *correction = 0;
    if (!(max >= SMALLEST_MAX)) {
        memset(q, 0, PACK_GROUP);
        *scale = max < SMALLEST_MAX ? 0.0f : max; /* zeros, or a NaN */
        return;
    }
    *scale = max / 127.0f;
    vec inverse = vec_set(127.0f / max), round = vec_set(ROUND_TO_INTEGER), total = vec_set(0.0f);
    for (size_t v = 0; v < VECS; v++) {
        vec rounded = vec_add(vec_mul(group[v], inverse), round);
        vec_store_bytes(q + v * VEC_LANES, rounded);
        total = vec_add(total, vec_sub(rounded, round)); /* integers: any order gives the same */
    }
    *correction = -8 * (int32_t)vec_sum_across(total);
}

void KERN_FN(quantise)(const float *x, size_t k, size_t unit, int8_t *q, float *scales, int32_t *corrections)
{
    for (size_t begin = 0; begin < k; begin += unit) {
        size_t end = k - begin < unit ? k : begin + unit;
        for (size_t i = begin; i < end; i += PACK_GROUP, q += PACK_GROUP, scales++, corrections++) {
            if (end - i >= PACK_GROUP) {
                quantise_group(x + i, q, scales, corrections);
                continue;
            }
            float padded[PACK_GROUP] = {0};
            memcpy(padded, x + i, (end - i) * sizeof *x);
            quantise_group(padded, q, scales, corrections);
        }
    }
}

/* --- products --- */

/* What a tile reads besides its rows.  An int4 panel for many rows is unpacked first: one byte a weight, UNPACKED_GROUP
 * bytes for each group. */
typedef struct q8_panel {
    const char *packed;
    const uint8_t *unpacked; /* read by the tiles of that form alone */
    size_t k, unit;
    const kern_activations *x;
} q8_panel;

#define UNPACKED_QUAD  (4 * KERN_PANEL)
#define UNPACKED_GROUP (PACK_GROUP * KERN_PANEL)
/* That many rows pay for unpacking, even where taking q out of 4 bits is all but free. */
#define UNPACKED_FROM_ROWS 64u

/* For each form (int8 and int4 as packed, unpacked4): vector v of a quad; bytes of a quad as packed (QUAD) and where it
 * is read (STEP); where the weights of a group begin; bytes from group to group of the unpacked form. */
#define QUADS_int8(quad, v) vec_load_quads_int8((quad) + 4 * VEC_LANES * (v))
#define QUADS_int4(quad, v) \
    vec_load_quads_int4((quad) + 4 * ((v)*VEC_LANES % (KERN_PANEL / 2)), (v)*VEC_LANES >= KERN_PANEL / 2)
#define QUADS_unpacked4(quad, v)             vec_load_unpacked4((quad) + 4 * VEC_LANES * (v))
#define QUAD_unpacked4                       QUAD_int4 /* as packed */
#define STEP_int8                            QUAD_int8
#define STEP_int4                            QUAD_int4
#define STEP_unpacked4                       UNPACKED_QUAD
#define GROUP_AT_int8(packed, unpacked)      ((const uint8_t *)(packed) + SCALES)
#define GROUP_AT_int4(packed, unpacked)      ((const uint8_t *)(packed) + SCALES)
#define GROUP_AT_unpacked4(packed, unpacked) (unpacked)
#define UNPACKED_STEP_int8                   0
#define UNPACKED_STEP_int4                   0
#define UNPACKED_STEP_unpacked4              UNPACKED_GROUP
#define vec_dot_unpacked4                    vec_dot_int4
#define vec_sums_unpacked4                   vec_sums_int4
#define vec_from_sums_unpacked4              vec_from_sums_int4
#define VEC_STEP_unpacked4                   VEC_STEP_int4

/* A group is summed in steps of as many vectors as registers hold for all rows of the tile; the rows' totals are
 * kept next to them.  A single row takes all vectors at once, in the order in which they lie. */
#define STEP_OF(FORM, rows) ((rows) == 1 ? VECS : VEC_STEP_##FORM)

#define DEFINE_ADD_QUADS(FORM)                                                                                        \
    /* s[r] += a quad of weights, n vectors from v0 on, times the rows' q, rows `stride` apart. */                    \
    INLINE void add_quad_q8_##FORM(vec_sums s[][VECS], size_t rows, size_t v0, size_t n, const uint8_t *quad,         \
                                   const int8_t *x, size_t stride)                                                    \
    {                                                                                                                 \
        vec_weights w[VECS];                                                                                          \
        UNROLL                                                                                                        \
        for (size_t v = 0; v < n; v++)                                                                                \
            w[v] = QUADS_##FORM(quad, v0 + v);                                                                        \
        UNROLL                                                                                                        \
        for (size_t r = 0; r < rows; r++) {                                                                           \
            vec_activations xr = vec_activations_set(x + r * stride);                                                 \
            UNROLL                                                                                                    \
            for (size_t v = 0; v < n; v++) {                                                                          \
                s[r][v] = vec_dot_##FORM(s[r][v], w[v], xr);                                                          \
                VEC_KEEP(s[r][v]);                                                                                    \
            }                                                                                                         \
            ROW_BY_ROW();                                                                                             \
        }                                                                                                             \
    }                                                                                                                 \
    INLINE void add_quads_##FORM(vec_sums s[][VECS], size_t rows, size_t v0, size_t n, const uint8_t *quads,          \
                                 size_t n_quads, const int8_t *x, size_t stride)                                      \
    {                                                                                                                 \
        if (n_quads < PACK_GROUP / 4) {                                                                               \
            for (size_t q = 0; q < n_quads; q++)                                                                      \
                add_quad_q8_##FORM(s, rows, v0, n, quads + q * STEP_##FORM, x + 4 * q, stride);                       \
            return;                                                                                                   \
        }                                                                                                             \
        UNROLL /* whole groups without a loop (compiler_int.h, VEC_KEEP) */                                           \
            for (size_t q = 0; q < PACK_GROUP / 4; q++)                                                               \
                add_quad_q8_##FORM(s, rows, v0, n, quads + q * STEP_##FORM, x + 4 * q, stride);                       \
    }                                                                                                                 \
    /* total[r], n vectors from v0 on, += one group of n_quads; `at`: the group's place in the rows' q.      The      \
     * scales are times `factor`, a power of two. */                                                                  \
    INLINE void add_step_##FORM(vec total[][VECS], size_t rows, size_t v0, size_t n, const char *scales,              \
                                const uint8_t *quads, size_t n_quads, const kern_activations *x, size_t at,           \
                                float factor)                                                                         \
    {                                                                                                                 \
        vec_sums s[VEC_Q8_ROWS][VECS];                                                                                \
        size_t stride = x->n_groups;                                                                                  \
        UNROLL                                                                                                        \
        for (size_t r = 0; r < rows; r++)                                                                             \
            UNROLL                                                                                                    \
        for (size_t v = 0; v < n; v++)                                                                                \
            s[r][v] = vec_sums_##FORM(x->corrections[at + r * stride]);                                               \
        const int8_t *xq = x->q + at * PACK_GROUP;                                                                    \
        add_quads_##FORM(s, rows, v0, n, quads, n_quads, xq, stride *PACK_GROUP);                                     \
        UNROLL                                                                                                        \
        for (size_t v = 0; v < n; v++) {                                                                              \
            vec scale = vec_mul(LOAD_f16(scales, v0 + v), vec_set(factor));                                           \
            UNROLL                                                                                                    \
            for (size_t r = 0; r < rows; r++) {                                                                       \
                vec row_scale = vec_set(x->scales[at + r * stride]);                                                  \
                vec sum = vec_from_sums_##FORM(s[r][v], x->corrections[at + r * stride]);                             \
                total[r][v0 + v] = vec_fma(sum, vec_mul(scale, row_scale), total[r][v0 + v]);                         \
                ROW_BY_ROW();                                                                                         \
            }                                                                                                         \
        }                                                                                                             \
    }                                                                                                                 \
    INLINE void add_group_##FORM(vec total[][VECS], size_t rows, const char *scales, const uint8_t *quads,            \
                                 size_t n_quads, const kern_activations *x, size_t at, float factor)                  \
    {                                                                                                                 \
        for (size_t v0 = 0; v0 < VECS; v0 += STEP_OF(FORM, rows))                                                     \
            add_step_##FORM(total, rows, v0, STEP_OF(FORM, rows), scales, quads, n_quads, x, at, factor);             \
    }                                                                                                                 \
    /* total += a unit of k columns; *at, *packed and *unpacked move past it. */                                      \
    INLINE void add_unit_##FORM(vec total[][VECS], size_t rows, const char **packed, const uint8_t **unpacked,        \
                                size_t k, const kern_activations *x, size_t *at, float factor)                        \
    {                                                                                                                 \
        for (size_t i = 0; i < k / PACK_GROUP; i++) {                                                                 \
            add_group_##FORM(total, rows, *packed, GROUP_AT_##FORM(*packed, *unpacked), PACK_GROUP / 4, x, (*at)++,   \
                             factor);                                                                                 \
            *packed += SCALES + PACK_GROUP / 4 * QUAD_##FORM;                                                         \
            *unpacked += UNPACKED_STEP_##FORM;                                                                        \
        }                                                                                                             \
        if (k % PACK_GROUP != 0) {                                                                                    \
            size_t n_quads = (k % PACK_GROUP + 3) / 4;                                                                \
            add_group_##FORM(total, rows, *packed, GROUP_AT_##FORM(*packed, *unpacked), n_quads, x, (*at)++, factor); \
            *packed += SCALES + n_quads * QUAD_##FORM;                                                                \
            *unpacked += UNPACKED_STEP_##FORM;                                                                        \
        }                                                                                                             \
    }

DEFINE_ADD_QUADS(int8)
DEFINE_ADD_QUADS(int4)
DEFINE_ADD_QUADS(unpacked4)

typedef void tile_q8(const q8_panel *p, size_t row, float *y, size_t ldy, size_t n_cols);
/* fixed[r] += the units' partials, times 2^KERN_FIXED_BITS; returns their absmax: float bits without the sign. */
typedef uint32_t tile_q8_fixed(const q8_panel *p, size_t row, int64_t fixed[][KERN_PANEL]);

#define DEFINE_TILE_Q8(FORM, ROWS)                                                                                    \
    static void tile_q8_##FORM##_##ROWS(const q8_panel *p, size_t row, float *y, size_t ldy, size_t n_cols)           \
    {                                                                                                                 \
        vec total[ROWS][VECS];                                                                                        \
        const char *packed = p->packed;                                                                               \
        const uint8_t *unpacked = p->unpacked;                                                                        \
        const kern_activations x = *p->x;                                                                             \
        size_t at = row * x.n_groups;                                                                                 \
        set_zero(total, ROWS);                                                                                        \
        for (size_t i = 0; i < p->k; i += p->unit)                                                                    \
            add_unit_##FORM(total, ROWS, &packed, &unpacked, p->k - i < p->unit ? p->k - i : p->unit, &x, &at, 1.0f); \
        for (size_t r = 0; r < ROWS; r++)                                                                             \
            store_row(total[r], y + r * ldy, n_cols);                                                                 \
    }                                                                                                                 \
    static uint32_t tile_q8_fixed_##FORM##_##ROWS(const q8_panel *p, size_t row, int64_t fixed[][KERN_PANEL])         \
    {                                                                                                                 \
        vec_absmax absmax = vec_absmax_zero();                                                                        \
        const char *packed = p->packed;                                                                               \
        const uint8_t *unpacked = p->unpacked;                                                                        \
        const kern_activations x = *p->x;                                                                             \
        size_t at = row * x.n_groups;                                                                                 \
        for (size_t i = 0; i < p->k; i += p->unit) {                                                                  \
            vec total[ROWS][VECS];                                                                                    \
            set_zero(total, ROWS);                                                                                    \
            add_unit_##FORM(total, ROWS, &packed, &unpacked, p->k - i < p->unit ? p->k - i : p->unit, &x, &at,        \
                            FIXED_SCALE);                                                                             \
            absmax = add_fixed_vecs(fixed[0], total[0], ROWS * VECS, 1.0f, absmax);                                   \
        }                                                                                                             \
        return vec_absmax_across(absmax);                                                                             \
    }

EACH_HEIGHT(VEC_Q8_ROWS, DEFINE_TILE_Q8, int8)
EACH_HEIGHT(VEC_Q8_ROWS, DEFINE_TILE_Q8, int4)
EACH_HEIGHT(VEC_Q8_ROWS, DEFINE_TILE_Q8, unpacked4)

#define NAME_TILE_Q8(FORM, ROWS)       tile_q8_##FORM##_##ROWS,
#define NAME_TILE_Q8_FIXED(FORM, ROWS) tile_q8_fixed_##FORM##_##ROWS,

typedef struct q8_tiles {
    tile_q8 *plain[VEC_Q8_ROWS];
    tile_q8_fixed *fixed[VEC_Q8_ROWS];
} q8_tiles;

#define Q8_TILES(FORM)                                         \
    {                                                          \
        {EACH_HEIGHT(VEC_Q8_ROWS, NAME_TILE_Q8, FORM)},        \
        {                                                      \
            EACH_HEIGHT(VEC_Q8_ROWS, NAME_TILE_Q8_FIXED, FORM) \
        }                                                      \
    }
static const q8_tiles tiles_q8_int8 = Q8_TILES(int8), tiles_q8_int4 = Q8_TILES(int4),
                      tiles_q8_unpacked4 = Q8_TILES(unpacked4);

/* Unpack an int4 panel to bytes, in `to`. */
static void unpack_int4(const char *packed, size_t k, size_t unit, uint8_t *to)
{
    for (size_t begin = 0; begin < k; begin += unit) {
        size_t left = k - begin < unit ? k - begin : unit;
        for (size_t i = 0; i < left; i += PACK_GROUP, to += UNPACKED_GROUP) {
            size_t n_quads = left - i < PACK_GROUP ? (left - i + 3) / 4 : PACK_GROUP / 4;
            const uint8_t *quads = (const uint8_t *)packed + SCALES;
            for (size_t q = 0; q < n_quads; q++)
                for (size_t v = 0; v < VECS; v++)
                    vec_store_quads(to + q * UNPACKED_QUAD + v * 4 * VEC_LANES, QUADS_int4(quads + q * QUAD_int4, v));
            packed += SCALES + n_quads * QUAD_int4;
        }
    }
}

static void run_q8(const q8_tiles *tiles, const q8_panel *p, size_t row, size_t m, float *y, size_t ldy, size_t n_cols)
{
    for (size_t r = 0, rows; r < m; r += rows) {
        rows = tile_height(m - r, VEC_Q8_ROWS);
        tiles->plain[rows - 1](p, row + r, y + r * ldy, ldy, n_cols);
    }
}

static void run_q8_fixed(const q8_tiles *tiles, const q8_panel *p, size_t row, size_t m, int64_t *acc, size_t ldacc,
                         size_t n_cols, int64_t *overflow)
{
    for (size_t r = 0, rows; r < m; r += rows) {
        _Alignas(KERN_ALIGN) int64_t fixed[VEC_Q8_ROWS][KERN_PANEL] = {{0}};
        rows = tile_height(m - r, VEC_Q8_ROWS);
        uint32_t absmax = tiles->fixed[rows - 1](p, row + r, fixed);
        add_to_rows(fixed, units_of(p->k, p->unit), rows, acc + r * ldacc, ldacc, n_cols);
        if (absmax < FIXED_LIMIT_BITS)
            continue;
        for (size_t i = r; i < r + rows; i++) /* which row was it?  try each alone */
            if (tiles->fixed[0](p, row + i, fixed) >= FIXED_LIMIT_BITS)
                flag_overflow(overflow + i);
    }
}

static const q8_tiles *choose_int4(q8_panel *p, size_t m, void *scratch)
{
    if (m < UNPACKED_FROM_ROWS)
        return &tiles_q8_int4;
    unpack_int4(p->packed, p->k, p->unit, scratch);
    p->unpacked = scratch;
    return &tiles_q8_unpacked4;
}

void KERN_FN(panel_q8_int8)(const void *panel, size_t k, size_t unit, const kern_activations *x, size_t row, size_t m,
                            float *y, size_t ldy, size_t n_cols, void *scratch)
{
    (void)scratch;
    const q8_panel p = {panel, panel, k, unit, x};
    run_q8(&tiles_q8_int8, &p, row, m, y, ldy, n_cols);
}

void KERN_FN(panel_q8_int4)(const void *panel, size_t k, size_t unit, const kern_activations *x, size_t row, size_t m,
                            float *y, size_t ldy, size_t n_cols, void *scratch)
{
    q8_panel p = {panel, panel, k, unit, x};
    run_q8(choose_int4(&p, m, scratch), &p, row, m, y, ldy, n_cols);
}

void KERN_FN(panel_q8_fixed_int8)(const void *panel, size_t k, size_t unit, const kern_activations *x, size_t row,
                                  size_t m, int64_t *acc, size_t ldacc, size_t n_cols, int64_t *overflow, void *scratch)
{
    (void)scratch;
    const q8_panel p = {panel, panel, k, unit, x};
    run_q8_fixed(&tiles_q8_int8, &p, row, m, acc, ldacc, n_cols, overflow);
}

void KERN_FN(panel_q8_fixed_int4)(const void *panel, size_t k, size_t unit, const kern_activations *x, size_t row,
                                  size_t m, int64_t *acc, size_t ldacc, size_t n_cols, int64_t *overflow, void *scratch)
{
    q8_panel p = {panel, panel, k, unit, x};
    run_q8_fixed(choose_int4(&p, m, scratch), &p, row, m, acc, ldacc, n_cols, overflow);
}
