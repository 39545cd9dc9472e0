/* topo.c - the pinning plan and its application.
 *
 * A rank's share: the allowed cores in hwloc's logical order (neighbours share caches, then NUMA nodes, then packages),
 * cut into `count` pieces, piece i being [i n / count, (i + 1) n / count).  When the launcher gave every rank a set of
 * its own, count is 1 and the set is taken as it is; the result is never larger than the allowed set.
 *
 * With fewer cores than ranks, pinning two ranks to one core while another idles would be worse than not pinning:
 * pipeline stages take turns.  Such a rank gets all the allowed cores of one NUMA node, and one thread. */
#include "worker/topo/topo.h"

#include <hwloc.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct topo_machine {
    hwloc_topology_t topology;
};

struct topo_plan {
    const topo_machine *machine; /* borrowed */
    hwloc_cpuset_t cpus;         /* allowed CPUs of the rank's cores */
    hwloc_nodeset_t nodes;
    hwloc_bitmap_t cores;    /* logical core numbers */
    hwloc_cpuset_t *threads; /* [n_threads] */
    uint32_t n_threads;
    bool shared;
};

base_status topo_machine_open(const char *synthetic, topo_machine **out, base_error *error)
{
    topo_machine *machine = calloc(1, sizeof *machine);
    if (machine == NULL || hwloc_topology_init(&machine->topology) != 0) {
        free(machine);
        return base_fail(error, BASE_ENOMEM, "no memory for the machine's topology");
    }
    base_status status = BASE_OK;
    if (synthetic != NULL && hwloc_topology_set_synthetic(machine->topology, synthetic) != 0)
        status = base_fail(error, BASE_EINVAL, "bad synthetic topology '%s'", synthetic);
    else if (hwloc_topology_load(machine->topology) != 0)
        status = base_fail(error, BASE_EIO, "cannot read the machine's topology; is /sys mounted?");
    if (status != BASE_OK) {
        topo_machine_close(&machine);
        return status;
    }
    *out = machine;
    return BASE_OK;
}

void topo_machine_close(topo_machine **machine)
{
    if (*machine == NULL)
        return;
    hwloc_topology_destroy((*machine)->topology);
    free(*machine);
    *machine = NULL;
}

/* What the process may use, within what the topology knows. */
static hwloc_bitmap_t allowed_now(const topo_machine *machine)
{
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    hwloc_const_cpuset_t known = hwloc_topology_get_allowed_cpuset(machine->topology);
    if (set == NULL)
        return NULL;
    if (!hwloc_topology_is_thissystem(machine->topology) ||
        hwloc_get_cpubind(machine->topology, set, HWLOC_CPUBIND_THREAD) != 0 || hwloc_bitmap_iszero(set))
        hwloc_bitmap_copy(set, known);
    hwloc_bitmap_and(set, set, known);
    return set;
}

static void list_text(hwloc_const_bitmap_t set, char *text)
{
    text[0] = '\0';
    if (set != NULL)
        hwloc_bitmap_list_snprintf(text, TOPO_TEXT_MAX, set);
}

void topo_machine_allowed(const topo_machine *machine, char *text)
{
    hwloc_bitmap_t set = allowed_now(machine);
    list_text(set, text);
    hwloc_bitmap_free(set);
}

uint64_t topo_machine_allowed_key(const topo_machine *machine)
{
    hwloc_bitmap_t set = allowed_now(machine);
    uint64_t key = 0xcbf29ce484222325u; /* FNV-1a over the set's words */
    int n = set != NULL ? hwloc_bitmap_nr_ulongs(set) : 0;
    for (int i = 0; i < n; i++) {
        uint64_t word = hwloc_bitmap_to_ith_ulong(set, (unsigned)i);
        for (int byte = 0; byte < 8; byte++)
            key = (key ^ ((word >> (8 * byte)) & 0xff)) * 0x100000001b3u;
    }
    hwloc_bitmap_free(set);
    return key;
}

/* --- planning --- */

static bool is_usable(hwloc_obj_t core, hwloc_const_bitmap_t allowed)
{
    return hwloc_bitmap_intersects(core->cpuset, allowed) != 0;
}

/* The nth (from 0) core that has an allowed CPU; NULL when there are fewer. */
static hwloc_obj_t usable_core(hwloc_topology_t topology, hwloc_const_bitmap_t allowed, uint32_t nth)
{
    hwloc_obj_t core = NULL;
    while ((core = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_CORE, core)) != NULL) {
        if (is_usable(core, allowed) && nth-- == 0)
            return core;
    }
    return NULL;
}

static uint32_t usable_cores(hwloc_topology_t topology, hwloc_const_bitmap_t allowed)
{
    uint32_t n = 0;
    hwloc_obj_t core = NULL;
    while ((core = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_CORE, core)) != NULL)
        n += is_usable(core, allowed);
    return n;
}

