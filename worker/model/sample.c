/* sample.c - from logits to a token, without allocation and with one result for every layout and thread count.
 *
 *     logits [V] --argmax--> greedy (temperature 0)
 *        | weigh: exp((logit - max) / temperature)
 *     weights [V]
 *        | top_k, top_p: filter
 *        |    1. histogram of weights by their upper bits: the lowest bucket that can matter
 *        |    2. gather the candidates of the buckets from there on in front: a few dozen of 262,144
 *        |    3. heap; pop until top_k candidates, or until their weights exceed top_p of the total
 *     kept [n], descending
 *        | uniform number, Philox of (seed, position): the first candidate at which the cumulative weight exceeds it
 *     token, and its log-probability under the unmodified logits
 *
 * Equal weights are ordered by id, so the order is total and no algorithm shows in the result.  qsort allocates for
 * arrays of this size and sorts a whole vocabulary of which a few tokens count; a heap of all of Gemma's 262,144 tokens
 * takes as long as a step of a small model: hence the buckets. */
#include "worker/model/sample.h"

#include <string.h>

#include "worker/kernels/fmath.h"
#include "worker/kernels/kern.h"

enum { MAX_LANES = 16, WEIGHED_AT_ONCE = 256 };

/* Sums of a vocabulary's weights in another order differ by far less than this. */
#define SUM_MARGIN (1.0 + 1e-9)

void model_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]}, k[2] = {key[0], key[1]};
    for (int round = 0; round < 10; round++) {
        uint64_t product0 = (uint64_t)0xD2511F53u * c[0], product1 = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t next[4] = {(uint32_t)(product1 >> 32) ^ c[1] ^ k[0], (uint32_t)product1,
                            (uint32_t)(product0 >> 32) ^ c[3] ^ k[1], (uint32_t)product0};
        memcpy(c, next, sizeof c);
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
    memcpy(out, c, sizeof c);
}

/* 53 random bits in [0, 1). */
static double uniform_at(uint64_t seed, uint32_t position)
{
    uint32_t words[4];
    model_philox((const uint32_t[4]){position, 0, 0, 0}, (const uint32_t[2]){(uint32_t)seed, (uint32_t)(seed >> 32)},
                 words);
    uint64_t bits = ((uint64_t)words[0] << 32 | words[1]) >> 11;
    return (double)bits * (1.0 / 9007199254740992.0);
}

/* The largest, in lanes that a compiler turns into vectors.  False when one is a NaN or an infinity: a NaN is never the
 * largest, so a token would be drawn from the others as if nothing were wrong.  x - x is 0 for a finite x, else a NaN,
 * which stays in a sum. */
static bool max_of(const float *logits, size_t n, float *out)
{
    float lanes[MAX_LANES], zeros[MAX_LANES], max = logits[0], zero = 0.0f;
    for (size_t j = 0; j < MAX_LANES; j++) {
        lanes[j] = max;
        zeros[j] = 0.0f;
    }
    size_t i = 0;
    for (; i + MAX_LANES <= n; i += MAX_LANES)
        for (size_t j = 0; j < MAX_LANES; j++) {
            lanes[j] = logits[i + j] > lanes[j] ? logits[i + j] : lanes[j];
            zeros[j] += logits[i + j] - logits[i + j];
        }
    for (size_t j = 0; j < MAX_LANES; j++) {
        max = lanes[j] > max ? lanes[j] : max;
        zero += zeros[j];
    }
    for (; i < n; i++) {
        max = logits[i] > max ? logits[i] : max;
        zero += logits[i] - logits[i];
    }
    *out = max;
    return zero == 0.0f;
}

/* The lowest id of the largest. */
static int32_t first_of(const float *logits, size_t n, float max)
{
    size_t i = 0;
    while (i + 1 < n && logits[i] != max)
        i++;
    return (int32_t)i;
}

/* --- top_k and top_p, in place --- */

/* Larger values first, then lower ids: a total order, so the algorithm leaves no trace. */
static bool comes_before(const model_candidate *a, const model_candidate *b)
{
    return a->value != b->value ? a->value > b->value : a->id < b->id;
}

static void sift_down(model_candidate *heap, size_t n, size_t at)
{
    model_candidate moved = heap[at];
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        child += child + 1 < n && comes_before(&heap[child + 1], &heap[child]);
        if (!comes_before(&heap[child], &moved))
            break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

static void make_heap(model_candidate *heap, size_t n)
{
    for (size_t at = n / 2; at-- > 0;)
        sift_down(heap, n, at);
}

/* Pop: the first of a heap of n changes places with its last, which leaves a heap of n - 1. */
static void take_first(model_candidate *heap, size_t n)
{
    model_candidate first = heap[0];
    heap[0] = heap[n - 1];
    heap[n - 1] = first;
    sift_down(heap, n - 1, 0);
}

static double sum_of(const model_candidate *candidates, size_t n)
{
    double total = 0.0;
    for (size_t i = 0; i < n; i++)
        total += candidates[i].value;
    return total;
}

/* The first candidate at which the cumulative weight exceeds `share` of the total; the last one if rounding leaves
 * none. */
static size_t first_beyond(const model_candidate *candidates, size_t n, double share)
{
    double total = sum_of(candidates, n), reached = 0.0;
    for (size_t i = 0; i < n; i++) {
        reached += candidates[i].value;
        if (reached > share * total)
            return i;
    }
    return n - 1;
}

static void reverse(model_candidate *candidates, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        model_candidate swapped = candidates[i];
        candidates[i] = candidates[n - 1 - i];
        candidates[n - 1 - i] = swapped;
    }
}

