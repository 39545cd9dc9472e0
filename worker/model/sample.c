#include "worker/model/sample.h"

#include <stdlib.h>
#include <string.h>

#include "worker/kernels/fmath.h"
#include "worker/kernels/kern.h"

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
    model_philox((const uint32_t[4]){position, 0, 0, 0}, (const uint32_t[2]){(uint32_t)seed, (uint32_t)(seed >> 32)}, words);
    uint64_t bits = ((uint64_t)words[0] << 32 | words[1]) >> 11;
    return (double)bits * (1.0 / 9007199254740992.0);
}

static size_t argmax(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

/* Larger values first, then lower ids: a total order, so the sort's algorithm leaves no trace. */
static int by_value(const void *a, const void *b)
{
    const model_candidate *x = a, *y = b;
    if (x->value != y->value)
        return x->value > y->value ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* The first candidate at which the cumulative weight exceeds `share` of the total; the last one if rounding lets none. */
static size_t first_beyond(const model_candidate *candidates, size_t n, double share)
{
    double total = 0.0, reached = 0.0;
    for (size_t i = 0; i < n; i++)
        total += candidates[i].value;
    for (size_t i = 0; i < n; i++) {
        reached += candidates[i].value;
        if (reached > share * total)
            return i;
    }
    return n - 1;
}

static int32_t sample_filtered(const float *logits, size_t n, float max, const link_sampling *sampling, uint32_t position,
                               model_candidate *scratch)
{
    for (size_t i = 0; i < n; i++) {
        float shifted = (logits[i] - max) / sampling->temperature, weight;
        kern_active()->exp_shifted(&shifted, 1, 0.0f, &weight);
        scratch[i] = (model_candidate){weight, (int32_t)i};
    }
    if (sampling->top_k != 0 || sampling->top_p < 1.0f)
        qsort(scratch, n, sizeof *scratch, by_value);
    if (sampling->top_k != 0 && sampling->top_k < n)
        n = sampling->top_k;
    if (sampling->top_p < 1.0f)
        n = first_beyond(scratch, n, (double)sampling->top_p) + 1;
    return scratch[first_beyond(scratch, n, uniform_at(sampling->seed, position))].id;
}

int32_t model_sample(const float *logits, size_t n, const link_sampling *sampling, uint32_t position,
                     model_candidate *scratch, float *logprob)
{
    size_t best = argmax(logits, n);
    float max = logits[best];
    int32_t token = (int32_t)best;
    if (sampling->temperature > 0.0f)
        token = sample_filtered(logits, n, max, sampling, position, scratch);
    double log_total = kern_log((double)kern_active()->sum_exp(logits, n, max));
    *logprob = (float)((double)logits[token] - (double)max - log_total);
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
