/* ngram.h - draft tokens from n-gram lookup: what followed the sequence's last few tokens earlier (prompt lookup;
 * Saxena 2023, and the n-gram part of "Inference with Reference", arXiv 2304.04487).
 *
 * Reports repeat phrases: their own, the prompt's, and those of other reports.  A match is a place where the sequence's
 * last NGRAM_MIN or more tokens occurred before, in the sequence itself or in recently finished answers; it predicts
 * what followed there.  A match is kept while it predicts correctly.  That is known without drafting anything, so the
 * acceptance rate of matches is measured all the time at no cost to the ranks.
 *
 * A draft only decides which extra rows a plan computes; tokens come from the model alone.  Pure.  Threads: one
 * owner. */
#ifndef PALMGROVE_SCHED_NGRAM_H
#define PALMGROVE_SCHED_NGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/status.h"

#define NGRAM_MIN 2u /* tokens that must agree */
#define NGRAM_MAX 8u /* longer matches compare as equal */

#define NGRAM_NONE INT32_MIN /* no prediction; no token of any sequence */

/* Recently finished answers, one after another, each followed by NGRAM_NONE. */
typedef struct ngram_history {
    int32_t *tokens; /* [capacity] owned; NULL: no history */
    uint32_t n, capacity;
    uint64_t n_dropped; /* tokens that came before tokens[0] */
} ngram_history;

/* Where draft tokens come from.  DRAFT_MODEL: not looked up here but made by a small model on the ranks
 * (draft_text.h). */
typedef enum draft_source { DRAFT_NONE, DRAFT_OWN, DRAFT_HISTORY, DRAFT_MODEL } draft_source;

typedef struct ngram_match {
    draft_source source;
    uint64_t at; /* the token it predicts next: an index into the sequence, or into all that the history ever held */
    uint32_t n_matched; /* tokens that agree before it */
} ngram_match;

/* capacity 0: no history.  Errors: BASE_ENOMEM. */
base_status ngram_history_init(ngram_history *history, uint32_t capacity, base_error *error);
void ngram_history_release(ngram_history *history);

/* Add a finished answer, tokens [n]; of a very long one its end. */
void ngram_history_add(ngram_history *history, const int32_t *tokens, uint32_t n);

/* The best match for a sequence, tokens [n]: the longest, then the sequence's own, then the latest. */
ngram_match ngram_find(const ngram_history *history, const int32_t *tokens, uint32_t n);

/* What the match predicts after `ahead` tokens of its own prediction; NGRAM_NONE when it has no more. */
int32_t ngram_predict(const ngram_history *history, const ngram_match *match, const int32_t *tokens, uint32_t n,
                      uint32_t ahead);

/* The sequence has grown by one to tokens [n]: advance the match if it predicted the token, or find another. */
void ngram_advance(const ngram_history *history, ngram_match *match, const int32_t *tokens, uint32_t n);

#endif