/* Weights are in [0, 1], so their bits, read as integers, ascend with them; the upper bits name a bucket. */
enum { BUCKET_SHIFT = 20, N_BUCKETS = (0x3f800000 >> BUCKET_SHIFT) + 1 };

static uint32_t bucket_of(float weight)
{
    uint32_t bits;
    memcpy(&bits, &weight, sizeof bits);
    bits >>= BUCKET_SHIFT;
    return bits < N_BUCKETS ? bits : N_BUCKETS - 1; /* NaN */
}

/* The lowest of the highest buckets that together hold `max_count` candidates (by_count), or certainly more weight than
 * `limit`. */
static uint32_t lowest_bucket(const model_candidate *candidates, size_t n, size_t max_count, bool by_count,
                              double limit)
{
    uint32_t counts[N_BUCKETS] = {0};
    double sums[N_BUCKETS] = {0.0}, sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bucket = bucket_of(candidates[i].value);
        counts[bucket]++;
        sums[bucket] += candidates[i].value;
    }
    size_t count = 0;
    uint32_t bucket = N_BUCKETS;
    while (bucket > 0 && (by_count ? count < max_count : !(sum > limit * SUM_MARGIN))) {
        count += counts[--bucket];
        sum += sums[bucket];
    }
    return bucket;
}

/* Move the candidates of the buckets from `lowest` on to the front; how many. */
static size_t gather(model_candidate *candidates, size_t n, uint32_t lowest)
{
    size_t n_gathered = 0;
    for (size_t i = 0; i < n; i++)
        if (bucket_of(candidates[i].value) >= lowest)
            candidates[n_gathered++] = candidates[i];
    return n_gathered;
}

/* The candidates that pass top_k and top_p, descending, in a part of the array; *kept: how many.  With top_k, top_p is
 * a share of the top_k candidates' weight. */
static const model_candidate *filter(model_candidate *candidates, size_t n, const link_sampling *sampling, size_t *kept)
{
    size_t max_count = sampling->top_k != 0 && sampling->top_k < n ? sampling->top_k : n, taken = 0;
    bool by_count = max_count < n || sampling->top_p >= 1.0f;
    double share = (double)sampling->top_p, limit = share * sum_of(candidates, n), reached = 0.0;
    n = gather(candidates, n, lowest_bucket(candidates, n, max_count, by_count, limit));
    make_heap(candidates, n);
    while (taken < n && taken < max_count && (by_count || !(reached > limit))) {
        take_first(candidates, n - taken);
        reached += candidates[n - ++taken].value;
    }
    model_candidate *largest = candidates + n - taken;
    reverse(largest, taken);
    *kept = by_count && share < 1.0 ? first_beyond(largest, taken, share) + 1 : taken;
    return largest;
}

/* All tokens with their weights, exp((logit - max) / temperature). */
static void weigh(const float *logits, size_t n, float max, float temperature, model_candidate *out)
{
    float shifted[WEIGHED_AT_ONCE], weights[WEIGHED_AT_ONCE];
    for (size_t begin = 0; begin < n; begin += WEIGHED_AT_ONCE) {
        size_t count = n - begin < WEIGHED_AT_ONCE ? n - begin : WEIGHED_AT_ONCE;
        for (size_t i = 0; i < count; i++)
            shifted[i] = (logits[begin + i] - max) / temperature;
        kern_active()->exp_shifted(shifted, count, 0.0f, weights);
        for (size_t i = 0; i < count; i++)
            out[begin + i] = (model_candidate){weights[i], (int32_t)(begin + i)};
    }
}

static int32_t sample_filtered(const float *logits, size_t n, float max, const link_sampling *sampling,
                               uint32_t position, model_candidate *scratch)
{
    weigh(logits, n, max, sampling->temperature, scratch);
    const model_candidate *kept = scratch;
    if (sampling->top_k != 0 || sampling->top_p < 1.0f)
        kept = filter(scratch, n, sampling, &n);
    return kept[first_beyond(kept, n, uniform_at(sampling->seed, position))].id;
}

/* `max` is the largest logit. */
static float logprob_of(const float *logits, size_t n, float max, int32_t token)
{
    double log_total = kern_log((double)kern_active()->sum_exp(logits, n, max));
    return (float)((double)logits[token] - (double)max - log_total);
}

bool model_token_logprob(const float *logits, size_t n, int32_t token, float *logprob)
{
    float max;
    if (!max_of(logits, n, &max))
        return false;
    *logprob = logprob_of(logits, n, max, token);
    return true;
}

int32_t model_sample(const float *logits, size_t n, const link_sampling *sampling, uint32_t position,
                     model_candidate *scratch, float *logprob)
{
    float max;
    if (!max_of(logits, n, &max))
        return LINK_TOKEN_OVERFLOW;
    int32_t token = sampling->temperature > 0.0f ? sample_filtered(logits, n, max, sampling, position, scratch)
                                                 : first_of(logits, n, max);
    *logprob = logprob_of(logits, n, max, token);
    return token;
}

uint64_t model_logits_digest(const float *logits, size_t n)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &logits[i], sizeof bits);
        hash = (hash ^ bits) * 0x100000001b3u;
    }
    return hash;
}
