/* par.h - the rank grid and everything that crosses ranks.  The only folder that includes mpi.h.
 *
 * World = tp x pp ranks; rank r has stage r / tp and tensor rank r % tp, so a tensor group sits on neighbouring ranks
 * (usually one node).  Only the main thread calls these functions (MPI_THREAD_FUNNELED).  Reductions are exact integer
 * or bitwise operations, so their order, the algorithm and the rank count leave no trace in the result (DESIGN section
 * 6). Waiting never happens inside a blocking MPI call: par_* waits test, spin, and after about 2 ms nap (at most 1 ms;
 * after a second without work up to 20 ms, see wait.h). */
#ifndef PALMGROVE_PAR_H
#define PALMGROVE_PAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/status.h"
#include "worker/team/team.h"

/* All the ranks the launcher started. */
typedef struct par_world par_world;

/* Start MPI.  Collective.  BASE_EUNSUPPORTED when MPI offers less than FUNNELED. */
base_status par_world_open(int *argc, char ***argv, par_world **out, base_error *error);
/* Stop MPI.  Collective; nulls *world. */
void par_world_close(par_world **world);
/* End every rank at once: for a failure that cannot be agreed upon (a rank that is about to exit alone). */
void par_world_abort(par_world *world, int exit_code);

int par_world_rank(const par_world *world);
int par_world_size(const par_world *world);

/* This rank among the ranks that share its node's memory, and how many they are. */
int par_world_local_rank(const par_world *world);
int par_world_local_size(const par_world *world);

/* values[i] = the value of the node's local rank i; values: [par_world_local_size].  Collective. */
void par_world_local_gather(par_world *world, uint64_t value, uint64_t *values);

/* Agree on success or failure.  Collective.  Each rank brings its own status and text; all leave with the first failing
 * rank's ("rank 2: ..."), or BASE_OK. */
base_status par_world_agree(par_world *world, base_status mine, base_error *error);

/* Rank 0 receives every rank's text (cut at PAR_TEXT_MAX - 1 bytes) in rank order: calls `line(context, rank, text)`
 * there. `text` may be NULL (empty).  Collective. */
#define PAR_TEXT_MAX 1024u
void par_world_collect_text(par_world *world, const char *text, void (*line)(void *context, int rank, const char *text),
                            void *context);

/* Every rank's bytes to rank 0, in rank order: calls `taker` there, several times for a rank that has many (piece
 * behind piece), not at all for one that has none.  Collective.  BASE_ENOMEM agreed by all. */
typedef void par_world_taker(void *context, int rank, const void *bytes, size_t size);
base_status par_world_gather_bytes(par_world *world, const void *bytes, size_t size, par_world_taker *taker,
                                   void *context, base_error *error);

/* What to add to this rank's base_clock_us to read rank 0's, found out by messages to and fro: right to half a round
 * trip, exactly 0 where the clocks may be the same (ranks of a node).  Collective. */
int64_t par_world_clock_shift_us(par_world *world);

/* Rank 0's bytes to everybody (`buf` is replaced on the others).  Collective.  BASE_ENOMEM agreed by all. */
base_status par_world_broadcast(par_world *world, base_buf *buf, base_error *error);

/* Largest value over all ranks.  Collective. */
uint64_t par_world_max(par_world *world, uint64_t value);

/* Grids made from now on may add up through the node's shared memory (they do at first), or send messages only: for
 * tests, and for comparison. */
void par_world_use_shared(par_world *world, bool use);
/* For tests: so many neighbouring ranks of a tensor group count as a node; 0: nodes as they are. */
void par_world_pretend_nodes(par_world *world, uint32_t n_ranks);

/* How sums travel between nodes, in grids made from now on; the same on all ranks.  Inside a node sums are exact in any
 * case. */
typedef enum par_wire {
    PAR_WIRE_EXACT, /* the default: about five bytes a value, no bit lost */
    PAR_WIRE_BF16   /* two bytes; gives up that answers do not depend on the layout: the same for one layout, others for
                       another */
} par_wire;
void par_world_set_wire(par_world *world, par_wire wire);
par_wire par_world_wire(const par_world *world);
/* "exact", "bf16"; static. */
const char *par_wire_name(par_wire wire);
bool par_wire_find(const char *name, par_wire *out);

/* The grid over a world: tp * pp must equal the world's size. */
typedef struct par_grid par_grid;
base_status par_grid_create(par_world *world, uint32_t tp, uint32_t pp, par_grid **out, base_error *error);
void par_grid_destroy(par_grid **grid);

typedef struct par_place {
    uint32_t rank, tp, pp;
    uint32_t tp_rank, stage;
} par_place;
par_place par_grid_place(const par_grid *grid);
/* Nodes that this rank's tensor group lies on: with one no sum travels, and PAR_WIRE_BF16 changes nothing. */
uint32_t par_grid_n_nodes(const par_grid *grid);

/* --- inside a tensor group --- */

