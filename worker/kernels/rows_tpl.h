/* rows_tpl.h - what is done to single rows: activations (SwiGLU, GELU in three forms), RMS and layer norm, softmax
 * sums.
 *
 * Elements are independent of each other except in the sums of math_tpl.h; a tail shorter than a vector goes through a
 * padded one, so that each element sees the same operations wherever it lies. */
#include "worker/kernels/math_tpl.h"

#define FIXED_UNIT (1.0f / 68719476736.0f) /* 2^-KERN_FIXED_BITS, a power of two: exact */

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

static void add_bias(float *x, const float *bias, size_t n)
{
    if (bias != NULL)
        for (size_t i = 0; i < n; i++)
            x[i] += bias[i];
}

static void gelu_tanh(float *x, const float *bias, size_t n)
{
    add_bias(x, bias, n);
    FOR_EACH_VEC(n, vec_store(x + i, gelu_tanh_vec(vec_load(x + i))),
                 store_tail(x + i, gelu_tanh_vec(load_tail(x + i, left)), left));
}

/* With q = Phi(-|v|): max(v, 0) - |v| q.  Phi(-a) = erfc(a / sqrt 2) / 2 = p(t) exp(-a^2 / 2) / 2, t = 1 / (1 +
 * 0.3275911 a / sqrt 2). */
static inline vec gelu_vec(vec v)
{
    const vec zero = vec_set(0.0f), one = vec_set(1.0f);
    vec a = vec_max(v, vec_sub(zero, v));
    vec t = vec_div(one, vec_fma(vec_set(0.2316418883f), a, one));
    vec p = vec_set(0.5307027145f);
    p = vec_fma(p, t, vec_set(-0.7265760135f));
    p = vec_fma(p, t, vec_set(0.7107068705f));
    p = vec_fma(p, t, vec_set(-0.1422483680f));
    p = vec_fma(p, t, vec_set(0.1274147960f));
    vec q = vec_mul(vec_mul(p, t), exp_vec(vec_mul(vec_mul(a, a), vec_set(-0.5f))));
    return vec_sub(vec_max(v, zero), vec_mul(a, q));
}

static void gelu(float *x, const float *bias, size_t n)
{
    add_bias(x, bias, n);
    FOR_EACH_VEC(n, vec_store(x + i, gelu_vec(vec_load(x + i))),
                 store_tail(x + i, gelu_vec(load_tail(x + i, left)), left));
}

static inline vec gelu_quick_vec(vec v)
{
    return vec_mul(v, sigmoid_vec(vec_mul(vec_set(1.702f), v)));
}

static void gelu_quick(float *x, const float *bias, size_t n)
{
    add_bias(x, bias, n);
    FOR_EACH_VEC(n, vec_store(x + i, gelu_quick_vec(vec_load(x + i))),
                 store_tail(x + i, gelu_quick_vec(load_tail(x + i, left)), left));
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

static void norm_layer(const float *x, const float *gain, const float *bias, float eps, size_t d, float *y)
{
    float mean = strided_sum(x, d, 0.0f, term_itself, vec_set(0.0f)) / (float)d;
    float squares = strided_sum(x, d, mean, term_squared_distance, vec_set(mean));
    float factor = 1.0f / sqrtf(squares / (float)d + eps);
    for (size_t i = 0; i < d; i++)
        y[i] = ((x[i] - mean) * factor) * gain[i];
    add_bias(y, bias, d);
}

static void add_fixed(float *x, size_t d, const int64_t *acc, const float *bias)
{
    if (bias != NULL)
        for (size_t i = 0; i < d; i++)
            x[i] += (float)acc[i] * FIXED_UNIT + bias[i];
    else
        for (size_t i = 0; i < d; i++)
            x[i] += (float)acc[i] * FIXED_UNIT;
}

static void exp_shifted(const float *x, size_t n, float max, float *y)
{
    exp_row_shifted(x, n, max, y);
}
