/* metric_words.h - texts to words, each as its original does it. */
#ifndef PALMGROVE_METRIC_WORDS_H
#define PALMGROVE_METRIC_WORDS_H

#include "proto/base/buf.h"
#include "proto/base/status.h"

typedef enum metric_rule {
    METRIC_RULE_ROUGE, /* rouge-score without stemmer: lower case, runs of [a-z0-9] */
    METRIC_RULE_SQUAD, /* SQuAD: lower case, without ASCII punctuation and the articles a, an, the */
    METRIC_RULE_13A,   /* sacrebleu's 13a (mteval-v13a): case kept, punctuation apart */
    METRIC_RULE_COCO,  /* cvt2distilgpt2's cleaning, in lower case: "." a word of its own; then split at blanks, as
                          pycocoevalcap */
    METRIC_RULE_PLAIN, /* split at blanks */
} metric_rule;

/* Words as numbers from 1: equal words have equal numbers. */
typedef struct metric_vocabulary metric_vocabulary;

metric_vocabulary *metric_vocabulary_create(void); /* NULL: out of memory */
void metric_vocabulary_destroy(metric_vocabulary **v);

typedef struct metric_words {
    uint32_t *ids; /* [n] owned */
    size_t n;
} metric_words;

void metric_words_release(metric_words *words);

/* Append the words of `text` (UTF-8; damaged bytes count as U+FFFD), one blank between.  Check out->failed. */
void metric_words_write(metric_rule rule, const char *text, base_buf *out);

/* The words of `text` as numbers.  False: out of memory, *out untouched. */
bool metric_words_read(metric_vocabulary *v, metric_rule rule, const char *text, metric_words *out);

#endif
