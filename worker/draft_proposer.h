/* draft_proposer.h - the draft model: guesses the tokens that a plan leaves open (link_draft).
 *
 * It lies whole on the tensor group of stage 0, split over it as any model is, and no other stage knows of it: what it
 * guesses enters the plan where the target's embedding reads it, and travels on as activations.  All passes of a plan
 * happen here, one token a pass for all sequences together, without a word to the coordinator in between.
 *
 * A guess is drawn as the target's token will be: with the request's own sampling and the number of the token's place
 * in the request, so two models that think alike pick alike, hot or cold.  No guess is ever an answer's token unless
 * the target picks it too.
 *
 * Threads: as model.h.  After draft_proposer_create nothing allocates. */
#ifndef PALMGROVE_WORKER_DRAFT_PROPOSER_H
#define PALMGROVE_WORKER_DRAFT_PROPOSER_H

#include "proto/link/plan.h"
#include "worker/model/model.h"
#include "worker/par/grid.h"

typedef struct draft_proposer draft_proposer;

/* `m`: the draft model; it and `grid` are borrowed for the draft_proposer's life.  `target_vocab_size`: guesses are
 * below it. Errors: BASE_ENOMEM. */
base_status draft_proposer_create(model *m, par_grid *grid, uint32_t target_vocab_size, draft_proposer **out,
                                  base_error *error);
void draft_proposer_destroy(draft_proposer **d);

/* Read and guess what the plan asks for; guesses replace placeholders in plan->tokens.  The plan was checked by
 * link_plan_decode. Collective over the tensor group of stage 0. */
void draft_proposer_propose(draft_proposer *d, const link_plan *plan);

/* The guesses of a plan that was run, in the order of its drafts, into guesses [max_seqs]; returns how many. */
uint32_t draft_proposer_tokens(const link_plan *plan, int32_t *guesses);

#endif
