/* kern_body.h - every kernel, written once over the vector vocabulary.
 *
 * Included by exactly one .c file per instruction set, after a vec_*.h and with KERN_NAME (the table's name) and KERN_TABLE (its
 * identifier) defined.  That file alone is compiled with the instruction set's flags.  The contracts stand in kern.h.
 *
 * Tiles: VEC_TILE_ROWS rows of x against one panel keep their sums in registers while k runs; a weight vector is loaded once per
 * tile.  Fewer rows than a tile run in smaller tiles, with the same operations per row. */

#include <math.h>
#include <string.h>

#include "worker/kernels/kern.h"

#define VECS (KERN_PANEL / VEC_LANES) /* vectors of a panel */
#define FIXED_SCALE 68719476736.0f    /* 2^KERN_FIXED_BITS */
#define FIXED_LIMIT 67108864.0f       /* 2^26 */

/* A unit of columns of a panel, its bytes and vector v of its column i, for each type of pack.h. */
#define LOAD_f32(column, v) vec_load((const float *)(const void *)(column) + (v) * VEC_LANES)
#define LOAD_f16(column, v) vec_load_f16((const uint16_t *)(const void *)(column) + (v) * VEC_LANES)
#define LOAD_bf16(column, v) vec_load_bf16((const uint16_t *)(const void *)(column) + (v) * VEC_LANES)
#define LOAD_int8(column, v) vec_load_int8((const int8_t *)(column) + (v) * VEC_LANES)
/* Lanes 0 to 15 are the low halves of 16 bytes, lanes 16 to 31 the high ones. */
#define LOAD_int4(column, v)                                                                                           \
    vec_load_int4((const uint8_t *)(column) + (v) * VEC_LANES % (KERN_PANEL / 2), (v) * VEC_LANES >= KERN_PANEL / 2)

#define COLUMN_f32 (4 * KERN_PANEL)
#define COLUMN_f16 (2 * KERN_PANEL)
#define COLUMN_bf16 (2 * KERN_PANEL)
#define COLUMN_int8 KERN_PANEL
#define COLUMN_int4 (KERN_PANEL / 2)
#define SCALES (2 * KERN_PANEL) /* bytes of a group's scales */

#define UNIT_PLAIN(TYPE, k) ((k) * COLUMN_##TYPE)
#define UNIT_QUANTISED(TYPE, k) ((k) * COLUMN_##TYPE + ((k) + PACK_GROUP - 1) / PACK_GROUP * SCALES)

#define SET_ZERO(sum, rows)                                                                                            \
    for (size_t r = 0; r < (rows); r++)                                                                                \
        for (size_t v = 0; v < VECS; v++)                                                                              \
            (sum)[r][v] = vec_set(0.0f)

/* s[r][v] = fma over columns [0, n) of weights that lie at `codes`, for `ROWS` (a constant) rows of x. */
#define ADD_COLUMNS(TYPE, ROWS, codes, n, x, ldx, s)                                                                   \
    for (size_t i = 0; i < (n); i++) {                                                                                 \
        vec w[VECS];                                                                                                   \
        for (size_t v = 0; v < VECS; v++)                                                                              \
            w[v] = LOAD_##TYPE((codes) + i * COLUMN_##TYPE, v);                                                        \
        for (size_t r = 0; r < (ROWS); r++) {                                                                          \
            vec xi = vec_set((x)[r * (ldx) + i]);                                                                      \
            for (size_t v = 0; v < VECS; v++)                                                                          \
                (s)[r][v] = vec_fma(w[v], xi, (s)[r][v]);                                                              \
        }                                                                                                              \
    }

