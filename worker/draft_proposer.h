/* draft_proposer.h - speculative decoding with a draft model: fills a plan's placeholder tokens (link_draft).
 *
 * The draft model is whole on the tensor group of stage 0, split over it like any model, and no other stage knows of
 * it: its tokens enter the plan where the target's embedding reads them, and travel on as activations.  All passes of a
 * plan happen here, one token a pass for all sequences together, without a message to the coordinator in between.
 *
 * A draft token is sampled as the target's token will be: with the request's own sampling and the number of the token's
 * position in the request.  With these common random numbers the two models pick the same token wherever their
 * distributions agree, at any temperature.  A draft token is part of an answer only if the target samples it too.
 *
 * Threads: as model.h.  After draft_proposer_create nothing allocates. */
#ifndef PALMGROVE_WORKER_DRAFT_PROPOSER_H
#define PALMGROVE_WORKER_DRAFT_PROPOSER_H

#include "proto/link/plan.h"
#include "worker/model/model.h"
#include "worker/par/grid.h"

typedef struct draft_proposer draft_proposer;

/* `m`: the draft model; it and `grid` are borrowed for the proposer's life.  Draft tokens are below
 * `target_vocab_size`. Errors: BASE_ENOMEM. */
base_status draft_proposer_create(model *m, par_grid *grid, uint32_t target_vocab_size, draft_proposer **out,
                                  base_error *error);
void draft_proposer_destroy(draft_proposer **d);

/* Run the passes that the plan asks for; draft tokens replace the placeholders in plan->tokens.  The plan was checked
 * by link_plan_decode. Collective over the tensor group of stage 0. */
void draft_proposer_propose(draft_proposer *d, const link_plan *plan);

/* The draft tokens of a plan that was run, in the order of its drafts, into tokens [max_seqs]; returns how many. */
uint32_t draft_proposer_tokens(const link_plan *plan, int32_t *tokens);

#endif
