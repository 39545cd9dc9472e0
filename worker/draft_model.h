/* draft_model.h - the draft model of speculative decoding: opened on every rank, loaded on those of stage 0
 * (draft_proposer.h says why there). */
#ifndef PALMGROVE_WORKER_DRAFT_MODEL_H
#define PALMGROVE_WORKER_DRAFT_MODEL_H

#include "sharding/checkpoint.h"
#include "worker/draft_proposer.h"
#include "worker/worker_options.h"

typedef struct draft_model {
    shard_checkpoint *checkpoint; /* NULL: there is no draft model */
    shard_recipe recipe;
    par_place place; /* of this rank in it */
    bool is_here;    /* this rank is of stage 0 */
    model *m;        /* NULL elsewhere */
    draft_proposer *proposer;
} draft_model;

/* Read the headers of options->draft; nothing when there is none.  Its vision tower and encoders are ignored: it reads
 * text only.  `place`: of this rank in the replica.  Not collective; errors, which name it: those of
 * shard_checkpoint_open; BASE_EINVAL it cannot be split over the ranks of a stage. */
base_status draft_model_open(const worker_options *options, const par_place *place, draft_model *out,
                             base_error *error);

/* Positions that it can read of sequences of at most `context`; 0 without one. */
uint32_t draft_model_positions(const draft_model *draft, uint32_t context);

/* Add to *memory what it will take on this rank with these limits of the replica. */
base_status draft_model_memory(const draft_model *draft, const link_limits *limits, const model_numerics *numerics,
                               model_memory *memory, base_error *error);

/* Load it on the ranks of stage 0; `options` and vocabulary are those of the target model.  Not collective.  Errors:
 * those of model_create, draft_proposer_create. */
base_status draft_model_load(draft_model *draft, par_grid *grid, const model_options *options,
                             uint32_t target_vocab_size, base_error *error);

/* Close the checkpoint; what was loaded stays. */
void draft_model_close_checkpoint(draft_model *draft);
void draft_model_release(draft_model *draft);

#endif
