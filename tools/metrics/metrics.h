/* metrics.h - how well answers agree with their references: the metrics of MultiMedBench, by name.
 *
 * docs/METRICS.md defines each one, names the implementation whose numbers it gives, and what it leaves out.  Values
 * are fractions (0 to 1), but for sacrebleu (0 to 100) and cider_d (0 to 10).  Everything here is a pure function of
 * its input, in an order of sums that does not depend on the machine; any thread. */
#ifndef PALMGROVE_METRICS_H
#define PALMGROVE_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

enum {
    METRIC_CHEXBERT_LABELS = 14, /* CheXbert's order, "No Finding" last (docs/METRICS.md) */
    METRIC_CLASSES_MAX = 256,
};

/* What CheXbert says of a finding. */
typedef enum metric_finding {
    METRIC_FINDING_BLANK,
    METRIC_FINDING_POSITIVE,
    METRIC_FINDING_NEGATIVE,
    METRIC_FINDING_UNCERTAIN,
} metric_finding;

/* What a metric reads of a case. */
typedef enum metric_needs {
    METRIC_NEEDS_TEXT,     /* prediction, references */
    METRIC_NEEDS_CLASS,    /* predicted, truth, or predicted_labels, true_labels */
    METRIC_NEEDS_SCORES,   /* scores and truth, or true_labels */
    METRIC_NEEDS_FINDINGS, /* the labeller's findings */
    METRIC_NEEDS_ENTITIES, /* the labeller's entities */
    METRIC_NEEDS_GENOTYPE, /* predicted, truth and kind */
} metric_needs;

typedef enum metric_variant { METRIC_VARIANT_NONE, METRIC_VARIANT_SNP, METRIC_VARIANT_INDEL } metric_variant;

/* One answer and what is known of it; all is borrowed, what a metric does not read may be absent. */
typedef struct metric_case {
    const char *prediction;        /* UTF-8 */
    const char *const *references; /* [n_references] any of them is right; UTF-8 */
    size_t n_references;
    int32_t predicted;                          /* class, -1: the answer says none */
    int32_t truth;                              /* class; of a genotype: copies of the alternative allele, 0 to 2 */
    const bool *predicted_labels, *true_labels; /* [n_classes] of a task with any number of labels, else NULL */
    const double *scores;                       /* [n_classes]; NULL: not scored, the case is left out */
    metric_variant kind;
    const metric_finding *predicted_findings, *true_findings; /* [METRIC_CHEXBERT_LABELS]; NULL: left out */
    const char *const *predicted_entities,
        *const *true_entities; /* RadGraph's, each text and label in one string; NULL: left out */
    size_t n_predicted_entities, n_true_entities;
    const char *group; /* what the bootstrap draws together: a patient, a study; NULL: the case alone */
    const char
        *stratum; /* cases of one stratum are a task of their own, the value is the mean over strata; NULL: one task */
} metric_case;

typedef struct metric_input {
    const metric_case *cases;
    size_t n_cases;
    uint32_t n_classes;
    int32_t positive; /* the class that a two-class AUC is of; -1: the mean of each class against the rest */
} metric_input;

typedef struct metric metric;

/* By a name of task_metric_names(); NULL when there is no such metric. */
const metric *metric_find(const char *name);

const char *metric_name(const metric *m);
const char *metric_about(const metric *m); /* one line: the variant */
metric_needs metric_needs_of(const metric *m);
double metric_most(const metric *m); /* the best value: 1, 10, 100 */

typedef struct metric_bootstrap {
    uint32_t n_resamples; /* 0: no interval */
    double level;         /* 0.95 */
    uint64_t seed;
} metric_bootstrap;

typedef struct metric_result {
    double value;     /* NAN: not defined on these cases (no positive case for an AUC, no scores ...) */
    double low, high; /* percentile interval of the bootstrap (Efron 1979); NAN where it has none */
    size_t n_used;    /* cases that it could read */
    double *per_case; /* [n_cases] owned; NAN: none.  Where the value is a mean of cases, else NULL */
} metric_result;

/* Compute `m` over all cases.  The bootstrap draws whole groups with replacement, with SplitMix64 from `seed`; document
 * frequencies (cider_d) stay those of all cases.  Errors, `out` untouched: BASE_EINVAL a case lacks what it must have
 * (text, a class beyond n_classes), named by its index; BASE_ENOMEM. */
base_status metric_compute(const metric *m, const metric_input *input, const metric_bootstrap *bootstrap,
                           metric_result *out, base_error *error);
void metric_result_release(metric_result *result);

/* ---- curves, for plots ---- */

typedef struct metric_point {
    double x, y;
} metric_point;

/* The ROC curve of class `c` against the rest, from (0, 0) to (1, 1), one point for each distinct score: [n_points],
 * owned by the caller.  *n_points is 0 when there is no positive or no negative case.  Errors: BASE_ENOMEM. */
base_status metric_roc(const metric_input *input, uint32_t c, metric_point **points, size_t *n_points,
                       base_error *error);

/* ---- labels from outside ---- */

typedef struct metric_labels metric_labels;

/* Run the labeller `command` (a program and its arguments, NULL-terminated, no shell) over all cases: it reads JSON
 * Lines {"id", "prediction", "reference"} and writes one line for each (docs/METRICS.md has the protocol).  `timeout_s`
 * for the whole run. Errors: BASE_EIO it cannot be started, its exit code, its signal; BASE_EFORMAT a line (its number
 * and what is wrong); BASE_EDEADLINE; BASE_ENOMEM. */
base_status metric_labels_run(const char *const *command, const metric_input *input, uint32_t timeout_s,
                              metric_labels **out, base_error *error);
/* Point the cases' findings and entities at the labels, which must outlive them. */
void metric_labels_lend(const metric_labels *labels, metric_case *cases, size_t n_cases);
void metric_labels_destroy(metric_labels **labels);

#endif
