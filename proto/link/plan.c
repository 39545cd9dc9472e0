/* Step plans and results as little-endian messages.
 *
 *     plan:    type u8 | step u64 | n_slices n_tokens n_blocks n_images image_size n_vectors n_drafts n_draft_inputs
 * n_draft_blocks u32 | slices | tokens i32 | blocks u32 | drafts | draft_inputs i32 | draft_blocks u32 | images |
 * vectors slice:   seq pos n_tokens first_token first_block n_sampled flags u32 | temperature f32 | top_k u32 | top_p
 * f32 | seed u64 | given i32 draft:   slice pos n_tokens first_token first_block n_drafted u32 image:   slot u32 |
 * pixels u8 [image_size * image_size * 3] vector:  kind u32 | values f32 [vector_widths[kind]] result:  type u8 | step
 * u64 | n_tokens n_draft_tokens u32 | tokens | guesses i32 token:   seq pos u32 | token i32 | logprob f32 |
 * logits_digest u64
 *
 * The decoder is the last line before ranks index memory with these numbers, so it takes nothing on trust, not even
 * from the coordinator: counts are compared with the limits and with the bytes that are there before memory is taken,
 * then every index. */
#include "proto/link/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/size.h"
#include "proto/link/link.h"
#include "proto/link/position.h"

enum {
    SLICE_BYTES = 7 * 4 + 3 * 4 + 8 + 4,
    TOKEN_BYTES = 4,
    BLOCK_BYTES = 4,
    DRAFT_BYTES = 6 * 4,
    GUESS_BYTES = 4,
    VECTOR_BYTES_MIN = 2 * 4,
    SAMPLED_BYTES = 4 * 4 + 8,
    ALL_FLAGS = LINK_SLICE_FEEDBACK | LINK_SLICE_DIGEST | LINK_SLICE_GIVEN,
};

/* ---- encoding ---- */

static void put_slice(base_buf *out, const link_slice *slice)
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

static void put_drafts(base_buf *out, const link_plan *plan)
{
    for (uint32_t i = 0; i < plan->n_drafts; i++) {
        const link_draft *draft = &plan->drafts[i];
        base_buf_put_u32(out, draft->slice);
        base_buf_put_u32(out, draft->pos);
        base_buf_put_u32(out, draft->n_tokens);
        base_buf_put_u32(out, draft->first_token);
        base_buf_put_u32(out, draft->first_block);
        base_buf_put_u32(out, draft->n_drafted);
    }
    base_buf_put(out, plan->draft_inputs, (size_t)plan->n_draft_inputs * TOKEN_BYTES);
    base_buf_put(out, plan->draft_blocks, (size_t)plan->n_draft_blocks * BLOCK_BYTES);
}

void link_plan_encode(const link_plan *plan, base_buf *out)
{
    size_t pixel_bytes = (size_t)plan->image_size * plan->image_size * 3;
    if (plan->n_images > 0 && pixel_bytes == 0) {
        out->failed = true;
        return;
    }
    base_buf_put_u8(out, LINK_PLAN);
    base_buf_put_u64(out, plan->step);
    base_buf_put_u32(out, plan->n_slices);
    base_buf_put_u32(out, plan->n_tokens);
    base_buf_put_u32(out, plan->n_blocks);
    base_buf_put_u32(out, plan->n_images);
    base_buf_put_u32(out, plan->n_images > 0 ? plan->image_size : 0);
    base_buf_put_u32(out, plan->n_vectors);
    base_buf_put_u32(out, plan->n_drafts);
    base_buf_put_u32(out, plan->n_draft_inputs);
    base_buf_put_u32(out, plan->n_draft_blocks);
    for (uint32_t i = 0; i < plan->n_slices; i++)
        put_slice(out, &plan->slices[i]);
    base_buf_put(out, plan->tokens, (size_t)plan->n_tokens * TOKEN_BYTES);
    base_buf_put(out, plan->blocks, (size_t)plan->n_blocks * BLOCK_BYTES);
    put_drafts(out, plan);
    for (uint32_t i = 0; i < plan->n_images; i++) {
        base_buf_put_u32(out, plan->images[i].slot);
        base_buf_put(out, plan->images[i].pixels, pixel_bytes);
    }
    for (uint32_t i = 0; i < plan->n_vectors; i++) {
        base_buf_put_u32(out, plan->vectors[i].kind);
        base_buf_put(out, plan->vectors[i].values, plan->vectors[i].width * sizeof(float));
    }
}

