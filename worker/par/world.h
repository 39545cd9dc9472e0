/* world.h - all MPI ranks of one launch: start, stop, and what they agree on before and after the steps.
 *
 * worker/par/ is the only folder that includes mpi.h, in four public headers: world.h, grid.h (tensor groups and
 * stages), collectives.h (inside a tensor group) and channels.h (plans, activations and results).
 *
 * Only the main thread calls these functions (MPI_THREAD_FUNNELED).  No wait happens inside a blocking MPI call: par_*
 * functions test, spin, and after about 2 ms nap (at most 1 ms; after a second without work up to 20 ms, see
 * wait_int.h). */
#ifndef PALMGROVE_PAR_WORLD_H
#define PALMGROVE_PAR_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/status.h"

typedef struct par_world par_world;

/* Start MPI.  Collective.  BASE_EUNSUPPORTED when MPI offers less than FUNNELED. */
base_status par_world_open(int *argc, char ***argv, par_world **out, base_error *error);
/* Stop MPI.  Collective; nulls *world. */
void par_world_close(par_world **world);
/* End every rank at once: for a failure that cannot be agreed upon (a rank that is about to exit alone). */
void par_world_abort(par_world *world, int exit_code);

int par_world_rank(const par_world *world);
int par_world_size(const par_world *world);

/* This rank among the ranks that share its node's memory, and their number. */
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

/* Every rank's bytes to rank 0, in rank order: calls `on_chunk` there, several times for a rank that has many (chunks
 * in order), not at all for one that has none.  Collective.  BASE_ENOMEM agreed by all. */
typedef void par_world_chunk_fn(void *context, int rank, const void *bytes, size_t size);
base_status par_world_gather_bytes(par_world *world, const void *bytes, size_t size, par_world_chunk_fn *on_chunk,
                                   void *context, base_error *error);

/* What to add to this rank's base_clock_us to read rank 0's, measured by round trips: accurate to half a round trip,
 * exactly 0 where the clocks may be the same (ranks of a node).  Collective. */
int64_t par_world_clock_offset_us(par_world *world);

/* Rank 0's bytes to all ranks (`buf` is replaced on the others).  Collective.  BASE_ENOMEM agreed by all. */
base_status par_world_broadcast(par_world *world, base_buf *buf, base_error *error);

/* Largest value over all ranks.  Collective. */
uint64_t par_world_max(par_world *world, uint64_t value);

/* How sums travel between nodes, in grids created afterwards; the same on all ranks.  Inside a node sums are always
 * exact. */
typedef enum par_wire {
    PAR_WIRE_EXACT, /* the default: about five bytes a value, no bit lost */
    PAR_WIRE_BF16   /* two bytes; answers then depend on the layout: the same for one layout, others for another */
} par_wire;
void par_world_set_wire(par_world *world, par_wire wire);
par_wire par_world_wire(const par_world *world);
/* "exact", "bf16"; static. */
const char *par_wire_name(par_wire wire);
/* false for an unknown name; *out is then unchanged. */
bool par_wire_find(const char *name, par_wire *out);

#endif
