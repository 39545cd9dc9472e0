/* speculate.h - rule 5 of the scheduler: propose draft tokens before a slice is planned, accept them when its result
 * is there. */
#ifndef PALMGROVE_SCHED_SPECULATE_H
#define PALMGROVE_SCHED_SPECULATE_H

#include "coordinator/sched/sched.h"

/* Would a draft pay once the tokens in flight are known?  Then no slice of the sequence is sent before that;
 * n_decoding: sequences in the plan. */
bool sched_should_wait_for_draft(sched *s, const sched_seq *seq, uint32_t n_decoding);

/* Before the slice of a decoding sequence is added to the plan: its draft tokens (seq->n_draft), and what the draft
 * model prefills.  `n_others` more sequences are to decode in the plan. */
void sched_propose(sched *s, sched_seq *seq, uint32_t n_decoding, uint32_t n_others);

/* The draft of a sequence was verified: tokens [n] were sampled after its last token and after each draft token.
 * Returns how many of them are accepted: those after draft tokens that all agree, and the one after these. */
uint32_t sched_accept_draft(sched *s, sched_seq *seq, const link_token *tokens, uint32_t n);

/* The sequence has one more token: follow its n-gram match, or find another. */
void sched_track_ngram(sched *s, sched_seq *seq);

#endif