/* ---- decoding: counts and memory ---- */

static base_status check_count(const char *what, uint32_t value, uint32_t limit, base_error *error)
{
    if (value <= limit)
        return BASE_OK;
    return base_fail(error, BASE_EFORMAT, "plan: %s is %u; the limit is %u", what, value, limit);
}

/* Read the fixed fields; the counts respect the limits and the rest of the message has exactly the size that they call
 * for. */
static base_status read_header(base_reader *reader, const link_limits *limits, link_plan *plan, base_error *error)
{
    uint8_t type = base_reader_u8(reader);
    plan->step = base_reader_u64(reader);
    plan->n_slices = base_reader_u32(reader);
    plan->n_tokens = base_reader_u32(reader);
    plan->n_blocks = base_reader_u32(reader);
    plan->n_images = base_reader_u32(reader);
    plan->image_size = base_reader_u32(reader);
    plan->n_vectors = base_reader_u32(reader);
    plan->n_drafts = base_reader_u32(reader);
    plan->n_draft_inputs = base_reader_u32(reader);
    plan->n_draft_blocks = base_reader_u32(reader);
    if (reader->failed || type != LINK_PLAN)
        return base_fail(error, BASE_EFORMAT, "plan: the header is cut or not a plan's");
    if (plan->n_slices == 0)
        return base_fail(error, BASE_EFORMAT, "plan: n_slices is 0");

    base_status status = check_count("n_slices", plan->n_slices, limits->max_seqs, error);
    if (status == BASE_OK)
        status = check_count("n_tokens", plan->n_tokens, limits->max_step_tokens, error);
    if (status == BASE_OK)
        status = check_count("n_images", plan->n_images, limits->rows_per_image > 0 ? limits->n_image_slots : 0, error);
    if (status == BASE_OK)
        status = check_count("n_vectors", plan->n_vectors, plan->n_tokens, error);
    if (status == BASE_OK)
        status = check_count("n_drafts", plan->n_drafts, limits->n_draft_blocks > 0 ? plan->n_slices : 0, error);
    if (status == BASE_OK)
        status = check_count("n_draft_inputs", plan->n_draft_inputs, limits->max_step_tokens, error);
    if (status != BASE_OK)
        return status;
    if (plan->image_size != (plan->n_images > 0 ? limits->image_size : 0))
        return base_fail(error, BASE_EFORMAT, "plan: image_size is %u; the model's is %u", plan->image_size,
                         limits->image_size);
    return BASE_OK;
}

/* *pixel_bytes: of one image.  False when the sizes do not fit in size_t or the message is not exactly as long; with
 * vectors, whose sizes differ, when it is shorter than any of them would be. */
static bool has_size(const base_reader *reader, const link_plan *plan, size_t *pixel_bytes)
{
    size_t slices, tokens, blocks, drafts, images, total;
    return base_size_mul(plan->image_size, plan->image_size, pixel_bytes) &&
           base_size_mul(*pixel_bytes, 3, pixel_bytes) && base_size_add(*pixel_bytes, 4, &images) &&
           base_size_mul(images, plan->n_images, &images) && base_size_mul(plan->n_slices, SLICE_BYTES, &slices) &&
           base_size_mul(plan->n_tokens, TOKEN_BYTES, &tokens) && base_size_mul(plan->n_blocks, BLOCK_BYTES, &blocks) &&
           base_size_add(slices, tokens, &total) && base_size_add(total, blocks, &total) &&
           base_size_add(total, images, &total) && base_size_mul((size_t)plan->n_drafts, DRAFT_BYTES, &drafts) &&
           base_size_add(total, drafts, &total) &&
           base_size_mul((size_t)plan->n_draft_inputs + plan->n_draft_blocks, TOKEN_BYTES, &drafts) &&
           base_size_add(total, drafts, &total) &&
           base_size_add(total, (size_t)plan->n_vectors * VECTOR_BYTES_MIN, &total) &&
           (plan->n_vectors > 0 ? base_reader_left(reader) >= total : base_reader_left(reader) == total);
}

