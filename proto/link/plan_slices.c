/* plan_slices.c - encoding and decoding a plan's slices, decoding its tokens.
 *
 * A rank indexes its memory with these numbers, so each is compared with the replica's limits: the sequence slot, the
 * end of the positions, the block ids that they need, the tokens that must follow those of the slice before, and the
 * kind of each token (position.h). */
#include "proto/link/plan_int.h"

#include <math.h>

#include "proto/link/position.h"

enum { ALL_FLAGS = LINK_SLICE_FEEDBACK | LINK_SLICE_DIGEST | LINK_SLICE_GIVEN };

void plan_put_slice(base_buf *out, const link_slice *slice)
{
    base_buf_put_u32(out, slice->seq);
    base_buf_put_u32(out, slice->pos);
    base_buf_put_u32(out, slice->n_tokens);
    base_buf_put_u32(out, slice->first_token);
    base_buf_put_u32(out, slice->first_block);
    base_buf_put_u32(out, slice->n_sampled);
    base_buf_put_u32(out, slice->flags);
    base_buf_put_f32(out, slice->sampling.temperature);
    base_buf_put_u32(out, slice->sampling.top_k);
    base_buf_put_f32(out, slice->sampling.top_p);
    base_buf_put_u64(out, slice->sampling.seed);
    base_buf_put_u32(out, (uint32_t)slice->given);
}

/* The comparisons are written so that NaN fails. */
static base_status check_sampling(const link_sampling *sampling, uint32_t i, base_error *error)
{
    if (!(sampling->temperature >= 0.0f && isfinite(sampling->temperature)))
        return base_fail(error, BASE_EFORMAT,
                         "PLAN message: slices[%u].temperature is %g; it must be finite and not negative", i,
                         (double)sampling->temperature);
    if (!(sampling->top_p > 0.0f && sampling->top_p <= 1.0f))
        return base_fail(error, BASE_EFORMAT, "PLAN message: slices[%u].top_p is %g; it must be above 0 and at most 1",
                         i, (double)sampling->top_p);
    return BASE_OK;
}

static base_status check_flags(const link_slice *slice, const link_limits *limits, uint32_t i, base_error *error)
{
    if ((slice->flags & ~(uint32_t)ALL_FLAGS) != 0)
        return base_fail(error, BASE_EFORMAT, "PLAN message: slices[%u].flags has unknown bits: 0x%x", i, slice->flags);
    if ((slice->flags & LINK_SLICE_DIGEST) != 0 && slice->n_sampled == 0)
        return base_fail(error, BASE_EFORMAT, "PLAN message: slices[%u].flags asks for a digest without sampling", i);
    if ((slice->flags & LINK_SLICE_GIVEN) != 0 &&
        (slice->n_sampled == 0 || slice->given < 0 || (uint32_t)slice->given >= limits->vocab_size))
        return base_fail(error, BASE_EFORMAT,
                         "PLAN message: slices[%u].given is %d, for %u samples of a vocabulary of %u", i, slice->given,
                         slice->n_sampled, limits->vocab_size);
    return BASE_OK;
}

/* `next_token`: where the slice's tokens must start. */
static base_status check_slice(const link_plan *plan, const link_limits *limits, uint32_t i, uint32_t next_token,
                               const uint8_t *seen, base_error *error)
{
    const link_slice *slice = &plan->slices[i];
    if (slice->seq >= limits->max_seqs)
        return base_fail(error, BASE_EFORMAT, "PLAN message: slices[%u].seq is %u; there are %u sequence slots", i,
                         slice->seq, limits->max_seqs);
    if (seen[slice->seq])
        return base_fail(error, BASE_EFORMAT, "PLAN message: slices[%u].seq %u has a slice already", i, slice->seq);
    if (slice->first_token != next_token)
        return base_fail(error, BASE_EFORMAT, "PLAN message: slices[%u].first_token is %u, not %u", i,
                         slice->first_token, next_token);
    if (slice->n_tokens == 0 || slice->n_tokens > plan->n_tokens - next_token)
        return base_fail(error, BASE_EFORMAT, "PLAN message: slices[%u].n_tokens is %u; %u are left", i,
                         slice->n_tokens, plan->n_tokens - next_token);
    uint64_t end = (uint64_t)slice->pos + slice->n_tokens;
    if (end > limits->max_positions)
        return base_fail(error, BASE_EFORMAT, "PLAN message: slices[%u] ends at position %llu; the limit is %u", i,
                         (unsigned long long)end, limits->max_positions);
    uint64_t n_blocks = (end + LINK_KV_BLOCK_TOKENS - 1) / LINK_KV_BLOCK_TOKENS;
    if (slice->first_block + n_blocks > plan->n_blocks)
        return base_fail(error, BASE_EFORMAT, "PLAN message: slices[%u] needs blocks %u to %llu of %u", i,
                         slice->first_block, (unsigned long long)(slice->first_block + n_blocks - 1), plan->n_blocks);
    if (slice->n_sampled > slice->n_tokens)
        return base_fail(error, BASE_EFORMAT, "PLAN message: slices[%u].n_sampled is %u of %u tokens", i,
                         slice->n_sampled, slice->n_tokens);
    base_status status = check_flags(slice, limits, i, error);
    if (status == BASE_OK && slice->n_sampled > 0)
        status = check_sampling(&slice->sampling, i, error);
    return status;
}