/* The share's CPUs into plan->cpus. */
static void choose_share(topo_plan *plan, hwloc_const_bitmap_t allowed, const topo_request *request)
{
    hwloc_topology_t topology = plan->machine->topology;
    uint64_t n = usable_cores(topology, allowed);
    uint32_t begin = (uint32_t)(request->index * n / request->count);
    uint32_t end = (uint32_t)((request->index + 1u) * n / request->count);
    plan->shared = n < request->count;
    if (plan->shared) {
        hwloc_obj_t core = usable_core(topology, allowed, begin);
        hwloc_nodeset_t nodes = plan->nodes;
        hwloc_cpuset_to_nodeset(topology, core->cpuset, nodes);
        hwloc_cpuset_from_nodeset(topology, plan->cpus, nodes);
    } else {
        for (uint32_t i = begin; i < end; i++)
            hwloc_bitmap_or(plan->cpus, plan->cpus, usable_core(topology, allowed, i)->cpuset);
    }
    hwloc_bitmap_and(plan->cpus, plan->cpus, allowed);
    hwloc_cpuset_to_nodeset(topology, plan->cpus, plan->nodes);
}

static void note_cores(topo_plan *plan)
{
    hwloc_obj_t core = NULL;
    while ((core = hwloc_get_next_obj_by_type(plan->machine->topology, HWLOC_OBJ_CORE, core)) != NULL) {
        if (is_usable(core, plan->cpus))
            hwloc_bitmap_set(plan->cores, core->logical_index);
    }
}