static size_t n_marks(const link_limits *limits)
{
    return limits->max_seqs > limits->n_image_slots ? limits->max_seqs : limits->n_image_slots;
}

/* The counts were found to be in the message, or are within the limits, so the sums cannot wrap. */
static size_t memory_bytes(const link_plan *plan, const link_limits *limits)
{
    return plan->n_slices * sizeof(link_slice) + plan->n_images * sizeof(link_image) +
           plan->n_vectors * sizeof(link_vector) + plan->n_drafts * sizeof(link_draft) +
           ((size_t)plan->n_tokens + plan->n_draft_inputs) * TOKEN_BYTES +
           ((size_t)plan->n_blocks + plan->n_draft_blocks) * BLOCK_BYTES + n_marks(limits);
}

/* Blocks that a plan's slices can need, and its drafts: all slots' whole sequences. */
static bool blocks_max(const link_limits *limits, size_t *out, size_t *of_drafts)
{
    uint32_t draft_positions = limits->n_draft_blocks > 0 ? limits->draft_positions : 0;
    return base_size_mul(link_kv_blocks(limits->max_positions), limits->max_seqs, out) &&
           base_size_mul(link_kv_blocks(draft_positions), limits->max_seqs, of_drafts) && *out <= UINT32_MAX &&
           *of_drafts <= UINT32_MAX;
}

bool link_plan_memory_bytes(const link_limits *limits, size_t *out)
{
    size_t blocks, draft_blocks;
    if (!blocks_max(limits, &blocks, &draft_blocks))
        return false;
    bool drafts = limits->n_draft_blocks > 0;
    *out = memory_bytes(&(link_plan){.n_slices = limits->max_seqs,
                                     .n_images = limits->n_image_slots,
                                     .n_tokens = limits->max_step_tokens,
                                     .n_vectors = limits->max_step_tokens,
                                     .n_blocks = (uint32_t)blocks,
                                     .n_drafts = drafts ? limits->max_seqs : 0,
                                     .n_draft_inputs = drafts ? limits->max_step_tokens : 0,
                                     .n_draft_blocks = (uint32_t)draft_blocks},
                        limits);
    return true;
}

/* The next `bytes` of the memory. */
static void *next_part(uint8_t **memory, size_t bytes)
{
    uint8_t *part = *memory;
    *memory += bytes;
    return part;
}

/* Divide the memory: slices | images | vectors | drafts | tokens, blocks, those of drafts | one mark per sequence slot,
 * cleared, which *marks points at. */
static void divide(uint8_t *memory, link_plan *plan, const link_limits *limits, uint8_t **marks)
{
    plan->slices = next_part(&memory, plan->n_slices * sizeof(link_slice));
    plan->images = next_part(&memory, plan->n_images * sizeof(link_image));
    plan->vectors = next_part(&memory, plan->n_vectors * sizeof(link_vector));
    plan->drafts = next_part(&memory, plan->n_drafts * sizeof(link_draft));
    plan->tokens = next_part(&memory, (size_t)plan->n_tokens * TOKEN_BYTES);
    plan->blocks = next_part(&memory, (size_t)plan->n_blocks * BLOCK_BYTES);
    plan->draft_inputs = next_part(&memory, (size_t)plan->n_draft_inputs * TOKEN_BYTES);
    plan->draft_blocks = next_part(&memory, (size_t)plan->n_draft_blocks * BLOCK_BYTES);
    *marks = memory;
    memset(*marks, 0, n_marks(limits));
}

/* ---- decoding: contents ---- */

