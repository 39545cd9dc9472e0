/* metric_ngrams.c - n-grams are counted by sorting them. */
#include <stdlib.h>
#include <string.h>

#include "proto/base/size.h"
#include "tools/metrics/metric_ngrams.h"

int metric_ngram_compare(const void *a, const void *b)
{
    const metric_ngram *x = a, *y = b;
    for (size_t i = 0; i < METRIC_NGRAM_MAX; i++)
        if (x->ids[i] != y->ids[i])
            return x->ids[i] < y->ids[i] ? -1 : 1;
    return 0;
}

size_t metric_ngram_length(const metric_ngram *gram)
{
    size_t n = 0;
    while (n < METRIC_NGRAM_MAX && gram->ids[n] != 0)
        n++;
    return n;
}

size_t metric_ngrams_merge(metric_ngram *grams, size_t n)
{
    size_t kept = 0;
    if (n > 0)
        qsort(grams, n, sizeof *grams, metric_ngram_compare);
    for (size_t i = 0; i < n; i++)
        if (kept > 0 && metric_ngram_compare(&grams[kept - 1], &grams[i]) == 0)
            grams[kept - 1].count += grams[i].count;
        else
            grams[kept++] = grams[i];
    return kept;
}

bool metric_ngrams_count(const metric_words *words, size_t most, metric_ngrams *out)
{
    size_t room;
    if (!base_size_mul(words->n + 1, most * sizeof(metric_ngram), &room))
        return false;
    metric_ngrams found = {.grams = malloc(room), .n_words = words->n};
    if (found.grams == NULL)
        return false;
    for (size_t i = 0; i < words->n; i++)
        for (size_t length = 1; length <= most && i + length <= words->n; length++) {
            metric_ngram gram = {.count = 1};
            memcpy(gram.ids, words->ids + i, length * sizeof *gram.ids);
            found.grams[found.n++] = gram;
        }
    found.n = metric_ngrams_merge(found.grams, found.n);
    *out = found;
    return true;
}

void metric_ngrams_release(metric_ngrams *ngrams)
{
    free(ngrams->grams);
    *ngrams = (metric_ngrams){0};
}

metric_ngrams *metric_ngrams_array(size_t n)
{
    return calloc(n == 0 ? 1 : n, sizeof(metric_ngrams));
}

void metric_ngrams_array_free(metric_ngrams *array, size_t n)
{
    for (size_t i = 0; array != NULL && i < n; i++)
        metric_ngrams_release(&array[i]);
    free(array);
}

const metric_ngram *metric_ngrams_find(const metric_ngrams *ngrams, const metric_ngram *gram)
{
    return ngrams->n == 0 ? NULL : bsearch(gram, ngrams->grams, ngrams->n, sizeof *gram, metric_ngram_compare);
}
