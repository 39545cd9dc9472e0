/* eval_score.h - from the answers of one task to its figures: metrics with intervals, slices, latencies, calibration.
 *
 * Cases that failed are in no metric; how many they are stands beside every figure.  Everything borrows from the cases
 * and the journal. */
#ifndef PALMGROVE_EVAL_SCORE_H
#define PALMGROVE_EVAL_SCORE_H

#include "tools/eval/eval_journal.h"
#include "tools/metrics/metrics.h"

enum { EVAL_BINS = 10, EVAL_SLICES_MAX = 200 };

typedef struct eval_metric {
    const metric *metric;
    metric_result result;            /* owned */
    const task_published *published; /* NULL: the paper has no such figure */
    const char *missing;             /* why there is no value; NULL: there is one */
} eval_metric;

/* The main metric over the cases that share a value of a slice, or of a field. */
typedef struct eval_slice_figure {
    const char *name, *value;
    size_t n;
    double figure, low, high;
} eval_slice_figure;

typedef struct eval_spread {
    double mean, p50, p90, p99, most;
} eval_spread;

/* How sure against how right: of the answers whose probability falls into a tenth. */
typedef struct eval_calibration {
    size_t n[EVAL_BINS];
    double sure[EVAL_BINS], right[EVAL_BINS]; /* means */
    double error;                             /* expected calibration error: mean |sure - right|, weighted by n */
    bool of_positive;                         /* of the positive class, or of the likeliest one */
} eval_calibration;

/* How a run is judged; all borrowed. */
typedef struct eval_rules {
    metric_bootstrap bootstrap;
    const char *labeller;            /* a shell command (docs/METRICS.md); NULL: its metrics have no value */
    const char *const *slice_fields; /* [n_slice_fields] fields of tasks whose values are slices too */
    size_t n_slice_fields;
} eval_rules;

typedef struct eval_scored {
    const task *task;
    const eval_cases *cases;
    const eval_journal *journal;
    const eval_rules *rules; /* while it is computed */
    metric_case *items;      /* [n_items] owned: the answered cases */
    size_t *index;           /* [n_items] owned: which case */
    size_t n_items, n_failed, n_no_class;
    metric_input input;
    bool *labels; /* owned: what predicted_labels and true_labels point into */
    metric_labels *findings;
    eval_metric *metrics; /* [n_metrics] owned */
    size_t n_metrics;
    eval_slice_figure *slices; /* [n_slices] owned */
    size_t n_slices;
    bool slices_cut; /* there are more */
    eval_spread latency_ms, tokens;
    size_t n_scored; /* items with scores */
    char task_digest[EVAL_DIGEST_CHARS];
} eval_scored;

/* Does a metric of the task read scores of classes? */
bool eval_needs_scores(const task *t);

/* Errors: those of metric_compute and metric_labels_run. */
base_status eval_score(const task *t, const eval_cases *cases, const eval_journal *journal, const eval_rules *rules,
                       eval_scored *out, base_error *error);
void eval_scored_release(eval_scored *scored);

/* The factor between a metric's value and the unit it is printed in: 100 for fractions and cider_d, 1 for sacrebleu. */
double eval_unit(const metric *m);

/* The probability of class c of an item among its classes: exp(score) over their sum. */
double eval_share(const eval_scored *scored, size_t item, uint32_t c);

/* False when no item has scores. */
bool eval_calibrate(const eval_scored *scored, eval_calibration *out);

#endif
