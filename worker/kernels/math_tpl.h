/* math_tpl.h - exp and sums over a row, which norms, activations and attention share.
 *
 * exp(x) = 2^n p(r): n = round(x / ln 2) comes from adding 1.5 * 2^23 (the integer is then in the low mantissa bits), r
 * = x - n ln 2 in two steps, p is a polynomial of degree 6 with every fma written out, and n goes straight into p's
 * exponent.  A sum runs in 32 strided lanes, then a binary tree, whatever the vectors' width:
 *
 *     x   0 1 2 ... 31 | 32 33 ... 63 | ...       lane l sums l, l + 32, l + 64, ...
 *     then lanes 0-15 += 16-31, 0-7 += 8-15, ... until lane 0 holds all */
#ifndef PALMGROVE_KERN_MATH_TPL_H
#define PALMGROVE_KERN_MATH_TPL_H

#include "worker/kernels/tile_tpl.h"

/* --- exponential: exp(x) = 2^n * p(r), n = round(x / ln 2), |r| <= ln 2 / 2; relative error under 2e-7.  Below -87.3
 * it stays at exp(-87.3), above 88 at exp(88). --- */

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

/* Apply a vector function to n elements; the tail goes through a padded block so that each element sees the same
 * operations. */
#define FOR_EACH_VEC(n, body_full, body_tail)          \
    do {                                               \
        size_t i = 0;                                  \
        for (; i + VEC_LANES <= (n); i += VEC_LANES) { \
            body_full;                                 \
        }                                              \
        if (i < (n)) {                                 \
            size_t left = (n)-i;                       \
            body_tail;                                 \
        }                                              \
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

static inline void exp_row_shifted(const float *x, size_t n, float max, float *y)
{
    vec shift = vec_set(max);
    FOR_EACH_VEC(n, vec_store(y + i, exp_vec(vec_sub(vec_load(x + i), shift))),
                 store_tail(y + i, exp_vec(vec_sub(load_tail(x + i, left), shift)), left));
}

/* --- sums in 32 strided lanes --- */

/* Lane l holds the sum over elements l, l + 32, ...; halves are added until one is left. */
static inline float tree_sum(float lanes[KERN_PANEL])
{
    for (size_t half = KERN_PANEL / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            lanes[l] += lanes[l + half];
    return lanes[0];
}

typedef vec strided_term(vec v, vec parameter);

/* Sum over i < d of term(x[i], parameter); `pad` fills up the last stride (its term must be 0). */
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

#endif
