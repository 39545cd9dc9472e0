/* site_int.h - filling a pileup_site, from text and from VCF records. */
#ifndef PALMGROVE_SITE_INT_H
#define PALMGROVE_SITE_INT_H

#include "coordinator/genomics/pileup.h"

/* An upper-case copy of `size` characters, owned by the caller; NULL if memory is out. */
char *site_upper_copy(const char *text, size_t size);

/* True for one or more of A, C, G, T, N. */
bool site_is_sequence(const char *allele);

/* Append an alternative allele.  Takes ownership of `allele`, which may be NULL for lack of memory; false then, or when
 * the list cannot grow. */
bool site_push_alt(pileup_site *site, char *allele);

#endif
