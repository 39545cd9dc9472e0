/* eval_score.c - answers to metric cases, metric cases to figures. */
#include "tools/eval/eval_score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/size.h"

enum { LABELLER_TIMEOUT_S = 6 * 3600 };

double eval_unit(const metric *m)
{
    return metric_most(m) >= 100.0 ? 1.0 : 100.0;
}

bool eval_needs_scores(const task *t)
{
    for (size_t i = 0; i < t->n_metrics; i++) {
        const metric *m = metric_find(t->metrics[i]);
        if (m != NULL && metric_needs_of(m) == METRIC_NEEDS_SCORES)
            return true;
    }
    return false;
}

/* ---- one case ---- */

static const char *field_of(const eval_case *c, const char *name)
{
    for (size_t i = 0; name != NULL && i < c->n_fields; i++)
        if (strcmp(c->fields[i].name, name) == 0)
            return c->fields[i].value;
    return NULL;
}

static bool has_all_scores(const eval_answer *a, size_t n_classes)
{
    for (size_t k = 0; k < n_classes; k++)
        if (k >= a->n_scores || isnan(a->scores[k]))
            return false;
    return n_classes > 0;
}

static int32_t class_of(const task *t, const eval_case *c, const char *text)
{
    size_t found;
    return task_answer_class(t, c->fields, c->n_fields, text, &found) ? (int32_t)found : -1;
}

static void mark_labels(const task *t, const eval_case *c, bool *said)
{
    size_t found;
    for (size_t i = 0; i < c->n_answers; i++)
        if (task_answer_class(t, c->fields, c->n_fields, c->answers[i], &found))
            said[found] = true;
}

static metric_case item_of(eval_scored *s, const eval_case *c, const eval_answer *a)
{
    metric_case item = {.prediction = a->text,
                        .references = c->answers,
                        .n_references = c->n_answers,
                        .predicted = -1,
                        .truth = -1,
                        .group = c->group,
                        .stratum = field_of(c, s->task->answer.per)};
    size_t n_classes = task_class_count(s->task, c->fields, c->n_fields);
    if (c->variant.contig != NULL)
        item.kind = strcmp(c->variant.kind, "snp") == 0 ? METRIC_VARIANT_SNP : METRIC_VARIANT_INDEL;
    if (s->labels != NULL) {
        bool *said = s->labels + 2 * s->n_items * s->input.n_classes, *truth = said + s->input.n_classes;
        task_answer_labels(s->task, a->text, said);
        mark_labels(s->task, c, truth);
        item.predicted_labels = said;
        item.true_labels = truth;
    } else if (n_classes > 0) {
        item.predicted = class_of(s->task, c, a->text);
        item.truth = class_of(s->task, c, c->answers[0]);
        s->n_no_class += item.predicted < 0;
    }
    if (n_classes == s->input.n_classes && has_all_scores(a, n_classes)) {
        item.scores = a->scores;
        s->n_scored++;
    }
    return item;
}

/* ---- all cases ---- */

static void count_classes(eval_scored *s)
{
    const task *t = s->task;
    for (size_t i = 0; i < s->cases->n; i++) {
        const eval_case *c = &s->cases->cases[i];
        size_t n = task_class_count(t, c->fields, c->n_fields);
        if (n > s->input.n_classes)
            s->input.n_classes = (uint32_t)n;
    }
    s->input.positive = -1;
    for (size_t k = 0; t->answer.positive != NULL && k < t->answer.n_classes; k++)
        if (strcmp(t->answer.classes[k].name, t->answer.positive) == 0)
            s->input.positive = (int32_t)k;
}

