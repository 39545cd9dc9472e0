/* request_queue.c - the queue's limit, and requests that enter it: checked against what the replica can ever hold, so
 * that every request that waits can run. */
#include <assert.h>

#include "coordinator/sched/sched_int.h"

/* ---- the limit ---- */

base_status sched_reserve(sched *s, base_error *error)
{
    uint32_t length = s->n_reserved + s->waiting.n;
    if (length >= s->options.max_queue)
        return base_fail(error, BASE_EBUSY, "the queue is full: %u requests wait, the limit is %u; try again later",
                         length, s->options.max_queue);
    s->n_reserved++;
    return BASE_OK;
}

void sched_unreserve(sched *s)
{
    assert(s->n_reserved > 0);
    s->n_reserved--;
}

/* ---- checks ---- */

static base_status check_fits(const sched *s, const sched_request *r, base_error *error)
{
    const link_limits *limits = &s->options.limits;
    if (r->score && r->n_resumed > 0)
        return base_fail(error, BASE_EINVAL, "resume_ids and answer cannot be combined");
    if (r->n_tokens <= r->n_resumed || r->max_tokens <= r->n_resumed)
        return base_fail(error, BASE_EINVAL, "a request needs at least one prompt token and one token to make");
    uint32_t n_prompt = r->n_tokens - r->n_resumed;
    uint64_t positions = (uint64_t)n_prompt + r->max_tokens;
    if (positions > limits->max_positions)
        return base_fail(
            error, BASE_ETOOBIG,
            "%u prompt tokens and max_tokens %u exceed the context of %u; shorten the prompt or lower max_tokens",
            n_prompt, r->max_tokens, limits->max_positions);
    if (kv_blocks_for((uint32_t)positions) > limits->n_kv_blocks)
        return base_fail(
            error, BASE_ETOOBIG,
            "%u prompt tokens and max_tokens %u exceed the cache of %llu tokens; lower max_tokens, or start the server "
            "with a larger cache",
            n_prompt, r->max_tokens, (unsigned long long)limits->n_kv_blocks * LINK_KV_BLOCK_TOKENS);
    if (r->n_images > limits->n_image_slots)
        return base_fail(error, BASE_ETOOBIG, "%u images in one request; this server holds %u at a time", r->n_images,
                         limits->n_image_slots);
    return BASE_OK;
}

base_status sched_check_resumed(const sched_request *r, base_error *error)
{
    for (uint32_t i = r->n_tokens - r->n_resumed; i < r->n_tokens; i++) {
        bool ends = r->tokens[i] < 0;
        for (uint32_t k = 0; k < r->n_stop_ids; k++)
            ends = ends || r->tokens[i] == r->stop_ids[k];
        if (ends)
            return base_fail(
                error, BASE_EINVAL,
                "token %d, number %u of the answer to resume, ends an answer or is no vocabulary id; leave it out",
                r->tokens[i], i - (r->n_tokens - r->n_resumed));
    }
    return BASE_OK;
}

/* The tokens that a request brings. */
static uint32_t n_given(const sched_request *r)
{
    return r->n_tokens + (r->score ? r->max_tokens : 0);
}

static base_status check_vectors(const sched *s, const sched_request *r, base_error *error)
{
    for (uint32_t v = 0; v < r->n_vectors; v++) {
        const content_vector *vector = &r->vectors[v];
        if (vector->kind >= LINK_VECTOR_KINDS || vector->width == 0 ||
            vector->width != s->options.limits.vector_widths[vector->kind])
            return base_fail(error, BASE_EINVAL,
                             "vector %u of the prompt has %u numbers and kind %u; this model has no such vectors", v,
                             vector->width, vector->kind);
    }
    return BASE_OK;
}

/* Ids inside the vocabulary; vectors in order; image rows complete, in order, each image's together. */
static base_status check_tokens(const sched *s, const sched_request *r, base_error *error)
{
    uint64_t next_row = 0;
    uint32_t next_vector = 0;
    for (uint32_t i = 0; i < n_given(r); i++) {
        link_position position = link_position_in_request(r->tokens[i]);
        if (position.kind == LINK_POSITION_TOKEN && position.index >= s->options.limits.vocab_size)
            return base_fail(error, BASE_EINVAL, "token %u is outside the vocabulary of %u", position.index,
                             s->options.limits.vocab_size);
        if (position.kind == LINK_POSITION_VECTOR && (i >= r->n_tokens || position.index != next_vector++))
            return base_fail(error, BASE_EINVAL, "the vectors of the prompt are not in order at position %u", i);
        if (position.kind == LINK_POSITION_IMAGE_ROW && (i >= r->n_tokens || position.index != next_row++))
            return base_fail(error, BASE_EINVAL, "the image rows of the prompt are not in order at position %u", i);
    }
    if (next_row != (uint64_t)r->n_images * s->options.limits.rows_per_image)
        return base_fail(error, BASE_EINVAL, "%llu image rows in the prompt do not belong to %u images",
                         (unsigned long long)next_row, r->n_images);
    if (next_vector != r->n_vectors)
        return base_fail(error, BASE_EINVAL, "the prompt has places for %u vectors, but %u came", next_vector,
                         r->n_vectors);
    return check_vectors(s, r, error);
}

/* ---- submission ---- */

base_status sched_submit(sched *s, const sched_request *r, uint64_t now_us, sched_seq **out, base_error *error)
{
    const link_limits *limits = &s->options.limits;
    sched_seq *seq = NULL;
    sched_unreserve(s);
    base_status status = check_fits(s, r, error);
    if (status == BASE_OK)
        status = check_tokens(s, r, error);
    if (status == BASE_OK)
        status = sched_check_resumed(r, error);
    if (status == BASE_OK && r->deadline_us != 0 && r->deadline_us <= now_us)
        status = base_fail(error, BASE_EDEADLINE, "the deadline passed while the request was prepared");
    bool may_draft = limits->n_draft_blocks > 0 && s->options.speculate != 0 && !r->score;
    if (status == BASE_OK)
        status = sched_seq_create(r, limits->rows_per_image, may_draft, &seq, error);
    if (status != BASE_OK)
        return status;
    seq->rank.arrival = ++s->arrivals;
    seq_list_add(&s->waiting, seq);
    *out = seq;
    return BASE_OK;
}