static link_slice read_slice(base_reader *reader)
{
    link_slice slice = {0};
    slice.seq = base_reader_u32(reader);
    slice.pos = base_reader_u32(reader);
    slice.n_tokens = base_reader_u32(reader);
    slice.first_token = base_reader_u32(reader);
    slice.first_block = base_reader_u32(reader);
    slice.n_sampled = base_reader_u32(reader);
    slice.flags = base_reader_u32(reader);
    slice.sampling.temperature = base_reader_f32(reader);
    slice.sampling.top_k = base_reader_u32(reader);
    slice.sampling.top_p = base_reader_f32(reader);
    slice.sampling.seed = base_reader_u64(reader);
    slice.given = (int32_t)base_reader_u32(reader);
    return slice;
}

base_status plan_read_slices(base_reader *reader, link_plan *plan, const link_limits *limits, uint8_t *seen,
                             base_error *error)
{
    uint32_t next_token = 0, n_results = 0; /* neither can wrap: n_sampled <= n_tokens, whose sum is plan->n_tokens */
    for (uint32_t i = 0; i < plan->n_slices; i++) {
        plan->slices[i] = read_slice(reader);
        base_status status = check_slice(plan, limits, i, next_token, seen, error);
        if (status != BASE_OK)
            return status;
        seen[plan->slices[i].seq] = 1;
        next_token += plan->slices[i].n_tokens;
        n_results += link_slice_results(&plan->slices[i]);
    }
    if (n_results > limits->max_seqs)
        return base_fail(error, BASE_EFORMAT, "PLAN message: its slices sample %u tokens; the limit is %u", n_results,
                         limits->max_seqs);
    if (next_token != plan->n_tokens)
        return base_fail(error, BASE_EFORMAT, "PLAN message: n_tokens is %u, but the slices have %u", plan->n_tokens,
                         next_token);
    return BASE_OK;
}

/* Rows of an image that see each other must follow one another to the image's last row, inside one slice. */
static base_status check_images_whole(const link_plan *plan, uint32_t rows_per_image, uint32_t n_rows,
                                      base_error *error)
{
    for (uint32_t is = 0; is < plan->n_slices; is++) {
        const link_slice *slice = &plan->slices[is];
        for (uint32_t i = slice->first_token, end = i + slice->n_tokens; i < end; i++) {
            link_position position = link_position_in_plan(plan->tokens[i], n_rows);
            if (position.kind != LINK_POSITION_IMAGE_ROW || position.index % rows_per_image == rows_per_image - 1)
                continue; /* not a row, or the image's last */
            if (i + 1 == end || plan->tokens[i + 1] != link_image_row(position.index + 1))
                return base_fail(
                    error, BASE_EFORMAT,
                    "PLAN message: slices[%u] has row %u of an image without the next; its rows go together", is,
                    position.index);
        }
    }
    return BASE_OK;
}

/* A feedback placeholder may hold any value on the wire; it becomes 0, so that every rank sees a valid token. */
base_status plan_read_tokens(base_reader *reader, link_plan *plan, const link_limits *limits, base_error *error)
{
    uint32_t n_rows = link_store_rows(limits), n_vectors = 0;
    for (uint32_t i = 0; i < plan->n_tokens; i++)
        plan->tokens[i] = (int32_t)base_reader_u32(reader);
    for (uint32_t i = 0; i < plan->n_slices; i++)
        if ((plan->slices[i].flags & LINK_SLICE_FEEDBACK) != 0)
            plan->tokens[plan->slices[i].first_token] = 0;
    for (uint32_t i = 0; i < plan->n_tokens; i++) {
        link_position position = link_position_in_plan(plan->tokens[i], n_rows);
        bool is_next = position.index == n_vectors && n_vectors < plan->n_vectors;
        if ((position.kind == LINK_POSITION_TOKEN && position.index >= limits->vocab_size) ||
            (position.kind == LINK_POSITION_VECTOR && !is_next))
            return base_fail(
                error, BASE_EFORMAT,
                "PLAN message: tokens[%u] is %d; the vocabulary has %u entries, the image store %u rows, the "
                "next vector is %u of %u",
                i, plan->tokens[i], limits->vocab_size, n_rows, n_vectors, plan->n_vectors);
        n_vectors += position.kind == LINK_POSITION_VECTOR;
    }
    if (n_vectors < plan->n_vectors)
        return base_fail(error, BASE_EFORMAT, "PLAN message: n_vectors is %u, but the tokens have %u", plan->n_vectors,
                         n_vectors);
    return limits->whole_images != 0 && n_rows > 0 ? check_images_whole(plan, limits->rows_per_image, n_rows, error)
                                                   : BASE_OK;
}
