/* calls_int.h - what comparing calls shares: the variants of a file, and regions. */
#ifndef PALMGROVE_CALLS_INT_H
#define PALMGROVE_CALLS_INT_H

#include <htslib/faidx.h>

#include "coordinator/genomics/calls.h"

/* One allele that differs from the reference. */
typedef struct calls_allele {
    const char *contig; /* of calls_list.contigs */
    int64_t position;   /* of ref's first base, from 0 */
    char *ref, *alt;    /* owned, one allocation, upper-case; not empty */
    uint8_t copies;     /* 1 or 2 */
} calls_allele;

/* The variants of one file, sorted, no two of the same contig, position and alleles. */
typedef struct calls_list {
    calls_allele *alleles;
    size_t n, capacity;
    char **contigs; /* [n_contigs] owned */
    size_t n_contigs;
    calls_left_out left_out;
} calls_list;

/* -1, 0, 1 by contig, position and alleles. */
int calls_compare_alleles(const calls_allele *a, const calls_allele *b);

/* Read a file.  `reference` may be NULL; `only_passed` leaves out what a FILTER marks.  Errors: those of calls_compare.
 */
base_status calls_read(const char *path, faidx_t *reference, bool only_passed, calls_list *out, base_error *error);
/* Free everything; the list is empty afterwards. */
void calls_list_release(calls_list *list);

/* Trim the alleles and move them to the left.  `reference` NULL: trim only.  Errors: BASE_EFORMAT, BASE_ENOMEM. */
base_status calls_normalise(calls_allele *allele, faidx_t *reference, base_error *error);

typedef struct calls_regions calls_regions;

/* The regions of a BED file, plain or compressed, sorted and joined; the caller releases them.  Errors, *out untouched:
 * BASE_ENOTFOUND, BASE_EIO; BASE_EFORMAT a line that is no region (named); BASE_ENOMEM. */
base_status calls_regions_read(const char *path, calls_regions **out, base_error *error);
/* Free and set *regions to NULL. */
void calls_regions_release(calls_regions **regions);
/* True if [begin, end) lies wholly inside one region; adjacent regions are joined. */
bool calls_regions_hold(const calls_regions *regions, const char *contig, int64_t begin, int64_t end);

#endif
