/* body_attention.h - part of kern_body.h: attention over the paged cache, a split of positions at a time.
 *
 * Scores of all rows come first, block by block: positions lie in vector lanes and up to VEC_TILE_ROWS rows share each key that is loaded.
 * Then each row's scores become weights.  Then values are added, block by block: dimensions lie in lanes, and the rows of a tile that see
 * the same positions share each value.  Where rows of a tile see different parts of a block (the causal edge, a window), it is walked in
 * stretches that end where the set of rows changes. */

#define SPLIT_BLOCKS (KERN_SPLIT / KERN_PANEL)
#define HALF_PANEL (KERN_PANEL / 2)
#define HALF_VECS (VECS / 2)

/* --- products of a tile: y[r] = (y[r] or 0) + sum over i < n of x[r][i] * w[i], w [n][width] --- */

INLINE void tile_products(const float *w, size_t vecs, size_t n, const float *x, size_t ldx, size_t rows, bool adds, vec scale, float *y,
                          size_t ldy)
{
    vec s[VEC_TILE_ROWS][VECS];
    for (size_t r = 0; r < rows; r++)
        for (size_t v = 0; v < vecs; v++)
            s[r][v] = adds ? vec_load(y + r * ldy + v * VEC_LANES) : vec_set(0.0f);
    for (size_t i = 0; i < n; i++, w += vecs * VEC_LANES) {
        vec wi[VECS];
        for (size_t v = 0; v < vecs; v++)
            wi[v] = vec_load(w + v * VEC_LANES);
        for (size_t r = 0; r < rows; r++) {
            vec xr = vec_set(x[r * ldx + i]);
            for (size_t v = 0; v < vecs; v++)
                s[r][v] = vec_fma(wi[v], xr, s[r][v]);
        }
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t v = 0; v < vecs; v++)
            vec_store(y + r * ldy + v * VEC_LANES, adds ? s[r][v] : vec_mul(s[r][v], scale));
}

#define CASE_SCORES(unused, ROWS)                                                                                      \
    case ROWS:                                                                                                         \
        tile_products(keys, VECS, dh, q, ldq, ROWS, false, vec_set(scale), scores, KERN_SPLIT);                        \
        break;
#define CASE_VALUES(VECTORS, ROWS)                                                                                     \
    case ROWS:                                                                                                         \
        tile_products(values, VECTORS, n, p, KERN_SPLIT, ROWS, true, vec_set(0.0f), out, ldo);                         \
        break;

/* scores[r][0..32) = (K^T q[r]) * scale, K [dh][32]. */
static void tile_scores(const float *keys, size_t dh, const float *q, size_t ldq, size_t rows, float scale, float *scores)
{
    switch (rows) {
        EACH_HEIGHT(VEC_TILE_ROWS, CASE_SCORES, 0)
    }
}

/* out[r] += sum of p[r][j] * V[j] over n positions, V [n][32] and V [n][16]. */
static void tile_values(const float *values, size_t n, const float *p, size_t rows, float *out, size_t ldo)
{
    switch (rows) {
        EACH_HEIGHT(VEC_TILE_ROWS, CASE_VALUES, VECS)
    }
}

static void tile_half_values(const float *values, size_t n, const float *p, size_t rows, float *out, size_t ldo)
{
    switch (rows) {
        EACH_HEIGHT(VEC_TILE_ROWS, CASE_VALUES, HALF_VECS)
    }
}

/* --- a block as f32 --- */

static void widen_bf16(const char *from, size_t n, float *to)
{
    const uint16_t *bits = (const uint16_t *)(const void *)from;
    for (size_t i = 0; i < n; i += VEC_LANES)
        vec_store(to + i, vec_load_bf16(bits + i));
}

INLINE void widen_column(const uint8_t *quads, int j, vec scale, float *to)
{
    vec_store(to, vec_mul(vec_column_int8(quads, j), scale));
}

/* Keys have a scale for each lane, values one for each of the four columns of a quad. */
static void widen_keys(const char *block, uint32_t dh, const float *scales, float *to)
{
    const uint8_t *quads = (const uint8_t *)block;
    for (size_t i = 0; i < dh; i += 4, quads += 4 * KERN_PANEL, to += 4 * KERN_PANEL)
        for (size_t v = 0; v < VECS; v++) {
            const uint8_t *lanes = quads + 4 * VEC_LANES * v;
            vec scale = vec_load(scales + v * VEC_LANES);
            widen_column(lanes, 0, scale, to + v * VEC_LANES);
            widen_column(lanes, 1, scale, to + KERN_PANEL + v * VEC_LANES);
            widen_column(lanes, 2, scale, to + 2 * KERN_PANEL + v * VEC_LANES);
            widen_column(lanes, 3, scale, to + 3 * KERN_PANEL + v * VEC_LANES);
        }
}