/* sum[r][v] over one unit of k columns. */
#define DEFINE_TILE_PLAIN(TYPE, ROWS)                                                                                  \
    static inline void tile_##TYPE##_##ROWS(const char *unit, size_t k, const float *x, size_t ldx,                    \
                                            vec sum[ROWS][VECS])                                                       \
    {                                                                                                                  \
        vec s[ROWS][VECS];                                                                                             \
        SET_ZERO(s, ROWS);                                                                                             \
        ADD_COLUMNS(TYPE, ROWS, unit, k, x, ldx, s)                                                                    \
        memcpy(sum, s, sizeof s);                                                                                      \
    }

#define DEFINE_TILE_QUANTISED(TYPE, ROWS)                                                                              \
    static inline void tile_##TYPE##_##ROWS(const char *unit, size_t k, const float *x, size_t ldx,                    \
                                            vec sum[ROWS][VECS])                                                       \
    {                                                                                                                  \
        vec total[ROWS][VECS];                                                                                         \
        SET_ZERO(total, ROWS);                                                                                         \
        for (size_t at = 0; at < k; at += PACK_GROUP) {                                                                \
            size_t n = k - at < PACK_GROUP ? k - at : PACK_GROUP;                                                      \
            vec s[ROWS][VECS];                                                                                         \
            SET_ZERO(s, ROWS);                                                                                         \
            ADD_COLUMNS(TYPE, ROWS, unit + SCALES, n, x + at, ldx, s)                                                  \
            for (size_t v = 0; v < VECS; v++) {                                                                        \
                vec scale = LOAD_f16(unit, v);                                                                         \
                for (size_t r = 0; r < ROWS; r++)                                                                      \
                    total[r][v] = vec_fma(scale, s[r][v], total[r][v]);                                                \
            }                                                                                                          \
            unit += SCALES + n * COLUMN_##TYPE;                                                                        \
        }                                                                                                              \
        memcpy(sum, total, sizeof total);                                                                              \
    }

/* Store one row's sums, all of a panel or its first n_cols. */
static inline void store_row(const vec sum[VECS], float *y, size_t n_cols)
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

/* Add one row's sums in fixed point; sets *overflow when a sum is out of range. */
static inline void add_row_fixed(const vec sum[VECS], int64_t *acc, size_t n_cols, int64_t *overflow)
{
    int in_range = 1;
    if (n_cols == KERN_PANEL) {
        for (size_t v = 0; v < VECS; v++)
            in_range &= vec_add_fixed(acc + v * VEC_LANES, sum[v], FIXED_SCALE, FIXED_LIMIT);
    } else {
        int64_t lanes[KERN_PANEL] = {0};
        memcpy(lanes, acc, n_cols * sizeof *acc);
        for (size_t v = 0; v < VECS; v++)
            in_range &= vec_add_fixed(lanes + v * VEC_LANES, sum[v], FIXED_SCALE, FIXED_LIMIT);
        memcpy(acc, lanes, n_cols * sizeof *acc);
    }
    if (!in_range)
        __atomic_store_n(overflow, 1, __ATOMIC_RELAXED);
}

#define DEFINE_PANEL_ROWS(KIND, TYPE, ROWS)                                                                            \
    DEFINE_TILE_##KIND(TYPE, ROWS)                                                                                     \
    static void rows_##TYPE##_##ROWS(const char *panel, size_t k, const float *x, size_t ldx, float *y, size_t ldy,    \
                                     size_t n_cols)                                                                    \
    {                                                                                                                  \
        vec sum[ROWS][VECS];                                                                                           \
        tile_##TYPE##_##ROWS(panel, k, x, ldx, sum);                                                                   \
        for (size_t r = 0; r < ROWS; r++)                                                                              \
            store_row(sum[r], y + r * ldy, n_cols);                                                                    \
    }                                                                                                                  \
    static void rows_fixed_##TYPE##_##ROWS(const char *panel, size_t k, size_t unit, const float *x, size_t ldx,       \
                                           int64_t *acc, size_t ldacc, size_t n_cols, int64_t *overflow)               \
    {                                                                                                                  \
        for (size_t i = 0; i < k; i += unit) {                                                                         \
            vec sum[ROWS][VECS];                                                                                       \
            tile_##TYPE##_##ROWS(panel, k - i < unit ? k - i : unit, x + i, ldx, sum);                                 \
            for (size_t r = 0; r < ROWS; r++)                                                                          \
                add_row_fixed(sum[r], acc + r * ldacc, n_cols, overflow + r);                                          \
            panel += UNIT_##KIND(TYPE, unit);                                                                          \
        }                                                                                                              \
    }