/* These are called by every member of the rank's team with the same arguments; member 0 alone calls MPI.  They begin
 * with a barrier, so that all members' values are there, and end with one, so that all see the result. */

/* values[i] = sum over the tensor group, in place, exact.  Collective over the group. */
void par_sum_i64(par_grid *grid, team_member *me, int64_t *values, size_t n);
/* values[i] = bitwise or over the tensor group, in place: with one owner and zeros elsewhere it moves floats
 * unchanged. */
void par_or_u32(par_grid *grid, team_member *me, uint32_t *values, size_t n);
/* --- rows divided among a tensor group --- */

/* Rows that lie densely in memory, [n_rows][row_bytes]. */
typedef struct par_matrix {
    void *rows;
    size_t row_bytes;
} par_matrix;

#define PAR_MATRICES 6u /* at most, in one call */

typedef struct par_rows {
    size_t begin, end;
} par_rows;

/* The rows of n_rows that this rank owns: neighbours; nearly as many as every other rank, or none where a node has more
 * ranks than the smallest (nodes.h).  All rows where the group has one rank. */
par_rows par_rows_mine(const par_grid *grid, size_t n_rows);

/* Does this hold on all stages for the same rows, tensor rank by tensor rank?  Then a rank may pass its rows on to the
 * next stage.  No, where tensor groups lie on nodes in different ways. */
bool par_rows_alike(const par_grid *grid);

/* Called like par_sum_i64.  sum: matrices of int64, their elements' sums over the tensor group in this rank's rows,
 * exact; what the other rows hold afterwards says nothing.  or: the same with u32 and bitwise or.  share: this rank's
 * rows of each matrix to all others, which bring theirs. */
void par_sum_rows_i64(par_grid *grid, team_member *me, const par_matrix *matrices, size_t n_matrices, size_t n_rows);
void par_or_rows_u32(par_grid *grid, team_member *me, const par_matrix *matrices, size_t n_matrices, size_t n_rows);
void par_share_rows(par_grid *grid, team_member *me, const par_matrix *matrices, size_t n_matrices, size_t n_rows);

/* Median microseconds over `repeats` of a sum of `bytes` (int64) over the tensor group, by par_sum_i64 with teams of
 * one and by MPI_Allreduce, in turns on the same buffers.  Collective over the world.  BASE_ENOMEM. */
base_status par_measure_sum(par_grid *grid, size_t bytes, uint32_t repeats, double *own_us, double *mpi_us,
                            base_error *error);

/* Columns of a matrix that the group holds in pieces, to tensor rank 0: row i of `full` [n_rows][sum of columns] is the
 * pieces' rows i side by side in tensor rank order.  `columns[t]` is the width of rank t's piece `local`
 * [n_rows][columns[tp_rank]]. `full` is written on tensor rank 0 only. */
void par_gather_columns(par_grid *grid, const float *local, const uint32_t *columns, size_t n_rows, float *full);

/* --- between stages: the same tensor rank of the next / previous stage --- */

/* Send n floats to the next stage.  Returns at once; the floats are copied out into one of two buffers (it waits when
 * both are still under way).  n is at most the size given to par_grid_reserve. */
void par_stage_send(par_grid *grid, const float *values, size_t n);
void par_stage_receive(par_grid *grid, float *values, size_t n);

/* Largest n for par_stage_send and bytes for the messages below; before the first use.  Collective. */
base_status par_grid_reserve(par_grid *grid, size_t stage_floats, size_t plan_bytes, size_t result_bytes,
                             base_error *error);

/* How many plans may be under way: rank 0 sends a plan, and a rank of stage 0 runs it, only after it has taken the
 * result of the plan this many earlier (the window rule, see mailbox.h).  2 pp + 8. */
uint32_t par_grid_plans_max(const par_grid *grid);

/* --- plans: rank 0 to all, along a tree --- */

/* Rank 0: start sending (copied; waits only when too many plans are under way). */
void par_plan_send(par_grid *grid, const void *bytes, size_t size);
/* Others: take the next plan if one has arrived and pass it on.  false: none yet.  `plan` is replaced. */
bool par_plan_poll(par_grid *grid, base_buf *plan);

/* --- results: the last stage's tensor rank 0 to every rank of stage 0 (rank 0 among them) --- */

void par_result_send(par_grid *grid, const void *bytes, size_t size);
/* Stage 0: take the next result if one has arrived.  With one stage and tp 1 this is a queue inside the rank. */
bool par_result_poll(par_grid *grid, base_buf *result);

/* Let MPI make progress and rest a little: called in every idle turn of a waiting loop; naps after about 2 ms in which
 * par_idle_reset was not called. */
void par_idle(par_grid *grid);
void par_idle_reset(par_grid *grid);

/* The same without the nap: returns how many microseconds the caller may rest now, 0 while it should keep turning.  For
 * a rank that would rather rest on a socket. */
uint32_t par_idle_turn(par_grid *grid);

#endif
