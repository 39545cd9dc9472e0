/* body_attention.h - part of kern_body.h: attention over the paged cache. */

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
