/* attention_tpl.h - flash-decoding over the paged cache: the partial of one split of positions, the merge of partials,
 * the normalised answer.
 *
 *     cache of one KV head, 8 blocks of 32 positions a split     rows: query heads x tokens that read it
 *     | b0 b1 ... b7 | b8 ... b15 | ...                          pass 1  scores[r][256] = q K^T, block by block
 *       split 0        split 1                                   pass 2  weights = exp(score - max), total
 *          |              |                                      pass 3  out += weights x V, block by block
 *       partial ------ merge ------ ... --- normalise: out / total
 *
 * In pass 1 positions are in vector lanes and up to VEC_TILE_ROWS rows share each key that is loaded; in pass 3
 * dimensions are in lanes, and the rows of a tile that see the same positions share each value.  Where rows of a tile
 * see different partials of a block (the causal edge, a window), it is walked in stretches that end where the set of
 * rows changes, so a hidden position is never multiplied. */
#include "worker/kernels/math_tpl.h"

#define SPLIT_BLOCKS (KERN_SPLIT / KERN_PANEL)
#define HALF_PANEL   (KERN_PANEL / 2)
#define HALF_VECS    (VECS / 2)

_Static_assert(PACK_GROUP == KERN_PANEL, "a panel of values has one scale for each position");

/* --- products of a tile: y[r] = (y[r] or 0) + sum over i < n of x[r][i] * w[i], w [n][width] --- */

/* The rows of a tile: x and y, and what becomes of the sums. */
typedef struct tile {
    const float *x;
    size_t ldx;
    float *y;
    size_t ldy;
    float scale; /* of scores */
} tile;

INLINE void begin_tile(vec s[][VECS], const tile *t, size_t rows, size_t vecs, bool adds)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t v = 0; v < vecs; v++)
            s[r][v] = adds ? vec_load(t->y + r * t->ldy + v * VEC_LANES) : vec_set(0.0f);
}

INLINE void add_products(vec s[][VECS], const vec w[VECS], const float *x, size_t ldx, size_t rows, size_t vecs)
{
    for (size_t r = 0; r < rows; r++) {
        vec xr = vec_set(x[r * ldx]);
        for (size_t v = 0; v < vecs; v++)
            s[r][v] = vec_fma(w[v], xr, s[r][v]);
    }
}

INLINE void end_tile(vec s[][VECS], const tile *t, size_t rows, size_t vecs, bool adds)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t v = 0; v < vecs; v++)
            vec_store(t->y + r * t->ldy + v * VEC_LANES, adds ? s[r][v] : vec_mul(s[r][v], vec_set(t->scale)));
}

#define LOAD_KV_f32(w, at)  vec_load((const float *)(const void *)(w) + (at))
#define LOAD_KV_bf16(w, at) vec_load_bf16((const uint16_t *)(const void *)(w) + (at))

/* f32 and bf16: `rows`, `vecs` and `adds` are constants. */
#define DEFINE_TILE_PRODUCTS(TYPE)                                                                                \
    INLINE void tile_products_##TYPE(const char *w, size_t n, const tile *t, size_t rows, size_t vecs, bool adds) \
    {                                                                                                             \
        vec s[VEC_TILE_ROWS][VECS];                                                                               \
        begin_tile(s, t, rows, vecs, adds);                                                                       \
        for (size_t i = 0; i < n; i++) {                                                                          \
            vec wi[VECS];                                                                                         \
            for (size_t v = 0; v < vecs; v++)                                                                     \
                wi[v] = LOAD_KV_##TYPE(w, (i * vecs + v) * VEC_LANES);                                            \
            add_products(s, wi, t->x + i, t->ldx, rows, vecs);                                                    \
        }                                                                                                         \
        end_tile(s, t, rows, vecs, adds);                                                                         \
    }
DEFINE_TILE_PRODUCTS(f32)
DEFINE_TILE_PRODUCTS(bf16)

/* Column j (a constant) of a quad of int8; keys have a scale for each lane, values one for the column. */
INLINE void add_code_column(vec s[][VECS], const uint8_t *quad, int j, const vec *scales, bool by_lane, const tile *t,
                            size_t i, size_t rows, size_t vecs)
{
    vec w[VECS];
    for (size_t v = 0; v < vecs; v++)
        w[v] = vec_mul(vec_column_int8(quad + 4 * VEC_LANES * v, j), scales[by_lane ? v : 0]);
    add_products(s, w, t->x + i, t->ldx, rows, vecs);
}

