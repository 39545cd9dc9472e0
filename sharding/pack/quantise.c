/* quantise.c - one group of weights to an f16 scale and integer codes.
 *
 * The error that counts is sum of w[i] * (x[i] - scale * q[i])^2, w the importance of column i: the mean square of the
 * activations that meet it, so the sum is the expected square of what the rounding adds to the output (the diagonal of
 * the layer's Hessian, as in llama.cpp's importance matrix and, with the whole Hessian, GPTQ, arXiv 2210.17323).
 *
 * int8: 255 levels leave little to win: scale = max |x| / 127, the codes rounded by the scale as it is stored.
 *
 * int4: the 16 levels -8..7 are not symmetric, so the element of largest magnitude goes to the negative end and the
 * scale takes its sign (Q4_0 of GGUF).  That scale may be far from the best one: elements inside the group lose more by
 * its coarse steps than the largest one loses when it is clipped.  So:
 *     1. try: the levels per unit run in small steps around 8 / max; for each the codes, and by least squares how well
 * the best scale for those codes does:  (sum w x q)^2 / (sum w q^2)  is what it takes off the error
 *     2. refit: the winner's scale by least squares, rounded to f16; codes again by that very scale; repeat while it
 * helps
 *     3. keep plain rounding (scale = -max / 8) where it is better after all
 * so the error is never above plain rounding's, and codes that came from such a group (Q4_0) are found again exactly.
 *
 * Same bits everywhere: plain +, -, *, / in f32 (the build forbids contraction into fma), sums in LANES strided lanes
 * and then in order, so a compiler may put the lanes into any vector.  Rounding is by adding 1.5 * 2^23: to nearest,
 * ties to even. */
#include <math.h>
#include <string.h>

#include "sharding/pack/half.h"
#include "sharding/pack/pack.h"

#define LANES      8u
#define ROUND      12582912.0f /* 1.5 * 2^23: adding it leaves no fraction bits */
#define F16_MAX    65504.0f
#define F16_MIN    0x1p-24f           /* the smallest scale that is not zero */
#define X_MAX      (F16_MAX * 127.0f) /* nothing larger can be represented; squares of it stay finite in sums */
#define WEIGHT_MIN 0x1p-40f           /* of the largest one: keeps products of small numbers normal */

/* Levels from 0 to the largest element: 8 rounds it exactly; fewer leave the negative end unused, more clip it. */
#define LEVELS_FROM 7.0f
#define LEVELS_STEP 0.125f
#define N_LEVELS    24u

#define MAX_REFITS 2

/* One group, padded with zeros of no weight to whole lanes. */
typedef struct group {
    float x[PACK_GROUP], w[PACK_GROUP], wx[PACK_GROUP];
    uint32_t n;
    float extreme; /* the element of largest magnitude, the first among equals */
} group;

typedef struct coded {
    uint16_t bits; /* the scale in f16 */
    float scale;
    float q[PACK_GROUP];
    float error;
} coded;

static float sum_lanes(const float lanes[LANES])
{
    float sum = lanes[0];
    for (size_t i = 1; i < LANES; i++)
        sum += lanes[i];
    return sum;
}

/* x without what cannot be represented: not finite counts as zero. */
static float representable(float x)
{
    if (!isfinite(x))
        return 0.0f;
    return x > X_MAX ? X_MAX : x < -X_MAX ? -X_MAX : x;
}

/* Importance relative to the largest one; one that is no number, or no importance at all, leaves the elements alike. */
static void take_weights(group *g, const float *importance, uint32_t n)
{
    float largest = 0.0f;
    for (uint32_t i = 0; importance != NULL && i < n; i++)
        if (isfinite(importance[i]) && importance[i] > largest)
            largest = importance[i];
    for (uint32_t i = 0; i < n; i++) {
        float w = largest > 0.0f && isfinite(importance[i]) ? importance[i] / largest : 0.0f;
        g->w[i] = largest > 0.0f ? (w > WEIGHT_MIN ? w : WEIGHT_MIN) : 1.0f;
    }
}

static void take_group(group *g, const float *x, const float *importance, uint32_t n)
{
    memset(g, 0, sizeof *g);
    g->n = n;
    for (uint32_t i = 0; i < n; i++) {
        g->x[i] = representable(x[i]);
        if (fabsf(g->x[i]) > fabsf(g->extreme))
            g->extreme = g->x[i];
    }
    take_weights(g, importance, n);
    for (uint32_t i = 0; i < PACK_GROUP; i++)
        g->wx[i] = g->w[i] * g->x[i];
}

