/* plan.h - the step plan: everything a rank needs to run one step, and what a step returns.
 *
 * The coordinator writes plans, ranks execute them; ranks hold no request logic.  A plan is one micro-batch: slices
 * of sequences (one decoding token, or a chunk of prefill) that pass through the stages together.  Plans run in the
 * order they were sent.  Several may be in flight: a slice marked LINK_SLICE_FEEDBACK takes as its first token the
 * one that the last stage sampled for the same sequence slot in an earlier plan, which travels from the last stage to
 * the first without the coordinator.
 *
 * Tokens: vocabulary ids, rows of the image store and vectors of the plan, as position.h numbers them in plans.  Each
 * vector is for one position; vectors are listed in the order of their positions.  KV blocks: block b of a sequence
 * holds its positions [b * 32, b * 32 + 32) (LINK_KV_BLOCK_TOKENS).
 *
 * Where the replica has a draft model (link_limits.n_draft_blocks), a plan may leave draft tokens of a slice as
 * placeholders: link_draft says what the draft model reads first, stage 0 fills in what it proposes, and the slice
 * verifies them in the same step.
 *
 * On the link and over MPI a plan is one little-endian message (layout: plan.c).  */
#ifndef PALMGROVE_LINK_PLAN_H
#define PALMGROVE_LINK_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/status.h"

#define LINK_KV_BLOCK_TOKENS 32u

/* Cache blocks that n positions take. */
static inline size_t link_kv_blocks(uint64_t n_positions)
{
    return (size_t)((n_positions + LINK_KV_BLOCK_TOKENS - 1) / LINK_KV_BLOCK_TOKENS);
}

enum {
    LINK_SLICE_FEEDBACK = 1u << 0, /* tokens[0] of the slice is a placeholder for the sequence's last sampled token */
    LINK_SLICE_DIGEST = 1u << 1,   /* with n_sampled: return digests of the logits' bits */
    LINK_SLICE_GIVEN = 1u << 2,    /* with n_sampled, to score text: nothing is drawn; the token after a position is the
                                      slice's next one, after the last position `given`, and its logprob is returned */
};

/* How to pick a token.  The uniform number comes from a counter-based generator keyed by (seed, position). */
typedef struct link_sampling {
    float temperature; /* 0: greedy, the lowest id among equals */
    uint32_t top_k;    /* 0: off */
    float top_p;       /* 1: off */
    uint64_t seed;
} link_sampling;

typedef struct link_slice {
    uint32_t seq;         /* sequence slot, < max_seqs of the replica */
    uint32_t pos;         /* position of the first token */
    uint32_t n_tokens;    /* >= 1 */
    uint32_t first_token; /* index into plan.tokens */
    uint32_t first_block; /* index into plan.blocks; the slice owns ceil((pos + n_tokens) / 32) block ids from there */
    uint32_t n_sampled;   /* sample after each of the last n_sampled positions; 0: none, k + 1: verify k draft tokens */
    uint32_t flags;
    link_sampling sampling; /* read with n_sampled only */
    int32_t given;          /* read with LINK_SLICE_GIVEN only; a vocabulary entry */
    uint32_t draw_shift;    /* not on the wire: added to the position that keys the draws (worker/draft_proposer.h) */
} link_slice;

/* Room that a slice takes in a result, and in the ranks' memory for logits: one token even when it samples none,
 * because it may overflow. All slices of a plan together take max_seqs at most. */
static inline uint32_t link_slice_results(const link_slice *slice)
{
    return slice->n_sampled > 0 ? slice->n_sampled : 1;
}

/* Run the tower on `pixels` and keep the projected vectors in image slot `slot` until another image replaces them. */
typedef struct link_image {
    uint32_t slot;
    const uint8_t *pixels; /* [image_size][image_size][3] u8 RGB; borrowed from the message when decoded */
} link_image;

/* A vector at one position: an embedding as it enters the first layer, or the input of a vector encoder. */
enum {
    LINK_VECTOR_EMBEDDING,
    LINK_VECTOR_ENCODERS,
    LINK_VECTOR_KINDS = 9
}; /* kind LINK_VECTOR_ENCODERS + e is encoder e */
typedef struct link_vector {
    uint32_t kind, width; /* width: link_limits.vector_widths[kind] */
    const void *values;   /* f32 [width]; borrowed from the message when decoded, of any alignment then */
} link_vector;

/* What the draft model does for a slice before the slice runs: it prefills tokens that it has not read yet and, with
 * n_drafted, decodes from there; its tokens replace the last n_drafted tokens of the slice, which are placeholders.  It
 * sees text only: its positions are those of the sequence without image rows and vectors, in its own cache blocks. */
typedef struct link_draft {
    uint32_t slice;       /* index into plan.slices; rising */
    uint32_t pos;         /* of the first token, in the draft model's text */
    uint32_t n_tokens;    /* >= 1 */
    uint32_t first_token; /* index into plan.draft_inputs, which are all vocabulary entries */
    uint32_t
        first_block; /* index into plan.draft_blocks; the draft owns ceil(link_draft_end / 32) block ids from there */
    uint32_t n_drafted; /* 0, or n_sampled - 1 of the slice, which draws its tokens */
} link_draft;

