/* metric_class.c - answers that are classes: accuracy, F1, AUC, genotypes; and those an outside labeller reads out of
 * reports: CheXbert's findings, RadGraph's entities.
 *
 * A class counts when some case has it as truth or as prediction, as scikit-learn's default has it; which classes these
 * are is found over all cases, not over a bootstrap's draw. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/size.h"
#include "tools/metrics/metric_parts.h"

typedef struct counts {
    double tp, fp, fn;
} counts;

double metric_f1(double tp, double fp, double fn)
{
    return 2 * tp + fp + fn > 0 ? 2 * tp / (2 * tp + fp + fn) : 0;
}

static bool has_labels(const metric_case *c)
{
    return c->predicted_labels != NULL && c->true_labels != NULL;
}

static bool is_said(const metric_case *c, uint32_t class)
{
    return has_labels(c) ? c->predicted_labels[class] : c->predicted == (int32_t) class;
}

static bool is_true(const metric_case *c, uint32_t class)
{
    return has_labels(c) ? c->true_labels[class] : c->truth == (int32_t) class;
}

static base_status use_all(const metric *m, metric_work *work, base_error *error)
{
    (void)m;
    (void)error;
    for (size_t i = 0; i < work->input->n_cases; i++)
        work->used[i] = true;
    return BASE_OK;
}

/* ---- accuracy ---- */

static base_status prepare_accuracy(const metric *m, metric_work *work, base_error *error)
{
    for (size_t i = 0; i < work->input->n_cases; i++) {
        const metric_case *c = &work->input->cases[i];
        bool same = true;
        for (uint32_t k = 0; has_labels(c) && k < work->input->n_classes; k++)
            same = same && c->predicted_labels[k] == c->true_labels[k];
        work->rows[i] = has_labels(c) ? same : c->predicted == c->truth;
    }
    return use_all(m, work, error);
}

/* ---- F1 over classes ---- */

static void count_case(counts *sums, bool said, bool truth, double weight)
{
    if (said && truth)
        sums->tp += weight;
    else if (said)
        sums->fp += weight;
    else if (truth)
        sums->fn += weight;
}