/* The comparisons are written so that NaN fails. */
static base_status check_sampling(const link_sampling *sampling, uint32_t i, base_error *error)
{
    if (!(sampling->temperature >= 0.0f && isfinite(sampling->temperature)))
        return base_fail(error, BASE_EFORMAT, "plan: slices[%u].temperature is %g; it must be finite and not negative",
                         i, (double)sampling->temperature);
    if (!(sampling->top_p > 0.0f && sampling->top_p <= 1.0f))
        return base_fail(error, BASE_EFORMAT, "plan: slices[%u].top_p is %g; it must be above 0 and at most 1", i,
                         (double)sampling->top_p);
    return BASE_OK;
}

static base_status check_flags(const link_slice *slice, const link_limits *limits, uint32_t i, base_error *error)
{
    if ((slice->flags & ~(uint32_t)ALL_FLAGS) != 0)
        return base_fail(error, BASE_EFORMAT, "plan: slices[%u].flags has unknown bits: 0x%x", i, slice->flags);
    if ((slice->flags & LINK_SLICE_DIGEST) != 0 && slice->n_sampled == 0)
        return base_fail(error, BASE_EFORMAT, "plan: slices[%u].flags asks for a digest without sampling", i);
    if ((slice->flags & LINK_SLICE_GIVEN) != 0 &&
        (slice->n_sampled == 0 || slice->given < 0 || (uint32_t)slice->given >= limits->vocab_size))
        return base_fail(error, BASE_EFORMAT, "plan: slices[%u].given is %d, for %u samples of a vocabulary of %u", i,
                         slice->given, slice->n_sampled, limits->vocab_size);
    return BASE_OK;
}

/* `next_token`: where the slice's tokens must start. */
static base_status check_slice(const link_plan *plan, const link_limits *limits, uint32_t i, uint32_t next_token,
                               const uint8_t *seen, base_error *error)
{
    const link_slice *slice = &plan->slices[i];
    if (slice->seq >= limits->max_seqs)
        return base_fail(error, BASE_EFORMAT, "plan: slices[%u].seq is %u; there are %u sequence slots", i, slice->seq,
                         limits->max_seqs);
    if (seen[slice->seq])
        return base_fail(error, BASE_EFORMAT, "plan: slices[%u].seq %u has a slice already", i, slice->seq);
    if (slice->first_token != next_token)
        return base_fail(error, BASE_EFORMAT, "plan: slices[%u].first_token is %u, not %u", i, slice->first_token,
                         next_token);
    if (slice->n_tokens == 0 || slice->n_tokens > plan->n_tokens - next_token)
        return base_fail(error, BASE_EFORMAT, "plan: slices[%u].n_tokens is %u; %u are left", i, slice->n_tokens,
                         plan->n_tokens - next_token);
    uint64_t end = (uint64_t)slice->pos + slice->n_tokens;
    if (end > limits->max_positions)
        return base_fail(error, BASE_EFORMAT, "plan: slices[%u] ends at position %llu; the limit is %u", i,
                         (unsigned long long)end, limits->max_positions);
    uint64_t n_blocks = (end + LINK_KV_BLOCK_TOKENS - 1) / LINK_KV_BLOCK_TOKENS;
    if (slice->first_block + n_blocks > plan->n_blocks)
        return base_fail(error, BASE_EFORMAT, "plan: slices[%u] needs blocks %u to %llu of %u", i, slice->first_block,
                         (unsigned long long)(slice->first_block + n_blocks - 1), plan->n_blocks);
    if (slice->n_sampled > slice->n_tokens)
        return base_fail(error, BASE_EFORMAT, "plan: slices[%u].n_sampled is %u of %u tokens", i, slice->n_sampled,
                         slice->n_tokens);
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

static base_status read_slices(base_reader *reader, link_plan *plan, const link_limits *limits, uint8_t *seen,
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
        return base_fail(error, BASE_EFORMAT, "plan: its slices sample %u tokens; the limit is %u", n_results,
                         limits->max_seqs);
    if (next_token != plan->n_tokens)
        return base_fail(error, BASE_EFORMAT, "plan: n_tokens is %u, but the slices have %u", plan->n_tokens,
                         next_token);
    return BASE_OK;
}

/* Rows of an image that see each other follow one another to its last inside a slice. */
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
                return base_fail(error, BASE_EFORMAT,
                                 "plan: slices[%u] has row %u of an image without the next; its rows go together", is,
                                 position.index);
        }
    }
    return BASE_OK;
}