/* Cut m rows into tiles of VEC_TILE_ROWS, then single rows. */
#define DEFINE_PANEL(KIND, TYPE)                                                                                       \
    DEFINE_PANEL_ROWS(KIND, TYPE, 1)                                                                                   \
    DEFINE_PANEL_TILES(KIND, TYPE)                                                                                     \
    static void panel_##TYPE(const void *panel, size_t k, const float *x, size_t ldx, size_t m, float *y, size_t ldy,  \
                             size_t n_cols)                                                                            \
    {                                                                                                                  \
        size_t r = 0;                                                                                                  \
        for (; r + VEC_TILE_ROWS <= m; r += VEC_TILE_ROWS)                                                             \
            TILE_CALL(rows_##TYPE)(panel, k, x + r * ldx, ldx, y + r * ldy, ldy, n_cols);                              \
        for (; r < m; r++)                                                                                             \
            rows_##TYPE##_1(panel, k, x + r * ldx, ldx, y + r * ldy, ldy, n_cols);                                     \
    }                                                                                                                  \
    static void panel_fixed_##TYPE(const void *panel, size_t k, size_t unit, const float *x, size_t ldx, size_t m,     \
                                   int64_t *acc, size_t ldacc, size_t n_cols, int64_t *overflow)                       \
    {                                                                                                                  \
        size_t r = 0;                                                                                                  \
        for (; r + VEC_TILE_ROWS <= m; r += VEC_TILE_ROWS)                                                             \
            TILE_CALL(rows_fixed_##TYPE)(panel, k, unit, x + r * ldx, ldx, acc + r * ldacc, ldacc, n_cols,             \
                                         overflow + r);                                                                \
        for (; r < m; r++)                                                                                             \
            rows_fixed_##TYPE##_1(panel, k, unit, x + r * ldx, ldx, acc + r * ldacc, ldacc, n_cols, overflow + r);     \
    }

#define TILE_PASTE(name, rows) name##_##rows
#define TILE_EXPAND(name, rows) TILE_PASTE(name, rows)
#define TILE_CALL(name) TILE_EXPAND(name, VEC_TILE_ROWS)
#if VEC_TILE_ROWS > 1
#define DEFINE_PANEL_TILES(KIND, TYPE) DEFINE_TILES_EXPAND(KIND, TYPE, VEC_TILE_ROWS)
#define DEFINE_TILES_EXPAND(KIND, TYPE, ROWS) DEFINE_PANEL_ROWS(KIND, TYPE, ROWS)
#else
#define DEFINE_PANEL_TILES(KIND, TYPE)
#endif

DEFINE_PANEL(PLAIN, f32)
DEFINE_PANEL(PLAIN, f16)
DEFINE_PANEL(PLAIN, bf16)
DEFINE_PANEL(QUANTISED, int8)
DEFINE_PANEL(QUANTISED, int4)

/* --- exponential: exp(x) = 2^n * p(r), n = round(x / ln 2), |r| <= ln 2 / 2; relative error under 2e-7.  Below -87.3 it stays at
 * exp(-87.3), above 88 at exp(88). --- */