/* n, a multiple of 4, columns of int8. */
INLINE void tile_keys_int8(const uint8_t *quads, size_t n, const uint16_t *half_scales, const tile *t, size_t rows)
{
    vec s[VEC_TILE_ROWS][VECS], scales[VECS];
    begin_tile(s, t, rows, VECS, false);
    for (size_t i = 0; i < n; i += 4, quads += 4 * KERN_PANEL) {
        for (size_t v = 0; v < VECS; v++)
            scales[v] = vec_load_f16(half_scales + i / PACK_GROUP * KERN_PANEL + v * VEC_LANES);
        add_code_column(s, quads, 0, scales, true, t, i, rows, VECS);
        add_code_column(s, quads, 1, scales, true, t, i + 1, rows, VECS);
        add_code_column(s, quads, 2, scales, true, t, i + 2, rows, VECS);
        add_code_column(s, quads, 3, scales, true, t, i + 3, rows, VECS);
    }
    end_tile(s, t, rows, VECS, false);
}

/* The 32 positions of a panel of values. */
INLINE void tile_values_int8(const uint8_t *quads, const float *scales, const tile *t, size_t rows, size_t vecs)
{
    vec s[VEC_TILE_ROWS][VECS];
    begin_tile(s, t, rows, vecs, true);
    for (size_t j = 0; j < KERN_PANEL; j += 4, quads += 4 * vecs * VEC_LANES) {
        vec by_column[4] = {vec_set(scales[j]), vec_set(scales[j + 1]), vec_set(scales[j + 2]), vec_set(scales[j + 3])};
        add_code_column(s, quads, 0, by_column, false, t, j, rows, vecs);
        add_code_column(s, quads, 1, by_column + 1, false, t, j + 1, rows, vecs);
        add_code_column(s, quads, 2, by_column + 2, false, t, j + 2, rows, vecs);
        add_code_column(s, quads, 3, by_column + 3, false, t, j + 3, rows, vecs);
    }
    end_tile(s, t, rows, vecs, true);
}

/* One function for each of those and each height; `work` is a call of the above with ROWS. */
#define CASE_WORK(WORK, ROWS) \
    case ROWS:                \
        WORK(ROWS);           \
        break;
#define DEFINE_BY_HEIGHT(NAME, HIGHEST, WORK, ...)            \
    static void NAME(__VA_ARGS__, const tile *t, size_t rows) \
    {                                                         \
        switch (rows) {                                       \
            EACH_HEIGHT(HIGHEST, CASE_WORK, WORK)             \
        }                                                     \
    }

#define SCORES_f32(ROWS)  tile_products_f32(w, n, t, ROWS, VECS, false)
#define SCORES_bf16(ROWS) tile_products_bf16(w, n, t, ROWS, VECS, false)
#define SCORES_int8(ROWS) tile_keys_int8((const uint8_t *)w, n, scales, t, ROWS)
#define VALUES_f32(ROWS)  tile_products_f32(w, n, t, ROWS, VECS, true)
#define VALUES_bf16(ROWS) tile_products_bf16(w, n, t, ROWS, VECS, true)
#define VALUES_int8(ROWS) tile_values_int8((const uint8_t *)w, scales, t, ROWS, VECS)
#define HALF_f32(ROWS)    tile_products_f32(w, n, t, ROWS, HALF_VECS, true)
#define HALF_bf16(ROWS)   tile_products_bf16(w, n, t, ROWS, HALF_VECS, true)
#define HALF_int8(ROWS)   tile_values_int8((const uint8_t *)w, scales, t, ROWS, HALF_VECS)

DEFINE_BY_HEIGHT(scores_f32, VEC_TILE_ROWS, SCORES_f32, const char *w, size_t n)
DEFINE_BY_HEIGHT(values_f32, VEC_TILE_ROWS, VALUES_f32, const char *w, size_t n)
DEFINE_BY_HEIGHT(half_values_f32, VEC_TILE_ROWS, HALF_f32, const char *w, size_t n)
DEFINE_BY_HEIGHT(scores_bf16, VEC_TILE_ROWS, SCORES_bf16, const char *w, size_t n)
DEFINE_BY_HEIGHT(values_bf16, VEC_TILE_ROWS, VALUES_bf16, const char *w, size_t n)
DEFINE_BY_HEIGHT(half_values_bf16, VEC_TILE_ROWS, HALF_bf16, const char *w, size_t n)
DEFINE_BY_HEIGHT(scores_int8, VEC_TILE_ROWS, SCORES_int8, const char *w, size_t n, const uint16_t *scales)
DEFINE_BY_HEIGHT(values_int8, VEC_TILE_ROWS, VALUES_int8, const char *w, const float *scales)
DEFINE_BY_HEIGHT(half_values_int8, VEC_TILE_ROWS, HALF_int8, const char *w, const float *scales)

