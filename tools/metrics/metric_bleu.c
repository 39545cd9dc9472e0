/* metric_bleu.c - BLEU of a corpus (Papineni et al. 2002) as pycocoevalcap and as sacrebleu compute it.
 *
 * Row of a case: clipped matches of orders 1 to 4, n-grams said of orders 1 to 4, words said, words of the closest
 * reference. */
#include <math.h>

#include "tools/metrics/metric_ngrams.h"
#include "tools/metrics/metric_parts.h"

enum { N_ORDERS = METRIC_NGRAM_MAX, MATCHES = 0, SAID = N_ORDERS, N_WORDS = 2 * N_ORDERS, N_CLOSEST, N_COLUMNS };
enum { SACREBLEU = 0 }; /* parameter: pycocoevalcap's order, or this */

/* Of the references' lengths the one nearest to `n`, the shorter of two. */
static size_t closest_length(size_t n, const metric_ngrams *references, size_t n_references)
{
    size_t best = references[0].n_words, least = SIZE_MAX;
    for (size_t i = 0; i < n_references; i++) {
        size_t length = references[i].n_words, distance = length > n ? length - n : n - length;
        if (distance < least || (distance == least && length < best)) {
            best = length;
            least = distance;
        }
    }
    return best;
}

static void fill_row(const metric_ngrams *said, const metric_ngrams *references, size_t n_references, double *row)
{
    for (size_t i = 0; i < said->n; i++) {
        const metric_ngram *gram = &said->grams[i];
        uint32_t most = 0;
        for (size_t k = 0; k < n_references; k++) {
            const metric_ngram *other = metric_ngrams_find(&references[k], gram);
            if (other != NULL && other->count > most)
                most = other->count;
        }
        row[MATCHES + metric_ngram_length(gram) - 1] += gram->count < most ? gram->count : most;
    }
    for (size_t n = 0; n < N_ORDERS; n++)
        row[SAID + n] = said->n_words > n ? (double)(said->n_words - n) : 0;
    row[N_WORDS] = (double)said->n_words;
    row[N_CLOSEST] = (double)closest_length(said->n_words, references, n_references);
}

static bool count_text(metric_vocabulary *v, metric_rule rule, const char *text, metric_ngrams *out)
{
    metric_words words = {0};
    bool ok = metric_words_read(v, rule, text, &words) && metric_ngrams_count(&words, N_ORDERS, out);
    metric_words_release(&words);
    return ok;
}

static bool fill_case(metric_vocabulary *v, metric_rule rule, const metric_case *c, double *row)
{
    metric_ngrams said = {0}, *references = metric_ngrams_array(c->n_references);
    bool ok = references != NULL && count_text(v, rule, c->prediction, &said);
    for (size_t i = 0; ok && i < c->n_references; i++)
        ok = count_text(v, rule, c->references[i], &references[i]);
    if (ok)
        fill_row(&said, references, c->n_references, row);
    metric_ngrams_release(&said);
    metric_ngrams_array_free(references, c->n_references);
    return ok;
}

static base_status prepare(const metric *m, metric_work *work, base_error *error)
{
    metric_rule rule = m->parameter == SACREBLEU ? METRIC_RULE_13A : METRIC_RULE_COCO;
    metric_vocabulary *v = metric_vocabulary_create();
    bool ok = v != NULL;
    for (size_t i = 0; ok && i < work->input->n_cases; i++) {
        ok = fill_case(v, rule, &work->input->cases[i], work->rows + i * N_COLUMNS);
        work->used[i] = true;
    }
    metric_vocabulary_destroy(&v);
    return ok ? BASE_OK
              : base_fail(error, BASE_ENOMEM, "out of memory for %s of %zu cases", m->name, work->input->n_cases);
}

static void add_rows(const metric_work *work, const uint32_t *weights, double sums[N_COLUMNS])
{
    for (size_t i = 0; i < work->input->n_cases; i++)
        for (size_t k = 0; k < N_COLUMNS; k++)
            sums[k] += weights[i] * work->rows[i * N_COLUMNS + k];
}

/* pycocoevalcap/bleu/bleu_scorer.py: compute_score(option="closest") */
static double coco_bleu(const metric *m, const metric_work *work, const uint32_t *weights)
{
    const double small = 1e-9, tiny = 1e-15;
    double sums[N_COLUMNS] = {0}, product = 1;
    add_rows(work, weights, sums);
    for (uint32_t n = 0; n < m->parameter; n++)
        product *= (sums[MATCHES + n] + tiny) / (sums[SAID + n] + small);
    double ratio = (sums[N_WORDS] + tiny) / (sums[N_CLOSEST] + small);
    return pow(product, 1.0 / m->parameter) * (ratio < 1 ? exp(1 - 1 / ratio) : 1);
}

/* sacrebleu/metrics/bleu.py: compute_bleu(smooth_method="exp", effective_order=False) */
static double sacre_bleu(const metric *m, const metric_work *work, const uint32_t *weights)
{
    double sums[N_COLUMNS] = {0}, smoothing = 1, logs = 0;
    bool any = false;
    (void)m;
    add_rows(work, weights, sums);
    for (size_t n = 0; n < N_ORDERS; n++)
        any = any || sums[MATCHES + n] > 0;
    for (size_t n = 0; any && n < N_ORDERS; n++) {
        if (sums[SAID + n] <= 0)
            return 0;
        if (sums[MATCHES + n] <= 0)
            smoothing *= 2;
        logs +=
            log(sums[MATCHES + n] > 0 ? 100 * sums[MATCHES + n] / sums[SAID + n] : 100 / (smoothing * sums[SAID + n]));
    }
    double brevity = sums[N_WORDS] < sums[N_CLOSEST] ? exp(1 - sums[N_CLOSEST] / sums[N_WORDS]) : 1;
    return any ? brevity * exp(logs / N_ORDERS) : 0;
}

const metric metric_rows_bleu[] = {
    {"bleu_1", "pycocoevalcap's Bleu, order 1, over all cases", METRIC_NEEDS_TEXT, 1, 1, N_COLUMNS, prepare, coco_bleu},
    {"bleu_4", "pycocoevalcap's Bleu, orders 1 to 4, over all cases", METRIC_NEEDS_TEXT, 1, 4, N_COLUMNS, prepare,
     coco_bleu},
    {"sacrebleu", "sacrebleu's corpus BLEU (13a, exp smoothing), 0 to 100", METRIC_NEEDS_TEXT, 100, SACREBLEU,
     N_COLUMNS, prepare, sacre_bleu},
    {0},
};
