/* calls.h - called variants against the truth inside confident regions, counted as hap.py counts (Krusche et al. 2019,
 * doi:10.1038/s41587-019-0054-x; github.com/Illumina/hap.py, doc/happy.md) up to what docs/GENOMICS.md names.
 *
 * Each alternative allele of a genotype is a variant of its own, trimmed (and, with a reference, moved to the left as
 * far as it goes: Tan et al. 2015, doi:10.1093/bioinformatics/btv112); equal-length alleles are split into
 * substitutions of one base.  Two variants are the same when contig, position and alleles are; a call is right when its
 * genotype has as many copies. */
#ifndef PALMGROVE_CALLS_H
#define PALMGROVE_CALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

/* A variant that the calls or the truth have, with the copies in each, 0 to 2. */
typedef struct calls_pair {
    bool is_snp; /* else an insertion, a deletion, or both */
    uint8_t called, truth;
} calls_pair;

/* Not counted: variants that are not wholly inside a confident region; records without a genotype; alleles that are no
 * sequence; calls whose FILTER is neither PASS nor empty. */
typedef struct calls_left_out {
    uint64_t n_outside, n_no_genotype, n_no_sequence, n_filtered;
} calls_left_out;

typedef struct calls_comparison {
    calls_pair *pairs; /* [n_pairs] by contig and position; owned */
    size_t n_pairs;
    calls_left_out calls, truth;
} calls_comparison;

/* `calls` and `truth`: VCF or BCF, plain or compressed, in any order; the first sample of each counts.  `confident`:
 * BED, plain or compressed; NULL: everywhere.  `reference`: indexed FASTA; NULL: nothing is moved. Errors, *out
 * untouched: BASE_EIO, BASE_ENOTFOUND a file or an index; BASE_EFORMAT a damaged record, no samples, a BED line
 * (named), an allele that is not what the FASTA file has; BASE_EUNSUPPORTED more than two copies; BASE_ENOMEM. */
base_status calls_compare(const char *calls, const char *truth, const char *confident, const char *reference,
                          calls_comparison *out, base_error *error);
/* Free the pairs; the comparison is empty afterwards. */
void calls_release(calls_comparison *comparison);

#endif