/* --- the keys or the values of a block, as they lie or as f32 --- */

/* Keys [dh][32], or panels of values. */
typedef struct half_block {
    pack_type type;
    const char *data;
    const uint16_t *scales; /* of int8 */
} half_block;

static half_block keys_of(const kern_attention *a, const char *block)
{
    const uint16_t *end = (const uint16_t *)(const void *)(block + kern_block_bytes(a->type, a->dh));
    return (half_block){a->type, block, end - 2 * kern_scales(a->dh)};
}

static half_block values_of(const kern_attention *a, const char *block)
{
    const uint16_t *end = (const uint16_t *)(const void *)(block + kern_block_bytes(a->type, a->dh));
    size_t size = a->type == PACK_F32 ? 4 : 2, keys = a->dh * size;
    if (a->type == PACK_INT8)
        keys = base_size_round_up(a->dh, 4);
    return (half_block){a->type, block + keys * KERN_PANEL, end - kern_scales(a->dh)};
}

static void unpack_bf16(const char *from, size_t n, float *to)
{
    const uint16_t *bits = (const uint16_t *)(const void *)from;
    for (size_t i = 0; i < n; i += VEC_LANES)
        vec_store(to + i, vec_load_bf16(bits + i));
}

INLINE void unpack_column(const uint8_t *quads, int j, vec scale, float *to)
{
    vec_store(to, vec_mul(vec_column_int8(quads, j), scale));
}

static void unpack_keys(const uint8_t *quads, uint32_t dh, const uint16_t *scales, float *to)
{
    for (size_t i = 0; i < dh; i += 4, quads += 4 * KERN_PANEL, to += 4 * KERN_PANEL)
        for (size_t v = 0; v < VECS; v++) {
            const uint8_t *lanes = quads + 4 * VEC_LANES * v;
            vec scale = vec_load_f16(scales + i / PACK_GROUP * KERN_PANEL + v * VEC_LANES);
            unpack_column(lanes, 0, scale, to + v * VEC_LANES);
            unpack_column(lanes, 1, scale, to + KERN_PANEL + v * VEC_LANES);
            unpack_column(lanes, 2, scale, to + 2 * KERN_PANEL + v * VEC_LANES);
            unpack_column(lanes, 3, scale, to + 3 * KERN_PANEL + v * VEC_LANES);
        }
}

static void unpack_scales(const uint16_t *halves, float *scales)
{
    for (size_t j = 0; j < KERN_PANEL; j += VEC_LANES)
        vec_store(scales + j, vec_load_f16(halves + j));
}

static void unpack_value_panel(const uint8_t *quads, size_t width, const uint16_t *half_scales, float *to)
{
    float scales[KERN_PANEL];
    unpack_scales(half_scales, scales);
    for (size_t j = 0; j < KERN_PANEL; j += 4, quads += 4 * width, to += 4 * width)
        for (size_t c = 0; c < width; c += VEC_LANES) {
            unpack_column(quads + 4 * c, 0, vec_set(scales[j]), to + c);
            unpack_column(quads + 4 * c, 1, vec_set(scales[j + 1]), to + width + c);
            unpack_column(quads + 4 * c, 2, vec_set(scales[j + 2]), to + 2 * width + c);
            unpack_column(quads + 4 * c, 3, vec_set(scales[j + 3]), to + 3 * width + c);
        }
}

/* A panel of values is a group. */
static void unpack_values(const uint8_t *quads, size_t dh_padded, const uint16_t *scales, float *to)
{
    for (size_t c = 0; c < dh_padded; c += KERN_PANEL) {
        size_t width = dh_padded - c < KERN_PANEL ? HALF_PANEL : KERN_PANEL;
        unpack_value_panel(quads + c * KERN_PANEL, width, scales + c, to + c * KERN_PANEL);
    }
}

