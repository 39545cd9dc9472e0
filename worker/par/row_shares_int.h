/* row_shares_int.h - sequence parallelism: which rank of a tensor group owns which rows of a matrix, and where they
 * lie.
 *
 * Every node serves R rails (collectives.h), so a group over N nodes has N x R owners, each of a share of contiguous
 * rows; shares differ by one row at most.  Owner q = j x N + m is the m-th rank of rail j: the shares of one rail are
 * adjacent, so a node divides rows among its rails first, and a rail among its nodes.  Ranks of a node past the first R
 * own nothing.
 *
 *     2 nodes x 2 rails, 8 rows:   rows 0-1 a0   2-3 b0   |   4-5 a1   6-7 b1        (a, b nodes; rail 0 | rail 1) */
#ifndef PALMGROVE_PAR_ROW_SHARES_INT_H
#define PALMGROVE_PAR_ROW_SHARES_INT_H

#include <stddef.h>

/* The row where share q of n_shares begins. */
static inline size_t par_row_begin(size_t n_rows, int q, int n_shares)
{
    return n_rows * (size_t)q / (size_t)n_shares;
}

/* The shares of some owners: member i's is share first + i * stride; of each, only the window of bytes [window_at,
 * window_at + window_bytes).
 */
typedef struct par_shares {
    unsigned char *rows; /* [n_rows][row_bytes] */
    size_t row_bytes, n_rows;
    int n_shares; /* of all owners */
    int first, stride;
    size_t window_at, window_bytes;
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
    size_t left = bytes > s->window_at ? bytes - s->window_at : 0;
    return (par_share){s->rows + begin + (left > 0 ? s->window_at : 0),
                       left < s->window_bytes ? left : s->window_bytes};
}

/* Bytes of the longest share of all owners. */
static inline size_t par_shares_longest(const par_shares *s)
{
    return (s->n_rows + (size_t)s->n_shares - 1) / (size_t)s->n_shares * s->row_bytes;
}

#endif