static base_status prepare_f1(const metric *m, metric_work *work, base_error *error)
{
    const metric_input *input = work->input;
    work->occurs = calloc(input->n_classes + 1, sizeof *work->occurs);
    if (work->occurs == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory for %s of %zu cases", m->name, input->n_cases);
    for (size_t i = 0; i < input->n_cases; i++)
        for (uint32_t k = 0; k < input->n_classes; k++)
            work->occurs[k] |= is_said(&input->cases[i], k) || is_true(&input->cases[i], k);
    return use_all(m, work, error);
}

/* Add what each case says of each class to sums [n_classes]. */
static void count_classes(const metric_work *work, const uint32_t *weights, counts *sums)
{
    for (size_t i = 0; i < work->input->n_cases; i++) {
        const metric_case *c = &work->input->cases[i];
        for (uint32_t k = 0; weights[i] > 0 && k < work->input->n_classes; k++)
            count_case(&sums[k], is_said(c, k), is_true(c, k), weights[i]);
    }
}

static double macro_f1(const metric *m, const metric_work *work, const uint32_t *weights)
{
    counts sums[METRIC_CLASSES_MAX] = {0};
    double sum = 0;
    uint32_t n = 0;
    (void)m;
    count_classes(work, weights, sums);
    for (uint32_t k = 0; k < work->input->n_classes; k++) {
        if (!work->occurs[k])
            continue;
        sum += metric_f1(sums[k].tp, sums[k].fp, sums[k].fn);
        n++;
    }
    return n > 0 ? sum / n : NAN;
}

static counts pooled(const counts *sums, size_t n)
{
    counts all = {0};
    for (size_t k = 0; k < n; k++)
        all = (counts){all.tp + sums[k].tp, all.fp + sums[k].fp, all.fn + sums[k].fn};
    return all;
}

static double micro_f1(const metric *m, const metric_work *work, const uint32_t *weights)
{
    counts sums[METRIC_CLASSES_MAX] = {0};
    (void)m;
    count_classes(work, weights, sums);
    counts all = pooled(sums, work->input->n_classes);
    return metric_f1(all.tp, all.fp, all.fn);
}

/* ---- genotypes: a call is right when its genotype is, as hap.py counts ---- */

static bool is_of_kind(const metric *m, const metric_case *c)
{
    return m->parameter == METRIC_VARIANT_NONE || c->kind == (metric_variant)m->parameter;
}

static base_status use_kind(const metric *m, metric_work *work, base_error *error)
{
    (void)error;
    for (size_t i = 0; i < work->input->n_cases; i++)
        work->used[i] = is_of_kind(m, &work->input->cases[i]);
    return BASE_OK;
}

static double variant_f1(const metric *m, const metric_work *work, const uint32_t *weights)
{
    counts sums = {0};
    size_t n = 0;
    for (size_t i = 0; i < work->input->n_cases; i++) {
        const metric_case *c = &work->input->cases[i];
        if (!is_of_kind(m, c))
            continue;
        bool right = c->predicted == c->truth;
        n += weights[i];
        sums.tp += weights[i] * (double)(c->truth > 0 && right);
        sums.fp += weights[i] * (double)(c->predicted > 0 && !right);
        sums.fn += weights[i] * (double)(c->truth > 0 && !right);
    }
    return n > 0 ? metric_f1(sums.tp, sums.fp, sums.fn) : NAN;
}

/* ---- AUC: P(a positive's score > a negative's) + P(equal) / 2 ---- */

static bool can_score(const metric_case *c)
{
    return c->scores != NULL;
}

typedef struct scored {
    double score;
    uint32_t index;
} scored;

static int by_falling_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* The cases with scores by falling score of `class`; returns how many. */
static size_t sort_scores(const metric_input *input, uint32_t class, scored *list)
{
    size_t n = 0;
    for (size_t i = 0; i < input->n_cases; i++)
        if (can_score(&input->cases[i]))
            list[n++] = (scored){input->cases[i].scores[class], (uint32_t)i};
    if (n > 0)
        qsort(list, n, sizeof *list, by_falling_score);
    return n;
}

static base_status prepare_auc(const metric *m, metric_work *work, base_error *error)
{
    const metric_input *input = work->input;
    size_t n = input->n_cases, room;
    scored *list = base_size_mul(n, sizeof *list, &room) ? malloc(room) : NULL;
    bool fits = base_size_mul(n, input->n_classes, &room) && base_size_mul(room, sizeof *work->order, &room);
    work->order = fits ? malloc(room + 1) : NULL;
    if (list == NULL || work->order == NULL) {
        free(list);
        return base_fail(error, BASE_ENOMEM, "out of memory for %s of %zu cases", m->name, n);
    }
    for (uint32_t k = 0; k < input->n_classes; k++) {
        size_t n_scored = sort_scores(input, k, list);
        for (size_t i = 0; i < n_scored; i++)
            work->order[k * n + i] = list[i].index;
    }
    free(list);
    for (size_t i = 0; i < n; i++)
        work->used[i] = can_score(&input->cases[i]);
    return BASE_OK;
}

static size_t n_scored(const metric_work *work)
{
    size_t n = 0;
    for (size_t i = 0; i < work->input->n_cases; i++)
        n += work->used[i];
    return n;
}

/* NAN without positives or without negatives. */
static double class_auc(const metric_work *work, uint32_t class, const uint32_t *weights)
{
    const metric_input *input = work->input;
    const uint32_t *order = work->order + class * input->n_cases;
    size_t n = n_scored(work);
    double positives = 0, negatives = 0, area = 0;
    for (size_t i = 0; i < n;) {
        double score = input->cases[order[i]].scores[class], tied_positives = 0, tied_negatives = 0;
        for (; i < n && input->cases[order[i]].scores[class] == score; i++)
            *(is_true(&input->cases[order[i]], class) ? &tied_positives : &tied_negatives) += weights[order[i]];
        area += tied_negatives * (positives + tied_positives / 2);
        positives += tied_positives;
        negatives += tied_negatives;
    }
    return positives > 0 && negatives > 0 ? area / (positives * negatives) : NAN;
}

static double macro_auc(const metric *m, const metric_work *work, const uint32_t *weights)
{
    const metric_input *input = work->input;
    double sum = 0;
    uint32_t n = 0;
    (void)m;
    if (input->positive >= 0)
        return class_auc(work, (uint32_t)input->positive, weights);
    for (uint32_t k = 0; k < input->n_classes; k++) {
        double auc = class_auc(work, k, weights);
        if (isnan(auc))
            continue;
        sum += auc;
        n++;
    }
    return n > 0 ? sum / n : NAN;
}

base_status metric_roc(const metric_input *input, uint32_t c, metric_point **points, size_t *n_points,
                       base_error *error)
{
    scored *list = malloc((input->n_cases + 1) * sizeof *list);
    metric_point *curve = malloc((input->n_cases + 2) * sizeof *curve);
    if (list == NULL || curve == NULL) {
        free(list);
        free(curve);
        return base_fail(error, BASE_ENOMEM, "out of memory for the ROC curve of %zu cases", input->n_cases);
    }
    size_t n = sort_scores(input, c, list), made = 0;
    double positives = 0, negatives = 0;
    curve[made++] = (metric_point){0, 0};
    for (size_t i = 0; i < n; i++) {
        *(is_true(&input->cases[list[i].index], c) ? &positives : &negatives) += 1;
        if (i + 1 == n || list[i + 1].score != list[i].score)
            curve[made++] = (metric_point){negatives, positives};
    }
    for (size_t i = 0; i < made; i++)
        curve[i] =
            (metric_point){negatives > 0 ? curve[i].x / negatives : 0, positives > 0 ? curve[i].y / positives : 0};
    free(list);
    *points = curve;
    *n_points = positives > 0 && negatives > 0 ? made : 0;
    return BASE_OK;
}

/* ---- CheXbert (Smit et al. 2020): "positive" against all else, as cvt2distilgpt2 has it ---- */

enum { CHEXBERT_MACRO = 1, CHEXBERT_FIVE = 2 }; /* parameter: flags */

/* Cardiomegaly, Edema, Consolidation, Atelectasis, Pleural Effusion. */
static bool is_counted(uint32_t parameter, uint32_t label)
{
    return (parameter & CHEXBERT_FIVE) == 0 || label == 1 || label == 4 || label == 5 || label == 7 || label == 9;
}

static bool has_findings(const metric_case *c)
{
    return c->predicted_findings != NULL && c->true_findings != NULL;
}

static base_status use_findings(const metric *m, metric_work *work, base_error *error)
{
    (void)m;
    (void)error;
    for (size_t i = 0; i < work->input->n_cases; i++)
        work->used[i] = has_findings(&work->input->cases[i]);
    return BASE_OK;
}

static double chexbert_f1(const metric *m, const metric_work *work, const uint32_t *weights)
{
    counts sums[METRIC_CHEXBERT_LABELS] = {0};
    double sum = 0;
    uint32_t n_labels = 0, n_used = 0;
    for (size_t i = 0; i < work->input->n_cases; i++) {
        const metric_case *c = &work->input->cases[i];
        n_used += work->used[i] ? weights[i] : 0;
        for (uint32_t k = 0; work->used[i] && k < METRIC_CHEXBERT_LABELS; k++)
            if (is_counted(m->parameter, k))
                count_case(&sums[k], c->predicted_findings[k] == METRIC_FINDING_POSITIVE,
                           c->true_findings[k] == METRIC_FINDING_POSITIVE, weights[i]);
    }
    for (uint32_t k = 0; k < METRIC_CHEXBERT_LABELS; k++) {
        sum += metric_f1(sums[k].tp, sums[k].fp, sums[k].fn); /* 0 for those that are not counted */
        n_labels += is_counted(m->parameter, k);
    }
    counts all = pooled(sums, METRIC_CHEXBERT_LABELS);
    if (n_used == 0)
        return NAN;
    return (m->parameter & CHEXBERT_MACRO) != 0 ? sum / n_labels : metric_f1(all.tp, all.fp, all.fn);
}

/* ---- RadGraph: F1 of the sets of entities of a report ---- */

static bool is_among(const char *entity, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(entity, list[i]) == 0)
            return true;
    return false;
}