static void widen_value_panel(const uint8_t *quads, size_t width, const float *scales, float *to)
{
    for (size_t j = 0; j < KERN_PANEL; j += 4, quads += 4 * width, to += 4 * width)
        for (size_t c = 0; c < width; c += VEC_LANES) {
            widen_column(quads + 4 * c, 0, vec_set(scales[j]), to + c);
            widen_column(quads + 4 * c, 1, vec_set(scales[j + 1]), to + width + c);
            widen_column(quads + 4 * c, 2, vec_set(scales[j + 2]), to + 2 * width + c);
            widen_column(quads + 4 * c, 3, vec_set(scales[j + 3]), to + 3 * width + c);
        }
}

static void widen_values(const char *codes, size_t dh_padded, const float *scales, float *to)
{
    for (size_t c = 0; c < dh_padded; c += KERN_PANEL) {
        size_t width = dh_padded - c < KERN_PANEL ? HALF_PANEL : KERN_PANEL;
        widen_value_panel((const uint8_t *)codes + c * KERN_PANEL, width, scales, to + c * KERN_PANEL);
    }
}

/* Where int8's scales lie: those of the keys, then those of the values. */
static const float *scales_of(const char *block, uint32_t dh)
{
    return (const float *)(const void *)(block + kern_block_bytes(PACK_INT8, dh)) - 2 * KERN_PANEL;
}

/* A block's keys [dh][32] and values [panels] as f32, in `room` unless they lie so already. */
static const float *keys_of(const kern_attention *a, const char *block, float *room)
{
    if (a->type == PACK_F32)
        return (const float *)(const void *)block;
    if (a->type == PACK_BF16)
        widen_bf16(block, (size_t)a->dh * KERN_PANEL, room);
    else
        widen_keys(block, a->dh, scales_of(block, a->dh), room);
    return room;
}

static const float *values_of(const kern_attention *a, const char *block, float *room)
{
    size_t padded = kern_dh_padded(a->dh), keys = (size_t)a->dh * KERN_PANEL;
    if (a->type == PACK_F32)
        return (const float *)(const void *)block + keys;
    if (a->type == PACK_BF16)
        widen_bf16(block + 2 * keys, padded * KERN_PANEL, room);
    else
        widen_values(block + base_size_round_up(a->dh, 4) * KERN_PANEL, padded, scales_of(block, a->dh) + KERN_PANEL, room);
    return room;
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
typedef struct attention_work {
    const kern_attention *a;
    uint32_t n_rows, split;
    seen rows[KERN_ATTENTION_ROWS]; /* of the split */
    seen all;                       /* what any row sees */
    float *q;                       /* [n_rows][dh] */
    float *scores;                  /* [n_rows][KERN_SPLIT] */
    float *room;                    /* a widened half of a block */
    float *parts;
    size_t ld_parts;
} attention_work;

static void look(attention_work *w)
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

static const char *block_of(const attention_work *w, uint32_t b)
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

/* Read a word of every cache line of the block behind its keys.  Memory gives most when it is read in the order in which it lies, so the
 * values are brought near right after the keys, though their turn comes when all keys of the split are done. */
static void touch_values(const attention_work *w, const char *block)
{
    size_t dh = w->a->dh, size = w->a->type == PACK_F32 ? 4 : w->a->type == PACK_BF16 ? 2 : 1;
    for (size_t i = dh * KERN_PANEL * size; i < kern_block_bytes(w->a->type, w->a->dh); i += KERN_ALIGN)
        (void)*(const volatile char *)(block + i);
}

static void score_block(const attention_work *w, uint32_t b)
{
    uint32_t dh = w->a->dh, start = b * KERN_PANEL;
    const float *keys = keys_of(w->a, block_of(w, b), w->room);
    for (size_t r = 0, n; r < w->n_rows; r += n) {
        n = tile_height(w->n_rows - r, VEC_TILE_ROWS);
        if (any_sees(w->rows + r, n, start))
            tile_scores(keys, dh, w->q + r * dh, dh, n, w->a->scale, w->scores + r * KERN_SPLIT + start);
    }
    touch_values(w, block_of(w, b));
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

/* Scores of one row to weights relative to their maximum; what it does not see weighs 0.  A weight is at most 1 unless its score was not a
 * number or infinite (exp_vec), so a total that cannot be is made a NaN. */
static void weigh_row(float *scores, seen row, float *max, float *total)
{
    size_t begin = row.from / KERN_PANEL * KERN_PANEL, end = base_size_round_up(row.to, KERN_PANEL);
    fill(scores, begin, row.from, -INFINITY);
    fill(scores, row.to, end, -INFINITY);
    *max = largest(scores, begin, end);
    exp_shifted(scores + begin, end - begin, *max, scores + begin);
    fill(scores, begin, row.from, 0.0f);
    fill(scores, row.to, end, 0.0f);
    *total = strided_sum(scores + begin, end - begin, 0.0f, term_itself, vec_set(0.0f));
    if (!(*total <= (float)KERN_SPLIT))
        *total = NAN;
}

static void weigh_rows(const attention_work *w)
{
    uint32_t padded = kern_dh_padded(w->a->dh);
    for (uint32_t r = 0; r < w->n_rows; r++) {
        float *part = w->parts + r * w->ld_parts;
        fill(part, 0, w->ld_parts, 0.0f);
        if (w->rows[r].from < w->rows[r].to)
            weigh_row(w->scores + r * KERN_SPLIT, w->rows[r], part + padded, part + padded + 1);
    }
}

/* Add positions [from, to) of a block to the parts of n rows that all see them; p and parts begin at the first row. */
static void add_stretch(const attention_work *w, const float *values, uint32_t from, uint32_t to, const float *p, size_t n, float *parts)
{
    uint32_t padded = kern_dh_padded(w->a->dh), c = 0;
    for (; c + KERN_PANEL <= padded; c += KERN_PANEL)
        tile_values(values + c * KERN_PANEL + from * KERN_PANEL, to - from, p + from, n, parts + c, w->ld_parts);
    if (c < padded)
        tile_half_values(values + c * KERN_PANEL + from * HALF_PANEL, to - from, p + from, n, parts + c, w->ld_parts);
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
static void add_tile(const attention_work *w, const float *values, uint32_t b, size_t first, size_t n)
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
                add_stretch(w, values, at, next, p + r * KERN_SPLIT, end - r, w->parts + (first + r) * w->ld_parts);
        }
    }
}

