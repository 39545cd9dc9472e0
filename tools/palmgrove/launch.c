/* How mpirun of Open MPI 4.1 ends a job on SIGTERM or Ctrl-C, and when a rank died (measured; odls_base_sigkill_timeout
 * is T, 1 s by default): at once   SIGCONT to every rank T         SIGTERM 2 T       SIGKILL so a server that waits for
 * SIGTERM has given away half of its time.  It therefore takes the SIGCONT of its parent as the first wish to stop and
 * SIGTERM as the second.  mpirun passes no other SIGCONT on unless orte_forward_job_control is set, which turns this
 * off. */
#include "tools/palmgrove/launch.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool launch_is_first_rank(void)
{
    static const char *const variables[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID"};
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        const char *rank = getenv(variables[i]);
        if (rank != NULL)
            return strcmp(rank, "0") == 0;
    }
    return true;
}

bool launch_is_under_mpirun(void)
{
    const char *job_control = getenv("OMPI_MCA_orte_forward_job_control");
    bool forwards = job_control != NULL && strcmp(job_control, "0") != 0;
    return getenv("OMPI_COMM_WORLD_RANK") != NULL && !forwards;
}

void launch_stop_signals(sigset_t *out)
{
    sigemptyset(out);
    sigaddset(out, SIGTERM);
    sigaddset(out, SIGINT);
    sigaddset(out, SIGUSR1);
    if (launch_is_under_mpirun())
        sigaddset(out, SIGCONT);
}

bool launch_is_stop(const siginfo_t *info)
{
    return info->si_signo != SIGCONT || info->si_pid == getppid();
}
