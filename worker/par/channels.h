/* channels.h - messages between ranks outside the collectives: plans from rank 0, activations from stage to stage,
 * results back to stage 0.
 *
 *     rank 0 --plan--> all ranks (a binomial tree)
 *     stage 0 --activations--> stage 1 --> ... --> last stage --result--> stage 0
 *
 * rank_queue_int.h says why no cycle of waits can form.  Main thread. */
#ifndef PALMGROVE_PAR_CHANNELS_H
#define PALMGROVE_PAR_CHANNELS_H

#include "worker/par/grid.h"

/* Largest n for par_stage_send and bytes for the messages below; before the first use.  Collective; all ranks leave
 * with the same status: BASE_ETOOBIG beyond what one MPI message can hold, BASE_ENOMEM. */
base_status par_grid_reserve(par_grid *grid, size_t stage_floats, size_t plan_bytes, size_t result_bytes,
                             base_error *error);

/* How many plans may be under way: rank 0 sends a plan, and a rank of stage 0 runs it, only after it has taken the
 * result of the plan this many earlier (the window rule, see rank_queue_int.h).  2 pp + 8. */
uint32_t par_grid_plans_max(const par_grid *grid);

/* --- activations: the same tensor rank of the next / previous stage --- */

/* Send n floats to the next stage.  Returns at once; the floats are copied out into one of two buffers (it waits when
 * both are still under way).  n is at most the size given to par_grid_reserve. */
void par_stage_send(par_grid *grid, const float *values, size_t n);
void par_stage_receive(par_grid *grid, float *values, size_t n);

/* --- plans: rank 0 to all, along a tree --- */

/* Rank 0: start sending (copied; waits only when too many plans are under way). */
void par_plan_send(par_grid *grid, const void *bytes, size_t size);
/* Others: take the next plan if one has arrived and pass it on.  false: none yet.  `plan` is replaced. */
bool par_plan_poll(par_grid *grid, base_buf *plan);

/* --- results: the last stage's tensor rank 0 to every rank of stage 0 (rank 0 among them) --- */

void par_result_send(par_grid *grid, const void *bytes, size_t size);
/* Stage 0: take the next result if one has arrived.  With one stage and tp 1 this is a queue inside the rank. */
bool par_result_poll(par_grid *grid, base_buf *result);

/* --- idling --- */

/* Let MPI make progress and rest a little: called in every idle iteration of a waiting loop; naps after about 2 ms in
 * which par_idle_reset was not called. */
void par_idle(par_grid *grid);
void par_idle_reset(par_grid *grid);

/* The same without the nap, for a rank that waits on a socket instead: returns for how many microseconds the caller may
 * rest now, 0 while it should keep polling. */
uint32_t par_idle_poll(par_grid *grid);

#endif
