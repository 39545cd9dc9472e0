/* fake_model.h - a replica's arithmetic without a model: obeys step plans and samples deterministic tokens.
 *
 * Position p of a sequence holds state(p) = mix(state(p - 1), what was fed at p), kept in the KV blocks that the plan
 * names, image rows in the image slots it names.  So a token depends on every block, slot and feedback id of its
 * sequence: if the scheduler hands out a block twice, frees one too early or confuses slots, the answer differs from
 * fake_expect, which knows none of these.
 *
 * With limits.n_draft_blocks there is a draft model: it keeps the same states in blocks of its own, over the text
 * alone, and drafts what would be picked after them but for one token in four.  So without images three of four
 * draft tokens are accepted, and far fewer when its blocks are confused.
 *
 * Tokens are the printable ids of the test tokenizer (fake_checkpoint.h): the id of character c is FAKE_FIRST_CHAR + c.
 */
#ifndef PALMGROVE_TESTS_FAKE_MODEL_H
#define PALMGROVE_TESTS_FAKE_MODEL_H

#include <stdlib.h>
#include <string.h>

#include "proto/link/plan.h"

enum { FAKE_BOS = 1, FAKE_EOS = 2, FAKE_FIRST_CHAR = 3, FAKE_VOCAB = 3 + 256 };

/* Seven tokens of eight follow the position, so that n-grams predict them; the eighth follows the
 * state. */
#define FAKE_PHRASES (1u << 31)

typedef struct fake_model {
    link_limits limits;
    uint32_t eos_every; /* about one token in eos_every ends the text; 0: none ever does.  With FAKE_PHRASES or-ed in,
                           answers repeat themselves */
    uint64_t *kv;       /* [n_kv_blocks][32] */
    uint64_t *rows;     /* [n_image_slots][rows_per_image] */
    int32_t *sampled;   /* [max_seqs] */
    link_token *tokens; /* [max_seqs] of the last result */
    uint64_t *draft_kv; /* [n_draft_blocks][32] */
    int32_t *draft_tokens; /* [max_seqs] of the last result */
} fake_model;

static inline uint64_t fake_mix(uint64_t a, uint64_t b)
{
    uint64_t x = a * 0x9e3779b97f4a7c15u + b + 0x7f4a7c15u;
    x = (x ^ (x >> 31)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 29)) * 0x94d049bb133111ebu;
    return x ^ (x >> 32);
}

static inline uint64_t fake_row(const link_limits *limits, const uint8_t *pixels, uint32_t row)
{
    uint64_t hash = row;
    for (size_t i = 0; i < (size_t)limits->image_size * limits->image_size * 3; i += 37)
        hash = fake_mix(hash, pixels[i]);
    return hash;
}

/* After position `pos`. */
static inline int32_t fake_pick(uint64_t state, uint32_t pos, const link_sampling *sampling, uint32_t eos_every)
{
    bool phrases = (eos_every & FAKE_PHRASES) != 0;
    eos_every &= ~FAKE_PHRASES;
    if (sampling->temperature > 0.0f)
        state = fake_mix(state, sampling->seed);
    if (eos_every != 0 && (state >> 20) % eos_every == 0)
        return FAKE_EOS;
    if (phrases && (state >> 40) % 8 != 0)
        return FAKE_FIRST_CHAR + 'a' + (int32_t)(pos * 5 % 11);
    return FAKE_FIRST_CHAR + 'a' + (int32_t)(state % 26);
}

static inline void fake_model_init(fake_model *m, const link_limits *limits, uint32_t eos_every)
{
    *m = (fake_model){.limits = *limits, .eos_every = eos_every};
    m->kv = calloc((size_t)limits->n_kv_blocks * LINK_KV_BLOCK_TOKENS, sizeof *m->kv);
    m->rows = calloc((size_t)limits->n_image_slots * limits->rows_per_image + 1, sizeof *m->rows);
    m->sampled = calloc(limits->max_seqs, sizeof *m->sampled);
    m->tokens = calloc(limits->max_seqs, sizeof *m->tokens);
    m->draft_kv = calloc((size_t)limits->n_draft_blocks * LINK_KV_BLOCK_TOKENS + 1, sizeof *m->draft_kv);
    m->draft_tokens = calloc(limits->max_seqs, sizeof *m->draft_tokens);
}

static inline void fake_model_release(fake_model *m)
{
    free(m->kv);
    free(m->rows);
    free(m->sampled);
    free(m->tokens);
    free(m->draft_kv);
    free(m->draft_tokens);
}

/* How likely a token is after a state: depends on both. */
static inline float fake_logprob(uint64_t state, int32_t token)
{
    return -(float)(fake_mix(state, (uint64_t)token) % 4096) / 256.0f;
}

static inline uint64_t *fake_draft_state(fake_model *m, const uint32_t *blocks, uint32_t pos)
{
    return &m->draft_kv[blocks[pos / LINK_KV_BLOCK_TOKENS] * LINK_KV_BLOCK_TOKENS + pos % LINK_KV_BLOCK_TOKENS];
}

/* What the draft model picks after `state`; `pos`: as of fake_pick. */
static inline int32_t fake_draft_pick(uint64_t state, uint32_t pos, const link_sampling *sampling, uint32_t eos_every)
{
    int32_t token = fake_pick(state, pos, sampling, eos_every);
    return (state >> 50) % 4 != 0 ? token : FAKE_FIRST_CHAR + '!';
}