static base_status make_items(eval_scored *s, base_error *error)
{
    size_t n = s->cases->n, n_labels = 0;
    count_classes(s);
    s->items = calloc(n + 1, sizeof *s->items);
    s->index = calloc(n + 1, sizeof *s->index);
    if (s->task->answer.form == TASK_ANSWER_LABELS && base_size_mul(n + 1, 2 * (size_t)s->input.n_classes, &n_labels))
        s->labels = calloc(n_labels, sizeof *s->labels);
    if (s->items == NULL || s->index == NULL || (n_labels > 0 && s->labels == NULL))
        return base_fail(error, BASE_ENOMEM, "out of memory for %zu cases", n);
    for (size_t i = 0; i < n; i++) {
        const eval_answer *a = &s->journal->answers[i];
        s->n_failed += a->error != NULL && a->text == NULL;
        if (a->text == NULL)
            continue;
        s->items[s->n_items] = item_of(s, &s->cases->cases[i], a);
        s->index[s->n_items++] = i;
    }
    s->input.cases = s->items;
    s->input.n_cases = s->n_items;
    return BASE_OK;
}

/* ---- metrics ---- */

static const task_published *published_of(const task *t, const char *name)
{
    for (size_t i = 0; i < t->n_published; i++)
        if (strcmp(t->published[i].metric, name) == 0)
            return &t->published[i];
    return NULL;
}

/* Why a metric cannot be computed; NULL when it can. */
static const char *missing_for(const eval_scored *s, const metric *m)
{
    metric_needs needs = metric_needs_of(m);
    if (s->n_items == 0)
        return "no case was answered";
    if ((needs == METRIC_NEEDS_FINDINGS || needs == METRIC_NEEDS_ENTITIES) && s->findings == NULL)
        return "needs --labeller";
    if (needs == METRIC_NEEDS_SCORES && s->n_scored == 0)
        return "no scores of classes";
    return NULL;
}

static base_status run_labeller(eval_scored *s, const char *labeller, base_error *error)
{
    const char *const command[] = {"/bin/sh", "-c", labeller, NULL};
    bool wanted = false;
    for (size_t i = 0; i < s->task->n_metrics; i++) {
        const metric *m = metric_find(s->task->metrics[i]);
        wanted |=
            m != NULL && (metric_needs_of(m) == METRIC_NEEDS_FINDINGS || metric_needs_of(m) == METRIC_NEEDS_ENTITIES);
    }
    if (!wanted || labeller == NULL || s->n_items == 0)
        return BASE_OK;
    base_status status = metric_labels_run(command, &s->input, LABELLER_TIMEOUT_S, &s->findings, error);
    if (status == BASE_OK)
        metric_labels_lend(s->findings, s->items, s->n_items);
    return status;
}

