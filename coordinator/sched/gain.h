/* gain.h - does verifying drafted tokens pay?  What a plan costs by its rows, and how often guesses come true, both measured.
 *
 * A decoding plan of R rows that is expected to give T tokens takes cost(R).  With k drafted tokens for one of its sequences it has R + k
 * rows and gives p + p^2 + ... + p^k more, where p is how often a guess of this kind comes true.  Taken is the k with the most tokens for the time:
 *
 *     (T + p + ... + p^k) / cost(R + k)
 *
 * Where rows are nearly free (weights are read once however many rows there are) long drafts pay even when half of the guesses fail; where
 * every row costs its share only near certainties do, and with a wide batch nothing does.  Costs that were never measured are assumed
 * low, so that they get measured; after a number of refusals one short draft is allowed, lest one slow plan is believed for ever.
 *
 * Guesses are of one kind when their leads come from the same source and agree in about as many tokens.  A sequence's own record is
 * mixed with that of all.  Pure.  Threads: one owner. */
#ifndef PALMGROVE_SCHED_GAIN_H
#define PALMGROVE_SCHED_GAIN_H

#include "coordinator/sched/draft.h"

enum {
    GAIN_ROWS_MAX = 16,   /* a wider plan never drafts */
    GAIN_PROBE_TOKENS = 2, /* of a draft that is made to measure */
    GAIN_KINDS = 8,
};

/* Hits of tries, older ones fading. */
typedef struct gain_record {
    float hits[GAIN_KINDS], tries[GAIN_KINDS];
} gain_record;

typedef struct gain {
    float cost_us[GAIN_ROWS_MAX + 1]; /* of a decoding plan with so many rows; 0: not measured */
    gain_record all;
    uint32_t n_refused; /* drafts in a row that did not seem to pay */
} gain;

/* A decoding plan of n_rows took so long. */
void gain_take_cost(gain *g, uint32_t n_rows, uint64_t us);

/* A guess of this lead, made with the lead as it is, came true or not. */
void gain_take_guess(gain *g, gain_record *own, const draft_lead *lead, bool hit);

/* How likely a guess of this lead comes true. */
float gain_chance(const gain *g, const gain_record *own, const draft_lead *lead);

/* How many tokens to draft with such a chance, at most `most`, in a plan that has n_rows rows and is expected to give n_tokens without them. */
uint32_t gain_draft_length(const gain *g, float chance, uint32_t n_rows, float n_tokens, uint32_t most);

/* A draft does not seem to pay: refuse it?  False once in a while, until gain_settle says that a draft was made. */
bool gain_refuse(gain *g);
void gain_settle(gain *g);

#endif