/* A placeholder may hold anything on the wire; it becomes 0, so that a rank that looks at it finds a valid token. */
static base_status read_tokens(base_reader *reader, link_plan *plan, const link_limits *limits, base_error *error)
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
            return base_fail(error, BASE_EFORMAT,
                             "plan: tokens[%u] is %d; the vocabulary has %u entries, the image store %u rows, the "
                             "next vector is %u of %u",
                             i, plan->tokens[i], limits->vocab_size, n_rows, n_vectors, plan->n_vectors);
        n_vectors += position.kind == LINK_POSITION_VECTOR;
    }
    if (n_vectors < plan->n_vectors)
        return base_fail(error, BASE_EFORMAT, "plan: n_vectors is %u, but the tokens have %u", plan->n_vectors,
                         n_vectors);
    return limits->whole_images != 0 && n_rows > 0 ? check_images_whole(plan, limits->rows_per_image, n_rows, error)
                                                   : BASE_OK;
}

static base_status read_blocks(base_reader *reader, link_plan *plan, const link_limits *limits, base_error *error)
{
    for (uint32_t i = 0; i < plan->n_blocks; i++) {
        plan->blocks[i] = base_reader_u32(reader);
        if (plan->blocks[i] >= limits->n_kv_blocks)
            return base_fail(error, BASE_EFORMAT, "plan: blocks[%u] is %u; there are %u cache blocks", i,
                             plan->blocks[i], limits->n_kv_blocks);
    }
    return BASE_OK;
}

/* `next_token`: where the draft's tokens must start; `next_slice`: the first slice that it may belong to. */
static base_status check_draft(const link_plan *plan, const link_limits *limits, uint32_t i, uint32_t next_token,
                               uint32_t next_slice, base_error *error)
{
    const link_draft *draft = &plan->drafts[i];
    if (draft->slice < next_slice || draft->slice >= plan->n_slices)
        return base_fail(error, BASE_EFORMAT, "plan: drafts[%u].slice is %u; %u to %u are possible", i, draft->slice,
                         next_slice, plan->n_slices - 1);
    if (draft->first_token != next_token || draft->n_tokens == 0 || draft->n_tokens > plan->n_draft_inputs - next_token)
        return base_fail(error, BASE_EFORMAT, "plan: drafts[%u] has tokens %u, %u of them; they start at %u of %u", i,
                         draft->first_token, draft->n_tokens, next_token, plan->n_draft_inputs);
    const link_slice *slice = &plan->slices[draft->slice];
    if (draft->n_drafted != 0 && (draft->n_drafted != slice->n_sampled - 1 || draft->n_drafted >= slice->n_tokens ||
                                  (slice->flags & LINK_SLICE_GIVEN) != 0))
        return base_fail(error, BASE_EFORMAT, "plan: drafts[%u].n_drafted is %u; slices[%u] verifies %u of %u tokens",
                         i, draft->n_drafted, draft->slice, slice->n_sampled, slice->n_tokens);
    uint64_t end = link_draft_end(draft);
    if (end > limits->draft_positions)
        return base_fail(error, BASE_EFORMAT, "plan: drafts[%u] ends at position %llu; the limit is %u", i,
                         (unsigned long long)end, limits->draft_positions);
    if (draft->first_block + (uint64_t)link_kv_blocks(end) > plan->n_draft_blocks)
        return base_fail(error, BASE_EFORMAT, "plan: drafts[%u] needs blocks from %u to position %llu; there are %u", i,
                         draft->first_block, (unsigned long long)end, plan->n_draft_blocks);
    return BASE_OK;
}

