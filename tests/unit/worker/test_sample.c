/* test_sample.c - from logits to a token: the generator against its published vectors, filters against hand-made
 * distributions. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/model/sample.h"

enum { N = 5 };
/* Probabilities 0.4, 0.3, 0.15, 0.1, 0.05, not in order. */
static const double probabilities[N] = {0.1, 0.4, 0.05, 0.3, 0.15};

static void fill_logits(float logits[N])
{
    for (int i = 0; i < N; i++)
        logits[i] = (float)log(probabilities[i]) + 3.0f;
}

/* Known answers of Random123 (kat_vectors, philox4x32 10 rounds). */
static void test_philox(void **unused)
{
    (void)unused;
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint32_t out[4];
        model_philox(known[i].counter, known[i].key, out);
        assert_memory_equal(out, known[i].expected, sizeof out);
    }
}

static void test_greedy_takes_the_lowest_of_equals(void **unused)
{
    (void)unused;
    const float logits[] = {1.0f, 4.0f, -2.0f, 4.0f};
    model_candidate scratch[4];
    link_sampling greedy = {.temperature = 0.0f, .top_p = 1.0f, .seed = 9};
    float logprob;
    assert_int_equal(model_sample(logits, 4, &greedy, 3, scratch, &logprob), 1);
    double total = exp(-3.0) + 1.0 + exp(-6.0) + 1.0;
    assert_true(fabs((double)logprob + log(total)) < 1e-6);
}

/* Of a given token: the log-probability that model_sample would return for it. */
static void test_logprob_of_any_token(void **unused)
{
    (void)unused;
    float logits[N], picked;
    model_candidate scratch[N];
    link_sampling greedy = {.temperature = 0.0f, .top_p = 1.0f};
    fill_logits(logits);
    for (int32_t i = 0; i < N; i++)
        assert_true(model_token_logprob(logits, N, i, &picked) && fabs((double)picked - log(probabilities[i])) < 1e-6);
    int32_t best = model_sample(logits, N, &greedy, 0, scratch, &picked);
    float alone = 0.0f;
    assert_true(model_token_logprob(logits, N, best, &alone) && alone == picked);
}

/* How often each id comes in `draws` draws over as many positions. */
static void count(const link_sampling *sampling, uint32_t draws, uint32_t counts[N])
{
    float logits[N], logprob;
    model_candidate scratch[N];
    fill_logits(logits);
    memset(counts, 0, N * sizeof *counts);
    for (uint32_t position = 0; position < draws; position++)
        counts[model_sample(logits, N, sampling, position, scratch, &logprob)]++;
}

/* Shares agree with `expected` within four standard deviations of a binomial count. */
static void check_shares(const uint32_t counts[N], uint32_t draws, const double expected[N])
{
    for (int i = 0; i < N; i++) {
        double sigma = sqrt(draws * expected[i] * (1.0 - expected[i]));
        assert_true(fabs(counts[i] - draws * expected[i]) <= 4.0 * sigma);
    }
}

static void test_shares(void **unused)
{
    (void)unused;
    enum { DRAWS = 40000 };
    uint32_t counts[N];
    link_sampling plain = {.temperature = 1.0f, .top_p = 1.0f, .seed = 5};
    count(&plain, DRAWS, counts);
    check_shares(counts, DRAWS, probabilities);

    link_sampling hot = {.temperature = 2.0f, .top_p = 1.0f, .seed = 6}; /* p ^ (1/2), normalised */
    double roots[N], total = 0.0;
    for (int i = 0; i < N; i++)
        total += roots[i] = sqrt(probabilities[i]);
    for (int i = 0; i < N; i++)
        roots[i] /= total;
    count(&hot, DRAWS, counts);
    check_shares(counts, DRAWS, roots);

    link_sampling two = {.temperature = 1.0f, .top_k = 2, .top_p = 1.0f, .seed = 7};
    const double of_two[N] = {0, 0.4 / 0.7, 0, 0.3 / 0.7, 0};
    count(&two, DRAWS, counts);
    check_shares(counts, DRAWS, of_two);

    link_sampling nucleus = {.temperature = 1.0f, .top_p = 0.8f, .seed = 8}; /* 0.4 + 0.3 + 0.15 exceed it */
    const double of_three[N] = {0, 0.4 / 0.85, 0, 0.3 / 0.85, 0.15 / 0.85};
    count(&nucleus, DRAWS, counts);
    check_shares(counts, DRAWS, of_three);

    link_sampling both = {.temperature = 1.0f, .top_k = 3, .top_p = 0.45f, .seed = 8}; /* of three: 0.47 exceeds 0.45 */
    const double of_one[N] = {0, 1.0, 0, 0, 0};
    count(&both, DRAWS, counts);
    check_shares(counts, DRAWS, of_one);
}

/* --- against sorting the whole vocabulary --- */

enum { MANY = 1500 };

typedef struct ranked {
    float logit;
    int32_t id;
} ranked;

static int by_logit(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->id - y->id;
}

static size_t beyond(const ranked *sorted, size_t n, float temperature, double share)
{
    double total = 0.0, reached = 0.0;
    for (size_t i = 0; i < n; i++)
        total += exp((double)(sorted[i].logit - sorted[0].logit) / (double)temperature);
    for (size_t i = 0; i < n; i++) {
        reached += exp((double)(sorted[i].logit - sorted[0].logit) / (double)temperature);
        if (reached > share * total)
            return i;
    }
    return n - 1;
}

