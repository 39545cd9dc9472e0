/* step_loop.h - executing plans, from "ready" to "stop". */
#ifndef PALMGROVE_WORKER_STEP_LOOP_H
#define PALMGROVE_WORKER_STEP_LOOP_H

#include "proto/link/link.h"
#include "worker/draft_proposer.h"
#include "worker/model/model.h"

typedef struct step_loop step_loop;

/* Allocate the loop's memory and the grid's message buffers.  `d`: on stage 0 of a replica with a draft model, else
 * NULL. `stage_floats`: largest activation message.  All arguments are borrowed for the loop's life.  Collective,
 * agreed. Errors: BASE_ENOMEM; BASE_ETOOBIG a message would be too large. */
base_status step_loop_create(par_world *world, par_grid *grid, model *m, draft_proposer *d, size_t stage_floats,
                             step_loop **out, base_error *error);
void step_loop_destroy(step_loop **loop);

/* Execute plans until the coordinator says stop.  `link`: rank 0's end, NULL elsewhere.  Collective.
 * BASE_OK after a stop; else the failure (link lost, an invalid plan), the same on every rank, after all queued plans
 * have run. */
base_status step_loop_run(step_loop *loop, link_end *link, base_error *error);

#endif
