/* vector_encoders.h - input vectors that are not images, such as the state of a robot or a monitor's readings, encoded
 * as vectors of the decoder (PaLM-E, arXiv 2303.03378 section 4): gelu_tanh(v W1^T + b1) W2^T + b2, in f32.
 *
 * On stage 0; every tensor rank computes all of it, for it is small.  Each vector is computed alone, so its result does
 * not depend on what else a step holds. */
#ifndef PALMGROVE_MODEL_VECTOR_ENCODERS_H
#define PALMGROVE_MODEL_VECTOR_ENCODERS_H

#include "worker/model/arena.h"
#include "worker/model/weights.h"
#include "worker/team/team.h"

typedef struct model_encoders {
    const arch *arch;
    const model_weights *weights;
    float *vector; /* [widest input] */
    float *hidden; /* [widest hidden] */
} model_encoders;

void model_encoders_layout(model_encoders *e, model_arena *arena);

/* x [d] = encoder `number` applied to `values`, f32 [width] of any alignment.  Collective over the team; all members
 * see x afterwards. */
void model_encoders_run(team_member *me, const model_encoders *e, uint32_t number, const void *values, float *x);

#endif
