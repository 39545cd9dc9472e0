/* wait_int.h - how a rank waits: the one loop of every par_* function that waits.
 *
 * Blocking MPI calls spin inside the library: an idle cluster would burn every core, and with more ranks than cores the
 * waiting ranks would starve the working one (measured: an 8 KiB reduction of 4 ranks on 2 cores goes from 50 us to
 * 19 ms).  So every wait is a non-blocking operation and this loop:
 *
 *     spin    the first tests follow each other at once (a tensor group's partners are microseconds apart), as many as
 *             par_spin allows; one only if the machine's ranks are known to outnumber its cores
 *     yield   then each turn offers the core to others and, now and then, makes progress on messages (below)
 *     nap     after 2 ms each turn sleeps for a sixteenth of the time waited so far, at most 1 ms: a wait is prolonged
 *             by at most about 6 %
 *     sleep   after a second without work naps grow from 5 to 20 ms: a wake-up costs 25 to 50 us on virtual machines,
 *             so naps of 1 ms would take 2.5 to 5 % of a core for each idle rank, where these take 0.2 %.  The first
 *             plan after a pause reaches a rank up to 20 ms late for each level of the tree above it
 *
 * A message in transfer is another matter: without single-copy support (many containers) and between nodes a long one
 * moves in fragments, each of which needs both ends awake, and naps would make it ten times slower.  Once a transfer
 * has begun (or, in a tensor group, where the partners do the same work, may begin at any time) a rank stays awake for
 * 50 ms.
 *
 * The waiter's `progress` runs every few turns after the spin phase; it only starts and tests, never waits. */
#ifndef PALMGROVE_PAR_WAIT_INT_H
#define PALMGROVE_PAR_WAIT_INT_H

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How long a wait may spin: learned from earlier waits, because a rank cannot find out whether its cores are shared.
 * Ranks in other containers or namespaces of the machine, and other programs, are invisible; spinning against the very
 * rank that is waited for costs a time slice, a hundred sums.  The evidence is the yield.  One that
 *
 *     returns at once             found the core free
 *     takes two context switches and a little
 *                                 let a fellow rank run, which gave the core back when it had to wait itself: such a
 *                                 wait cuts the limit to a quarter
 *     takes a whole time slice    let a program run that never waits; no evidence, since yielding to such a one costs a
 *                                 time slice at each wait, where spinning costs half the core
 *
 * All other waits let the limit grow by an eighth, so a passing disturbance is forgotten after a dozen waits. (Adaptive
 * mutexes learn alike: they too spin less after spinning in vain.)  Each place that waits has a limit of its own, since
 * turns cost differently; one thread uses it.  All zero is the lowest limit. */
typedef struct par_spin {
    uint32_t turns; /* of the next wait */
    uint32_t max_turns;
    bool test_yields; /* MPI yields in each test already: a yield of our own every few turns suffices */
} par_spin;

#define PAR_SPIN_MESSAGES 1000u  /* turns at most, of turns that call MPI */
#define PAR_SPIN_MEMORY   20000u /* of turns that read a few cache lines */

typedef struct par_waiter {
    bool crowded;                    /* more ranks than cores on this machine: never spin */
    par_spin *spin;                  /* NULL: never spin */
    void (*progress)(void *context); /* may be NULL */
    void *context;
} par_waiter;

#define PAR_SPIN_US     50u /* without work before the step loop yields: the next plan or result is on its way */
#define PAR_AWAKE_US    2000u
#define PAR_TRANSFER_US 50000u

/* Wait until all n requests are complete; they become MPI_REQUEST_NULL. */
void par_wait(const par_waiter *waiter, MPI_Request *requests, size_t n);
/* The same for messages in transfer: naps only after PAR_TRANSFER_US. */
void par_wait_transfer(const par_waiter *waiter, MPI_Request *requests, size_t n);
/* Wait for anything: `is_done` tests without waiting.  No nap before awake_us (>= PAR_AWAKE_US). */
void par_wait_until(const par_waiter *waiter, bool (*is_done)(void *context), void *context, uint64_t awake_us);

/* Microseconds to rest after having waited `waited_us`; 0: do not sleep yet. */
uint32_t par_rest_us(uint64_t waited_us);

/* Check an MPI return code (MPI_ERRORS_RETURN is set).  A failed call inside a step cannot be agreed upon, because the
 * means of agreement have just failed: log it and end every rank. */
void par_must(int mpi_code, const char *what);

/* The one place where a size becomes an MPI count.  Callers keep to PAR_COUNT_MAX (larger buffers go in pieces). */
#define PAR_COUNT_MAX ((size_t)1 << 30)
int par_count(size_t n);

#endif
