/* lm_head.h - the end of the last stage: final norm, logits of this rank's vocabulary rows, gather, sample.
 *
 * Logits are computed only for rows that a token is sampled after.  Tensor rank 0 gathers whole rows of logits and
 * samples. */
#ifndef PALMGROVE_MODEL_LM_HEAD_H
#define PALMGROVE_MODEL_LM_HEAD_H

#include "proto/link/plan.h"
#include "worker/model/sample.h"
#include "worker/model/stack.h"

typedef struct model_head {
    const arch_decoder *arch;
    model_norm norm;
    const pack_matrix *output; /* [this rank's vocabulary rows][d] */
    model_stack *decoder;      /* its x is read, its y holds the normalised rows */
    uint32_t max_seqs;
    shard_range vocab;           /* this rank's rows */
    bool is_root;                /* tensor rank 0 */
    uint32_t *widths;            /* [tp] vocabulary rows of each tensor rank; filled by the model */
    uint32_t *rows;              /* [max_seqs] rows of x that this plan samples after */
    float *local_logits;         /* [max_seqs][width of vocab] */
    float *logits;               /* [max_seqs][V], root only */
    model_candidate *candidates; /* [V], root only */
    model_probe *probe;
    void *probe_context;
} model_head;

/* Lay out the workspace. */
void model_head_layout(model_head *h, uint32_t tp, model_arena *arena);

/* Sample for every slice of the plan that asks, after the layers have run.  Collective over team and tensor group.  On
 * the root the tokens are written to result->tokens [max_seqs] and n_tokens is set: for each slice as plan.h
 * says.  Elsewhere n_tokens stays 0. */
void model_head_run(team_member *me, model_head *h, const link_plan *plan, link_result *result);

#endif
