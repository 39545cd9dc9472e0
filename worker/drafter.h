/* drafter.h - the draft model: guesses the tokens that a plan leaves open (link_draft).
 *
 * It lies whole on the tensor group of stage 0, split over it as any model is, and no other stage knows of it: what it
 * guesses enters the plan where the target's embedding reads it, and travels on as activations.  All passes of a plan
 * happen here, one token a pass for all sequences together, without a word to the coordinator in between.
 *
 * A guess is drawn as the target's token will be: with the request's own sampling and the number of the token's place
 * in the request, so two models that think alike pick alike, hot or cold.  No guess is ever an answer's token unless
 * the target picks it too.
 *
 * Threads: as model.h.  After drafter_create nothing allocates. */
#ifndef PALMGROVE_WORKER_DRAFTER_H
#define PALMGROVE_WORKER_DRAFTER_H

#include "proto/link/plan.h"
#include "worker/model/model.h"
#include "worker/par/grid.h"

typedef struct drafter drafter;

/* `m`: the draft model; it and `grid` are borrowed for the drafter's life.  `target_vocab_size`: guesses are below it.
 * Errors: BASE_ENOMEM. */
base_status drafter_create(model *m, par_grid *grid, uint32_t target_vocab_size, drafter **out, base_error *error);
void drafter_destroy(drafter **d);

/* Read and guess what the plan asks for; guesses replace placeholders in plan->tokens.  The plan was checked by
 * link_plan_decode. Collective over the tensor group of stage 0. */
void drafter_run(drafter *d, const link_plan *plan);

/* The guesses of a plan that was run, in the order of its drafts, into guesses [max_seqs]; returns how many. */
uint32_t drafter_guesses(const link_plan *plan, int32_t *guesses);

#endif
