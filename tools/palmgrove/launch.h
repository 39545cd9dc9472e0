/* launch.h - what the launcher (mpirun, srun) tells a process before MPI has started, and its signals. */
#ifndef PALMGROVE_LAUNCH_H
#define PALMGROVE_LAUNCH_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* True in a process that no launcher started, and in rank 0 of a job. */
bool launch_is_first_rank(void);

/* True when Open MPI's mpirun (or its daemon) is this process's parent. */
bool launch_is_under_mpirun(void);

/* The signals that end a server: SIGTERM, SIGINT, SIGUSR1 (which mpirun passes on untouched), and SIGCONT under mpirun,
 * with which mpirun begins to end a job, some time before it sends SIGTERM. */
void launch_stop_signals(sigset_t *out);

/* Is this signal, as sigwaitinfo gave it, a wish to stop?  (SIGCONT counts from the launcher only.) */
bool launch_is_stop(const siginfo_t *info);

/* The ranks of this node, seen from one of them. */
typedef struct launch_ranks {
    pid_t *pids; /* [n] owned */
    size_t n;
} launch_ranks;

/* Find them: processes with our parent and our executable.  None when /proc does not tell, or memory is out. */
void launch_ranks_find(launch_ranks *out);

/* True when one of them has ended; false when none were found. */
bool launch_ranks_have_died(const launch_ranks *ranks);

void launch_ranks_release(launch_ranks *ranks);

#endif
