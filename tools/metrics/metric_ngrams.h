/* metric_ngrams.h - the n-grams of a text with their counts, sorted. */
#ifndef PALMGROVE_METRIC_NGRAMS_H
#define PALMGROVE_METRIC_NGRAMS_H

#include "tools/metrics/metric_words.h"

enum { METRIC_NGRAM_MAX = 4 };

typedef struct metric_ngram {
    uint32_t ids[METRIC_NGRAM_MAX]; /* 0 beyond its length */
    uint32_t count;
} metric_ngram;

typedef struct metric_ngrams {
    metric_ngram *grams; /* [n] owned, in the order of ids, each once */
    size_t n;
    size_t n_words; /* of the text */
} metric_ngrams;

/* By ids, for qsort and bsearch. */
int metric_ngram_compare(const void *a, const void *b);

/* 1 to METRIC_NGRAM_MAX. */
size_t metric_ngram_length(const metric_ngram *gram);

/* All n-grams of orders 1 to `most`.  False: out of memory, *out untouched. */
bool metric_ngrams_count(const metric_words *words, size_t most, metric_ngrams *out);
void metric_ngrams_release(metric_ngrams *ngrams);

/* `n` empty ones, at least one; NULL: out of memory.  Freeing releases each. */
metric_ngrams *metric_ngrams_array(size_t n);
void metric_ngrams_array_free(metric_ngrams *array, size_t n);

/* NULL when it is not among them. */
const metric_ngram *metric_ngrams_find(const metric_ngrams *ngrams, const metric_ngram *gram);

/* Sort, and add up the counts of equal n-grams; returns how many remain. */
size_t metric_ngrams_merge(metric_ngram *grams, size_t n);

#endif
