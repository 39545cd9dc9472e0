/* plan_check.h - a plan held against the clock: run a model on the ranks at hand and compare. */
#ifndef PALMGROVE_PLAN_CHECK_H
#define PALMGROVE_PLAN_CHECK_H

#include "sharding/planner/plan_cluster.h"
#include "sharding/recipe.h"
#include "worker/par/par.h"

typedef struct plan_check_options {
    const char *model; /* checkpoint.h */
    recipe_kind recipe;
    uint32_t tp, pp;   /* 0: chosen */
    uint32_t prompt;   /* rows of the prefill; 0: 64 */
    bool json;
} plan_check_options;

/* Load the model over the world's ranks, time a prompt and single tokens behind it, and print them beside what the plan says for
 * `cluster` (as plan_measure found it on these ranks).  Collective.  Errors, agreed upon: those of the checkpoint, the layout and memory. */
base_status plan_check(par_world *world, const plan_cluster *cluster, const plan_check_options *options,
                       void (*say)(const char *line), base_error *error);

#endif
