/* plan_draft.c - encoding and decoding what a plan asks of the draft model.
 *
 *     slice of the target:   tokens   ... t | d1 d2 d3      n_sampled = 4: verifies d1 to d3, samples after each
 *                                         |    ^ placeholders: the last n_drafted = 3 tokens of the slice
 *     its draft:   draft_inputs  ... t ---+    the draft model reads its inputs and fills in d1 d2 d3
 *
 * The draft model has positions (text only) and cache blocks of its own. */
#include "proto/link/plan_int.h"

void plan_put_drafts(base_buf *out, const link_plan *plan)
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
    base_buf_put(out, plan->draft_inputs, (size_t)plan->n_draft_inputs * PLAN_ID_BYTES);
    base_buf_put(out, plan->draft_blocks, (size_t)plan->n_draft_blocks * PLAN_ID_BYTES);
}

/* `next_token`: where the draft's tokens must start; `next_slice`: the first slice that it may belong to. */
static base_status check_draft(const link_plan *plan, const link_limits *limits, uint32_t i, uint32_t next_token,
                               uint32_t next_slice, base_error *error)
{
    const link_draft *draft = &plan->drafts[i];
    if (draft->slice < next_slice || draft->slice >= plan->n_slices)
        return base_fail(error, BASE_EFORMAT, "PLAN message: drafts[%u].slice is %u; %u to %u are possible", i,
                         draft->slice, next_slice, plan->n_slices - 1);
    if (draft->first_token != next_token || draft->n_tokens == 0 || draft->n_tokens > plan->n_draft_inputs - next_token)
        return base_fail(error, BASE_EFORMAT,
                         "PLAN message: drafts[%u] has tokens %u, %u of them; they start at %u of %u", i,
                         draft->first_token, draft->n_tokens, next_token, plan->n_draft_inputs);
    const link_slice *slice = &plan->slices[draft->slice];
    if (draft->n_drafted != 0 && (draft->n_drafted != slice->n_sampled - 1 || draft->n_drafted >= slice->n_tokens ||
                                  (slice->flags & LINK_SLICE_GIVEN) != 0))
        return base_fail(error, BASE_EFORMAT,
                         "PLAN message: drafts[%u].n_drafted is %u; slices[%u] verifies %u of %u tokens", i,
                         draft->n_drafted, draft->slice, slice->n_sampled, slice->n_tokens);
    uint64_t end = link_draft_end(draft);
    if (end > limits->draft_positions)
        return base_fail(error, BASE_EFORMAT, "PLAN message: drafts[%u] ends at position %llu; the limit is %u", i,
                         (unsigned long long)end, limits->draft_positions);
    if (draft->first_block + (uint64_t)link_kv_blocks(end) > plan->n_draft_blocks)
        return base_fail(error, BASE_EFORMAT,
                         "PLAN message: drafts[%u] needs blocks from %u to position %llu; there are %u", i,
                         draft->first_block, (unsigned long long)end, plan->n_draft_blocks);
    return BASE_OK;
}

static base_status read_headers(base_reader *reader, link_plan *plan, const link_limits *limits, base_error *error)
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
        return base_fail(error, BASE_EFORMAT, "PLAN message: n_draft_inputs is %u, but the drafts have %u",
                         plan->n_draft_inputs, next_token);
    return BASE_OK;
}

/* Placeholders are neither rows nor vectors; whatever id they hold on the wire becomes 0. */
static base_status clear_placeholders(const link_plan *plan, base_error *error)
{
    for (uint32_t i = 0; i < plan->n_drafts; i++) {
        const link_slice *slice = &plan->slices[plan->drafts[i].slice];
        uint32_t end = slice->first_token + slice->n_tokens;
        for (uint32_t it = end - plan->drafts[i].n_drafted; it < end; it++) {
            if (plan->tokens[it] < 0)
                return base_fail(error, BASE_EFORMAT, "PLAN message: tokens[%u] is %d, but the draft model fills it in",
                                 it, plan->tokens[it]);
            plan->tokens[it] = 0;
        }
    }
    return BASE_OK;
}

base_status plan_read_drafts(base_reader *reader, link_plan *plan, const link_limits *limits, base_error *error)
{
    base_status status = read_headers(reader, plan, limits, error);
    if (status == BASE_OK) /* as int32, ids of the vocabulary are the same numbers */
        status = plan_read_ids(reader, "draft_inputs", (uint32_t *)plan->draft_inputs, plan->n_draft_inputs,
                               limits->vocab_size, error);
    if (status == BASE_OK)
        status = plan_read_ids(reader, "draft_blocks", plan->draft_blocks, plan->n_draft_blocks, limits->n_draft_blocks,
                               error);
    return status == BASE_OK ? clear_placeholders(plan, error) : status;
}
