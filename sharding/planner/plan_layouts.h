/* plan_layouts.h - every TP x PP over a cluster's ranks: does it fit, how fast is it, which one to take. */
#ifndef PALMGROVE_PLANNER_LAYOUTS_H
#define PALMGROVE_PLANNER_LAYOUTS_H

#include "sharding/planner/estimate.h"

typedef struct plan_layout {
    uint32_t tp, pp;
    bool fits;
    char refusal[256];   /* without `fits`: the first limit that binds, with its numbers */
    plan_bytes largest;  /* of the rank that holds most; zero when the grid cannot hold the model */
    uint64_t node_bytes; /* of the node that holds most */
    plan_speed speed;    /* with `fits` */
    plan_traffic traffic;
} plan_layout;

/* What the choice should be best at. */
typedef enum plan_goal {
    PLAN_LATENCY,    /* one request alone: its prompt, then its answer */
    PLAN_THROUGHPUT, /* `batch` requests together */
} plan_goal;

#define PLAN_NONE SIZE_MAX

typedef struct plan_table {
    plan_layout *layouts; /* owned; tp falling */
    size_t n;
    size_t chosen;    /* PLAN_NONE: nothing fits */
    char reason[512]; /* why this one; or what would have to change */
} plan_table;

/* Of a node's memory this share may be planned for; the rest is for MPI, the coordinator and the system (as
 * worker/kv_budget.c). */
#define PLAN_MEMORY_SHARE 0.95

/* tp x pp = nodes x ranks_per_node in all ways.  Errors: BASE_EINVAL a demand that the model cannot meet in any layout
 * (context longer than its positions, prompt and answer longer than the context, an empty demand or cluster);
 * BASE_ENOMEM. */
base_status plan_table_make(const plan_model *model, const plan_cluster *cluster, const plan_demand *demand,
                            plan_goal goal, plan_table *out, base_error *error);
void plan_table_release(plan_table *table);

/* The time that `goal` minimises, microseconds. */
double plan_goal_us(const plan_layout *layout, const plan_demand *demand, plan_goal goal);

#endif
