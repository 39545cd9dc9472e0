/* intra_node_int.h - collectives among ranks of one node through memory that they share (MPI-3 shared windows).
 *
 * Every rank has two slots of staging memory, and flags on cache lines of their own.  A vector goes in pieces, piece i
 * through slot i mod 2:
 *
 *     all-reduce, short pieces or two ranks
 *                      every rank copies its piece in, raises `ready` to the piece's number, and adds up all others'
 *     all-reduce, longer
 *                      every rank adds up its share of the piece in its own slot, raises `done`, and copies the others'
 *                      shares from their slots
 *     reduce-scatter of rows
 *                      every rank copies what it has for each owner into that owner's part of its slot, raises `ready`,
 *                      and adds up its own share
 *
 * A rank that raised `ready` to i + 1 has read all of piece i, and no rank begins piece i + 2 before all did so: two
 * slots suffice.
 *
 * The members of the ranks' teams work in lanes: member l of every rank serves lane l, a part of each vector with slots
 * and flags of its own, so lanes wait for each other only at the end of the call.
 *
 * Values are integers or bits: no order of adding leaves a trace. */
#ifndef PALMGROVE_PAR_INTRA_NODE_INT_H
#define PALMGROVE_PAR_INTRA_NODE_INT_H

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/par/reduce_op_int.h"
#include "worker/par/row_shares_int.h"
#include "worker/par/wait_int.h"
#include "worker/team/team.h"

typedef struct par_intra_node par_intra_node;

/* Where share r of `bytes` begins when `size` ranks divide them: whole cache lines. */
size_t par_share_begin(size_t bytes, int r, int size);

/* Collective over `comm`, ranks of one node.  NULL if there is only one rank, or no shared memory (logged by the first
 * rank): messages are used then. */
par_intra_node *par_intra_node_create(MPI_Comm comm);
void par_intra_node_destroy(par_intra_node **intra);

/* Before the barrier that precedes a collective, by every member: the first time member 0 finds out how many lanes the
 * teams have.  A rank's team keeps its size from then on. */
void par_intra_node_begin(par_intra_node *intra, const team_member *me, const par_waiter *waiter);

/* values[i] = all ranks' values[i] reduced, in place.  Called by every member of every rank's team between two
 * barriers. `waiter` is member 0's. */
void par_intra_node_allreduce(par_intra_node *intra, const team_member *me, const par_waiter *waiter, par_reduce_op op,
                              void *values, size_t bytes);

/* Ranks r < n_owners have share r (par_share_begin) of the values; afterwards all have all.  Called like
 * par_intra_node_allreduce. */
void par_intra_node_all_gather(par_intra_node *intra, const team_member *me, const par_waiter *waiter, int n_owners,
                               void *values, size_t bytes);

/* The two halves of an all-reduce for shares of rows (row_shares_int.h), member r < n_owners of `shares` being rank r.
 * Called like par_intra_node_allreduce.  reduce_scatter: every owner's share becomes the reduction over all ranks;
 * other rows stay as they are.  all_gather: all ranks have the owners' shares. */
void par_intra_node_reduce_scatter_rows(par_intra_node *intra, const team_member *me, const par_waiter *waiter,
                                        int n_owners, par_reduce_op op, const par_shares *shares);
void par_intra_node_all_gather_rows(par_intra_node *intra, const team_member *me, const par_waiter *waiter,
                                    int n_owners, const par_shares *shares);

/* Gather: bytes from every rank for any other to read, in pieces; by main threads, outside of teams' work.  The same on
 * all ranks:
 *     par_intra_node_gather gather = {.mine = ..., .mine_bytes = ..., .max_bytes = the longest of all ranks'};
 *     while (par_intra_node_gather_next(intra, waiter, &gather))
 *         readers: par_intra_node_gather_read(intra, &gather, r, into, bytes of rank r) for each r they want */
typedef struct par_intra_node_gather {
    const void *mine;
    size_t mine_bytes, max_bytes;
    size_t at, piece_bytes; /* the present piece; from _next */
    uint64_t piece;
} par_intra_node_gather;
bool par_intra_node_gather_next(par_intra_node *intra, const par_waiter *waiter, par_intra_node_gather *collect);
void par_intra_node_gather_read(const par_intra_node *intra, const par_intra_node_gather *collect, int r, void *into,
                                size_t bytes);

#endif
