/* grid.h - the rank grid: tensor groups and pipeline stages over a world.
 *
 *              tensor rank 0   1   2           world = tp x pp ranks; rank r is tensor rank r % tp of stage r / tp, so
 *     stage 0   rank       0   1   2           a tensor group sits on neighbouring ranks (usually on one node)
 *     stage 1              3   4   5 */
#ifndef PALMGROVE_PAR_GRID_H
#define PALMGROVE_PAR_GRID_H

#include "worker/par/world.h"

typedef struct par_grid par_grid;

/* tp * pp must equal the world's size.  Collective over the world; all ranks leave with the same status.  Errors, with
 * *out unchanged: BASE_EINVAL the layout does not fit or the ranks' wires differ, BASE_ENOMEM. */
base_status par_grid_create(par_world *world, uint32_t tp, uint32_t pp, par_grid **out, base_error *error);
/* Collective; waits until what was sent has left.  Nulls *grid. */
void par_grid_destroy(par_grid **grid);

/* Where a rank lies in the grid. */
typedef struct par_place {
    uint32_t rank, tp, pp;
    uint32_t tp_rank, stage;
} par_place;
par_place par_grid_place(const par_grid *grid);
/* Nodes that this rank's tensor group lies on: with one no sum travels, and PAR_WIRE_BF16 changes nothing. */
uint32_t par_grid_n_nodes(const par_grid *grid);

#endif
