/* spec_policy.h - does verifying drafted tokens pay?  What a plan costs by its rows, and how often guesses come true,
 * both measured.
 *
 * A decoding plan of R rows that is expected to give T tokens takes cost(R).  With k drafted tokens for one of its
 * sequences it has R + k rows and gives p + p^2 + ... + p^k more, where p is how often a guess of this kind comes true.
 * Where the draft model guesses, k passes of it come before, unless the plan has as many for another sequence.  Taken
 * is the k with the most tokens for the time:
 *
 *     (T + p + ... + p^k) / (cost(R + k) + passes * pass)
 *
 * and of the kinds of guesses at hand the one that promises more.  Where rows are nearly free (weights are read once
 * however many rows there are) long drafts pay even when half of the guesses fail; where every row costs its share only
 * near certainties do, and with a wide batch nothing does.  Costs that were never measured are assumed low, so that
 * they get measured; after a number of refusals one short draft is allowed, lest one slow plan is believed for ever.
 * What plans cost without it must be known before the draft model is asked, and one of its drafts in a number is left
 * out so that this stays known.
 *
 * The draft model must have read a sequence before it can guess.  That pays when what is left of the answer is long
 * enough: spec_policy_prefill_pays.
 *
 * Guesses are of one kind when their leads come from the same source and agree in about as many tokens; the draft
 * model's are of two, where it reads all and where it does not see the images (spec_policy_model_match).  A sequence's
 * own record is mixed with that of all.  Pure.  Threads: one owner. */
#ifndef PALMGROVE_SCHED_SPEC_POLICY_H
#define PALMGROVE_SCHED_SPEC_POLICY_H

#include "coordinator/sched/speculate/ngram.h"

enum {
    SPEC_ROWS_MAX = 16,    /* a wider plan never drafts */
    SPEC_PROBE_TOKENS = 2, /* of a draft that is made to measure */
    SPEC_KINDS = 10,
};

/* Hits of tries, older ones fading. */
typedef struct acceptance_record {
    float hits[SPEC_KINDS], tries[SPEC_KINDS];
} acceptance_record;

typedef struct spec_policy {
    float cost_us[SPEC_ROWS_MAX + 1]; /* of a decoding plan with so many rows; 0: not measured */
    float pass_us,
        read_us; /* of the draft model: for a token that it guesses, for one of many that it reads; 0: not measured */
    acceptance_record all;
    uint32_t n_refused; /* drafts in a row that did not seem to pay */
    uint32_t n_model;   /* the draft model's since one was left out */
} spec_policy;

/* A decoding plan of n_rows took so long. */
void spec_policy_observe_step_cost(spec_policy *g, uint32_t n_rows, uint64_t us);

/* So did one before which the draft model read n_read tokens and guessed n_passes times. */
void spec_policy_observe_draft_cost(spec_policy *g, uint32_t n_rows, uint32_t n_passes, uint32_t n_read, uint64_t us);

/* A guess of this lead, made with the lead as it is, came true or not. */
void spec_policy_observe_acceptance(spec_policy *g, acceptance_record *own, const ngram_match *lead, bool hit);

/* The lead that stands for the draft model's guesses. */
static inline ngram_match spec_policy_model_match(bool reads_all)
{
    return (ngram_match){.source = DRAFT_MODEL, .n_matched = reads_all};
}

/* How likely a guess of this lead comes true. */
float spec_policy_acceptance_rate(const spec_policy *g, const acceptance_record *own, const ngram_match *lead);

/* A plan as it is without the draft: n_rows rows, expected to give n_tokens, behind n_passes of the draft model. */
typedef struct spec_step {
    uint32_t n_rows, n_passes;
    float n_tokens;
} spec_step;

/* How many tokens to draft from such a source with such a chance, at most `most`; *rate: tokens for a microsecond of
 * that plan, with none drafted too. */
uint32_t spec_policy_draft_length(const spec_policy *g, draft_source source, float chance, const spec_step *plan,
                                  uint32_t most, float *rate);

/* Will the draft model, drafting at `rate`, have won back the reading of n_unread tokens after n_left more of an
 * answer? */
bool spec_policy_prefill_pays(const spec_policy *g, const spec_step *plan, float rate, uint32_t n_unread,
                              uint32_t n_left);

/* A draft does not seem to pay: refuse it?  False once in a while, until spec_policy_draft_made says that a draft was
 * made. */
bool spec_policy_should_skip(spec_policy *g);
void spec_policy_draft_made(spec_policy *g);

/* Leave out this draft of the draft model, to see what a plan costs without?  True once in a while. */
bool spec_policy_should_measure_baseline(spec_policy *g);

#endif