/* Unpack half a block to f32, in `room`. */
static void unpack_half(half_block *half, bool keys, uint32_t dh, float *room)
{
    size_t padded = kern_dh_padded(dh);
    if (half->type == PACK_BF16)
        unpack_bf16(half->data, (keys ? dh : padded) * KERN_PANEL, room);
    else if (keys)
        unpack_keys((const uint8_t *)half->data, dh, half->scales, room);
    else
        unpack_values((const uint8_t *)half->data, padded, half->scales, room);
    *half = (half_block){.type = PACK_F32, .data = (const char *)room};
}

/* --- which rows see what --- */

/* Positions that a row sees, relative to the beginning of a split or of a block; empty: from == to. */
typedef struct seen {
    uint32_t from, to;
} seen;

/* The part of [from, to) that lies in [start, start + width), relative to start. */
INLINE seen seen_in(uint32_t from, uint32_t to, uint32_t start, uint32_t width)
{
    uint32_t low = from > start ? from - start : 0, high = to > start ? to - start : 0;
    high = high < width ? high : width;
    return (seen){low < high ? low : high, high};
}

/* One call at work on one split. */
typedef struct attention_call {
    const kern_attention *a;
    uint32_t n_rows, split;
    seen rows[KERN_ATTENTION_ROWS]; /* of the split */
    seen all;                       /* what any row sees */
    float *q;                       /* [n_rows][dh] */
    float *scores;                  /* [n_rows][KERN_SPLIT] */
    float *room;                    /* a widened half of a block */
    float *partials;
    size_t ld_partials;
} attention_call;

static void look(attention_call *w)
{
    const kern_attention *a = w->a;
    w->all = (seen){KERN_SPLIT, 0};
    for (uint32_t t = 0, r = 0; t < a->n_tokens; t++) {
        seen row = seen_in(a->first != NULL ? a->first[t] : 0, a->n_visible[t], w->split * KERN_SPLIT, KERN_SPLIT);
        if (row.from < row.to) {
            w->all.from = row.from < w->all.from ? row.from : w->all.from;
            w->all.to = row.to > w->all.to ? row.to : w->all.to;
        }
        for (uint32_t h = 0; h < a->n_heads; h++, r++)
            w->rows[r] = row;
    }
}

static const char *block_of(const attention_call *w, uint32_t b)
{
    return w->a->base + w->a->blocks[w->split * SPLIT_BLOCKS + b] * kern_block_bytes(w->a->type, w->a->dh);
}

/* --- the three passes --- */

static bool any_sees(const seen *rows, size_t n, uint32_t start)
{
    for (size_t r = 0; r < n; r++)
        if (rows[r].from < start + KERN_PANEL && rows[r].to > start && rows[r].from < rows[r].to)
            return true;
    return false;
}

/* Read a word of every cache line of the block after its keys.  Memory gives most when it is read in the order in
 * which it lies, so the values are brought into the cache right after the keys, though their turn comes when all keys
 * of the split are done. */
static void touch_values(const attention_call *w, uint32_t b)
{
    const char *block = block_of(w, b), *end = block + kern_block_bytes(w->a->type, w->a->dh);
    for (const char *at = values_of(w->a, block).data; at < end; at += KERN_ALIGN)
        (void)*(const volatile char *)at;
}

static void score_tile(const half_block *keys, size_t dh, const tile *t, size_t rows)
{
    if (keys->type == PACK_F32)
        scores_f32(keys->data, dh, t, rows);
    else if (keys->type == PACK_BF16)
        scores_bf16(keys->data, dh, t, rows);
    else
        scores_int8(keys->data, dh, keys->scales, t, rows);
}

static void score_block(const attention_call *w, uint32_t b)
{
    uint32_t dh = w->a->dh, start = b * KERN_PANEL;
    half_block keys = keys_of(w->a, block_of(w, b));
    if (keys.type != PACK_F32 && (w->n_rows > VEC_TILE_ROWS || dh % 4 != 0)) /* once for all tiles */
        unpack_half(&keys, true, dh, w->room);
    for (size_t r = 0, n; r < w->n_rows; r += n) {
        n = tile_height(w->n_rows - r, VEC_TILE_ROWS);
        tile t = {w->q + r * dh, dh, w->scores + r * KERN_SPLIT + start, KERN_SPLIT, w->a->scale};
        if (any_sees(w->rows + r, n, start))
            score_tile(&keys, dh, &t, n);
    }
    touch_values(w, b);
}

static void fill(float *x, size_t from, size_t to, float value)
{
    for (size_t i = from; i < to; i++)
        x[i] = value;
}

