/* shared.h - sums over ranks of one node through memory that they share (MPI-3 shared windows).
 *
 * Every rank has two slots of staging memory and flags on cache lines of their own.  A vector goes in pieces, piece i through slot i mod 2:
 *     short pieces, or two ranks: everybody copies its piece in, raises `ready` to the piece's number, and adds up all others'
 *     longer ones: everybody adds up its share of the piece in its own slot, raises `done`, and copies the others' shares from their slots
 * Who raised `ready` to i + 1 has read all of piece i, and nobody begins piece i + 2 before everybody did so: two slots suffice.
 * The members of the ranks' teams work in lanes: member l of every rank serves lane l, a part of each vector with slots and flags of its own, so
 * lanes wait for each other at the call's end only.
 *
 * Values are integers or bits: no order of adding leaves a trace. */
#ifndef PALMGROVE_PAR_SHARED_H
#define PALMGROVE_PAR_SHARED_H

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/par/wait.h"
#include "worker/team/team.h"

typedef struct par_shared par_shared;

typedef enum par_combine { PAR_SUM_I64, PAR_OR_U32 } par_combine;

static inline size_t par_combine_element(par_combine how)
{
    return how == PAR_SUM_I64 ? sizeof(int64_t) : sizeof(uint32_t);
}

/* into[i] combined with from[i]; `bytes` are whole elements. */
void par_combine_into(par_combine how, void *into, const void *from, size_t bytes);

/* Collective over `comm`, ranks of one node.  NULL when there is one rank only, or shared memory cannot be had (logged by the first rank):
 * messages do the work then. */
par_shared *par_shared_create(MPI_Comm comm);
void par_shared_destroy(par_shared **shared);

/* Before the barrier in front of a combination, by every member: the first time member 0 finds out how many lanes the teams have. */
void par_shared_begin(par_shared *shared, const team_member *me, const par_waiter *waiter);

/* values[i] = all ranks' values[i] combined, in place.  Called by every member of every rank's team between two barriers.  `waiter` is member
 * 0's. */
void par_shared_combine(par_shared *shared, const team_member *me, const par_waiter *waiter, par_combine how, void *values, size_t n);

#endif