static base_status read_drafts(base_reader *reader, link_plan *plan, const link_limits *limits, base_error *error)
{
    uint32_t next_token = 0, next_slice = 0;
    for (uint32_t i = 0; i < plan->n_drafts; i++) {
        link_draft *draft = &plan->drafts[i];
        draft->slice = base_reader_u32(reader);
        draft->pos = base_reader_u32(reader);
        draft->n_tokens = base_reader_u32(reader);
        draft->first_token = base_reader_u32(reader);
        draft->first_block = base_reader_u32(reader);
        draft->n_drafted = base_reader_u32(reader);
        base_status status = check_draft(plan, limits, i, next_token, next_slice, error);
        if (status != BASE_OK)
            return status;
        next_token += draft->n_tokens;
        next_slice = draft->slice + 1;
    }
    if (next_token != plan->n_draft_inputs)
        return base_fail(error, BASE_EFORMAT, "plan: n_draft_inputs is %u, but the drafts have %u",
                         plan->n_draft_inputs, next_token);
    return BASE_OK;
}

static base_status read_draft_contents(base_reader *reader, link_plan *plan, const link_limits *limits,
                                       base_error *error)
{
    for (uint32_t i = 0; i < plan->n_draft_inputs; i++) {
        plan->draft_inputs[i] = (int32_t)base_reader_u32(reader);
        if (plan->draft_inputs[i] < 0 || (uint32_t)plan->draft_inputs[i] >= limits->vocab_size)
            return base_fail(error, BASE_EFORMAT, "plan: draft_inputs[%u] is %d; the vocabulary has %u entries", i,
                             plan->draft_inputs[i], limits->vocab_size);
    }
    for (uint32_t i = 0; i < plan->n_draft_blocks; i++) {
        plan->draft_blocks[i] = base_reader_u32(reader);
        if (plan->draft_blocks[i] >= limits->n_draft_blocks)
            return base_fail(error, BASE_EFORMAT, "plan: draft_blocks[%u] is %u; there are %u of the draft model", i,
                             plan->draft_blocks[i], limits->n_draft_blocks);
    }
    return BASE_OK;
}

/* Placeholders that the draft model fills are no rows and no vectors; whatever else they hold on the wire becomes 0. */
static base_status clear_guesses(const link_plan *plan, base_error *error)
{
    for (uint32_t i = 0; i < plan->n_drafts; i++) {
        const link_slice *slice = &plan->slices[plan->drafts[i].slice];
        uint32_t end = slice->first_token + slice->n_tokens;
        for (uint32_t it = end - plan->drafts[i].n_drafted; it < end; it++) {
            if (plan->tokens[it] < 0)
                return base_fail(error, BASE_EFORMAT, "plan: tokens[%u] is %d, in the place of a guess", it,
                                 plan->tokens[it]);
            plan->tokens[it] = 0;
        }
    }
    return BASE_OK;
}

static base_status read_images(base_reader *reader, link_plan *plan, const link_limits *limits, size_t pixel_bytes,
                               uint8_t *seen, base_error *error)
{
    for (uint32_t i = 0; i < plan->n_images; i++) {
        uint32_t slot = base_reader_u32(reader);
        if (slot >= limits->n_image_slots)
            return base_fail(error, BASE_EFORMAT, "plan: images[%u].slot is %u; there are %u image slots", i, slot,
                             limits->n_image_slots);
        if (seen[slot])
            return base_fail(error, BASE_EFORMAT, "plan: images[%u].slot %u has an image already", i, slot);
        seen[slot] = 1;
        plan->images[i] = (link_image){.slot = slot, .pixels = base_reader_take(reader, pixel_bytes)};
    }
    return BASE_OK;
}

/* The last of the message. */
static base_status read_vectors(base_reader *reader, link_plan *plan, const link_limits *limits, base_error *error)
{
    for (uint32_t i = 0; i < plan->n_vectors; i++) {
        uint32_t kind = base_reader_u32(reader), width = kind < LINK_VECTOR_KINDS ? limits->vector_widths[kind] : 0;
        if (reader->failed || width == 0)
            return base_fail(error, BASE_EFORMAT, "plan: vectors[%u] is cut, or the model has no kind %u", i, kind);
        plan->vectors[i] =
            (link_vector){.kind = kind, .width = width, .values = base_reader_take(reader, width * sizeof(float))};
    }
    if (reader->failed || base_reader_left(reader) > 0)
        return base_fail(error, BASE_EFORMAT, "plan: its vectors are cut, or %zu bytes follow them",
                         base_reader_left(reader));
    return BASE_OK;
}

