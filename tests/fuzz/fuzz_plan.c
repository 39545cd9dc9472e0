/* fuzz_plan.c - any bytes as a link message: an error, or a plan whose every index a rank may follow. */
#include <stdlib.h>

#include "proto/link/link.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* The model of the unit test (tests/unit/proto/test_link.c): small, so that the bounds are near. */
static const link_limits limits = {
    .max_seqs = 4,
    .max_positions = 128,
    .max_step_tokens = 16,
    .n_kv_blocks = 10,
    .n_image_slots = 2,
    .rows_per_image = 3,
    .image_size = 4,
    .vocab_size = 100,
    .vector_widths = {[LINK_VECTOR_EMBEDDING] = 4, [LINK_VECTOR_ENCODERS] = 2},
    .n_draft_blocks = 7,
    .draft_positions = 96,
};

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* What the step loop does with a plan, as indices only. */
static void follow_slice(const link_plan *plan, const link_slice *slice)
{
    require(slice->seq < limits.max_seqs);
    for (uint32_t i = 0; i < slice->n_tokens; i++) {
        uint32_t pos = slice->pos + i;
        int32_t token = plan->tokens[slice->first_token + i];
        uint32_t block = plan->blocks[slice->first_block + pos / LINK_KV_BLOCK_TOKENS];
        require(pos < limits.max_positions && block < limits.n_kv_blocks);
        require(token >= 0 ? token < 100 : -1 - (int64_t)token < 6 + (int64_t)plan->n_vectors);
    }
}

/* And the draft model with a draft. */
static void follow_draft(const link_plan *plan, const link_draft *draft)
{
    require(draft->slice < plan->n_slices && draft->n_tokens >= 1 && link_draft_end(draft) <= limits.draft_positions);
    const link_slice *slice = &plan->slices[draft->slice];
    require(draft->n_drafted < slice->n_tokens && (draft->n_drafted == 0 || slice->n_sampled == draft->n_drafted + 1));
    for (uint32_t i = 0; i < draft->n_tokens; i++)
        require(plan->draft_inputs[draft->first_token + i] >= 0 && plan->draft_inputs[draft->first_token + i] < 100);
    for (uint32_t pos = draft->pos; pos < link_draft_end(draft); pos++)
        require(plan->draft_blocks[draft->first_block + pos / LINK_KV_BLOCK_TOKENS] < limits.n_draft_blocks);
    for (uint32_t i = 0; i < draft->n_drafted; i++)
        require(plan->tokens[slice->first_token + slice->n_tokens - 1 - i] == 0);
}

static void try_plan(const uint8_t *bytes, size_t size)
{
    link_plan plan;
    base_error error = {0};
    if (link_plan_decode(bytes, size, &limits, &plan, &error) != BASE_OK) {
        require(error.text[0] != '\0');
        return;
    }
    uint32_t n_tokens = 0, n_results = 0, sum = 0;
    for (uint32_t i = 0; i < plan.n_slices; i++) {
        follow_slice(&plan, &plan.slices[i]);
        n_tokens += plan.slices[i].n_tokens;
        n_results += link_slice_results(&plan.slices[i]);
        require(plan.slices[i].n_sampled <= plan.slices[i].n_tokens);
    }
    for (uint32_t i = 0; i < plan.n_drafts; i++)
        follow_draft(&plan, &plan.drafts[i]);
    require(n_results <= limits.max_seqs);
    require(n_tokens == plan.n_tokens && n_tokens <= limits.max_step_tokens);
    for (uint32_t i = 0; i < plan.n_images; i++) {
        require(plan.images[i].slot < limits.n_image_slots);
        for (uint32_t j = 0; j < 4 * 4 * 3; j++)
            sum += plan.images[i].pixels[j];
    }
    for (uint32_t i = 0; i < plan.n_vectors; i++) {
        require(plan.vectors[i].kind < LINK_VECTOR_KINDS &&
                plan.vectors[i].width == limits.vector_widths[plan.vectors[i].kind]);
        for (uint32_t j = 0; j < plan.vectors[i].width * sizeof(float); j++)
            sum += ((const uint8_t *)plan.vectors[i].values)[j];
    }
    require(sum <= 2 * 48 * 255);
    base_buf again = {0};
    link_plan_encode(&plan, &again);
    require(again.size == size);
    link_plan_release(&plan);
    base_buf_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    link_result result;
    link_hello hello;
    base_error cause;
    try_plan(bytes, size);
    if (link_result_decode(bytes, size, &result, NULL) == BASE_OK)
        link_result_release(&result);
    if (link_hello_decode(bytes, size, &hello, NULL) == BASE_OK)
        require(hello.tp >= 1 && hello.model_digest[64] == '\0');
    link_failed_decode(bytes, size, &cause, NULL);
    return 0;
}