/* The position after the last that the draft model computes: its last token is not fed back. */
static inline uint64_t link_draft_end(const link_draft *draft)
{
    return (uint64_t)draft->pos + draft->n_tokens + (draft->n_drafted > 0 ? draft->n_drafted - 1 : 0);
}

typedef struct link_plan {
    uint64_t step; /* counts up from 1 */
    uint32_t n_slices, n_tokens, n_blocks, n_images, n_vectors;
    uint32_t n_drafts, n_draft_inputs, n_draft_blocks;
    uint32_t image_size; /* pixels a side of the images, link_limits.image_size; not read when n_images is 0 */
    link_slice
        *slices; /* at least one, at most one per sequence; their tokens follow one another and are all of tokens */
    int32_t *tokens;
    uint32_t *blocks;
    link_image *images; /* encoded before any slice runs */
    link_vector *vectors;
    link_draft *drafts; /* at most one per slice; their tokens follow one another and are all of draft_inputs */
    int32_t *draft_inputs;
    uint32_t *draft_blocks;
} link_plan;

/* The bounds of a plan; the replica announces them (link_hello). */
typedef struct link_limits {
    uint32_t max_seqs;      /* sequence slots; sampled tokens of a step */
    uint32_t max_positions; /* positions a sequence may have */
    uint32_t max_step_tokens;
    uint32_t n_kv_blocks;
    uint32_t n_image_slots;
    uint32_t rows_per_image; /* 0: the model has no tower */
    uint32_t image_size;     /* pixels a side */
    uint32_t vocab_size;
    uint32_t whole_images; /* 1: the rows of an image see each other, so a slice that has some has all to the image's
                              last; else 0 */
    uint32_t vector_widths[LINK_VECTOR_KINDS]; /* floats of a vector by kind; 0: there is no such kind */
    uint32_t n_draft_blocks;                   /* of the draft model's cache; 0: no draft model */
    uint32_t draft_positions;                  /* that it may read of a sequence */
} link_limits;

/* Rows of the image store; link_hello_decode checked that they fit an int32 with a step's vectors after them. */
static inline uint32_t link_store_rows(const link_limits *limits)
{
    return limits->n_image_slots * limits->rows_per_image;
}

/* Append the encoded plan (message type byte included, see link.h).  A failure (memory, images without image_size)
 * sticks in the buffer. */
void link_plan_encode(const link_plan *plan, base_buf *out);

/* Decode and check a plan against `limits`; nothing in it can make a rank read or write out of bounds afterwards.
 * One allocation, owned by *out (link_plan_release); image pixels and vectors are borrowed from `bytes`.
 * Errors: BASE_EFORMAT with the field that is wrong; BASE_ENOMEM.  *out untouched on error. */
base_status link_plan_decode(const void *bytes, size_t size, const link_limits *limits, link_plan *out,
                             base_error *error);
void link_plan_release(link_plan *plan);

/* The same without an allocation: *out points into the caller's `memory` [link_plan_memory_bytes(limits)], aligned as
 * malloc's (no link_plan_release).  More block ids than all slots together can need are BASE_EFORMAT. */
base_status link_plan_decode_into(const void *bytes, size_t size, const link_limits *limits, void *memory,
                                  link_plan *out, base_error *error);
/* Bytes that link_plan_decode_into needs for any plan within `limits`; false when the sum does not fit. */
bool link_plan_memory_bytes(const link_limits *limits, size_t *out);

/* What a slice returned: n_sampled tokens in the order of their positions; tokens are in the order of the slices.
 * LINK_TOKEN_OVERFLOW in place of a token: an activation at that position, or at one before it in the slice, left the
 * fixed-point range, or a logit after it is not finite, and the sequence cannot continue.  A slice that samples nothing
 * has a token only to report that, at its last position. */
#define LINK_TOKEN_OVERFLOW (-1)
typedef struct link_token {
    uint32_t seq;
    uint32_t pos; /* the position that was fed; the token's own position is pos + 1 */
    int32_t token;
    float logprob;          /* natural log of the token's probability before temperature and filters */
    uint64_t logits_digest; /* 0 unless asked for */
} link_token;

typedef struct link_result {
    uint64_t step;
    uint32_t n_tokens, n_draft_tokens;
    link_token *tokens;
    int32_t *draft_tokens; /* the draft model's, in the order of the plan's drafts; rank 0 adds them to the result of
                              the last stage */
} link_result;

/* Append the encoded result; out of memory sticks in the buffer. */
void link_result_encode(const link_result *result, base_buf *out);

/* One allocation, owned by *out (link_result_release).  Errors, *out untouched: BASE_EFORMAT, BASE_ENOMEM. */
base_status link_result_decode(const void *bytes, size_t size, link_result *out, base_error *error);
void link_result_release(link_result *result);

/* The same without an allocation, into the caller's tokens [n_max] and draft_tokens [n_max].  More of either is
 * BASE_EFORMAT. */
base_status link_result_decode_into(const void *bytes, size_t size, link_token *tokens, int32_t *draft_tokens,
                                    uint32_t n_max, link_result *out, base_error *error);

#endif
