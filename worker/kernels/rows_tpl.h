/* rows_tpl.h - part of kern_tpl.h: what is done to single rows: exponential, activations, norms, sums. */

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
    const float unit = 1.0f / FIXED_SCALE; /* a power of two: exact */
    if (bias != NULL)
        for (size_t i = 0; i < d; i++)
            x[i] += (float)acc[i] * unit + bias[i];
    else
        for (size_t i = 0; i < d; i++)
            x[i] += (float)acc[i] * unit;
}