/* The largest of scores [begin, end), whole panels. */
static float largest(const float *scores, size_t begin, size_t end)
{
    vec max[VECS];
    float lanes[KERN_PANEL];
    for (size_t v = 0; v < VECS; v++)
        max[v] = vec_load(scores + begin + v * VEC_LANES);
    for (size_t j = begin + KERN_PANEL; j < end; j += KERN_PANEL)
        for (size_t v = 0; v < VECS; v++)
            max[v] = vec_max(vec_load(scores + j + v * VEC_LANES), max[v]);
    for (size_t v = 1; v < VECS; v++)
        max[0] = vec_max(max[v], max[0]);
    vec_store(lanes, max[0]);
    float most = lanes[0];
    for (size_t l = 1; l < VEC_LANES; l++)
        most = lanes[l] > most ? lanes[l] : most;
    return most;
}

/* Scores of one row to weights relative to their maximum; what it does not see weighs 0.  A weight is at most 1 unless
 * its score was not a number or infinite (exp_vec), so a total that cannot be is made a NaN. */
static void weigh_row(float *scores, seen row, float *max, float *total)
{
    size_t begin = row.from / KERN_PANEL * KERN_PANEL, end = base_size_round_up(row.to, KERN_PANEL);
    fill(scores, begin, row.from, -INFINITY);
    fill(scores, row.to, end, -INFINITY);
    *max = largest(scores, begin, end);
    exp_row_shifted(scores + begin, end - begin, *max, scores + begin);
    fill(scores, begin, row.from, 0.0f);
    fill(scores, row.to, end, 0.0f);
    *total = strided_sum(scores + begin, end - begin, 0.0f, term_itself, vec_set(0.0f));
    if (!(*total <= (float)KERN_SPLIT))
        *total = NAN;
}

static void weigh_rows(const attention_call *w)
{
    uint32_t padded = kern_dh_padded(w->a->dh);
    for (uint32_t r = 0; r < w->n_rows; r++) {
        float *partial = w->partials + r * w->ld_partials;
        fill(partial, 0, w->ld_partials, 0.0f);
        if (w->rows[r].from < w->rows[r].to)
            weigh_row(w->scores + r * KERN_SPLIT, w->rows[r], partial + padded, partial + padded + 1);
    }
}

static void add_panel(const half_block *values, size_t c, size_t width, uint32_t from, uint32_t n, const tile *t,
                      size_t rows)
{
    bool whole = width == KERN_PANEL;
    size_t at = c * KERN_PANEL + from * width; /* elements */
    if (values->type == PACK_F32) {
        (whole ? values_f32 : half_values_f32)(values->data + at * sizeof(float), n, t, rows);
    } else if (values->type == PACK_BF16) {
        (whole ? values_bf16 : half_values_bf16)(values->data + at * sizeof(uint16_t), n, t, rows);
    } else {
        float scales[KERN_PANEL];
        unpack_scales(values->scales + c, scales);
        (whole ? values_int8 : half_values_int8)(values->data + at, scales, t, rows);
    }
}

/* Add positions [from, to) of a block to the partials of n rows that all see them; p and partials begin at the first
 * row. */
static void add_stretch(const attention_call *w, const half_block *values, uint32_t from, uint32_t to, const float *p,
                        size_t n, float *partials)
{
    uint32_t padded = kern_dh_padded(w->a->dh);
    for (uint32_t c = 0; c < padded; c += KERN_PANEL) {
        uint32_t width = padded - c < KERN_PANEL ? HALF_PANEL : KERN_PANEL;
        tile t = {p + from, KERN_SPLIT, partials + c, w->ld_partials, 0.0f};
        add_panel(values, c, width, from, to - from, &t, n);
    }
}

/* The next position after `at` where a row begins or ends. */
static uint32_t next_change(const seen *rows, size_t n, uint32_t at)
{
    uint32_t next = KERN_PANEL;
    for (size_t r = 0; r < n; r++) {
        if (rows[r].from > at && rows[r].from < next)
            next = rows[r].from;
        if (rows[r].to > at && rows[r].to < next)
            next = rows[r].to;
    }
    return next;
}

