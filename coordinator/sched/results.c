/* results.c - results into tokens; ends, failures and deadlines of requests. */
#include <assert.h>

#include "coordinator/sched/sched.h"
#include "coordinator/sched/sched_int.h"

/* ---- the ways out ---- */

void sched_seq_release_resources(sched *s, sched_seq *seq)
{
    if (seq->slot != SEQ_NO_SLOT) {
        id_pool_free(&s->slots, 1, &seq->slot);
        seq->slot = SEQ_NO_SLOT;
    }
    block_table_clear(&seq->table, &s->blocks);
    draft_text_clear(&seq->text, &s->draft_blocks);
    seq->overflowed = false;
    for (uint32_t i = 0; i < seq->n_images; i++) {
        if (seq->images[i].slot != SEQ_NO_SLOT)
            encoder_cache_free(&s->images, seq->images[i].slot);
        seq->images[i].slot = SEQ_NO_SLOT;
        seq->images[i].planned = false;
    }
}

void sched_seq_requeue(sched *s, sched_seq *seq)
{
    assert(seq->n_plans == 0);
    sched_seq_release_resources(s, seq);
    seq_list_remove(&s->running, seq);
    seq->state = SEQ_WAITING;
    seq->n_planned = seq->n_done = seq->n_draft = 0;
    seq_list_add(&s->waiting, seq);
}

/* Its owner will hear no more of it; what it holds stays until no plan uses it. */
static void end_seq(sched *s, sched_seq *seq)
{
    if (seq->n_plans > 0) {
        seq->state = SEQ_DRAINING;
        return;
    }
    if (!seq->scores)
        ngram_history_add(&s->history, seq->tokens + seq->n_prompt, seq->n_known - seq->n_prompt);
    seq_list_remove(seq->state == SEQ_WAITING ? &s->waiting : &s->running, seq);
    sched_seq_release_resources(s, seq);
    seq->state = SEQ_ENDED;
    if (seq->n_events == 0)
        sched_seq_destroy(seq);
}

static void drop_events(sched *s, sched_seq *seq)
{
    for (uint32_t i = s->next_event; i < s->n_events; i++)
        if (s->event_seqs[i] == seq)
            s->event_seqs[i] = NULL;
    seq->n_events = 0;
}

void sched_cancel(sched *s, sched_seq *seq)
{
    drop_events(s, seq);
    if (seq->state == SEQ_ENDED)
        sched_seq_destroy(seq);
    else if (seq->state != SEQ_DRAINING)
        end_seq(s, seq);
}

static void put_event(sched *s, sched_seq *seq, sched_event event)
{
    assert(s->n_events < s->event_capacity);
    seq->n_events++;
    s->event_seqs[s->n_events] = seq;
    s->events[s->n_events++] = event;
}

bool sched_next_event(sched *s, sched_event *out)
{
    while (s->next_event < s->n_events && s->event_seqs[s->next_event] == NULL)
        s->next_event++;
    if (s->next_event == s->n_events) {
        s->next_event = s->n_events = 0;
        return false;
    }
    sched_seq *seq = s->event_seqs[s->next_event];
    *out = s->events[s->next_event++];
    if (--seq->n_events == 0 && seq->state == SEQ_ENDED)
        sched_seq_destroy(seq);
    return true;
}

static void put_failure(sched *s, sched_seq *seq, base_status status)
{
    put_event(
        s, seq,
        (sched_event){.user = seq->user, .finish = SCHED_FAILED, .status = status, .started_us = seq->started_us});
}

static void expire_list(sched *s, seq_list *list, uint64_t now_us)
{
    for (uint32_t i = list->n; i-- > 0;) { /* downwards: removal moves the last one here, which was looked at already */
        sched_seq *seq = list->items[i];
        uint64_t deadline = seq->rank.deadline_us;
        if (seq->state != SEQ_DRAINING && deadline != 0 && deadline <= now_us) {
            put_failure(s, seq, BASE_EDEADLINE);
            end_seq(s, seq);
        }
    }
}

void sched_expire(sched *s, uint64_t now_us)
{
    expire_list(s, &s->waiting, now_us);
    expire_list(s, &s->running, now_us);
}