static int32_t sample_by_sorting(const float *logits, const link_sampling *sampling, uint32_t position)
{
    static ranked sorted[MANY];
    size_t n = MANY;
    uint32_t words[4];
    for (int32_t i = 0; i < MANY; i++)
        sorted[i] = (ranked){logits[i], i};
    qsort(sorted, n, sizeof *sorted, by_logit);
    if (sampling->top_k != 0 && sampling->top_k < n)
        n = sampling->top_k;
    if (sampling->top_p < 1.0f)
        n = beyond(sorted, n, sampling->temperature, (double)sampling->top_p) + 1;
    model_philox((const uint32_t[4]){position, 0, 0, 0}, (const uint32_t[2]){(uint32_t)sampling->seed, 0}, words);
    uint64_t bits = ((uint64_t)words[0] << 32 | words[1]) >> 11;
    return sorted[beyond(sorted, n, sampling->temperature, (double)bits / 9007199254740992.0)].id;
}

/* Many equal logits, so that the order among equals counts. */
static void test_filters_agree_with_a_sort(void **unused)
{
    (void)unused;
    static float logits[MANY];
    static model_candidate scratch[MANY];
    static const link_sampling filters[] = {
        {.temperature = 1.0f, .top_k = 1, .top_p = 1.0f},
        {.temperature = 1.0f, .top_k = 40, .top_p = 1.0f},
        {.temperature = 0.7f, .top_k = MANY, .top_p = 1.0f},
        {.temperature = 1.5f, .top_k = 2 * MANY, .top_p = 0.5f},
        {.temperature = 1.0f, .top_p = 0.9f},
        {.temperature = 2.0f, .top_p = 0.999f},
        {.temperature = 1.0f, .top_k = 100, .top_p = 0.3f},
        {.temperature = 1.0f, .top_k = MANY - 1, .top_p = 0.95f},
        {.temperature = 1.0f, .top_k = 3, .top_p = 0.00001f},
    };
    for (uint32_t f = 0; f < sizeof filters / sizeof *filters; f++) {
        for (uint32_t position = 0; position < 40; position++) {
            link_sampling sampling = filters[f];
            sampling.seed = 100 + f;
            for (uint32_t i = 0; i < MANY; i++)
                logits[i] = (float)((i * 2654435761u + position * 40503u) >> 16 & 255u) / 32.0f;
            float logprob;
            assert_int_equal(model_sample(logits, MANY, &sampling, position, scratch, &logprob),
                             sample_by_sorting(logits, &sampling, position));
        }
    }
}

/* A NaN or an infinity of either sign is reported, wherever it is; the largest finite numbers are fine. */
static void test_not_finite_is_reported(void **unused)
{
    (void)unused;
    static const link_sampling filters[] = {{.temperature = 0.0f, .top_p = 1.0f},
                                            {.temperature = 1.0f, .top_p = 1.0f},
                                            {.temperature = 1.0f, .top_p = 0.5f},
                                            {.temperature = 1.0f, .top_k = 2, .top_p = 0.5f}};
    const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    float logits[100], logprob;
    model_candidate scratch[100];
    for (size_t n = 1; n <= 100; n++)
        for (size_t f = 0; f < sizeof filters / sizeof *filters; f++) {
            for (size_t i = 0; i < n; i++)
                logits[i] = i % 2 == 0 ? 1.7e38f : -1.7e38f;
            int32_t token = model_sample(logits, n, &filters[f], 3, scratch, &logprob);
            assert_true(token >= 0 && (size_t)token < n);
            assert_true(model_token_logprob(logits, n, token, &logprob));
            for (size_t i = 0; i < n; i++) {
                float kept = logits[i];
                logits[i] = bad[(i + f) % 4];
                logprob = 5.0f;
                assert_int_equal(model_sample(logits, n, &filters[f], 3, scratch, &logprob), LINK_TOKEN_OVERFLOW);
                assert_false(model_token_logprob(logits, n, 0, &logprob));
                assert_true(logprob == 5.0f);
                logits[i] = kept;
            }
        }
}

/* A draw depends on seed and position, on nothing drawn before. */
static void test_draws_are_keyed(void **unused)
{
    (void)unused;
    float logits[N], logprob;
    model_candidate scratch[N];
    fill_logits(logits);
    link_sampling a = {.temperature = 1.0f, .top_p = 1.0f, .seed = 1}, b = a;
    b.seed = UINT64_C(1) << 32 | 1; /* differs in the upper half only */
    int differ_by_seed = 0, differ_by_position = 0;
    for (uint32_t position = 0; position < 200; position++) {
        int32_t first = model_sample(logits, N, &a, position, scratch, &logprob);
        differ_by_seed += first != model_sample(logits, N, &b, position, scratch, &logprob);
        differ_by_position += first != model_sample(logits, N, &a, position + 1000, scratch, &logprob);
        assert_int_equal(first, model_sample(logits, N, &a, position, scratch, &logprob));
    }
    assert_true(differ_by_seed > 100 && differ_by_position > 100); /* two draws agree with probability 0.285 */
}

static void test_digest(void **unused)
{
    (void)unused;
    float logits[] = {1.0f, -2.0f, 0.0f};
    uint64_t digest = model_logits_digest(logits, 3);
    logits[2] = -0.0f; /* another bit pattern */
    assert_true(digest != model_logits_digest(logits, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox),
        cmocka_unit_test(test_greedy_takes_the_lowest_of_equals),
        cmocka_unit_test(test_logprob_of_any_token),
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_filters_agree_with_a_sort),
        cmocka_unit_test(test_not_finite_is_reported),
        cmocka_unit_test(test_draws_are_keyed),
        cmocka_unit_test(test_digest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