/* CPUs of thread i: a whole core for the first round over the cores, single CPUs once cores hold several threads. */
static base_status place_thread(topo_plan *plan, uint32_t i, uint32_t n_cores, bool by_cpu, base_error *error)
{
    hwloc_cpuset_t set = hwloc_bitmap_alloc();
    if (set == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the pinning plan");
    plan->threads[i] = set;
    if (plan->shared) {
        hwloc_bitmap_copy(set, plan->cpus);
        return BASE_OK;
    }
    hwloc_obj_t core = usable_core(plan->machine->topology, plan->cpus, i % n_cores);
    hwloc_bitmap_and(set, core->cpuset, plan->cpus);
    if (!by_cpu)
        return BASE_OK;
    uint32_t nth = i / n_cores % (uint32_t)hwloc_bitmap_weight(set);
    int cpu = hwloc_bitmap_first(set);
    while (nth-- > 0)
        cpu = hwloc_bitmap_next(set, cpu);
    hwloc_bitmap_only(set, (unsigned)cpu);
    return BASE_OK;
}

static base_status place_threads(topo_plan *plan, const topo_request *request, base_error *error)
{
    uint32_t n_cores = usable_cores(plan->machine->topology, plan->cpus);
    uint32_t n_cpus = (uint32_t)hwloc_bitmap_weight(plan->cpus);
    uint32_t wanted = request->smt == TOPO_SMT_ALL ? n_cpus : n_cores;
    if (plan->shared)
        wanted = 1;
    uint32_t n_threads = request->n_threads > 0 ? request->n_threads : wanted;
    plan->threads = calloc(n_threads, sizeof *plan->threads);
    if (plan->threads == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a pinning plan of %u threads", n_threads);
    plan->n_threads = n_threads;
    base_status status = BASE_OK;
    for (uint32_t i = 0; i < n_threads && status == BASE_OK; i++)
        status = place_thread(plan, i, n_cores, n_threads > n_cores, error);
    return status;
}

static base_status allowed_of(const topo_machine *machine, const char *list, hwloc_bitmap_t *out, base_error *error)
{
    hwloc_bitmap_t allowed = allowed_now(machine);
    if (allowed == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the pinning plan");
    hwloc_bitmap_t listed = list != NULL ? hwloc_bitmap_alloc() : NULL;
    base_status status = BASE_OK;
    if (list != NULL && (listed == NULL || hwloc_bitmap_list_sscanf(listed, list) != 0))
        status = base_fail(error, BASE_EINVAL, "bad CPU list '%s'", list);
    else if (listed != NULL)
        hwloc_bitmap_and(allowed, allowed, listed);
    hwloc_bitmap_free(listed);
    if (status == BASE_OK && usable_cores(machine->topology, allowed) == 0)
        status = base_fail(error, BASE_EINVAL, "no usable CPU in '%s'", list != NULL ? list : "the process's own set");
    if (status != BASE_OK) {
        hwloc_bitmap_free(allowed);
        return status;
    }
    *out = allowed;
    return BASE_OK;
}

base_status topo_plan_create(const topo_machine *machine, const topo_request *request, topo_plan **out,
                             base_error *error)
{
    if (request->count == 0 || request->index >= request->count || request->n_threads > TOPO_THREADS_MAX)
        return base_fail(error, BASE_EINVAL, "cannot place rank %u of %u with %u threads (at most %u)", request->index,
                         request->count, request->n_threads, TOPO_THREADS_MAX);
    hwloc_bitmap_t allowed = NULL;
    base_status status = allowed_of(machine, request->allowed, &allowed, error);
    if (status != BASE_OK)
        return status;
    topo_plan *plan = calloc(1, sizeof *plan);
    if (plan != NULL) {
        plan->machine = machine;
        plan->cpus = hwloc_bitmap_alloc();
        plan->nodes = hwloc_bitmap_alloc();
        plan->cores = hwloc_bitmap_alloc();
    }
    if (plan == NULL || plan->cpus == NULL || plan->nodes == NULL || plan->cores == NULL) {
        status = base_fail(error, BASE_ENOMEM, "no memory for the pinning plan");
    } else {
        choose_share(plan, allowed, request);
        note_cores(plan);
        status = place_threads(plan, request, error);
    }
    hwloc_bitmap_free(allowed);
    if (status != BASE_OK) {
        topo_plan_destroy(&plan);
        return status;
    }
    *out = plan;
    return BASE_OK;
}

void topo_plan_destroy(topo_plan **plan)
{
    topo_plan *p = *plan;
    if (p == NULL)
        return;
    for (uint32_t i = 0; i < p->n_threads; i++)
        hwloc_bitmap_free(p->threads[i]);
    free(p->threads);
    hwloc_bitmap_free(p->cores);
    hwloc_bitmap_free(p->nodes);
    hwloc_bitmap_free(p->cpus);
    free(p);
    *plan = NULL;
}

uint32_t topo_plan_threads(const topo_plan *plan)
{
    return plan->n_threads;
}

bool topo_plan_is_shared(const topo_plan *plan)
{
    return plan->shared;
}

void topo_plan_cpus(const topo_plan *plan, char *text)
{
    list_text(plan->cpus, text);
}

void topo_plan_thread_cpus(const topo_plan *plan, uint32_t thread, char *text)
{
    list_text(thread < plan->n_threads ? plan->threads[thread] : NULL, text);
}

void topo_plan_nodes(const topo_plan *plan, char *text)
{
    list_text(plan->nodes, text);
}

void topo_plan_cores(const topo_plan *plan, char *text)
{
    list_text(plan->cores, text);
}

/* --- application --- */

typedef struct refusals {
    int threads, policies;
} refusals;

/* Every thread of the team binds itself and, on a share of one NUMA node, asks for memory there first (memory policies
 * are a thread's own).  With several nodes the default, memory where it is first touched, is right already. */
static refusals bind_team(const topo_plan *plan)
{
    hwloc_topology_t topology = plan->machine->topology;
    bool one_node = hwloc_bitmap_weight(plan->nodes) == 1;
    int threads = 0, policies = 0;
#pragma omp parallel num_threads((int)plan->n_threads) reduction(+ : threads, policies)
    {
        hwloc_const_cpuset_t cpus = plan->threads[omp_get_thread_num()];
        threads += hwloc_set_cpubind(topology, cpus, HWLOC_CPUBIND_THREAD) != 0;
        if (one_node)
            policies += hwloc_set_membind(topology, plan->nodes, HWLOC_MEMBIND_BIND,
                                          HWLOC_MEMBIND_THREAD | HWLOC_MEMBIND_BYNODESET) != 0;
    }
    return (refusals){threads, policies};
}

void topo_plan_apply(const topo_plan *plan, bool pin, char *remark)
{
    remark[0] = '\0';
    omp_set_dynamic(0);
    omp_set_num_threads((int)plan->n_threads);
    if (!pin)
        return;
    refusals refused = bind_team(plan);
    if (refused.threads > 0)
        snprintf(remark, TOPO_TEXT_MAX, "the system refused to bind %d of %u threads", refused.threads,
                 plan->n_threads);
    else if (refused.policies > 0)
        snprintf(remark, TOPO_TEXT_MAX, "the system refused a memory policy");
}

void topo_plan_describe(const topo_plan *plan, bool pinned, char *text)
{
    char cores[128], cpus[128], nodes[64];
    hwloc_bitmap_list_snprintf(cores, sizeof cores, plan->cores);
    hwloc_bitmap_list_snprintf(cpus, sizeof cpus, plan->cpus);
    hwloc_bitmap_list_snprintf(nodes, sizeof nodes, plan->nodes);
    int n = snprintf(text, TOPO_TEXT_MAX, "cores %s", cores);
    if (strcmp(cores, cpus) != 0)
        n += snprintf(text + n, TOPO_TEXT_MAX - (size_t)n, " (cpus %s)", cpus);
    snprintf(text + n, TOPO_TEXT_MAX - (size_t)n, "%s%s, NUMA %s, %u thread%s", plan->shared ? " shared" : "",
             pinned ? "" : " not pinned", nodes, plan->n_threads, plan->n_threads == 1 ? "" : "s");
}