/* What both decoders read first: the plan's counts are checked, nothing is taken. */
static base_status read_counts(base_reader *reader, const link_limits *limits, link_plan *plan, size_t *pixel_bytes,
                               base_error *error)
{
    base_status status = read_header(reader, limits, plan, error);
    if (status == BASE_OK && !has_size(reader, plan, pixel_bytes))
        status =
            base_fail(error, BASE_EFORMAT, "plan: %zu bytes follow the header, which is not what its counts call for",
                      base_reader_left(reader));
    return status;
}

static base_status read_contents(base_reader *reader, const link_limits *limits, void *memory, link_plan *plan,
                                 size_t pixel_bytes, base_error *error)
{
    uint8_t *marks;
    divide(memory, plan, limits, &marks);
    base_status status = read_slices(reader, plan, limits, marks, error);
    if (status == BASE_OK)
        status = read_tokens(reader, plan, limits, error);
    if (status == BASE_OK)
        status = read_blocks(reader, plan, limits, error);
    if (status == BASE_OK)
        status = read_drafts(reader, plan, limits, error);
    if (status == BASE_OK)
        status = read_draft_contents(reader, plan, limits, error);
    if (status == BASE_OK)
        status = clear_guesses(plan, error);
    memset(marks, 0, limits->n_image_slots);
    if (status == BASE_OK)
        status = read_images(reader, plan, limits, pixel_bytes, marks, error);
    if (status == BASE_OK)
        status = read_vectors(reader, plan, limits, error);
    return status;
}

