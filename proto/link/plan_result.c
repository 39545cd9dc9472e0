/* plan_result.c - what a plan gave, as a little-endian message:
 *
 *     type u8 | step u64 | n_tokens n_draft_tokens u32
 *     | tokens: seq pos u32, token i32, logprob f32, logits_digest u64 | draft_tokens i32 */
#include <stdlib.h>

#include "proto/base/buf.h"
#include "proto/link/link.h"
#include "proto/link/plan.h"

enum { TOKEN_BYTES = 4 * 4 + 8, DRAFT_TOKEN_BYTES = 4 };

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
    base_buf_put(out, result->draft_tokens, (size_t)result->n_draft_tokens * DRAFT_TOKEN_BYTES);
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
            return base_fail(error, BASE_EFORMAT, "RESULT message: tokens[%u] is %d, not a vocabulary entry", i,
                             token->token);
    }
    for (uint32_t i = 0; i < result->n_draft_tokens; i++) {
        result->draft_tokens[i] = (int32_t)base_reader_u32(reader);
        if (result->draft_tokens[i] < 0)
            return base_fail(error, BASE_EFORMAT, "RESULT message: draft_tokens[%u] is %d, not a vocabulary entry", i,
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
        return base_fail(error, BASE_EFORMAT, "RESULT message: truncated or malformed header");
    uint64_t left = base_reader_left(reader); /* the sum is far below 2^64 */
    if (left != (uint64_t)result->n_tokens * TOKEN_BYTES + (uint64_t)result->n_draft_tokens * DRAFT_TOKEN_BYTES)
        return base_fail(error, BASE_EFORMAT,
                         "RESULT message: %llu bytes follow the header, not %u tokens and %u draft tokens",
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
        status = base_fail(error, BASE_EFORMAT, "RESULT message: n_tokens is %u, n_draft_tokens %u; the limit is %u",
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