static uint64_t earliest(const seq_list *list, uint64_t earliest_us)
{
    for (uint32_t i = 0; i < list->n; i++) {
        uint64_t deadline = list->items[i]->rank.deadline_us;
        if (deadline != 0 && list->items[i]->state != SEQ_DRAINING && (earliest_us == 0 || deadline < earliest_us))
            earliest_us = deadline;
    }
    return earliest_us;
}

uint64_t sched_next_deadline(const sched *s)
{
    return earliest(&s->running, earliest(&s->waiting, 0));
}

/* ---- results ---- */

/* The tokens of the next slice of a plan, from *n on: *count of them, moved past.  False when they are not this
 * slice's. */
static bool take_tokens(const inflight_slice *entry, const link_result *result, uint32_t *n, uint32_t *count)
{
    uint32_t pos = entry->pos + entry->n_tokens - entry->n_sampled, end = entry->pos + entry->n_tokens - 1;
    uint32_t left = result->n_tokens - *n;
    const link_token *tokens = left > 0 ? result->tokens + *n : NULL;
    *count = entry->n_sampled;
    if (entry->n_sampled == 0) { /* one when it overflowed */
        *count = left > 0 && tokens[0].seq == entry->seq->slot && tokens[0].pos == end &&
                 tokens[0].token == LINK_TOKEN_OVERFLOW;
        *n += *count;
        return true;
    }
    if (left < *count)
        return false;
    for (uint32_t i = 0; i < *count; i++)
        if (tokens[i].seq != entry->seq->slot || tokens[i].pos != pos + i)
            return false;
    *n += *count;
    return true;
}

