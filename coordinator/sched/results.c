/* results.c - results of plans into tokens for the requests' owners.
 *
 * A result lists the tokens of its plan's slices in order, n_sampled for each.  It is checked in full against the plan
 * (check_result) before anything changes; then each slice is completed: positions move on, a draft is accepted as far
 * as it agrees, tokens become events, full blocks are shared, and a sequence that was ended or preempted in the
 * meantime is released with its last plan. */
#include "coordinator/sched/sched_int.h"
#include "coordinator/sched/speculate/speculate.h"

/* Of the result's tokens from *n on, *count belong to this slice; *n moves past them.  False when they do not match
 * it. */
static bool match_tokens(const inflight_slice *slice, const link_result *result, uint32_t *n, uint32_t *count)
{
    uint32_t pos = slice->pos + slice->n_tokens - slice->n_sampled, end = slice->pos + slice->n_tokens - 1;
    uint32_t left = result->n_tokens - *n;
    const link_token *tokens = left > 0 ? result->tokens + *n : NULL;
    *count = slice->n_sampled;
    if (slice->n_sampled == 0) { /* one when it overflowed */
        *count = left > 0 && tokens[0].seq == slice->seq->slot && tokens[0].pos == end &&
                 tokens[0].token == LINK_TOKEN_OVERFLOW;
        *n += *count;
        return true;
    }
    if (left < *count)
        return false;
    for (uint32_t i = 0; i < *count; i++)
        if (tokens[i].seq != slice->seq->slot || tokens[i].pos != pos + i)
            return false;
    *n += *count;
    return true;
}

static base_status check_result(const sched *s, const inflight_plan *inflight, const link_result *result,
                                base_error *error)
{
    if (s->n_inflight == 0 || result->step != inflight->step)
        return base_fail(error, BASE_EFORMAT, "the replica sent the result of step %llu out of turn",
                         (unsigned long long)result->step);
    uint32_t n = 0, n_drafted = 0, count;
    bool matches = true;
    for (uint32_t i = 0; i < inflight->n_slices && matches; i++) {
        matches = match_tokens(&inflight->slices[i], result, &n, &count);
        n_drafted += inflight->slices[i].n_placeholders;
    }
    if (!matches || n != result->n_tokens || n_drafted != result->n_draft_tokens)
        return base_fail(error, BASE_EFORMAT,
                         "the replica's result of step %llu, of %u tokens and %u draft tokens, does not match its plan",
                         (unsigned long long)result->step, result->n_tokens, result->n_draft_tokens);
    for (uint32_t i = 0; i < result->n_tokens; i++)
        if (result->tokens[i].token != LINK_TOKEN_OVERFLOW &&
            (uint32_t)result->tokens[i].token >= s->options.limits.vocab_size)
            return base_fail(error, BASE_EFORMAT,
                             "the replica's result of step %llu has token %d, which is not in the vocabulary",
                             (unsigned long long)result->step, result->tokens[i].token);
    return BASE_OK;
}

static bool is_stop(const sched_seq *seq, int32_t token)
{
    for (uint32_t i = 0; i < seq->n_stop_ids; i++)
        if (seq->stop_ids[i] == token)
            return true;
    return false;
}

/* The plan whose result this is still counts as using the sequence, so ending it means DRAINING; complete_slice frees
 * it. */
static void accept_token(sched *s, sched_seq *seq, const link_token *token)
{
    if (token->token == LINK_TOKEN_OVERFLOW) {
        sched_put_failure(s, seq, BASE_ENUMERIC);
        seq->state = SEQ_DRAINING;
        return;
    }
    seq->tokens[seq->n_known++] = token->token;
    seq->rank.n_tokens = seq->n_known;
    draft_text_append(&seq->text, token->token);
    if (!seq->scores)
        sched_track_ngram(s, seq);
    sched_event event = {.user = seq->user, .token = *token, .started_us = seq->started_us, .reuse = seq->reuse};
    if (is_stop(seq, token->token))
        event.finish = SCHED_EOS;
    else if (seq->n_known == seq->n_prompt + seq->max_tokens)
        event.finish = SCHED_LENGTH;
    sched_put_event(s, seq, event);
    if (event.finish != SCHED_CONTINUE)
        seq->state = SEQ_DRAINING;
}

/* One slice of a completed plan: the tokens [count] sampled in it, and the draft model's in its placeholders. */
static void complete_slice(sched *s, const inflight_slice *slice, const link_token *tokens, uint32_t count,
                           const int32_t *drafted)
{
    sched_seq *seq = slice->seq;
    for (uint32_t i = 0; i < slice->n_placeholders; i++)
        seq->draft[i] = drafted[i];
    seq->n_done = slice->pos + slice->n_tokens;
    if (slice->n_sampled > 0)
        seq->n_sampling--;
    if (seq->n_draft > 0)
        count = sched_accept_draft(s, seq, tokens, count);
    for (uint32_t i = 0; i < count; i++)
        seq->overflowed |= tokens[i].token == LINK_TOKEN_OVERFLOW;
    sched_seq_release_images(s, seq);
    for (uint32_t i = 0; i < count && seq->state != SEQ_DRAINING; i++)
        accept_token(s, seq, &tokens[i]);
    sched_seq_publish_blocks(s, seq);
    if (--seq->n_plans > 0)
        return;
    draft_text_publish(&seq->text, &s->draft_blocks);
    if (seq->state == SEQ_DRAINING)
        sched_seq_end(s, seq);
    else if (seq->state == SEQ_PREEMPTED)
        sched_seq_requeue(s, seq);
}

/* The time of the plan: since it was sent, or since the one before it was completed. */
static void observe_cost(sched *s, const inflight_plan *inflight, uint64_t now_us)
{
    uint64_t began_us = inflight->sent_us > s->last_result_us ? inflight->sent_us : s->last_result_us;
    s->last_result_us = now_us;
    if (now_us <= began_us)
        return;
    if (inflight->n_prefilled > 0)
        spec_policy_observe_draft_cost(&s->spec_policy, inflight->n_decode_rows, inflight->n_passes,
                                       inflight->n_prefilled, now_us - began_us);
    else
        spec_policy_observe_step_cost(&s->spec_policy, inflight->n_decode_rows, now_us - began_us);
}

base_status sched_process_result(sched *s, const link_result *result, uint64_t now_us, base_error *error)
{
    const inflight_plan *inflight = &s->inflight[s->first_inflight];
    base_status status = check_result(s, inflight, result, error);
    if (status != BASE_OK)
        return status;
    observe_cost(s, inflight, now_us);
    s->first_inflight = (s->first_inflight + 1) % s->options.max_plans;
    s->n_inflight--;
    uint32_t n = 0, n_drafted = 0, count;
    for (uint32_t i = 0; i < inflight->n_slices; i++) {
        uint32_t first = n;
        match_tokens(&inflight->slices[i], result, &n, &count);
        complete_slice(s, &inflight->slices[i], count > 0 ? result->tokens + first : NULL, count,
                       inflight->slices[i].n_placeholders > 0 ? result->draft_tokens + n_drafted : NULL);
        n_drafted += inflight->slices[i].n_placeholders;
    }
    return BASE_OK;
}
