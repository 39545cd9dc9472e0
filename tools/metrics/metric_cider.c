/* metric_cider.c - CIDEr-D (Vedantam et al. 2015) as pycocoevalcap's cider_scorer.py computes it.
 *
 * An n-gram weighs count x (ln N - ln max(1, df)), df: in how many of the N cases a reference has it.  A case scores
 * the mean over orders 1 to 4 and over references of the clipped cosine, times a Gaussian (sigma 6) of the difference
 * in length, times 10. Length is the number of bigrams, as in the original. */
#include <math.h>
#include <stdlib.h>

#include "proto/base/grow.h"
#include "tools/metrics/metric_ngrams.h"
#include "tools/metrics/metric_parts.h"

typedef struct cider_case {
    metric_ngrams said, *references;
    size_t n_references;
} cider_case;

typedef struct cider {
    cider_case *cases;
    size_t n;
    metric_ngrams df; /* count: number of cases */
} cider;

static void cider_release(cider *c)
{
    for (size_t i = 0; c->cases != NULL && i < c->n; i++) {
        metric_ngrams_release(&c->cases[i].said);
        metric_ngrams_array_free(c->cases[i].references, c->cases[i].n_references);
    }
    free(c->cases);
    metric_ngrams_release(&c->df);
}

static bool count_text(metric_vocabulary *v, const char *text, metric_ngrams *out)
{
    metric_words words = {0};
    bool ok =
        metric_words_read(v, METRIC_RULE_COCO, text, &words) && metric_ngrams_count(&words, METRIC_NGRAM_MAX, out);
    metric_words_release(&words);
    return ok;
}

static bool read_case(metric_vocabulary *v, const metric_case *from, cider_case *to)
{
    to->references = metric_ngrams_array(from->n_references);
    if (to->references == NULL || !count_text(v, from->prediction, &to->said))
        return false;
    to->n_references = from->n_references;
    for (size_t i = 0; i < from->n_references; i++)
        if (!count_text(v, from->references[i], &to->references[i]))
            return false;
    return true;
}

/* The n-grams of all references of a case, each once with count 1, appended. */
static bool append_distinct(const cider_case *c, metric_ngrams *all, size_t *capacity)
{
    size_t n = 0, start = all->n;
    for (size_t k = 0; k < c->n_references; k++)
        n += c->references[k].n;
    if (!base_grow(&all->grams, capacity, all->n + n, sizeof *all->grams))
        return false;
    for (size_t k = 0; k < c->n_references; k++)
        for (size_t i = 0; i < c->references[k].n; i++)
            all->grams[all->n++] = c->references[k].grams[i];
    all->n = start + (n == 0 ? 0 : metric_ngrams_merge(all->grams + start, n));
    for (size_t i = start; i < all->n; i++)
        all->grams[i].count = 1;
    return true;
}

static bool count_documents(cider *c)
{
    size_t capacity = 0;
    for (size_t i = 0; i < c->n; i++)
        if (!append_distinct(&c->cases[i], &c->df, &capacity))
            return false;
    c->df.n = c->df.n == 0 ? 0 : metric_ngrams_merge(c->df.grams, c->df.n);
    return true;
}

static double weight_of(const cider *c, const metric_ngram *gram)
{
    const metric_ngram *known = metric_ngrams_find(&c->df, gram);
    return gram->count * (log((double)c->n) - log(known == NULL ? 1.0 : known->count));
}

static void norms_of(const cider *c, const metric_ngrams *text, double norms[METRIC_NGRAM_MAX])
{
    for (size_t i = 0; i < text->n; i++) {
        double weight = weight_of(c, &text->grams[i]);
        norms[metric_ngram_length(&text->grams[i]) - 1] += weight * weight;
    }
    for (size_t n = 0; n < METRIC_NGRAM_MAX; n++)
        norms[n] = sqrt(norms[n]);
}

static double n_bigrams(const metric_ngrams *text)
{
    return text->n_words > 1 ? (double)(text->n_words - 1) : 0;
}

/* The sum over orders. */
static double similarity(const cider *c, const metric_ngrams *said, const metric_ngrams *reference)
{
    const double sigma = 6;
    double of_said[METRIC_NGRAM_MAX] = {0}, of_reference[METRIC_NGRAM_MAX] = {0}, sums[METRIC_NGRAM_MAX] = {0},
           total = 0;
    double delta = n_bigrams(said) - n_bigrams(reference);
    norms_of(c, said, of_said);
    norms_of(c, reference, of_reference);
    for (size_t i = 0; i < said->n; i++) {
        const metric_ngram *other = metric_ngrams_find(reference, &said->grams[i]);
        if (other == NULL)
            continue;
        double theirs = weight_of(c, other);
        sums[metric_ngram_length(other) - 1] += fmin(weight_of(c, &said->grams[i]), theirs) * theirs;
    }
    for (size_t n = 0; n < METRIC_NGRAM_MAX; n++)
        if (of_said[n] > 0 && of_reference[n] > 0)
            total += sums[n] / (of_said[n] * of_reference[n]);
    return total * exp(-(delta * delta) / (2 * sigma * sigma));
}

static double case_value(const cider *c, const cider_case *of)
{
    double sum = 0;
    for (size_t k = 0; k < of->n_references; k++)
        sum += similarity(c, &of->said, &of->references[k]);
    return 10 * sum / METRIC_NGRAM_MAX / (double)of->n_references;
}

static base_status prepare(const metric *m, metric_work *work, base_error *error)
{
    size_t n = work->input->n_cases;
    metric_vocabulary *v = metric_vocabulary_create();
    cider c = {.cases = calloc(n, sizeof *c.cases), .n = n};
    bool ok = v != NULL && c.cases != NULL;
    for (size_t i = 0; ok && i < n; i++)
        ok = read_case(v, &work->input->cases[i], &c.cases[i]);
    ok = ok && count_documents(&c);
    for (size_t i = 0; ok && i < n; i++) {
        work->rows[i] = case_value(&c, &c.cases[i]);
        work->used[i] = true;
    }
    cider_release(&c);
    metric_vocabulary_destroy(&v);
    return ok ? BASE_OK : base_fail(error, BASE_ENOMEM, "out of memory for %s of %zu cases", m->name, n);
}

const metric metric_rows_cider[] = {
    {"cider_d", "pycocoevalcap's Cider (CIDEr-D), mean over cases, 0 to 10", METRIC_NEEDS_TEXT, 10, 0, 1, prepare,
     metric_mean},
    {0},
};
