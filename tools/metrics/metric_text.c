/* metric_text.c - one prediction against its references: exact match, token F1 and recall (SQuAD), ROUGE-L
 * (rouge-score, COCO).
 *
 * Each case has a value of its own, the best over its references, and the metric is their mean. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/metrics/metric_ngrams.h"
#include "tools/metrics/metric_parts.h"

typedef enum text_metric { TEXT_EXACT, TEXT_F1, TEXT_RECALL, TEXT_ROUGE, TEXT_ROUGE_COCO } text_metric;

static double harmonic(double precision, double recall)
{
    return precision + recall > 0 ? 2 * precision * recall / (precision + recall) : 0;
}

/* Words that both have, each as often as in the one that has it less. */
static bool count_common(const metric_words *a, const metric_words *b, size_t *out)
{
    metric_ngrams x = {0}, y = {0};
    bool ok = metric_ngrams_count(a, 1, &x) && metric_ngrams_count(b, 1, &y);
    size_t n = 0;
    for (size_t i = 0; ok && i < x.n; i++) {
        const metric_ngram *other = metric_ngrams_find(&y, &x.grams[i]);
        if (other != NULL)
            n += x.grams[i].count < other->count ? x.grams[i].count : other->count;
    }
    metric_ngrams_release(&x);
    metric_ngrams_release(&y);
    *out = n;
    return ok;
}

/* The length of the longest common subsequence. */
static bool common_length(const metric_words *a, const metric_words *b, size_t *out)
{
    size_t *row = calloc(b->n + 1, sizeof *row);
    if (row == NULL)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        size_t diagonal = 0; /* row[j] of the word before */
        for (size_t j = 0; j < b->n; j++) {
            size_t above = row[j + 1];
            if (a->ids[i] == b->ids[j])
                row[j + 1] = diagonal + 1;
            else if (row[j] > above)
                row[j + 1] = row[j];
            diagonal = above;
        }
    }
    *out = row[b->n];
    free(row);
    return true;
}

/* One pair: precision and recall. */
static bool compare_words(text_metric which, const metric_words *said, const metric_words *reference, double *precision,
                          double *recall)
{
    size_t common = 0;
    bool by_order = which == TEXT_ROUGE || which == TEXT_ROUGE_COCO;
    if (!(by_order ? common_length(said, reference, &common) : count_common(said, reference, &common)))
        return false;
    *precision = said->n > 0 ? (double)common / (double)said->n : 0;
    *recall = reference->n > 0 ? (double)common / (double)reference->n : 0;
    return true;
}

/* pycocoevalcap splits with split(" "): an empty text is one empty word. */
static bool read_as(text_metric which, metric_vocabulary *v, const char *text, metric_words *out)
{
    static const metric_rule rules[] = {METRIC_RULE_SQUAD, METRIC_RULE_SQUAD, METRIC_RULE_SQUAD, METRIC_RULE_ROUGE,
                                        METRIC_RULE_COCO};
    if (!metric_words_read(v, rules[which], text, out))
        return false;
    if (which == TEXT_ROUGE_COCO && out->n == 0)
        out->ids[out->n++] = 0; /* no word has this number; there is room for one more than the words */
    return true;
}

static double pair_value(text_metric which, const metric_words *said, const metric_words *reference, double precision,
                         double recall)
{
    bool both_empty = said->n == 0 && reference->n == 0;
    switch (which) {
    case TEXT_EXACT:
        return said->n == reference->n &&
               (said->n == 0 || memcmp(said->ids, reference->ids, said->n * sizeof *said->ids) == 0);
    case TEXT_F1:
        return both_empty ? 1 : harmonic(precision, recall);
    case TEXT_RECALL:
        return both_empty ? 1 : recall;
    default:
        return harmonic(precision, recall);
    }
}

/* COCO's ROUGE-L takes the best precision and the best recall over the references, with beta 1.2. */
static double coco_value(double precision, double recall)
{
    const double beta2 = 1.2 * 1.2;
    return precision > 0 && recall > 0 ? (1 + beta2) * precision * recall / (recall + beta2 * precision) : 0;
}

static bool case_value(text_metric which, metric_vocabulary *v, const metric_case *c, double *out)
{
    metric_words said = {0};
    double best = 0, best_precision = 0, best_recall = 0;
    bool ok = read_as(which, v, c->prediction, &said);
    for (size_t i = 0; ok && i < c->n_references; i++) {
        metric_words reference = {0};
        double precision = 0, recall = 0;
        ok = read_as(which, v, c->references[i], &reference) &&
             compare_words(which, &said, &reference, &precision, &recall);
        if (ok)
            best = fmax(best, pair_value(which, &said, &reference, precision, recall));
        best_precision = fmax(best_precision, precision);
        best_recall = fmax(best_recall, recall);
        metric_words_release(&reference);
    }
    metric_words_release(&said);
    *out = which == TEXT_ROUGE_COCO ? coco_value(best_precision, best_recall) : best;
    return ok;
}

static base_status prepare(const metric *m, metric_work *work, base_error *error)
{
    metric_vocabulary *v = metric_vocabulary_create();
    bool ok = v != NULL;
    for (size_t i = 0; ok && i < work->input->n_cases; i++) {
        ok = case_value((text_metric)m->parameter, v, &work->input->cases[i], &work->rows[i]);
        work->used[i] = true;
    }
    metric_vocabulary_destroy(&v);
    return ok ? BASE_OK
              : base_fail(error, BASE_ENOMEM, "out of memory for %s of %zu cases", m->name, work->input->n_cases);
}

#define ROW(name, about, which)                                           \
    {                                                                     \
        name, about, METRIC_NEEDS_TEXT, 1, which, 1, prepare, metric_mean \
    }

const metric metric_rows_text[] = {
    ROW("exact_match", "equal to a reference after SQuAD's normalisation", TEXT_EXACT),
    ROW("token_f1", "F1 of the bag of words after SQuAD's normalisation, mean over cases", TEXT_F1),
    ROW("token_recall", "words of the reference that were said, after SQuAD's normalisation, mean over cases",
        TEXT_RECALL),
    ROW("rouge_l", "rouge-score's rougeL F1 without stemmer, mean over cases", TEXT_ROUGE),
    ROW("rouge_l_coco", "pycocoevalcap's ROUGE-L (beta 1.2), mean over cases", TEXT_ROUGE_COCO),
    {0},
};