base_status link_plan_decode(const void *bytes, size_t size, const link_limits *limits, link_plan *out,
                             base_error *error)
{
    link_plan plan = {0};
    size_t pixel_bytes;
    base_reader reader = base_reader_over(bytes, size);
    base_status status = read_counts(&reader, limits, &plan, &pixel_bytes, error);
    if (status != BASE_OK)
        return status;
    void *memory = malloc(memory_bytes(&plan, limits));
    if (memory == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory for a plan of %zu bytes", size);
    status = read_contents(&reader, limits, memory, &plan, pixel_bytes, error);
    if (status != BASE_OK)
        free(memory);
    else
        *out = plan;
    return status;
}

base_status link_plan_decode_into(const void *bytes, size_t size, const link_limits *limits, void *memory,
                                  link_plan *out, base_error *error)
{
    link_plan plan = {0};
    size_t pixel_bytes, most = 0, most_of_drafts = 0;
    base_reader reader = base_reader_over(bytes, size);
    base_status status = read_counts(&reader, limits, &plan, &pixel_bytes, error);
    if (status == BASE_OK &&
        (!blocks_max(limits, &most, &most_of_drafts) || plan.n_blocks > most || plan.n_draft_blocks > most_of_drafts))
        status = base_fail(error, BASE_EFORMAT,
                           "plan: n_blocks is %u, n_draft_blocks %u; all sequences together have %zu, %zu",
                           plan.n_blocks, plan.n_draft_blocks, most, most_of_drafts);
    if (status == BASE_OK)
        status = read_contents(&reader, limits, memory, &plan, pixel_bytes, error);
    if (status == BASE_OK)
        *out = plan;
    return status;
}

void link_plan_release(link_plan *plan)
{
    free(plan->slices); /* the start of the one allocation */
    *plan = (link_plan){0};
}

/* ---- results ---- */

void link_result_encode(const link_result *result, base_buf *out)
{
    base_buf_put_u8(out, LINK_RESULT);
    base_buf_put_u64(out, result->step);
    base_buf_put_u32(out, result->n_tokens);
    base_buf_put_u32(out, result->n_draft_tokens);
    for (uint32_t i = 0; i < result->n_tokens; i++) {
        const link_token *token = &result->tokens[i];
        base_buf_put_u32(out, token->seq);
        base_buf_put_u32(out, token->pos);
        base_buf_put_u32(out, (uint32_t)token->token);
        base_buf_put_f32(out, token->logprob);
        base_buf_put_u64(out, token->logits_digest);
    }
    base_buf_put(out, result->draft_tokens, (size_t)result->n_draft_tokens * GUESS_BYTES);
}

static base_status read_sampled(base_reader *reader, link_result *result, base_error *error)
{
    for (uint32_t i = 0; i < result->n_tokens; i++) {
        link_token *token = &result->tokens[i];
        token->seq = base_reader_u32(reader);
        token->pos = base_reader_u32(reader);
        token->token = (int32_t)base_reader_u32(reader);
        token->logprob = base_reader_f32(reader);
        token->logits_digest = base_reader_u64(reader);
        if (token->token < 0 && token->token != LINK_TOKEN_OVERFLOW)
            return base_fail(error, BASE_EFORMAT, "result: tokens[%u] is %d, not a vocabulary entry", i, token->token);
    }
    for (uint32_t i = 0; i < result->n_draft_tokens; i++) {
        result->draft_tokens[i] = (int32_t)base_reader_u32(reader);
        if (result->draft_tokens[i] < 0)
            return base_fail(error, BASE_EFORMAT, "result: draft_tokens[%u] is %d, not a vocabulary entry", i,
                             result->draft_tokens[i]);
    }
    return BASE_OK;
}

static base_status read_result_header(base_reader *reader, link_result *result, base_error *error)
{
    uint8_t type = base_reader_u8(reader);
    result->step = base_reader_u64(reader);
    result->n_tokens = base_reader_u32(reader);
    result->n_draft_tokens = base_reader_u32(reader);
    if (reader->failed || type != LINK_RESULT)
        return base_fail(error, BASE_EFORMAT, "result: the header is cut or not a result's");
    uint64_t left = base_reader_left(reader); /* the sum is far below 2^64 */
    if (left != (uint64_t)result->n_tokens * SAMPLED_BYTES + (uint64_t)result->n_draft_tokens * GUESS_BYTES)
        return base_fail(error, BASE_EFORMAT,
                         "result: %llu bytes follow the header, which is not %u tokens and %u draft tokens",
                         (unsigned long long)left, result->n_tokens, result->n_draft_tokens);
    return BASE_OK;
}

base_status link_result_decode(const void *bytes, size_t size, link_result *out, base_error *error)
{
    base_reader reader = base_reader_over(bytes, size);
    link_result result = {0};
    base_status status = read_result_header(&reader, &result, error);
    if (status != BASE_OK)
        return status;
    if (result.n_tokens + (uint64_t)result.n_draft_tokens > 0) { /* the message holds them, so the sum fits */
        result.tokens =
            malloc(result.n_tokens * sizeof *result.tokens + result.n_draft_tokens * sizeof *result.draft_tokens);
        if (result.tokens == NULL)
            return base_fail(error, BASE_ENOMEM, "out of memory for a result of %u tokens", result.n_tokens);
        result.draft_tokens = (int32_t *)(void *)(result.tokens + result.n_tokens);
    }
    status = read_sampled(&reader, &result, error);
    if (status != BASE_OK)
        link_result_release(&result);
    else
        *out = result;
    return status;
}

base_status link_result_decode_into(const void *bytes, size_t size, link_token *tokens, int32_t *draft_tokens,
                                    uint32_t n_max, link_result *out, base_error *error)
{
    base_reader reader = base_reader_over(bytes, size);
    link_result result = {.tokens = tokens, .draft_tokens = draft_tokens};
    base_status status = read_result_header(&reader, &result, error);
    if (status == BASE_OK && (result.n_tokens > n_max || result.n_draft_tokens > n_max))
        status = base_fail(error, BASE_EFORMAT, "result: n_tokens is %u, n_draft_tokens %u; the limit is %u",
                           result.n_tokens, result.n_draft_tokens, n_max);
    if (status == BASE_OK)
        status = read_sampled(&reader, &result, error);
    if (status == BASE_OK)
        *out = result;
    return status;
}

void link_result_release(link_result *result)
{
    free(result->tokens);
    *result = (link_result){0};
}
