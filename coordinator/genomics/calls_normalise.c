/* calls_normalise.c - the normal form of an allele (Tan et al. 2015): trimmed, then moved left as far as possible.
 *
 *     reference  G C A C A C A T       deleting "CA" at any of three places gives the same sequence
 *     written    G C A C A C A T       "ACA" -> "A" at the last      anchor A, moved bases "CA"
 *     normal     G C A C A C A T       "GCA" -> "G" at the first     anchor G, moved bases "CA", rotated by the steps
 *
 * An insertion or deletion can move one base to the left while the base it moves over equals its own last base; its
 * bases rotate by one with every step. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/genomics/calls_int.h"

enum { STRIDE = 64 }; /* reference bases fetched at a time */

/* Bases [begin, end) of the contig, upper case. */
static base_status fetch(faidx_t *reference, const char *contig, int64_t begin, int64_t end, char **out,
                         base_error *error)
{
    hts_pos_t n = 0;
    char *bases = faidx_fetch_seq64(reference, contig, begin, end - 1, &n);
    if (bases == NULL || n != end - begin) {
        free(bases);
        return base_fail(error, BASE_EFORMAT, "the reference has no bases %lld to %lld of '%.80s'",
                         (long long)begin + 1, (long long)end, contig);
    }
    for (hts_pos_t i = 0; i < n; i++)
        bases[i] = (char)toupper((unsigned char)bases[i]);
    *out = bases;
    return BASE_OK;
}

static base_status check_reference(const calls_allele *a, faidx_t *reference, base_error *error)
{
    char *bases = NULL;
    int64_t n = (int64_t)strlen(a->ref);
    base_status status = fetch(reference, a->contig, a->position, a->position + n, &bases, error);
    if (status == BASE_OK && memcmp(bases, a->ref, (size_t)n) != 0)
        status = base_fail(error, BASE_EFORMAT,
                           "the allele '%.40s' at %.80s:%lld is not what the reference has there ('%.40s')", a->ref,
                           a->contig, (long long)a->position + 1, bases);
    free(bases);
    return status;
}

/* Bases that both alleles end in, one base of each kept. */
static void trim(calls_allele *a)
{
    size_t r = strlen(a->ref), v = strlen(a->alt), front = 0;
    while (r > 1 && v > 1 && a->ref[r - 1] == a->alt[v - 1])
        r--, v--;
    while (front + 1 < r && front + 1 < v && a->ref[front] == a->alt[front])
        front++;
    memmove(a->ref, a->ref + front, r - front);
    memmove(a->alt, a->alt + front, v - front);
    a->ref[r - front] = a->alt[v - front] = '\0';
    a->position += (int64_t)front;
}

/* How many bases to the left an insertion or deletion of `n` bases, `moved`, can go: while the base before it equals
 * its own last.  The anchor is bases[at]; at most the `at` bases that are known. */
static size_t n_steps_left(const char *bases, size_t at, const char *moved, size_t n, size_t n_rotated)
{
    size_t k = 0;
    while (k < at && bases[at - k] == moved[n - 1 - (n_rotated + k) % n])
        k++;
    return k;
}

/* The alleles of an insertion or deletion whose bases, rotated by `n_rotated`, follow `anchor`. */
static void rewrite(calls_allele *a, char anchor, const char *moved, size_t n, size_t n_rotated)
{
    bool is_insertion = strlen(a->alt) > 1;
    char *longer = is_insertion ? a->alt : a->ref, *shorter = is_insertion ? a->ref : a->alt;
    shorter[0] = longer[0] = anchor;
    for (size_t i = 0; i < n; i++)
        longer[1 + i] = moved[(i + n - n_rotated % n) % n];
}

/* `anchor_follows`: the base that both alleles share comes after the inserted or deleted bases, not before them. */
static base_status move_left(calls_allele *a, bool anchor_follows, faidx_t *reference, base_error *error)
{
    const char *longer = strlen(a->alt) > 1 ? a->alt : a->ref;
    size_t n = strlen(longer) - 1, n_rotated = 0;
    int64_t at = a->position - anchor_follows; /* of the anchor */
    char *moved = strndup(longer + !anchor_follows, n), anchor = '\0';
    base_status status = moved != NULL ? BASE_OK : base_fail(error, BASE_ENOMEM, "no memory for an allele");
    for (bool may_continue = true; may_continue && status == BASE_OK;) {
        int64_t begin = at > STRIDE ? at - STRIDE : 0;
        char *bases = NULL;
        status = fetch(reference, a->contig, begin, at + 1, &bases, error);
        if (status != BASE_OK)
            break;
        size_t k = n_steps_left(bases, (size_t)(at - begin), moved, n, n_rotated);
        n_rotated += k;
        at -= (int64_t)k;
        anchor = bases[at - begin];
        may_continue = at == begin && k > 0 && at > 0;
        free(bases);
    }
    if (status == BASE_OK) {
        a->position = at;
        rewrite(a, anchor, moved, n, n_rotated);
    }
    free(moved);
    return status;
}

base_status calls_normalise(calls_allele *a, faidx_t *reference, base_error *error)
{
    base_status status = reference != NULL ? check_reference(a, reference, error) : BASE_OK;
    if (status != BASE_OK)
        return status;
    trim(a);
    size_t r = strlen(a->ref), v = strlen(a->alt);
    bool is_anchored = a->ref[0] == a->alt[0], anchor_follows = a->ref[r - 1] == a->alt[v - 1] && a->position > 0;
    if (reference == NULL || (r == 1) == (v == 1) || !(is_anchored || anchor_follows))
        return BASE_OK;
    return move_left(a, !is_anchored, reference, error);
}
