/* launch.c - how mpirun of Open MPI 4.1 ends a job on SIGTERM or Ctrl-C, and when a rank died (measured; T is
 * odls_base_sigkill_timeout, 1 s by default):
 *
 *     at once   SIGCONT to every rank
 *     T         SIGTERM
 *     2 T       SIGKILL
 *
 * A server that waits for SIGTERM loses half of its time, so the SIGCONT of its parent is the first request to stop and
 * SIGTERM the second.  mpirun passes no other SIGCONT on unless orte_forward_job_control is set, which turns this off.
 * Whether a rank died is not said; rank 0 looks at the processes of its node. */
#include "tools/palmgrove/launch.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/grow.h"

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

/* ---- the ranks of this node ---- */

/* State and parent of a process (proc(5), stat); the name before them is in parentheses and may hold any. */
static bool read_stat(pid_t pid, char *state, pid_t *parent)
{
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    size_t n = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[n] = '\0';
    const char *end = strrchr(line, ')');
    long parent_pid;
    if (end == NULL || sscanf(end + 1, " %c %ld", state, &parent_pid) != 2)
        return false;
    *parent = (pid_t)parent_pid;
    return true;
}

static bool is_our_program(pid_t pid)
{
    char path[64], theirs[4096], ours[4096];
    snprintf(path, sizeof path, "/proc/%ld/exe", (long)pid);
    ssize_t n = readlink(path, theirs, sizeof theirs), m = readlink("/proc/self/exe", ours, sizeof ours);
    return n > 0 && n == m && memcmp(theirs, ours, (size_t)n) == 0;
}

static bool is_running_sibling(pid_t pid)
{
    char state;
    pid_t parent;
    return read_stat(pid, &state, &parent) && parent == getppid() && state != 'Z' && state != 'X';
}

void launch_ranks_find(launch_ranks *out)
{
    *out = (launch_ranks){0};
    size_t capacity = 0;
    DIR *proc = opendir("/proc");
    if (proc == NULL)
        return;
    for (const struct dirent *entry; (entry = readdir(proc)) != NULL;) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid <= 0 || pid == getpid() || !is_running_sibling(pid) || !is_our_program(pid))
            continue;
        if (!base_grow(&out->pids, &capacity, out->n + 1, sizeof *out->pids))
            break;
        out->pids[out->n++] = pid;
    }
    closedir(proc);
}

bool launch_ranks_have_died(const launch_ranks *ranks)
{
    for (size_t i = 0; i < ranks->n; i++)
        if (!is_running_sibling(ranks->pids[i]))
            return true;
    return false;
}

void launch_ranks_release(launch_ranks *ranks)
{
    free(ranks->pids);
    *ranks = (launch_ranks){0};
}
