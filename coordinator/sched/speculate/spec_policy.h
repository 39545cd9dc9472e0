/* spec_policy.h - decides how many tokens to draft, from measured step costs and acceptance rates.
 *
 * A decoding plan of R rows that is expected to give T tokens takes cost(R).  With k draft tokens for one of its
 * sequences it has R + k rows and gives p + p^2 + ... + p^k more, where p is the acceptance rate of drafts of this
 * kind. The draft model makes k passes first, unless the plan has as many for another sequence.  Chosen is the k with
 * the highest expected throughput,
 *
 *     (T + p + ... + p^k) / (cost(R + k) + passes * pass)
 *
 * and of the sources at hand the one whose throughput is higher.  Where rows are nearly free (weights are read once
 * however many rows there are) long drafts pay even when half of the tokens are rejected; where every row costs its
 * share only near certainties do, and with a wide batch nothing does.  Costs that were never measured are assumed low,
 * so that they get measured; after a number of skipped drafts one short draft is allowed, so that one outlier does not
 * disable drafting permanently.  The draft model is used only once the cost of plans without it is known, and one of
 * its drafts in a number is skipped so that this baseline stays known.
 *
 * The draft model must prefill a sequence before it can draft.  That pays when the remaining answer is long enough:
 * spec_policy_prefill_pays.
 *
 * Drafts are of one kind when they come from the same source and their matches have about the same length; the draft
 * model has two kinds, where it reads all of the prompt and where it does not see the images (spec_policy_model_match).
 * A sequence's own record is mixed with that of all.  Pure.  Threads: one owner. */
#ifndef PALMGROVE_SCHED_SPEC_POLICY_H
#define PALMGROVE_SCHED_SPEC_POLICY_H

#include "coordinator/sched/speculate/ngram.h"

enum {
    SPEC_ROWS_MAX = 16,    /* a wider plan never drafts */
    SPEC_PROBE_TOKENS = 2, /* of a draft that is made only to measure */
    SPEC_KINDS = 10,
};

/* Draft tokens verified and accepted, by kind; older ones decay. */
typedef struct acceptance_record {
    float accepted[SPEC_KINDS], verified[SPEC_KINDS];
} acceptance_record;

typedef struct spec_policy {
    float cost_us[SPEC_ROWS_MAX + 1]; /* of a decoding plan with that many rows; 0: not measured */
    float pass_us, prefill_us;        /* of the draft model, per drafted and per prefilled token; 0: not measured */
    acceptance_record all;
    uint32_t n_skipped;      /* drafts in a row that did not seem to pay */
    uint32_t n_model_drafts; /* the draft model's since one was skipped for the baseline */
} spec_policy;

/* A decoding plan of n_rows took `us`. */
void spec_policy_observe_step_cost(spec_policy *p, uint32_t n_rows, uint64_t us);

/* The same where the draft model prefilled n_prefilled tokens and made n_passes before. */
void spec_policy_observe_draft_cost(spec_policy *p, uint32_t n_rows, uint32_t n_passes, uint32_t n_prefilled,
                                    uint64_t us);

/* A token predicted by this match, as the match was then, was accepted or not. */
void spec_policy_observe_acceptance(spec_policy *p, acceptance_record *own, const ngram_match *match, bool accepted);

/* The draft model's tokens as a match. */
static inline ngram_match spec_policy_model_match(bool reads_all)
{
    return (ngram_match){.source = DRAFT_MODEL, .n_matched = reads_all};
}

/* Expected acceptance rate of a token that this match predicts; 0 without a match. */
float spec_policy_acceptance_rate(const spec_policy *p, const acceptance_record *own, const ngram_match *match);

/* A plan without the draft: n_rows rows, expected to give n_tokens, after n_passes of the draft model. */
typedef struct spec_step {
    uint32_t n_rows, n_passes;
    float n_tokens;
} spec_step;

/* How many tokens to draft from this source at this acceptance rate, 0 to `max`.  *rate: expected tokens per
 * microsecond of that plan. */
uint32_t spec_policy_draft_length(const spec_policy *p, draft_source source, float acceptance, const spec_step *step,
                                  uint32_t max, float *rate);

/* Does the draft model, drafting at `rate`, win back the prefill of n_unread tokens within n_remaining more tokens of
 * an answer? */
bool spec_policy_prefill_pays(const spec_policy *p, const spec_step *step, float rate, uint32_t n_unread,
                              uint32_t n_remaining);

/* A draft does not seem to pay: skip it?  False once in a while, until spec_policy_draft_made. */
bool spec_policy_should_skip(spec_policy *p);
/* A draft was made. */
void spec_policy_draft_made(spec_policy *p);

/* Skip this draft of the draft model, to measure what a plan costs without?  True once in a while. */
bool spec_policy_should_measure_baseline(spec_policy *p);

#endif