/* Rows [first, first + n) and one block's values. */
static void add_tile(const attention_call *w, const half_block *values, uint32_t b, size_t first, size_t n)
{
    seen rows[8]; /* VEC_TILE_ROWS at most */
    const float *p = w->scores + first * KERN_SPLIT + b * KERN_PANEL;
    for (size_t r = 0; r < n; r++)
        rows[r] = seen_in(w->rows[first + r].from, w->rows[first + r].to, b * KERN_PANEL, KERN_PANEL);
    for (uint32_t at = 0, next; at < KERN_PANEL; at = next) {
        next = next_change(rows, n, at);
        for (size_t r = 0, end; r < n; r = end) {
            bool sees = rows[r].from <= at && at < rows[r].to;
            for (end = r + 1; end < n && (rows[end].from <= at && at < rows[end].to) == sees;)
                end++;
            if (sees)
                add_stretch(w, values, at, next, p + r * KERN_SPLIT, end - r,
                            w->partials + (first + r) * w->ld_partials);
        }
    }
}

static void add_block(const attention_call *w, uint32_t b)
{
    half_block values = values_of(w->a, block_of(w, b));
    bool low = w->n_rows <= VEC_TILE_ROWS;
    if (values.type == PACK_INT8) /* its columns come in fours: only whole blocks */
        for (size_t r = 0; r < w->n_rows; r++)
            low = low && w->rows[r].from <= b * KERN_PANEL && w->rows[r].to >= (b + 1) * KERN_PANEL;
    if (values.type != PACK_F32 && !low)
        unpack_half(&values, false, w->a->dh, w->room);
    for (size_t r = 0, n; r < w->n_rows; r += n) {
        n = tile_height(w->n_rows - r, VEC_TILE_ROWS);
        add_tile(w, &values, b, r, n);
    }
}

static void gather_queries(const attention_call *w)
{
    const kern_attention *a = w->a;
    size_t token_floats = (size_t)a->n_heads * a->dh;
    for (uint32_t t = 0; t < a->n_tokens; t++)
        memcpy(w->q + t * token_floats, a->q + t * a->ldq, token_floats * sizeof *w->q);
}

void KERN_FN(attention_partial)(const kern_attention *a, uint32_t split, float *partials)
{
    attention_call w = {.a = a,
                        .n_rows = a->n_tokens * a->n_heads,
                        .split = split,
                        .partials = partials,
                        .ld_partials = kern_partial_floats(a->dh)};
    w.q = a->scratch;
    w.scores = w.q + (size_t)KERN_ATTENTION_ROWS * kern_dh_padded(a->dh);
    w.room = w.scores + (size_t)KERN_ATTENTION_ROWS * KERN_SPLIT;
    look(&w);
    gather_queries(&w);
    uint32_t begin = w.all.from / KERN_PANEL, end = (w.all.to + KERN_PANEL - 1) / KERN_PANEL;
    for (uint32_t b = begin; b < end; b++)
        score_block(&w, b);
    weigh_rows(&w);
    for (uint32_t b = begin; b < end; b++)
        add_block(&w, b);
}

/* --- merge and normalise --- */

static void merge_row(float *sum, const float *partial, size_t padded)
{
    float larger = partial[padded] > sum[padded] ? partial[padded] : sum[padded], f, g;
    exp_row_shifted(sum + padded, 1, larger, &f);
    exp_row_shifted(partial + padded, 1, larger, &g);
    for (size_t c = 0; c < padded; c += VEC_LANES) {
        vec scaled = vec_mul(vec_load(partial + c), vec_set(g));
        vec_store(sum + c, vec_fma(vec_load(sum + c), vec_set(f), scaled));
    }
    sum[padded] = larger;
    sum[padded + 1] = fmaf(sum[padded + 1], f, partial[padded + 1] * g);
}

void KERN_FN(attention_merge)(float *sums, const float *partials, size_t n_rows, uint32_t dh)
{
    size_t padded = kern_dh_padded(dh), ld = kern_partial_floats(dh);
    for (size_t r = 0; r < n_rows; r++, sums += ld, partials += ld) {
        if (partials[padded + 1] == 0.0f)
            continue;
        if (sums[padded + 1] == 0.0f)
            memcpy(sums, partials, ld * sizeof *sums);
        else
            merge_row(sums, partials, padded);
    }
}

void KERN_FN(attention_normalise)(const kern_attention *a, const float *sums)
{
    size_t padded = kern_dh_padded(a->dh), ld = kern_partial_floats(a->dh);
    for (uint32_t t = 0; t < a->n_tokens; t++)
        for (uint32_t h = 0; h < a->n_heads; h++, sums += ld) {
            float *out = a->out + t * a->ldo + (size_t)h * a->dh;
            for (uint32_t i = 0; i < a->dh; i++)
                out[i] = sums[i] / sums[padded + 1];
        }
}