static size_t n_distinct(const char *const *list, size_t n)
{
    size_t distinct = 0;
    for (size_t i = 0; i < n; i++)
        distinct += !is_among(list[i], list, i);
    return distinct;
}

static base_status prepare_radgraph(const metric *m, metric_work *work, base_error *error)
{
    (void)m;
    (void)error;
    for (size_t i = 0; i < work->input->n_cases; i++) {
        const metric_case *c = &work->input->cases[i];
        size_t common = 0, said = n_distinct(c->predicted_entities, c->n_predicted_entities),
               held = n_distinct(c->true_entities, c->n_true_entities);
        work->used[i] = c->predicted_entities != NULL && c->true_entities != NULL;
        for (size_t k = 0; k < c->n_predicted_entities; k++)
            common += !is_among(c->predicted_entities[k], c->predicted_entities, k) &&
                      is_among(c->predicted_entities[k], c->true_entities, c->n_true_entities);
        work->rows[i] = metric_f1((double)common, (double)(said - common), (double)(held - common));
    }
    return BASE_OK;
}

const metric metric_rows_class[] = {
    {"accuracy", "answers whose class is the true one; an answer that says none is wrong", METRIC_NEEDS_CLASS, 1, 0, 1,
     prepare_accuracy, metric_mean},
    {"macro_f1", "scikit-learn's f1_score(average='macro'): the mean of the classes' F1", METRIC_NEEDS_CLASS, 1, 0, 0,
     prepare_f1, macro_f1},
    {"micro_f1", "F1 of the counts pooled over classes", METRIC_NEEDS_CLASS, 1, 0, 0, use_all, micro_f1},
    {"macro_auc", "scikit-learn's roc_auc_score(multi_class='ovr', average='macro')", METRIC_NEEDS_SCORES, 1, 0, 0,
     prepare_auc, macro_auc},
    {"snp_f1", "F1 of calls with the right genotype, substitutions of one base", METRIC_NEEDS_GENOTYPE, 1,
     METRIC_VARIANT_SNP, 0, use_kind, variant_f1},
    {"indel_f1", "F1 of calls with the right genotype, insertions and deletions", METRIC_NEEDS_GENOTYPE, 1,
     METRIC_VARIANT_INDEL, 0, use_kind, variant_f1},
    {"genotype_f1", "the mean of the F1 of the three genotypes", METRIC_NEEDS_GENOTYPE, 1, 0, 0, prepare_f1, macro_f1},
    {"chexbert_micro_f1_14", "CheXbert labels, positive only, pooled over 14", METRIC_NEEDS_FINDINGS, 1, 0, 0,
     use_findings, chexbert_f1},
    {"chexbert_macro_f1_14", "CheXbert labels, positive only, mean over 14", METRIC_NEEDS_FINDINGS, 1, CHEXBERT_MACRO,
     0, use_findings, chexbert_f1},
    {"chexbert_micro_f1_5", "CheXbert labels, positive only, pooled over 5", METRIC_NEEDS_FINDINGS, 1, CHEXBERT_FIVE, 0,
     use_findings, chexbert_f1},
    {"chexbert_macro_f1_5", "CheXbert labels, positive only, mean over 5", METRIC_NEEDS_FINDINGS, 1,
     CHEXBERT_MACRO | CHEXBERT_FIVE, 0, use_findings, chexbert_f1},
    {"radgraph_f1", "F1 of the sets of RadGraph entities (text and label), mean over reports", METRIC_NEEDS_ENTITIES, 1,
     0, 1, prepare_radgraph, metric_mean},
    {0},
};