static inline vec exp_vec(vec x)
{
    const vec round = vec_set(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    x = vec_max(vec_min(x, vec_set(88.0f)), vec_set(-87.3f));
    vec t = vec_fma(x, vec_set(1.44269504f), round);
    vec n = vec_sub(t, round);
    vec r = vec_fma(n, vec_set(-0.693359375f), x);
    r = vec_fma(n, vec_set(2.12194440e-4f), r);
    vec p = vec_set(1.9875691500e-4f);
    p = vec_fma(p, r, vec_set(1.3981999507e-3f));
    p = vec_fma(p, r, vec_set(8.3334519073e-3f));
    p = vec_fma(p, r, vec_set(4.1665795894e-2f));
    p = vec_fma(p, r, vec_set(1.6666665459e-1f));
    p = vec_fma(p, r, vec_set(5.0000001201e-1f));
    p = vec_fma(p, vec_mul(r, r), vec_add(r, vec_set(1.0f)));
    return vec_scale_exp2(p, t);
}

/* Apply a vector function to n elements; the tail goes through a padded block so that each element sees the same operations. */
#define FOR_EACH_VEC(n, body_full, body_tail)                                                                          \
    do {                                                                                                               \
        size_t i = 0;                                                                                                  \
        for (; i + VEC_LANES <= (n); i += VEC_LANES) {                                                                 \
            body_full;                                                                                                 \
        }                                                                                                              \
        if (i < (n)) {                                                                                                 \
            size_t left = (n) - i;                                                                                     \
            body_tail;                                                                                                 \
        }                                                                                                              \
    } while (0)

static inline vec load_tail(const float *p, size_t n)
{
    float lanes[VEC_LANES] = {0};
    memcpy(lanes, p, n * sizeof *p);
    return vec_load(lanes);
}

static inline void store_tail(float *p, vec a, size_t n)
{
    float lanes[VEC_LANES];
    vec_store(lanes, a);
    memcpy(p, lanes, n * sizeof *p);
}

static inline vec sigmoid_vec(vec x)
{
    vec one = vec_set(1.0f);
    return vec_div(one, vec_add(one, exp_vec(vec_sub(vec_set(0.0f), x))));
}

static inline vec swiglu_vec(vec gate, vec up)
{
    return vec_mul(vec_mul(gate, sigmoid_vec(gate)), up);
}

static void swiglu(float *gate, const float *up, size_t n)
{
    FOR_EACH_VEC(n, vec_store(gate + i, swiglu_vec(vec_load(gate + i), vec_load(up + i))),
                 store_tail(gate + i, swiglu_vec(load_tail(gate + i, left), load_tail(up + i, left)), left));
}

static inline vec gelu_tanh_vec(vec v)
{
    vec cube = vec_mul(vec_mul(v, v), v);
    vec u = vec_mul(vec_set(1.5957691216f), vec_fma(vec_set(0.044715f), cube, v)); /* 2 sqrt(2/pi) */
    return vec_mul(v, sigmoid_vec(u));
}

static void gelu_tanh(float *x, const float *bias, size_t n)
{
    if (bias != NULL)
        for (size_t i = 0; i < n; i++)
            x[i] += bias[i];
    FOR_EACH_VEC(n, vec_store(x + i, gelu_tanh_vec(vec_load(x + i))),
                 store_tail(x + i, gelu_tanh_vec(load_tail(x + i, left)), left));
}

static inline vec geglu_vec(vec gate, vec up)
{
    return vec_mul(gelu_tanh_vec(gate), up);
}

static void geglu_tanh(float *gate, const float *up, size_t n)
{
    FOR_EACH_VEC(n, vec_store(gate + i, geglu_vec(vec_load(gate + i), vec_load(up + i))),
                 store_tail(gate + i, geglu_vec(load_tail(gate + i, left), load_tail(up + i, left)), left));
}

static void exp_shifted(const float *x, size_t n, float max, float *y)
{
    vec shift = vec_set(max);
    FOR_EACH_VEC(n, vec_store(y + i, exp_vec(vec_sub(vec_load(x + i), shift))),
                 store_tail(y + i, exp_vec(vec_sub(load_tail(x + i, left), shift)), left));
}

/* --- sums in 32 strided lanes --- */

/* Lane l holds the sum over elements l, l + 32, ...; halves are added until one is left. */
static float tree_sum(float lanes[KERN_PANEL])
{
    for (size_t half = KERN_PANEL / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            lanes[l] += lanes[l + half];
    return lanes[0];
}

typedef vec strided_term(vec v, vec parameter);

/* Sum over i < d of term(x[i], parameter); `pad` stands where the last stride is not full (its term must be 0). */
static inline __attribute__((always_inline)) float strided_sum(const float *x, size_t d, float pad, strided_term *term,
                                                               vec parameter)
{
    vec sum[VECS];
    for (size_t l = 0; l < VECS; l++)
        sum[l] = vec_set(0.0f);
    size_t i = 0;
    for (; i + KERN_PANEL <= d; i += KERN_PANEL)
        for (size_t l = 0; l < VECS; l++)
            sum[l] = vec_add(sum[l], term(vec_load(x + i + l * VEC_LANES), parameter));
    float lanes[KERN_PANEL];
    if (i < d) {
        for (size_t j = 0; j < KERN_PANEL; j++)
            lanes[j] = i + j < d ? x[i + j] : pad;
        for (size_t l = 0; l < VECS; l++)
            sum[l] = vec_add(sum[l], term(vec_load(lanes + l * VEC_LANES), parameter));
    }
    for (size_t l = 0; l < VECS; l++)
        vec_store(lanes + l * VEC_LANES, sum[l]);
    return tree_sum(lanes);
}

static inline vec term_itself(vec v, vec unused)
{
    (void)unused;
    return v;
}

static inline vec term_squared_distance(vec v, vec centre)
{
    vec distance = vec_sub(v, centre);
    return vec_mul(distance, distance);
}

static inline vec term_exp(vec v, vec shift)
{
    return exp_vec(vec_sub(v, shift));
}

/* A padded lane adds exp(-87.3), 1e-38: below half a unit in the last place of a sum that holds exp(0). */
static float sum_exp(const float *x, size_t n, float max)
{
    return strided_sum(x, n, -INFINITY, term_exp, vec_set(max));
}

static void norm_rms(const float *x, const float *gain, float eps, size_t d, float *y)
{
    float squares = strided_sum(x, d, 0.0f, term_squared_distance, vec_set(0.0f));
    float factor = 1.0f / sqrtf(squares / (float)d + eps);
    for (size_t i = 0; i < d; i++)
        y[i] = (x[i] * factor) * gain[i];
}

static void norm_layer(const float *x, const float *gain, float eps, size_t d, float *y)
{
    float mean = strided_sum(x, d, 0.0f, term_itself, vec_set(0.0f)) / (float)d;
    float squares = strided_sum(x, d, mean, term_squared_distance, vec_set(mean));
    float factor = 1.0f / sqrtf(squares / (float)d + eps);
    for (size_t i = 0; i < d; i++)
        y[i] = ((x[i] - mean) * factor) * gain[i];
}

/* --- attention --- */

/* The running softmax of one row: out = sum of p V so far, relative to `max`; total = sum of p so far. */
typedef struct softmax_row {
    float max, total;
} softmax_row;

/* Turn the scores [from, to) of a block into weights relative to the new maximum, the others into 0; returns the factor for what was
 * summed before. */
static float softmax_block(softmax_row *row, float *scores, size_t from, size_t to)
{
    float max = row->max;
    for (size_t j = from; j < to; j++)
        max = scores[j] > max ? scores[j] : max;

    float factor;
    exp_shifted(&row->max, 1, max, &factor);
    exp_shifted(scores, KERN_PANEL, max, scores);
    for (size_t j = 0; j < KERN_PANEL; j++)
        if (j < from || j >= to)
            scores[j] = 0.0f;
    float lanes[KERN_PANEL];
    memcpy(lanes, scores, sizeof lanes);
    row->total = fmaf(row->total, factor, tree_sum(lanes));
    row->max = max;
    return factor;
}

/* out = out * factor + sum over from <= j < to of p[j] * v[j], j ascending; v [32][dh_padded]. */
static void weigh_values(float *out, float factor, const float *p, size_t from, size_t to, const float *v, size_t dh_padded)
{
    vec scale = vec_set(factor);
    for (size_t c = 0; c < dh_padded; c += VEC_LANES) {
        vec sum = vec_mul(vec_load(out + c), scale);
        for (size_t j = from; j < to; j++)
            sum = vec_fma(vec_set(p[j]), vec_load(v + j * dh_padded + c), sum);
        vec_store(out + c, sum);
    }
}

/* A position relative to block b, held within it. */
static size_t in_block(uint32_t position, uint32_t b)
{
    uint32_t start = b * KERN_PANEL;
    if (position <= start)
        return 0;
    return position - start < KERN_PANEL ? position - start : KERN_PANEL;
}

static void attention(const kern_attention *a)
{
    float out[KERN_ATTENTION_ROWS][KERN_HEAD_DIM_MAX];
    float scores[KERN_ATTENTION_ROWS][KERN_PANEL];
    softmax_row rows[KERN_ATTENTION_ROWS];
    uint32_t earliest = UINT32_MAX, longest = 0;
    for (uint32_t r = 0; r < a->n_rows; r++) {
        memset(out[r], 0, a->dh_padded * sizeof(float));
        rows[r] = (softmax_row){.max = -INFINITY, .total = 0.0f};
        uint32_t first = a->first != NULL ? a->first[r] : 0;
        earliest = first < earliest ? first : earliest;
        longest = a->n_visible[r] > longest ? a->n_visible[r] : longest;
    }

    for (uint32_t b = earliest / KERN_PANEL; b * KERN_PANEL < longest; b++) {
        const float *keys = a->base + a->blocks[b] * a->block_floats;
        const float *values = keys + (size_t)a->dh * KERN_PANEL;
        panel_f32(keys, a->dh, a->q, a->ldq, a->n_rows, scores[0], KERN_PANEL, KERN_PANEL);
        for (uint32_t r = 0; r < a->n_rows; r++) {
            uint32_t first = a->first != NULL ? a->first[r] : 0;
            size_t from = in_block(first, b), to = in_block(a->n_visible[r], b);
            if (from == to) /* the row sees nothing of this block */
                continue;
            for (size_t j = from; j < to; j++)
                scores[r][j] *= a->scale;
            float factor = softmax_block(&rows[r], scores[r], from, to);
            weigh_values(out[r], factor, scores[r], from, to, values, a->dh_padded);
        }
    }

    for (uint32_t r = 0; r < a->n_rows; r++)
        for (uint32_t i = 0; i < a->dh; i++)
            a->out[r * a->ldo + i] = out[r][i] / rows[r].total;
}

const kern_table KERN_TABLE = {
    .name = KERN_NAME,
    .panel = {[PACK_F32] = panel_f32,
              [PACK_F16] = panel_f16,
              [PACK_BF16] = panel_bf16,
              [PACK_INT8] = panel_int8,
              [PACK_INT4] = panel_int4},
    .panel_fixed = {[PACK_F32] = panel_fixed_f32,
                    [PACK_F16] = panel_fixed_f16,
                    [PACK_BF16] = panel_fixed_bf16,
                    [PACK_INT8] = panel_fixed_int8,
                    [PACK_INT4] = panel_fixed_int4},
    .norm_rms = norm_rms,
    .norm_layer = norm_layer,
    .swiglu = swiglu,
    .geglu_tanh = geglu_tanh,
    .gelu_tanh = gelu_tanh,
    .attention = attention,
    .sum_exp = sum_exp,
    .exp_shifted = exp_shifted,
};
