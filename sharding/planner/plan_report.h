/* plan_report.h - a plan for people (a table), for machines (JSON), and for Slurm (an sbatch script). */
#ifndef PALMGROVE_PLANNER_REPORT_H
#define PALMGROVE_PLANNER_REPORT_H

#include <stdio.h>

#include "sharding/planner/plan_layouts.h"

/* All that a plan was made from, and the plan. */
typedef struct plan_report {
    const char *name;    /* of the model, as it was asked for */
    bool is_preset;      /* a published model's name, not a checkpoint's */
    const char *weights; /* how they are packed: "int4" */
    bool is_packing;     /* the server must be told so (--weights) */
    const plan_model *model;
    const plan_cluster *cluster;
    const plan_demand *demand;
    plan_goal goal;
    const plan_table *table;
} plan_report;

/* Model, assumptions, a line for each layout, the choice and its reason, the others and why not. */
void plan_report_print(const plan_report *report, FILE *out);

/* The same as one JSON object, appended.  BASE_ENOMEM. */
base_status plan_report_json(const plan_report *report, base_buf *out, base_error *error);

/* How the script starts the ranks. */
typedef enum plan_launcher { PLAN_SRUN, PLAN_MPIRUN } plan_launcher;

/* A script for the chosen layout, ready for sbatch: one rank for each NUMA domain, memory, drained by a signal before
 * the time ends. BASE_EINVAL nothing was chosen; a name with a character that a script cannot hold. */
base_status plan_sbatch(const plan_report *report, plan_launcher launcher, base_buf *out, base_error *error);

#endif