/* x * inverse to the nearest of lowest..highest. */
static inline float code_of(float x, float inverse, float lowest, float highest)
{
    float q = x * inverse;
    q = q > lowest ? q : lowest;
    q = q < highest ? q : highest;
    return q + ROUND - ROUND;
}

/* What the codes for each of the scales leave to least squares: sums of w x q and w q q.  One lane a scale. */
static void fit(const group *g, const float *restrict inverse, float *restrict xq, float *restrict qq)
{
    for (size_t lane = 0; lane < N_LEVELS; lane++)
        xq[lane] = qq[lane] = 0.0f;
    for (uint32_t i = 0; i < g->n; i++) {
        float x = g->x[i], w = g->w[i], wx = g->wx[i];
        for (size_t lane = 0; lane < N_LEVELS; lane++) {
            float q = code_of(x, inverse[lane], -8.0f, 7.0f);
            xq[lane] += wx * q;
            qq[lane] += w * (q * q);
        }
    }
}

/* Round the scale to what can be stored, never to zero or infinity, and code the group by it. */
static void code_group(const group *g, float scale, float lowest, float highest, coded *out)
{
    float magnitude = fabsf(scale);
    magnitude = magnitude > F16_MIN ? magnitude : F16_MIN;
    magnitude = magnitude < F16_MAX ? magnitude : F16_MAX;
    out->bits = half_to_f16(scale < 0.0f ? -magnitude : magnitude);
    out->scale = half_from_f16(out->bits);

    float inverse = 1.0f / out->scale, errors[LANES] = {0};
    for (size_t i = 0; i < PACK_GROUP; i += LANES)
        for (size_t lane = 0; lane < LANES; lane++) {
            float q = code_of(g->x[i + lane], inverse, lowest, highest);
            float error = g->x[i + lane] - out->scale * q;
            out->q[i + lane] = q;
            errors[lane] += g->w[i + lane] * (error * error);
        }
    out->error = sum_lanes(errors);
}

/* The scale that least squares gives the best codes of step 1. */
static float search_scale(const group *g)
{
    float inverse[N_LEVELS], xq[N_LEVELS], qq[N_LEVELS];
    for (size_t i = 0; i < N_LEVELS; i++)
        inverse[i] = (LEVELS_FROM + LEVELS_STEP * (float)i) / -g->extreme;
    fit(g, inverse, xq, qq);

    float best_xq = 0.0f, best_qq = 1.0f;
    for (size_t i = 0; i < N_LEVELS; i++)
        if (xq[i] * xq[i] * best_qq > best_xq * best_xq * qq[i]) {
            best_xq = xq[i];
            best_qq = qq[i];
        }
    return best_xq / best_qq;
}

static float refit_scale(const group *g, const coded *c)
{
    float xq[LANES] = {0}, qq[LANES] = {0};
    for (size_t i = 0; i < PACK_GROUP; i += LANES)
        for (size_t lane = 0; lane < LANES; lane++) {
            xq[lane] += g->wx[i + lane] * c->q[i + lane];
            qq[lane] += g->w[i + lane] * (c->q[i + lane] * c->q[i + lane]);
        }
    float sum_qq = sum_lanes(qq);
    return sum_qq > 0.0f ? sum_lanes(xq) / sum_qq : c->scale;
}

static void code_int4(const group *g, coded *best)
{
    coded next;
    code_group(g, g->extreme / -8.0f, -8.0f, 7.0f, best);
    float scale = search_scale(g);
    for (int i = 0; i < MAX_REFITS; i++) {
        code_group(g, scale, -8.0f, 7.0f, &next);
        bool better = next.error < best->error;
        if (better)
            *best = next;
        else if (i > 0)
            break;
        scale = refit_scale(g, &next);
    }
}

uint16_t pack_group_quantise(pack_type type, const float *x, const float *importance, uint32_t n, int8_t *q)
{
    group g;
    coded c;
    take_group(&g, x, importance, n);
    if (g.extreme == 0.0f) {
        memset(q, 0, n);
        return 0;
    }
    if (type == PACK_INT4)
        code_int4(&g, &c);
    else
        code_group(&g, fabsf(g.extreme) / 127.0f, -127.0f, 127.0f, &c);
    for (uint32_t i = 0; i < n; i++)
        q[i] = (int8_t)c.q[i];
    return c.bits;
}
