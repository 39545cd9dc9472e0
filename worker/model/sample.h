/* sample.h - from logits to a token.
 *
 * Greedy takes the largest logit, the lowest id among equals.  Otherwise: logits / temperature, the top_k largest, of
 * those the fewest whose probability together exceeds top_p (the rule of transformers), then one uniform number picks
 * by cumulative probability.  The number is Philox4x32-10 (Salmon et al. 2011) of key = seed and counter = position, so
 * it depends on nothing else. */
#ifndef PALMGROVE_MODEL_SAMPLE_H
#define PALMGROVE_MODEL_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/link/plan.h"

/* An id with its logit or probability while sampling. */
typedef struct model_candidate {
    float value;
    int32_t id;
} model_candidate;

/* Pick a token for `position` from logits [n].  `scratch` [n].  *logprob: natural log of the token's probability under
 * the unmodified logits.  LINK_TOKEN_OVERFLOW, *logprob untouched, when a logit is a NaN or an infinity: what a damaged
 * head or embedding makes of activations that are still finite. */
int32_t model_sample(const float *logits, size_t n, const link_sampling *sampling, uint32_t position,
                     model_candidate *scratch, float *logprob);

/* Natural log of the probability of `token` < n under the unmodified logits [n], as model_sample computes it.  False,
 * *logprob untouched, when a logit is not finite. */
bool model_token_logprob(const float *logits, size_t n, int32_t token, float *logprob);

/* FNV-1a over the logits' bit patterns. */
uint64_t model_logits_digest(const float *logits, size_t n);

/* Philox4x32-10 of (counter, key): four words of 32 bits. */
void model_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