/* Prefill and draft; the draft tokens go into the plan's tokens and into m->draft_tokens. */
static inline uint32_t fake_draft(fake_model *m, const link_plan *plan)
{
    uint32_t n_draft_tokens = 0;
    for (uint32_t i = 0; i < plan->n_drafts; i++) {
        const link_draft *draft = &plan->drafts[i];
        const link_slice *slice = &plan->slices[draft->slice];
        const uint32_t *blocks = plan->draft_blocks + draft->first_block;
        int32_t *draft_tokens = plan->tokens + slice->first_token + slice->n_tokens - draft->n_drafted;
        uint64_t state = draft->pos > 0 ? *fake_draft_state(m, blocks, draft->pos - 1) : 1;
        for (uint32_t t = 0; t < draft->n_tokens; t++) {
            state = fake_mix(state, (uint64_t)plan->draft_inputs[draft->first_token + t]);
            *fake_draft_state(m, blocks, draft->pos + t) = state;
        }
        for (uint32_t g = 0; g < draft->n_drafted; g++) {
            uint32_t pos = draft->pos + draft->n_tokens + g;
            if (g > 0) {
                state = fake_mix(state, (uint64_t)draft_tokens[g - 1]);
                *fake_draft_state(m, blocks, pos - 1) = state;
            }
            draft_tokens[g] = fake_draft_pick(state, slice->pos + slice->n_tokens - draft->n_drafted - 1 + g,
                                              &slice->sampling, m->eos_every);
            m->draft_tokens[n_draft_tokens++] = draft_tokens[g];
        }
    }
    return n_draft_tokens;
}

/* Run one plan; result->tokens is borrowed from the model. */
static inline void fake_model_step(fake_model *m, const link_plan *plan, link_result *result)
{
    *result = (link_result){.step = plan->step,
                            .tokens = m->tokens,
                            .draft_tokens = m->draft_tokens,
                            .n_draft_tokens = fake_draft(m, plan)};
    for (uint32_t i = 0; i < plan->n_images; i++)
        for (uint32_t r = 0; r < m->limits.rows_per_image; r++)
            m->rows[plan->images[i].slot * m->limits.rows_per_image + r] =
                fake_row(&m->limits, plan->images[i].pixels, r);
    for (uint32_t i = 0; i < plan->n_slices; i++) {
        const link_slice *slice = &plan->slices[i];
        const uint32_t *blocks = plan->blocks + slice->first_block;
        uint64_t state = 1;
        if (slice->pos > 0)
            state = m->kv[blocks[(slice->pos - 1) / LINK_KV_BLOCK_TOKENS] * LINK_KV_BLOCK_TOKENS +
                          (slice->pos - 1) % LINK_KV_BLOCK_TOKENS];
        for (uint32_t t = 0; t < slice->n_tokens; t++) {
            int32_t token = plan->tokens[slice->first_token + t];
            if (t == 0 && (slice->flags & LINK_SLICE_FEEDBACK))
                token = m->sampled[slice->seq];
            state = fake_mix(state, token < 0 ? m->rows[-1 - token] : (uint64_t)token);
            uint32_t pos = slice->pos + t;
            m->kv[blocks[pos / LINK_KV_BLOCK_TOKENS] * LINK_KV_BLOCK_TOKENS + pos % LINK_KV_BLOCK_TOKENS] = state;
            if (t + slice->n_sampled < slice->n_tokens)
                continue;
            if (slice->flags & LINK_SLICE_GIVEN)
                m->sampled[slice->seq] =
                    t + 1 < slice->n_tokens ? plan->tokens[slice->first_token + t + 1] : slice->given;
            else
                m->sampled[slice->seq] = fake_pick(state, pos, &slice->sampling, m->eos_every);
            m->tokens[result->n_tokens++] =
                (link_token){.seq = slice->seq,
                             .pos = pos,
                             .token = m->sampled[slice->seq],
                             .logprob = fake_logprob(state, m->sampled[slice->seq]),
                             .logits_digest = (slice->flags & LINK_SLICE_DIGEST) ? state : 0};
        }
    }
}

/* The state after a prompt. */
static inline uint64_t fake_state(const link_limits *limits, const int32_t *tokens, uint32_t n,
                                  const uint8_t *const *images)
{
    uint64_t state = 1;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = tokens[i] < 0 ? (uint32_t)(-1 - tokens[i]) : 0;
        state = fake_mix(
            state, tokens[i] < 0 ? fake_row(limits, images[row / limits->rows_per_image], row % limits->rows_per_image)
                                 : (uint64_t)tokens[i]);
    }
    return state;
}

/* What the answer must be, end-of-text token included; `images` are the prompt's pixels.  Returns the number of tokens.
 */
static inline uint32_t fake_expect(const link_limits *limits, uint32_t eos_every, const int32_t *tokens, uint32_t n,
                                   const uint8_t *const *images, const link_sampling *sampling, uint32_t max_tokens,
                                   int32_t *answer)
{
    uint64_t state = fake_state(limits, tokens, n, images);
    for (uint32_t i = 0; i < max_tokens; i++) {
        answer[i] = fake_pick(state, n + i - 1, sampling, eos_every);
        if (answer[i] == FAKE_EOS)
            return i + 1;
        state = fake_mix(state, (uint64_t)answer[i]);
    }
    return max_tokens;
}

#endif
