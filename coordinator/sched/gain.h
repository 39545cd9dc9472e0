/* gain.h - does verifying drafted tokens pay?  What a plan costs by its rows, and how often guesses come true, both
 * measured.
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
 * enough: gain_pays_reading.
 *
 * Guesses are of one kind when their leads come from the same source and agree in about as many tokens; the draft
 * model's are of two, where it reads all and where it does not see the images (gain_model_lead).  A sequence's own
 * record is mixed with that of all.  Pure.  Threads: one owner. */
#ifndef PALMGROVE_SCHED_GAIN_H
#define PALMGROVE_SCHED_GAIN_H

#include "coordinator/sched/draft.h"

enum {
    GAIN_ROWS_MAX = 16,    /* a wider plan never drafts */
    GAIN_PROBE_TOKENS = 2, /* of a draft that is made to measure */
    GAIN_KINDS = 10,
};

/* Hits of tries, older ones fading. */
typedef struct gain_record {
    float hits[GAIN_KINDS], tries[GAIN_KINDS];
} gain_record;

typedef struct gain {
    float cost_us[GAIN_ROWS_MAX + 1]; /* of a decoding plan with so many rows; 0: not measured */
    float pass_us,
        read_us; /* of the draft model: for a token that it guesses, for one of many that it reads; 0: not measured */
    gain_record all;
    uint32_t n_refused; /* drafts in a row that did not seem to pay */
    uint32_t n_model;   /* the draft model's since one was left out */
} gain;

/* A decoding plan of n_rows took so long. */
void gain_take_cost(gain *g, uint32_t n_rows, uint64_t us);

/* So did one before which the draft model read n_read tokens and guessed n_passes times. */
void gain_take_draft(gain *g, uint32_t n_rows, uint32_t n_passes, uint32_t n_read, uint64_t us);

/* A guess of this lead, made with the lead as it is, came true or not. */
void gain_take_guess(gain *g, gain_record *own, const draft_lead *lead, bool hit);

/* The lead that stands for the draft model's guesses. */
static inline draft_lead gain_model_lead(bool reads_all)
{
    return (draft_lead){.source = DRAFT_MODEL, .n_matched = reads_all};
}

/* How likely a guess of this lead comes true. */
float gain_chance(const gain *g, const gain_record *own, const draft_lead *lead);

/* A plan as it is without the draft: n_rows rows, expected to give n_tokens, behind n_passes of the draft model. */
typedef struct gain_plan {
    uint32_t n_rows, n_passes;
    float n_tokens;
} gain_plan;

/* How many tokens to draft from such a source with such a chance, at most `most`; *rate: tokens for a microsecond of
 * that plan, with none drafted too. */
uint32_t gain_draft_length(const gain *g, draft_source source, float chance, const gain_plan *plan, uint32_t most,
                           float *rate);

/* Will the draft model, drafting at `rate`, have won back the reading of n_unread tokens after n_left more of an
 * answer? */
bool gain_pays_reading(const gain *g, const gain_plan *plan, float rate, uint32_t n_unread, uint32_t n_left);

/* A draft does not seem to pay: refuse it?  False once in a while, until gain_settle says that a draft was made. */
bool gain_refuse(gain *g);
void gain_settle(gain *g);

/* Leave out this draft of the draft model, to see what a plan costs without?  True once in a while. */
bool gain_rests(gain *g);

#endif
