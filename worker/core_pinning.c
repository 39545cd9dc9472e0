/* core_pinning.c - gathers the CPU sets of a node's ranks, plans (topo/pin_plan.c) and binds (topo/pin_apply.c). */
#include "worker/core_pinning.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/log.h"

/* Words of CPU sets: up to 16384 CPUs a node. */
enum { WORDS_MAX = 256 };

/* sets [n ranks][n_words] of the node, word by word: par_world_local_gather moves one u64. */
static void gather_sets(par_world *world, const uint64_t *mine, uint32_t n_words, uint64_t *column, uint64_t *sets)
{
    int n = par_world_local_size(world);
    for (uint32_t w = 0; w < n_words; w++) {
        par_world_local_gather(world, mine[w], column);
        for (int r = 0; r < n; r++)
            sets[(size_t)r * n_words + w] = column[r];
    }
}

static uint32_t most_words(par_world *world, uint32_t mine, uint64_t *column)
{
    uint32_t most = 1;
    par_world_local_gather(world, mine < WORDS_MAX ? mine : WORDS_MAX, column);
    for (int r = 0; r < par_world_local_size(world); r++)
        most = column[r] > most ? (uint32_t)column[r] : most;
    return most;
}

/* Open MPI's mpirun binds one or two ranks to a core each, more to a NUMA node or socket each, unless told otherwise;
 * in either case it says so in the environment of a rank. */
static bool is_bound_by_default(void)
{
    return getenv("OMPI_MCA_orte_bound_at_launch") != NULL && getenv("OMPI_MCA_hwloc_base_binding_policy") == NULL;
}

/* One line from rank 0 if the launcher's default leaves cores of its node idle that the threads could use.  sets
 * [n_ranks][n_words]. */
static void advise_binding(const par_world *world, const topo_machine *machine, const topo_request *request,
                           uint64_t *sets, uint32_t n_words)
{
    uint32_t n = (uint32_t)par_world_local_size(world), n_cores = topo_machine_n_cores(machine, NULL, 0);
    if (par_world_rank(world) != 0 || !is_bound_by_default())
        return;
    for (size_t i = n_words; i < (size_t)n * n_words; i++)
        sets[i % n_words] |= sets[i];
    uint32_t n_bound = topo_machine_n_cores(machine, sets, n_words);
    uint64_t wanted = request->n_threads > 0 ? (uint64_t)request->n_threads * n : n_cores;
    if (n_bound < n_cores && n_bound < wanted)
        base_log_info(
            "mpirun bound this node's %u rank%s to %u of its %u cores; start it with --bind-to none to use all", n,
            n == 1 ? "" : "s", n_bound, n_cores);
}

/* The parts of the request that depend on the node's other ranks.  Collective, agreed. */
static base_status find_neighbours(par_world *world, const topo_machine *machine, topo_request *request,
                                   base_error *error)
{
    uint32_t n = (uint32_t)par_world_local_size(world), me = (uint32_t)par_world_local_rank(world);
    uint64_t mine[WORDS_MAX], *column = calloc(n, sizeof *column), *sets = calloc((size_t)n * WORDS_MAX, sizeof *sets);
    base_status status =
        column != NULL && sets != NULL ? BASE_OK : base_fail(error, BASE_ENOMEM, "no memory to place %u ranks", n);
    status = par_world_agree(world, status, error);
    if (status == BASE_OK) {
        uint32_t n_words = most_words(world, topo_machine_allowed_words(machine, mine, WORDS_MAX), column);
        gather_sets(world, mine, n_words, column, sets);
        topo_request_share(machine, sets, n_words, n, me, request);
        bool with_first = memcmp(sets, mine, n_words * sizeof *mine) == 0; /* shares the set of the node's first rank */
        if (!with_first)
            request->spare_cores = 0;
        uint32_t quota = topo_cpu_quota();
        request->quota_milli = quota / n + (quota > 0 && quota < n);
        advise_binding(world, machine, request, sets, n_words);
    }
    free(sets);
    free(column);
    return status;
}

base_status worker_pin_cores(par_world *world, const topo_request *wanted, bool pin, topo_machine **machine,
                             topo_plan **plan, char remark[TOPO_TEXT_MAX], base_error *error)
{
    topo_request request = *wanted;
    base_status status = par_world_agree(world, topo_machine_open(NULL, machine, error), error);
    if (status == BASE_OK)
        status = find_neighbours(world, *machine, &request, error);
    if (status != BASE_OK)
        return status;
    status = par_world_agree(world, topo_plan_create(*machine, &request, plan, error), error);
    if (status == BASE_OK)
        topo_plan_apply(*plan, pin, remark);
    return status;
}
