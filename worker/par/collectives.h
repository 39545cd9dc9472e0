/* collectives.h - what a tensor group computes together: the all-reduce of tensor parallelism (allreduce.c), the
 * reduce-scatter and all-gather of sequence parallelism (seq_parallel.c), and columns to a root (gather_columns.c).
 *
 * Reductions are exact integer or bitwise operations, so their order, the algorithm and the rank count leave no trace
 * in the result (docs/decisions/0001-fixed-point-reductions.md).  Inside a node they go through shared memory
 * (intra_node_int.h), between nodes by messages (inter_node_int.h).  Words:
 *
 *     node A            node B
 *     a0 --- rail 0 --- b0      rail   the j-th ranks of all nodes, which carry slice j of a vector between nodes; as
 *     a1 --- rail 1 --- b1             many as the group has ranks on the node with the fewest
 *     a2                        lane   the part of a vector that member l of each rank's thread team reduces in
 *                                      shared memory
 *                               hop    the message of activations from a stage to the next (channels.h) */
#ifndef PALMGROVE_PAR_COLLECTIVES_H
#define PALMGROVE_PAR_COLLECTIVES_H

#include "worker/par/grid.h"
#include "worker/team/team.h"

/* Every member of the rank's team calls these with the same arguments; member 0 alone calls MPI.  They begin with a
 * barrier, so that all members' values are there, and end with one, so that all see the result.  Collective over the
 * tensor group. */

/* All-reduce: values[i] = sum over the tensor group, in place, exact (wraps). */
void par_allreduce_sum_i64(par_grid *grid, team_member *me, int64_t *values, size_t n);
/* values[i] = bitwise or over the tensor group, in place: with one owner and zeros elsewhere it moves floats unchanged.
 */
void par_allreduce_or_u32(par_grid *grid, team_member *me, uint32_t *values, size_t n);

/* --- sequence parallelism: rows of a matrix, each owned by one rank of the tensor group --- */

/* Rows that lie densely in memory, [n_rows][row_bytes]. */
typedef struct par_matrix {
    void *rows;
    size_t row_bytes;
} par_matrix;

#define PAR_MATRICES_MAX 6u /* in one call */

typedef struct par_rows {
    size_t begin, end;
} par_rows;

/* The rows of n_rows that this rank owns: contiguous; shares differ by a row at most, and ranks beyond the number of
 * rails on their node own none (nodes_int.h).  All rows where the group has one rank. */
par_rows par_rows_owned(const par_grid *grid, size_t n_rows);

/* True if every stage assigns the same rows to the same tensor rank, so that a rank may pass its rows on to the next
 * stage.  False where tensor groups lie on nodes in different ways. */
bool par_rows_same_on_all_stages(const par_grid *grid);

/* Reduce-scatter: matrices of int64; this rank's rows become the sums over the tensor group, exact.  The other rows
 * hold nothing of use afterwards.  _or_u32: the same with u32 and bitwise or. */
void par_reduce_scatter_sum_i64(par_grid *grid, team_member *me, const par_matrix *matrices, size_t n_matrices,
                                size_t n_rows);
void par_reduce_scatter_or_u32(par_grid *grid, team_member *me, const par_matrix *matrices, size_t n_matrices,
                               size_t n_rows);
/* All-gather: every rank's own rows of each matrix to all others. */
void par_all_gather_rows(par_grid *grid, team_member *me, const par_matrix *matrices, size_t n_matrices, size_t n_rows);

/* --- main thread alone --- */

/* Columns of a matrix that the group holds in pieces, to tensor rank 0: row i of `full` [n_rows][sum of columns] is the
 * pieces' rows i side by side in tensor rank order.  `columns[t]` is the width of rank t's piece `local`
 * [n_rows][columns[tp_rank]]. `full` is written on tensor rank 0 only.  Collective over the group. */
void par_gather_columns(par_grid *grid, const float *local, const uint32_t *columns, size_t n_rows, float *full);

/* Median microseconds over `repeats` of an all-reduce of `bytes` (int64) over the tensor group, by
 * par_allreduce_sum_i64 with teams of one and by MPI_Allreduce, in turns on the same buffers.  Collective over the
 * world.  BASE_ENOMEM. */
base_status par_measure_allreduce(par_grid *grid, size_t bytes, uint32_t repeats, double *own_us, double *mpi_us,
                                  base_error *error);

#endif
