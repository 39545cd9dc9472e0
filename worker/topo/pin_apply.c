/* pin_apply.c - core pinning: binds threads and memory as the plan says.
 *
 * libgomp creates the team's threads in the first parallel region of their number and keeps them, so each binds itself
 * here, once.  Memory policies are per thread too.  Nodes are given as hwloc sets, which pass as many mask words to the
 * kernel as the highest node needs.
 *
 * Between steps the team's threads wait inside libgomp: by default they spin for some milliseconds, in which under load
 * the next step comes, and then sleep, as an idle server should.  That suits threads with a core each.  Where several
 * share a core, spinning takes the time of those that work (a step of 2 ranks x 2 threads on 2 cores took 20 ms instead
 * of 1.5 ms), but the policy is read from the environment before main begins, so it can only be asked for.
 *
 * With spare cores every thread that is not of the team (the coordinator's, MPI's and PMIx's helpers) goes there: left
 * where the launcher put them they would now and then push a member of the team off its core, and all of the team waits
 * for that one.  Threads made later inherit the cores of the one that makes them. */
#include <dirent.h>
#include <hwloc/linux.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "worker/topo/pin_plan_int.h"

typedef struct refusals {
    int threads, policies, others;
} refusals;

/* Every thread of the team binds itself and, on a share of one NUMA node, asks for memory there first.  With several
 * nodes the default, memory where it is first touched, is right already.  ids [n_threads]: the threads'. */
static refusals bind_team(const topo_plan *plan, long *ids)
{
    hwloc_topology_t topology = plan->machine->topology;
    bool one_node = hwloc_bitmap_weight(plan->nodes) == 1;
    int threads = 0, policies = 0;
#pragma omp parallel num_threads((int)plan->n_threads) reduction(+ : threads, policies)
    {
        hwloc_const_cpuset_t cpus = plan->threads[omp_get_thread_num()];
        ids[omp_get_thread_num()] = syscall(SYS_gettid);
        threads += hwloc_set_cpubind(topology, cpus, HWLOC_CPUBIND_THREAD) != 0;
        if (one_node)
            policies += hwloc_set_membind(topology, plan->nodes, HWLOC_MEMBIND_BIND,
                                          HWLOC_MEMBIND_THREAD | HWLOC_MEMBIND_BYNODESET) != 0;
    }
    return (refusals){.threads = threads, .policies = policies};
}

static bool is_member(const topo_plan *plan, const long *ids, long id)
{
    for (uint32_t i = 0; i < plan->n_threads; i++) {
        if (ids[i] == id)
            return true;
    }
    return false;
}

/* Send the process's other threads to the spare cores; returns how many could not be sent. */
static int bind_others(const topo_plan *plan, const long *ids)
{
    DIR *tasks = opendir("/proc/self/task");
    if (tasks == NULL)
        return 1;
    int refused = 0;
    for (const struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
        long id = strtol(entry->d_name, NULL, 10);
        if (id > 0 && !is_member(plan, ids, id))
            refused += hwloc_linux_set_tid_cpubind(plan->machine->topology, (pid_t)id, plan->spare) != 0;
    }
    closedir(tasks);
    return refused;
}

static void remark_waiting(const topo_plan *plan, char *remark)
{
    const char *policy = getenv("OMP_WAIT_POLICY");
    bool chosen = policy != NULL || getenv("GOMP_SPINCOUNT") != NULL;
    if (policy != NULL && strcasecmp(policy, "active") == 0)
        snprintf(remark, TOPO_TEXT_MAX, "OMP_WAIT_POLICY=active keeps idle threads from sleeping");
    else if (!chosen && plan->crowded && plan->n_threads > 1)
        snprintf(remark, TOPO_TEXT_MAX,
                 "more threads than cores: fewer --threads, or at least OMP_WAIT_POLICY=passive, would be faster");
}

void topo_plan_apply(const topo_plan *plan, bool pin, char *remark)
{
    remark[0] = '\0';
    omp_set_dynamic(0);
    omp_set_num_threads((int)plan->n_threads);
    remark_waiting(plan, remark);
    if (!pin)
        return;
    long ids[TOPO_THREADS_MAX];
    refusals refused = bind_team(plan, ids);
    if (!hwloc_bitmap_iszero(plan->spare))
        refused.others = bind_others(plan, ids);
    if (refused.threads > 0)
        snprintf(remark, TOPO_TEXT_MAX, "the system refused to bind %d of %u threads", refused.threads,
                 plan->n_threads);
    else if (refused.policies > 0)
        snprintf(remark, TOPO_TEXT_MAX, "the system refused a memory policy");
    else if (refused.others > 0)
        snprintf(remark, TOPO_TEXT_MAX, "the system refused to move %d threads to the spare cores", refused.others);
}