static void add_block(const attention_work *w, uint32_t b)
{
    const float *values = values_of(w->a, block_of(w, b), w->room);
    for (size_t r = 0, n; r < w->n_rows; r += n) {
        n = tile_height(w->n_rows - r, VEC_TILE_ROWS);
        add_tile(w, values, b, r, n);
    }
}

static void gather_queries(const attention_work *w)
{
    const kern_attention *a = w->a;
    size_t token_floats = (size_t)a->n_heads * a->dh;
    for (uint32_t t = 0; t < a->n_tokens; t++)
        memcpy(w->q + t * token_floats, a->q + t * a->ldq, token_floats * sizeof *w->q);
}

static void attention_split(const kern_attention *a, uint32_t split, float *parts)
{
    attention_work w = {.a = a, .n_rows = a->n_tokens * a->n_heads, .split = split, .parts = parts, .ld_parts = kern_part_floats(a->dh)};
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

/* --- joining --- */

static void join_row(float *sum, const float *part, size_t padded)
{
    float larger = part[padded] > sum[padded] ? part[padded] : sum[padded], f, g;
    exp_shifted(sum + padded, 1, larger, &f);
    exp_shifted(part + padded, 1, larger, &g);
    for (size_t c = 0; c < padded; c += VEC_LANES) {
        vec scaled = vec_mul(vec_load(part + c), vec_set(g));
        vec_store(sum + c, vec_fma(vec_load(sum + c), vec_set(f), scaled));
    }
    sum[padded] = larger;
    sum[padded + 1] = fmaf(sum[padded + 1], f, part[padded + 1] * g);
}

static void attention_join(float *sums, const float *parts, size_t n_rows, uint32_t dh)
{
    size_t padded = kern_dh_padded(dh), ld = kern_part_floats(dh);
    for (size_t r = 0; r < n_rows; r++, sums += ld, parts += ld) {
        if (parts[padded + 1] == 0.0f)
            continue;
        if (sums[padded + 1] == 0.0f)
            memcpy(sums, parts, ld * sizeof *sums);
        else
            join_row(sums, parts, padded);
    }
}

static void attention_finish(const kern_attention *a, const float *sums)
{
    size_t padded = kern_dh_padded(a->dh), ld = kern_part_floats(a->dh);
    for (uint32_t t = 0; t < a->n_tokens; t++)
        for (uint32_t h = 0; h < a->n_heads; h++, sums += ld) {
            float *out = a->out + t * a->ldo + (size_t)h * a->dh;
            for (uint32_t i = 0; i < a->dh; i++)
                out[i] = sums[i] / sums[padded + 1];
        }
}