static base_status compute_metrics(eval_scored *s, const metric_bootstrap *bootstrap, base_error *error)
{
    s->metrics = calloc(s->task->n_metrics + 1, sizeof *s->metrics);
    if (s->metrics == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory for metrics");
    for (size_t i = 0; i < s->task->n_metrics; i++) {
        eval_metric *one = &s->metrics[s->n_metrics];
        one->metric = metric_find(s->task->metrics[i]);
        if (one->metric == NULL)
            return base_fail(error, BASE_EUNSUPPORTED, "there is no metric '%s'", s->task->metrics[i]);
        one->published = published_of(s->task, s->task->metrics[i]);
        one->missing = missing_for(s, one->metric);
        one->result = (metric_result){.value = NAN, .low = NAN, .high = NAN};
        s->n_metrics++;
        if (one->missing != NULL)
            continue;
        base_status status = metric_compute(one->metric, &s->input, bootstrap, &one->result, error);
        if (status != BASE_OK)
            return status;
        if (isnan(one->result.value))
            one->missing = "not defined on these cases";
    }
    return BASE_OK;
}

/* ---- slices ---- */

static bool is_slice_field(const eval_scored *s, const char *name)
{
    for (size_t i = 0; i < s->rules->n_slice_fields; i++)
        if (strcmp(s->rules->slice_fields[i], name) == 0)
            return true;
    return false;
}

static bool has_field(const eval_case *c, const char *name)
{
    for (size_t i = 0; i < c->n_fields; i++)
        if (strcmp(c->fields[i].name, name) == 0)
            return true;
    return false;
}

/* The k-th slice of a case: its own, its fields that are asked for (each value of those that have several), and the
 * defaults of those it leaves out. */
static bool slice_at(const eval_scored *s, const eval_case *c, size_t k, eval_slice *out)
{
    if (k < c->n_slices) {
        *out = c->slices[k];
        return true;
    }
    k -= c->n_slices;
    for (size_t i = 0; i < c->n_fields; i++)
        if (is_slice_field(s, c->fields[i].name) && k-- == 0) {
            *out = (eval_slice){c->fields[i].name, c->fields[i].value};
            return true;
        }
    for (size_t i = 0; i < s->task->n_fields; i++) {
        const task_field_spec *spec = &s->task->fields[i];
        if (spec->fallback != NULL && is_slice_field(s, spec->name) && !has_field(c, spec->name) && k-- == 0) {
            *out = (eval_slice){spec->name, spec->fallback};
            return true;
        }
    }
    return false;
}

static bool is_in_slice(const eval_scored *s, const eval_case *c, const eval_slice_figure *slice)
{
    eval_slice one;
    for (size_t k = 0; slice_at(s, c, k, &one); k++)
        if (strcmp(one.name, slice->name) == 0 && strcmp(one.value, slice->value) == 0)
            return true;
    return false;
}

static bool has_slice(const eval_scored *s, const eval_slice *slice)
{
    for (size_t i = 0; i < s->n_slices; i++)
        if (strcmp(s->slices[i].name, slice->name) == 0 && strcmp(s->slices[i].value, slice->value) == 0)
            return true;
    return false;
}

static int compare_slices(const void *a, const void *b)
{
    const eval_slice_figure *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : strcmp(x->value, y->value);
}

static void list_slices(eval_scored *s)
{
    for (size_t i = 0; i < s->n_items; i++) {
        const eval_case *c = &s->cases->cases[s->index[i]];
        eval_slice one;
        for (size_t k = 0; slice_at(s, c, k, &one); k++) {
            if (has_slice(s, &one))
                continue;
            s->slices_cut |= s->n_slices == EVAL_SLICES_MAX;
            if (s->n_slices < EVAL_SLICES_MAX)
                s->slices[s->n_slices++] = (eval_slice_figure){.name = one.name, .value = one.value};
        }
    }
    qsort(s->slices, s->n_slices, sizeof *s->slices, compare_slices);
}

static base_status compute_slices(eval_scored *s, const metric_bootstrap *bootstrap, base_error *error)
{
    metric_case *items = calloc(s->n_items + 1, sizeof *items);
    s->slices = calloc(EVAL_SLICES_MAX, sizeof *s->slices);
    base_status status =
        items == NULL || s->slices == NULL ? base_fail(error, BASE_ENOMEM, "out of memory for slices") : BASE_OK;
    if (status == BASE_OK)
        list_slices(s);
    for (size_t i = 0; status == BASE_OK && i < s->n_slices && s->n_metrics > 0; i++) {
        eval_slice_figure *slice = &s->slices[i];
        for (size_t k = 0; k < s->n_items; k++)
            if (is_in_slice(s, &s->cases->cases[s->index[k]], slice))
                items[slice->n++] = s->items[k];
        metric_input input = s->input;
        input.cases = items;
        input.n_cases = slice->n;
        metric_result result = {.value = NAN, .low = NAN, .high = NAN};
        if (missing_for(s, s->metrics[0].metric) == NULL)
            status = metric_compute(s->metrics[0].metric, &input, bootstrap, &result, error);
        slice->figure = result.value;
        slice->low = result.low;
        slice->high = result.high;
        metric_result_release(&result);
    }
    free(items);
    return status;
}

/* ---- times and lengths ---- */

static int compare_reals(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static eval_spread spread_of(double *values, size_t n)
{
    if (n == 0)
        return (eval_spread){NAN, NAN, NAN, NAN, NAN};
    double sum = 0.0;
    qsort(values, n, sizeof *values, compare_reals);
    for (size_t i = 0; i < n; i++)
        sum += values[i];
    return (eval_spread){sum / (double)n, values[(n - 1) / 2], values[(n - 1) * 9 / 10], values[(n - 1) * 99 / 100],
                         values[n - 1]};
}

static base_status compute_spreads(eval_scored *s, base_error *error)
{
    double *values = calloc(s->n_items + 1, sizeof *values);
    if (values == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory for latencies");
    for (size_t i = 0; i < s->n_items; i++)
        values[i] = s->journal->answers[s->index[i]].total_ms;
    s->latency_ms = spread_of(values, s->n_items);
    for (size_t i = 0; i < s->n_items; i++)
        values[i] = s->journal->answers[s->index[i]].tokens;
    s->tokens = spread_of(values, s->n_items);
    free(values);
    return BASE_OK;
}

/* ---- calibration ---- */

double eval_share(const eval_scored *s, size_t item, uint32_t c)
{
    const double *scores = s->items[item].scores;
    double sum = 0.0;
    for (uint32_t k = 0; k < s->input.n_classes; k++)
        sum += exp(scores[k] - scores[c]);
    return 1.0 / sum;
}

static uint32_t likeliest(const eval_scored *s, size_t item)
{
    uint32_t best = 0;
    for (uint32_t k = 1; k < s->input.n_classes; k++)
        if (s->items[item].scores[k] > s->items[item].scores[best])
            best = k;
    return best;
}

bool eval_calibrate(const eval_scored *s, eval_calibration *out)
{
    *out = (eval_calibration){.of_positive = s->input.positive >= 0};
    if (s->n_scored == 0 || s->labels != NULL)
        return false;
    for (size_t i = 0; i < s->n_items; i++) {
        if (s->items[i].scores == NULL)
            continue;
        uint32_t c = out->of_positive ? (uint32_t)s->input.positive : likeliest(s, i);
        double sure = eval_share(s, i, c);
        size_t bin = sure >= 1.0 ? EVAL_BINS - 1 : (size_t)(sure * EVAL_BINS);
        out->n[bin]++;
        out->sure[bin] += sure;
        out->right[bin] += s->items[i].truth == (int32_t)c;
    }
    for (size_t b = 0; b < EVAL_BINS; b++) {
        if (out->n[b] == 0)
            continue;
        out->error += fabs(out->sure[b] - out->right[b]) / (double)s->n_scored;
        out->sure[b] /= (double)out->n[b];
        out->right[b] /= (double)out->n[b];
    }
    return true;
}

/* ---- all of it ---- */

base_status eval_score(const task *t, const eval_cases *cases, const eval_journal *journal, const eval_rules *rules,
                       eval_scored *out, base_error *error)
{
    eval_scored s = {.task = t, .cases = cases, .journal = journal, .rules = rules};
    eval_digest(t->json, strlen(t->json), s.task_digest);
    base_status status = make_items(&s, error);
    if (status == BASE_OK)
        status = run_labeller(&s, rules->labeller, error);
    if (status == BASE_OK)
        status = compute_metrics(&s, &rules->bootstrap, error);
    if (status == BASE_OK)
        status = compute_slices(&s, &rules->bootstrap, error);
    if (status == BASE_OK)
        status = compute_spreads(&s, error);
    if (status != BASE_OK) {
        base_error_prefix(error, "task '%s': ", t->name);
        eval_scored_release(&s);
        return status;
    }
    s.rules = NULL;
    *out = s;
    return BASE_OK;
}

void eval_scored_release(eval_scored *s)
{
    for (size_t i = 0; i < s->n_metrics; i++)
        metric_result_release(&s->metrics[i].result);
    metric_labels_destroy(&s->findings);
    free(s->metrics);
    free(s->slices);
    free(s->items);
    free(s->index);
    free(s->labels);
    *s = (eval_scored){0};
}