static base_status check_result(const sched *s, const inflight_plan *flight, const link_result *result,
                                base_error *error)
{
    if (s->n_flights == 0 || result->step != flight->step)
        return base_fail(error, BASE_EFORMAT, "the replica sent the result of step %llu out of turn",
                         (unsigned long long)result->step);
    uint32_t n = 0, n_draft_tokens = 0, count;
    bool matches = true;
    for (uint32_t i = 0; i < flight->n_entries && matches; i++) {
        matches = take_tokens(&flight->entries[i], result, &n, &count);
        n_draft_tokens += flight->entries[i].n_drafted;
    }
    if (!matches || n != result->n_tokens || n_draft_tokens != result->n_draft_tokens)
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

/* Whether the lead guessed the token that came is known without having drafted it. */
static void track_ngram(sched *s, sched_seq *seq)
{
    bool is_wide = s->options.speculate == SCHED_SPECULATE_AUTO && s->running.n >= SPEC_ROWS_MAX;
    if (s->options.speculate == 0 || is_wide) {
        seq->lead.source = DRAFT_NONE;
        return;
    }
    int32_t guess = ngram_predict(&s->history, &seq->lead, seq->tokens, seq->n_known - 1, 0);
    if (guess != NGRAM_NONE)
        spec_policy_observe_acceptance(&s->spec_policy, &seq->guesses, &seq->lead,
                                       guess == seq->tokens[seq->n_known - 1]);
    ngram_advance(&s->history, &seq->lead, seq->tokens, seq->n_known);
}

/* The sequence still counts as used by the plan whose result this is, so ending it means DRAINING; complete_entry frees
 * it. */
static void accept_token(sched *s, sched_seq *seq, const link_token *token)
{
    if (token->token == LINK_TOKEN_OVERFLOW) {
        put_failure(s, seq, BASE_ENUMERIC);
        seq->state = SEQ_DRAINING;
        return;
    }
    seq->tokens[seq->n_known++] = token->token;
    seq->rank.n_tokens = seq->n_known;
    draft_text_append(&seq->text, token->token);
    if (!seq->scores)
        track_ngram(s, seq);
    sched_event event = {.user = seq->user, .token = *token, .started_us = seq->started_us, .reuse = seq->reuse};
    if (is_stop(seq, token->token))
        event.finish = SCHED_EOS;
    else if (seq->n_known == seq->n_prompt + seq->max_tokens)
        event.finish = SCHED_LENGTH;
    put_event(s, seq, event);
    if (event.finish != SCHED_CONTINUE)
        seq->state = SEQ_DRAINING;
}

/* How many of the tokens sampled with a draft count: those after guesses that all came true, and the one after the last
 * of these. */
static uint32_t count_agreed(const sched_seq *seq, const link_token *tokens, uint32_t n)
{
    uint32_t agreed = 1;
    while (agreed < n && tokens[agreed - 1].token == seq->draft[agreed - 1])
        agreed++;
    return agreed;
}

/* What the draft model had guessed: how often it is right, and how far it has read the true text.  It has not read its
 * last guess. */
static void settle_model(sched *s, sched_seq *seq, uint32_t n_agreed)
{
    const ngram_match model = spec_policy_model_match(seq->text.n == seq->n_known);
    for (uint32_t i = 0; i < n_agreed && i < seq->n_draft; i++)
        spec_policy_observe_acceptance(&s->spec_policy, &seq->guesses, &model, i + 1 < n_agreed);
    seq->text.n_read = seq->text.n + (n_agreed <= seq->n_draft ? n_agreed : seq->n_draft) - 1;
    seq->draft_is_placeholder = false;
}

/* The draft has been verified: what was wrongly guessed was never fed. */
static void settle_draft(sched *s, sched_seq *seq, uint32_t n_agreed)
{
    if (seq->draft_is_placeholder)
        settle_model(s, seq, n_agreed);
    if (!seq->scores) {
        seq->reuse.n_accepted += n_agreed - 1;
        s->accepted_tokens += n_agreed - 1;
    }
    seq->n_planned = seq->n_done = seq->n_done - seq->n_draft + n_agreed - 1;
    seq->n_draft = 0;
}

/* One slice of a completed plan, the tokens [count] that it gave, and what the draft model had guessed. */
static void complete_entry(sched *s, const inflight_slice *entry, const link_token *tokens, uint32_t count,
                           const int32_t *draft_tokens)
{
    sched_seq *seq = entry->seq;
    for (uint32_t i = 0; i < entry->n_drafted; i++)
        seq->draft[i] = draft_tokens[i];
    seq->n_done = entry->pos + entry->n_tokens;
    if (entry->n_sampled > 0)
        seq->n_sampling--;
    if (seq->n_draft > 0) {
        count = count_agreed(seq, tokens, count);
        settle_draft(s, seq, count);
    }
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
        end_seq(s, seq);
    else if (seq->state == SEQ_PREEMPTED)
        sched_seq_requeue(s, seq);
}

/* What the plan took, since it was sent or since the one before it was done. */
static void observe_cost(sched *s, const inflight_plan *flight, uint64_t now_us)
{
    uint64_t began_us = flight->sent_us > s->last_result_us ? flight->sent_us : s->last_result_us;
    s->last_result_us = now_us;
    if (now_us <= began_us)
        return;
    if (flight->n_read > 0)
        spec_policy_observe_draft_cost(&s->spec_policy, flight->n_decode_rows, flight->n_passes, flight->n_read,
                                       now_us - began_us);
    else
        spec_policy_observe_step_cost(&s->spec_policy, flight->n_decode_rows, now_us - began_us);
}

base_status sched_process_result(sched *s, const link_result *result, uint64_t now_us, base_error *error)
{
    const inflight_plan *flight = &s->flights[s->first_flight];
    base_status status = check_result(s, flight, result, error);
    if (status != BASE_OK)
        return status;
    observe_cost(s, flight, now_us);
    s->first_flight = (s->first_flight + 1) % s->options.max_plans;
    s->n_flights--;
    uint32_t n = 0, n_draft_tokens = 0, count;
    for (uint32_t i = 0; i < flight->n_entries; i++) {
        uint32_t first = n;
        take_tokens(&flight->entries[i], result, &n, &count);
        complete_entry(s, &flight->entries[i], count > 0 ? result->tokens + first : NULL, count,
                       flight->entries[i].n_drafted > 0 ? result->draft_tokens + n_draft_tokens : NULL);
        n_draft_tokens += flight->entries[i].n_drafted;
    }
    return BASE_OK;
}
