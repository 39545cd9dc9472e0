/* metrics.c - the registry; a metric over strata; its bootstrap interval.
 *
 * The bootstrap draws as many groups as there are, with replacement, and weighs each case by how often its group was
 * drawn. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/size.h"
#include "tools/metrics/metric_parts.h"

/* ---- registry ---- */

static const metric *const tables[] = {metric_rows_text, metric_rows_bleu, metric_rows_cider, metric_rows_class};

const metric *metric_find(const char *name)
{
    for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++)
        for (const metric *m = tables[t]; m->name != NULL; m++)
            if (strcmp(m->name, name) == 0)
                return m;
    return NULL;
}

const char *metric_name(const metric *m)
{
    return m->name;
}

const char *metric_about(const metric *m)
{
    return m->about;
}

metric_needs metric_needs_of(const metric *m)
{
    return m->needs;
}

double metric_most(const metric *m)
{
    return m->most;
}

double metric_mean(const metric *m, const metric_work *work, const uint32_t *weights)
{
    double sum = 0, n = 0;
    (void)m;
    for (size_t i = 0; i < work->input->n_cases; i++)
        if (work->used[i]) {
            sum += weights[i] * work->rows[i];
            n += weights[i];
        }
    return n > 0 ? sum / n : NAN;
}

/* ---- what a metric must be given ---- */

static const char *what_lacks(const metric *m, const metric_input *input, const metric_case *c)
{
    bool labels = c->predicted_labels != NULL && c->true_labels != NULL;
    int32_t n = m->needs == METRIC_NEEDS_GENOTYPE ? 3 : (int32_t)input->n_classes;
    if (m->needs == METRIC_NEEDS_TEXT)
        return c->prediction == NULL ? "a prediction" : c->n_references == 0 ? "a reference" : NULL;
    if (m->needs == METRIC_NEEDS_FINDINGS || m->needs == METRIC_NEEDS_ENTITIES || labels)
        return NULL;
    if (c->truth < 0 || c->truth >= n)
        return "a true class";
    return c->predicted < -1 || c->predicted >= n ? "a class that there is" : NULL;
}

static base_status check(const metric *m, const metric_input *input, base_error *error)
{
    if (input->n_classes > METRIC_CLASSES_MAX || input->positive >= (int32_t)input->n_classes ||
        input->n_cases > UINT32_MAX / 2)
        return base_fail(error, BASE_EINVAL, "%s: %zu cases of %u classes, positive %d: too many, or no such class",
                         m->name, input->n_cases, input->n_classes, input->positive);
    if (m->needs == METRIC_NEEDS_GENOTYPE && input->n_classes != 3)
        return base_fail(error, BASE_EINVAL, "%s: genotypes have 3 classes, not %u", m->name, input->n_classes);
    for (size_t i = 0; i < input->n_cases; i++) {
        const char *lack = what_lacks(m, input, &input->cases[i]);
        if (lack != NULL)
            return base_fail(error, BASE_EINVAL, "%s: case %zu lacks %s", m->name, i, lack);
    }
    return BASE_OK;
}

/* ---- strata and groups: strings to numbers ---- */

typedef struct named {
    const char *name; /* NULL: of its own kind */
    size_t index;
} named;

