/* ngram.h - guessing a sequence's next tokens by looking up what followed the last few before (prompt lookup; Saxena
 * 2023, and the n-gram part of "Inference with Reference", arXiv 2304.04487).
 *
 * Reports repeat phrases: their own, the prompt's, and those of other reports.  A lead is a place where the sequence's
 * last NGRAM_MIN or more tokens stood before, in the sequence itself or among the replies finished lately; the
 * guess is what followed there.  A lead is kept as long as it guesses right, which is known without drafting anything,
 * so how far leads can be trusted is measured all the time at no cost to the ranks.
 *
 * A guess only ever decides which rows a plan computes beside the one it needs; tokens come from the model alone. Pure.
 * Threads: one owner. */
#ifndef PALMGROVE_SCHED_NGRAM_H
#define PALMGROVE_SCHED_NGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/status.h"

#define NGRAM_MIN 2u /* tokens that must agree */
#define NGRAM_MAX 8u /* more are not counted when leads are compared */

#define NGRAM_NONE INT32_MIN /* no guess; no token of any sequence */

/* The last replies, one after another, each followed by NGRAM_NONE. */
typedef struct ngram_history {
    int32_t *tokens; /* [capacity] owned; NULL: nothing is remembered */
    uint32_t n, capacity;
    uint64_t n_forgotten; /* tokens that stood before tokens[0] */
} ngram_history;

/* DRAFT_MODEL: not looked up here but guessed by a small model on the ranks (draft_text.h). */
typedef enum draft_source { DRAFT_NONE, DRAFT_OWN, DRAFT_HISTORY, DRAFT_MODEL } draft_source;

typedef struct ngram_match {
    draft_source source;
    uint64_t at;        /* what it guesses next: an index into the sequence, or into all that the history ever held */
    uint32_t n_matched; /* tokens that agreed before it */
} ngram_match;

/* capacity 0: remember nothing.  Errors: BASE_ENOMEM. */
base_status ngram_history_init(ngram_history *history, uint32_t capacity, base_error *error);
void ngram_history_release(ngram_history *history);

/* Remember a reply, tokens [n]; a very long one's end. */
void ngram_history_add(ngram_history *history, const int32_t *tokens, uint32_t n);

/* The best lead for a sequence, tokens [n]: the longest match, then the sequence's own, then the latest. */
ngram_match ngram_find(const ngram_history *history, const int32_t *tokens, uint32_t n);

/* What the lead guesses after `ahead` further tokens of its own guessing; NGRAM_NONE when it has no more. */
int32_t ngram_predict(const ngram_history *history, const ngram_match *lead, const int32_t *tokens, uint32_t n,
                      uint32_t ahead);

/* The sequence has grown to tokens [n] by one: follow the lead, or find another. */
void ngram_advance(const ngram_history *history, ngram_match *lead, const int32_t *tokens, uint32_t n);

#endif
