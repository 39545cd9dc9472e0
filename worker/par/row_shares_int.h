/* row_shares_int.h - rows of a matrix divided among the ranks of a tensor group: who owns which, and where that lies in
 * memory.
 *
 * Every node serves R rails (nodes_int.h), so a group over N nodes has N x R owners, each of a share of neighbouring
 * rows; shares differ by one row at most. Owner q = j x N + m is the m-th rank of rail j: the shares of one rail lie
 * beside each other, so a node divides rows among its rails first, and a rail among its nodes.  Ranks of a node behind
 * the first R own nothing. */
#ifndef PALMGROVE_PAR_ROW_SHARES_INT_H
#define PALMGROVE_PAR_ROW_SHARES_INT_H

#include <stddef.h>

/* Where share q of n_shares begins. */
static inline size_t par_row_begin(size_t n_rows, int q, int n_shares)
{
    return n_rows * (size_t)q / (size_t)n_shares;
}

/* The shares of some owners: member i's is share first + i * stride.  Of each only the bytes [at, at + most) are meant.
 */
typedef struct par_shares {
    unsigned char *rows; /* [n_rows][row_bytes] */
    size_t row_bytes, n_rows;
    int n_shares; /* of all owners */
    int first, stride;
    size_t at, most;
} par_shares;

typedef struct par_share {
    unsigned char *begin;
    size_t bytes;
} par_share;

static inline par_share par_share_of(const par_shares *s, int member)
{
    int q = s->first + member * s->stride;
    size_t begin = par_row_begin(s->n_rows, q, s->n_shares) * s->row_bytes;
    size_t bytes = par_row_begin(s->n_rows, q + 1, s->n_shares) * s->row_bytes - begin;
    size_t left = bytes > s->at ? bytes - s->at : 0;
    return (par_share){s->rows + begin + (left > 0 ? s->at : 0), left < s->most ? left : s->most};
}

/* Bytes of the longest share of all owners. */
static inline size_t par_shares_longest(const par_shares *s)
{
    return (s->n_rows + (size_t)s->n_shares - 1) / (size_t)s->n_shares * s->row_bytes;
}

#endif
