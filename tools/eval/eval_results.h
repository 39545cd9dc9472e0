/* eval_results.h - the figures of a run as results.json and as a table for people; and those of other runs, to set
 * beside. */
#ifndef PALMGROVE_EVAL_RESULTS_H
#define PALMGROVE_EVAL_RESULTS_H

#include <stdio.h>

#include "tools/eval/eval_score.h"

/* What dataset.json says of the data; "" where it says nothing. */
typedef struct eval_dataset {
    char name[128], version[64], source[256], made_by[128];
} eval_dataset;

/* Errors: BASE_EFORMAT with the file; a missing file is no error. */
base_status eval_dataset_read(const char *data, eval_dataset *out, base_error *error);

/* Another run's results.json. */
typedef struct eval_other {
    char label[64]; /* the last part of its directory */
    void *json;     /* owned */
} eval_other;

/* Errors: BASE_ENOTFOUND, BASE_EIO, BASE_EFORMAT. */
base_status eval_other_open(const char *dir, eval_other *out, base_error *error);
void eval_other_close(eval_other *other);

typedef struct eval_figure {
    double value, low, high; /* NAN: it has none */
} eval_figure;

eval_figure eval_other_figure(const eval_other *other, const char *task_name, const char *metric);
const char *eval_other_model(const eval_other *other); /* its model's digest */
const char *eval_other_data(const eval_other *other,
                            const char *task_name); /* the digest of a task's data; "": it has not run */

typedef struct eval_report {
    eval_dataset dataset;
    const eval_scored *tasks; /* [n_tasks] */
    size_t n_tasks;
    const eval_other *others; /* [n_others] */
    size_t n_others;
    const char *version;
    metric_bootstrap bootstrap;
    bool cases; /* show some in the page */
} eval_report;

/* Append results.json (docs/EVALUATION.md). */
void eval_results_write(const eval_report *report, base_buf *out);

/* The table: a line for each metric, beside the paper's figures and the other runs'. */
void eval_results_print(const eval_report *report, FILE *out);

/* Append the page: HTML that needs nothing else (docs/EVALUATION.md).  Errors: BASE_ENOMEM. */
base_status eval_page_write(const eval_report *report, base_buf *out, base_error *error);

#endif
