/* draft.h - guessing a sequence's next tokens by looking up what followed the last few before (prompt lookup; Saxena
 * 2023, and the n-gram part of "Inference with Reference", arXiv 2304.04487).
 *
 * Reports repeat phrases: their own, the prompt's, and those of other reports.  A lead is a place where the sequence's
 * last DRAFT_MATCH_MIN or more tokens stood before, in the sequence itself or among the replies finished lately; the
 * guess is what followed there.  A lead is kept as long as it guesses right, which is known without drafting anything,
 * so how far leads can be trusted is measured all the time at no cost to the ranks.
 *
 * A guess only ever decides which rows a plan computes beside the one it needs; tokens come from the model alone. Pure.
 * Threads: one owner. */
#ifndef PALMGROVE_SCHED_DRAFT_H
#define PALMGROVE_SCHED_DRAFT_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/status.h"

#define DRAFT_MATCH_MIN 2u /* tokens that must agree */
#define DRAFT_MATCH_MAX 8u /* more are not counted when leads are compared */

#define DRAFT_NOTHING INT32_MIN /* no guess; no token of any sequence */

/* The last replies, one after another, each followed by DRAFT_NOTHING. */
typedef struct draft_history {
    int32_t *tokens; /* [capacity] owned; NULL: nothing is remembered */
    uint32_t n, capacity;
    uint64_t n_forgotten; /* tokens that stood before tokens[0] */
} draft_history;

/* DRAFT_MODEL: not looked up here but guessed by a small model on the ranks (draft_text.h). */
typedef enum draft_source { DRAFT_NO_LEAD, DRAFT_OWN, DRAFT_HISTORY, DRAFT_MODEL } draft_source;

typedef struct draft_lead {
    draft_source source;
    uint64_t at;        /* what it guesses next: an index into the sequence, or into all that the history ever held */
    uint32_t n_matched; /* tokens that agreed before it */
} draft_lead;

/* capacity 0: remember nothing.  Errors: BASE_ENOMEM. */
base_status draft_history_init(draft_history *history, uint32_t capacity, base_error *error);
void draft_history_release(draft_history *history);

/* Remember a reply, tokens [n]; a very long one's end. */
void draft_history_add(draft_history *history, const int32_t *tokens, uint32_t n);

/* The best lead for a sequence, tokens [n]: the longest match, then the sequence's own, then the latest. */
draft_lead draft_find(const draft_history *history, const int32_t *tokens, uint32_t n);

/* What the lead guesses after `ahead` further tokens of its own guessing; DRAFT_NOTHING when it has no more. */
int32_t draft_guess(const draft_history *history, const draft_lead *lead, const int32_t *tokens, uint32_t n,
                    uint32_t ahead);

/* The sequence has grown to tokens [n] by one: follow the lead, or find another. */
void draft_follow(const draft_history *history, draft_lead *lead, const int32_t *tokens, uint32_t n);

#endif
