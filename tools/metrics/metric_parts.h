/* metric_parts.h - inside tools/metrics: a metric as a row of the registry.
 *
 * A metric prepares once, per stratum, and is then evaluated many times with a weight per case (how often the bootstrap
 * drew it): what it sums per case stands in `rows`. */
#ifndef PALMGROVE_METRIC_PARTS_H
#define PALMGROVE_METRIC_PARTS_H

#include "tools/metrics/metrics.h"

/* One metric over the cases of one stratum. */
typedef struct metric_work {
    const metric_input *input;
    double *rows; /* [n_cases][n_columns] owned; NULL when the metric needs none */
    size_t n_columns;
    bool *used;      /* [n_cases] owned */
    uint32_t *order; /* [n_classes][n_cases] owned: AUC's cases by falling score; NULL for others */
    bool
        *occurs; /* [n_classes] owned: some case has the class, as truth or as prediction; NULL where it is not asked */
} metric_work;

struct metric {
    const char *name, *about;
    metric_needs needs;
    double most;
    uint32_t parameter; /* what sets apart metrics of one function: the order of n-grams, a variant's kind ... */
    size_t n_columns;   /* 1: rows are the values of the cases, and the metric is their mean */
    base_status (*prepare)(const metric *m, metric_work *work, base_error *error); /* fills rows and used */
    double (*value)(const metric *m, const metric_work *work, const uint32_t *weights);
};

/* The mean of rows (n_columns 1) over used cases; NAN when there are none. */
double metric_mean(const metric *m, const metric_work *work, const uint32_t *weights);

/* F1 of counts: 2 tp / (2 tp + fp + fn); 0 when nothing was said and nothing true. */
double metric_f1(double tp, double fp, double fn);

extern const metric metric_rows_text[], metric_rows_bleu[], metric_rows_cider[],
    metric_rows_class[]; /* end with a NULL name */

#endif
