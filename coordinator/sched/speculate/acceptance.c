/* acceptance.c - which draft tokens are accepted, and what that tells of later drafts.
 *
 * A slice fed the last known token and k draft tokens d1 .. dk; the ranks sampled s0 .. sk, each after the tokens
 * before it:
 *
 *     fed       last  d1   d2   d3
 *     sampled   s0    s1   s2   s3        d1 == s0, d2 == s1, d3 != s2:  s0, s1 and s2 are accepted
 *
 * s3 was sampled after the rejected d3 and is discarded with it: positions fall back to the last accepted token. */
#include "coordinator/sched/sched_int.h"
#include "coordinator/sched/speculate/speculate.h"

static uint32_t count_accepted(const sched_seq *seq, const link_token *tokens, uint32_t n)
{
    uint32_t agreed = 1;
    while (agreed < n && tokens[agreed - 1].token == seq->draft[agreed - 1])
        agreed++;
    return agreed;
}

/* The draft model's tokens: its acceptance rate, and how far it has read the true text.  It has not read the last token
 * that it proposed. */
static void observe_model_draft(sched *s, sched_seq *seq, uint32_t n_accepted)
{
    const ngram_match model = spec_policy_model_match(seq->text.n == seq->n_known);
    for (uint32_t i = 0; i < n_accepted && i < seq->n_draft; i++)
        spec_policy_observe_acceptance(&s->spec_policy, &seq->acceptance, &model, i + 1 < n_accepted);
    seq->text.n_read = seq->text.n + (n_accepted <= seq->n_draft ? n_accepted : seq->n_draft) - 1;
    seq->draft_is_placeholder = false;
}

uint32_t sched_accept_draft(sched *s, sched_seq *seq, const link_token *tokens, uint32_t n)
{
    uint32_t n_accepted = count_accepted(seq, tokens, n);
    if (seq->draft_is_placeholder)
        observe_model_draft(s, seq, n_accepted);
    if (!seq->scores) {
        seq->reuse.n_accepted += n_accepted - 1;
        s->accepted_tokens += n_accepted - 1;
    }
    seq->n_planned = seq->n_done = seq->n_done - seq->n_draft + n_accepted - 1;
    seq->n_draft = 0;
    return n_accepted;
}

/* Whether the match predicted the token is known without having drafted it, so acceptance is measured for free. */
void sched_track_ngram(sched *s, sched_seq *seq)
{
    bool is_wide = s->options.speculate == SCHED_SPECULATE_AUTO && s->running.n >= SPEC_ROWS_MAX;
    if (s->options.speculate == 0 || is_wide) {
        seq->match.source = DRAFT_NONE;
        return;
    }
    int32_t predicted = ngram_predict(&s->history, &seq->match, seq->tokens, seq->n_known - 1, 0);
    if (predicted != NGRAM_NONE)
        spec_policy_observe_acceptance(&s->spec_policy, &seq->acceptance, &seq->match,
                                       predicted == seq->tokens[seq->n_known - 1]);
    ngram_advance(&s->history, &seq->match, seq->tokens, seq->n_known);
}
