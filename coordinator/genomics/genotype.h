/* genotype.h - from a model's answers about a site's pileup images to a genotype, and its line in a VCF.
 *
 * An image shows which reads support one alternative allele, or either of two; the model gives probabilities of 0, 1
 * and 2 copies.  A genotype's probability is the least that any image gives it (as DeepVariant merges them), normalised
 * over all genotypes.  Pure. */
#ifndef PALMGROVE_GENOTYPE_H
#define PALMGROVE_GENOTYPE_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"

enum {
    GENOTYPE_ALTS_MAX = 4,
    GENOTYPE_MAX = (GENOTYPE_ALTS_MAX + 1) * (GENOTYPE_ALTS_MAX + 2) / 2,
    GENOTYPE_PILEUPS_MAX = GENOTYPE_ALTS_MAX * (GENOTYPE_ALTS_MAX + 1) / 2,
    GENOTYPE_QUALITY_MAX = 99, /* of GQ and QUAL */
    GENOTYPE_PL_MAX = 990,
};

typedef struct genotype_pileup {
    size_t first, second; /* alternatives from 0; the same twice: one */
    double copies[3];     /* probabilities of 0, 1, 2 copies, which sum to 1 */
} genotype_pileup;

typedef struct genotype_call {
    size_t n_alts;
    size_t a, b;                      /* alleles a <= b, 0 the reference */
    double probability[GENOTYPE_MAX]; /* in VCF's order: of (a, b) at b (b + 1) / 2 + a */
} genotype_call;

/* Probabilities of three answers from their log-likelihoods. */
void genotype_copies(const double scores[3], double copies[3]);

/* 1 <= n_alts <= GENOTYPE_ALTS_MAX; at least one image.  Among equally likely genotypes the first in VCF's order is
 * called. */
void genotype_merge(size_t n_alts, const genotype_pileup *images, size_t n_images, genotype_call *out);

/* -10 log10 of the probability that the call is wrong, rounded, at most GENOTYPE_QUALITY_MAX. */
unsigned genotype_quality(const genotype_call *call);

/* Append the header: `contigs` is the text of a FASTA index (.fai), whose names and lengths it lists; `source` and
 * `sample` are names. */
void genotype_write_header(const char *contigs, const char *source, const char *sample, base_buf *out);

/* Append a record; `position` from 1.  `call` NULL: the site was not judged (FILTER NotDrawn, genotype ./.). */
void genotype_write_record(const char *contig, int64_t position, const char *ref, char *const *alts, size_t n_alts,
                           const genotype_call *call, base_buf *out);

#endif