static int by_name(const void *a, const void *b)
{
    const named *x = a, *y = b;
    int order = x->name == NULL || y->name == NULL ? (x->name != NULL) - (y->name != NULL) : strcmp(x->name, y->name);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

/* ids[i]: the number of the i-th name among the distinct ones; with `alone`, each absent name is distinct.  Returns how
 * many; 0: out of memory or no names. */
static size_t number_names(named *list, size_t n, bool alone, uint32_t *ids)
{
    uint32_t count = 0;
    if (n > 0)
        qsort(list, n, sizeof *list, by_name);
    for (size_t i = 0; i < n; i++) {
        const char *name = list[i].name, *before = i > 0 ? list[i - 1].name : NULL;
        bool same = i > 0 && (name == NULL ? before == NULL && !alone : before != NULL && strcmp(name, before) == 0);
        count += !same;
        ids[list[i].index] = count - 1;
    }
    return count;
}

/* ---- one metric over all strata ---- */

typedef struct computation {
    const metric *m;
    const metric_input *input;
    uint32_t *stratum, *group; /* [n_cases] */
    size_t n_strata, n_groups;
    metric_input *inputs; /* [n_strata] */
    metric_case *cases;   /* [n_cases] by stratum */
    size_t *place;        /* [n_cases] of a case among `cases` */
    metric_work *works;   /* [n_strata] */
    uint32_t *weights;    /* [n_cases] as `cases` */
} computation;

static void computation_release(computation *c)
{
    for (size_t s = 0; c->works != NULL && s < c->n_strata; s++) {
        free(c->works[s].rows);
        free(c->works[s].used);
        free(c->works[s].order);
        free(c->works[s].occurs);
    }
    free(c->works);
    free(c->weights);
    free(c->place);
    free(c->cases);
    free(c->inputs);
    free(c->group);
    free(c->stratum);
}

static bool number_cases(computation *c)
{
    size_t n = c->input->n_cases;
    named *list = malloc((n + 1) * sizeof *list);
    c->stratum = malloc((n + 1) * sizeof *c->stratum);
    c->group = malloc((n + 1) * sizeof *c->group);
    if (list == NULL || c->stratum == NULL || c->group == NULL) {
        free(list);
        return false;
    }
    for (size_t i = 0; i < n; i++)
        list[i] = (named){c->input->cases[i].stratum, i};
    c->n_strata = number_names(list, n, false, c->stratum);
    for (size_t i = 0; i < n; i++)
        list[i] = (named){c->input->cases[i].group, i};
    c->n_groups = number_names(list, n, true, c->group);
    free(list);
    return true;
}

/* Cases of one stratum side by side, in their order. */
static bool sort_cases(computation *c)
{
    size_t n = c->input->n_cases, at = 0;
    c->inputs = calloc(c->n_strata + 1, sizeof *c->inputs);
    c->works = calloc(c->n_strata + 1, sizeof *c->works);
    c->cases = malloc((n + 1) * sizeof *c->cases);
    c->place = malloc((n + 1) * sizeof *c->place);
    c->weights = malloc((n + 1) * sizeof *c->weights);
    if (c->inputs == NULL || c->works == NULL || c->cases == NULL || c->place == NULL || c->weights == NULL)
        return false;
    for (size_t s = 0; s < c->n_strata; s++) {
        c->inputs[s] = *c->input;
        c->inputs[s].cases = c->cases + at;
        size_t from = at;
        for (size_t i = 0; i < n; i++)
            if (c->stratum[i] == s) {
                c->cases[at] = c->input->cases[i];
                c->place[i] = at++;
            }
        c->inputs[s].n_cases = at - from;
    }
    return true;
}

static base_status prepare_stratum(computation *c, size_t s, base_error *error)
{
    metric_work *work = &c->works[s];
    size_t n = c->inputs[s].n_cases, room;
    work->input = &c->inputs[s];
    work->n_columns = c->m->n_columns;
    work->used = calloc(n + 1, sizeof *work->used);
    bool fits = base_size_mul(n + 1, c->m->n_columns, &room);
    work->rows = fits && c->m->n_columns > 0 ? calloc(room, sizeof *work->rows) : NULL;
    if (work->used == NULL || (work->rows == NULL && c->m->n_columns > 0))
        return base_fail(error, BASE_ENOMEM, "out of memory for %s of %zu cases", c->m->name, n);
    return c->m->prepare(c->m, work, error);
}

static base_status computation_start(computation *c, const metric *m, const metric_input *input, base_error *error)
{
    *c = (computation){.m = m, .input = input};
    if (!number_cases(c) || !sort_cases(c))
        return base_fail(error, BASE_ENOMEM, "out of memory for %s of %zu cases", m->name, input->n_cases);
    base_status status = BASE_OK;
    for (size_t s = 0; status == BASE_OK && s < c->n_strata; s++)
        status = prepare_stratum(c, s, error);
    return status;
}

/* The mean over the strata where it is defined. */
static double evaluate(const computation *c)
{
    double sum = 0, n = 0;
    for (size_t s = 0; s < c->n_strata; s++) {
        double value = c->m->value(c->m, &c->works[s], c->weights + (c->inputs[s].cases - c->cases));
        if (isnan(value))
            continue;
        sum += value;
        n++;
    }
    return n > 0 ? sum / n : NAN;
}

/* ---- bootstrap ---- */

/* SplitMix64 (Steele, Lea and Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Evenly from 0 to n - 1: what would favour small numbers is drawn again. */
static size_t draw(uint64_t *state, size_t n)
{
    uint64_t limit = UINT64_MAX - UINT64_MAX % n, value;
    do
        value = next_random(state);
    while (value >= limit);
    return (size_t)(value % n);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of sorted values, between two of them linearly (numpy.percentile's default). */
static double quantile(const double *sorted, size_t n, double q)
{
    double at = q * (double)(n - 1);
    size_t below = (size_t)at;
    return below + 1 < n ? sorted[below] + (at - (double)below) * (sorted[below + 1] - sorted[below]) : sorted[n - 1];
}

static void resample(computation *c, uint32_t *drawn, uint64_t *state)
{
    memset(drawn, 0, c->n_groups * sizeof *drawn);
    for (size_t g = 0; g < c->n_groups; g++)
        drawn[draw(state, c->n_groups)]++;
    for (size_t i = 0; i < c->input->n_cases; i++)
        c->weights[c->place[i]] = drawn[c->group[i]];
}

static base_status find_interval(computation *c, const metric_bootstrap *b, metric_result *result, base_error *error)
{
    double *values = malloc((b->n_resamples + (size_t)1) * sizeof *values);
    uint32_t *drawn = malloc((c->n_groups + 1) * sizeof *drawn);
    uint64_t state = b->seed;
    size_t n = 0;
    if (values == NULL || drawn == NULL) {
        free(values);
        free(drawn);
        return base_fail(error, BASE_ENOMEM, "out of memory for %u resamples", b->n_resamples);
    }
    for (uint32_t r = 0; c->n_groups > 0 && r < b->n_resamples; r++) {
        resample(c, drawn, &state);
        values[n] = evaluate(c);
        n += isnan(values[n]) ? 0 : 1;
    }
    if (n > 0) {
        qsort(values, n, sizeof *values, by_value);
        result->low = quantile(values, n, (1 - b->level) / 2);
        result->high = quantile(values, n, (1 + b->level) / 2);
    }
    free(values);
    free(drawn);
    return BASE_OK;
}

/* ---- results ---- */

static base_status list_cases(const computation *c, metric_result *result, base_error *error)
{
    size_t n = c->input->n_cases;
    if (c->m->n_columns == 1 && (result->per_case = malloc((n + 1) * sizeof *result->per_case)) == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory for the values of %zu cases", n);
    for (size_t i = 0; i < n; i++) {
        const metric_work *work = &c->works[c->stratum[i]];
        size_t at = c->place[i] - (size_t)(work->input->cases - c->cases);
        result->n_used += work->used[at];
        if (result->per_case != NULL)
            result->per_case[i] = work->used[at] ? work->rows[at] : NAN;
    }
    return BASE_OK;
}

base_status metric_compute(const metric *m, const metric_input *input, const metric_bootstrap *bootstrap,
                           metric_result *out, base_error *error)
{
    computation c = {0};
    metric_result result = {.value = NAN, .low = NAN, .high = NAN};
    base_status status = check(m, input, error);
    if (status == BASE_OK)
        status = computation_start(&c, m, input, error);
    if (status == BASE_OK) {
        for (size_t i = 0; i < input->n_cases; i++)
            c.weights[i] = 1;
        result.value = evaluate(&c);
        status = list_cases(&c, &result, error);
    }
    if (status == BASE_OK && bootstrap != NULL && bootstrap->n_resamples > 0)
        status = find_interval(&c, bootstrap, &result, error);
    computation_release(&c);
    if (status != BASE_OK) {
        metric_result_release(&result);
        return status;
    }
    *out = result;
    return BASE_OK;
}

void metric_result_release(metric_result *result)
{
    free(result->per_case);
    *result = (metric_result){0};
}
