/* plan_check.h - a plan held against the clock: run a model on the ranks at hand and compare. */
#ifndef PALMGROVE_PLAN_CHECK_H
#define PALMGROVE_PLAN_CHECK_H

#include "sharding/planner/plan_cluster.h"
#include "sharding/recipe.h"
#include "worker/par/world.h"
#include "worker/model/numerics.h"

typedef struct plan_check_options {
    const char *model; /* checkpoint.h */
    recipe_kind recipe;
    model_kv_type kv_type;
    uint32_t tp, pp; /* 0: chosen */
    uint32_t prompt; /* rows of the prefill; 0: 64 */
    bool json;
} plan_check_options;

/* Load the model over the world's ranks, measure them as plan_measure does (what it cannot see is as in `cluster`), at
 * once time a prompt and single tokens behind it, and print them beside what the plan says.  Collective.  `n_threads`:
 * of a rank's team, placed already. Errors, agreed upon: those of the checkpoint, the layout, memory and plan_measure.
 */
base_status plan_check(par_world *world, uint32_t n_threads, const plan_cluster *cluster,
                       const plan_check_options *options, void (*say)(const char *line), base_error *error);

#endif
