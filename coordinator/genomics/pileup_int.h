/* pileup_int.h - what drawing one site shares. */
#ifndef PALMGROVE_PILEUP_INT_H
#define PALMGROVE_PILEUP_INT_H

#include <htslib/sam.h>

#include "coordinator/genomics/pileup.h"

/* What one image shows; everything is borrowed. */
typedef struct pileup_view {
    const pileup_site *site;
    size_t first, second; /* the alternative alleles */
    const pileup_rules *rules;
    const char *bases; /* [PILEUP_WIDTH] of the reference, upper case */
    int64_t start;     /* of bases[0] */
} pileup_view;

/* A, C, G or T. */
bool pileup_is_canonical(char base);

/* True if the read's allele at the site is one of the view's alternative alleles. */
bool pileup_supports(const bam1_t *read, const pileup_view *view);

/* numpy.random.RandomState(seed).shuffle(list), which is how DeepVariant v1.3.0 chooses among too many reads. */
void pileup_shuffle(bam1_t **reads, size_t n, uint32_t seed);

/* All rows.  `reads` are shuffled when there are more of them than rows.  out[PILEUP_BYTES]. */
void pileup_draw_rows(const pileup_view *view, bam1_t **reads, size_t n, uint8_t *out);

#endif
