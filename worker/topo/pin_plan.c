/* pin_plan.c - core pinning: which cores each rank and each of its threads gets.  Pure; pin_apply.c binds.
 *
 * A rank's share: the chosen cores in hwloc's logical order (neighbours share caches, then NUMA nodes, then packages),
 * cut into `count` pieces, piece i being [i n / count, (i + 1) n / count).  When the launcher gave every rank a set of
 * its own, count is 1 and the set is taken as it is; the result is never larger than the allowed set.
 *
 * Chosen are the allowed cores without the spare ones and, on a hybrid processor, without the slower kinds while the
 * fast ones suffice: between two barriers a team is as slow as its slowest thread (its dynamic division of work evens
 * out much, not all).
 *
 * With fewer cores than ranks, pinning two ranks to one core while another idles would be worse than not pinning:
 * pipeline stages take turns.  Such a rank gets all the chosen cores of one NUMA node, and one thread.  The same goes
 * for threads of which it is not known which core will be free: overlapping sets, quotas. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/topo/pin_plan_int.h"

/* --- ranks that share cores --- */

static bool have_common_cpus(const uint64_t *a, const uint64_t *b, uint32_t n_words)
{
    for (uint32_t i = 0; i < n_words; i++) {
        if ((a[i] & b[i]) != 0)
            return true;
    }
    return false;
}

static bool has_cpu_of(const uint64_t *set, uint32_t n_words, const uint64_t *mine, const topo_unit *unit)
{
    for (int cpu = -1; (cpu = hwloc_bitmap_next(unit->cpus, cpu)) >= 0;) {
        uint32_t word = (uint32_t)cpu / 64u;
        if (word < n_words && ((set[word] & mine[word]) >> (cpu % 64) & 1u) != 0)
            return true;
    }
    return false;
}

void topo_request_share(const topo_machine *machine, const uint64_t *sets, uint32_t n_words, uint32_t n_ranks,
                        uint32_t me, topo_request *request)
{
    const uint64_t *mine = sets + (size_t)me * n_words;
    bool contested = false;
    request->index = request->count = request->fair_cores = 0;
    for (uint32_t r = 0; r < n_ranks; r++) {
        const uint64_t *set = sets + (size_t)r * n_words;
        bool equal = memcmp(set, mine, n_words * sizeof *set) == 0;
        request->index += equal && r < me;
        request->count += equal;
        contested |= !equal && have_common_cpus(set, mine, n_words);
    }
    if (!contested)
        return;
    double part = 0.0; /* each core in equal parts to the ranks that may use it */
    for (uint32_t i = 0; i < machine->n_units; i++) {
        uint32_t users = 0;
        for (uint32_t r = 0; r < n_ranks; r++)
            users += has_cpu_of(sets + (size_t)r * n_words, n_words, mine, &machine->units[i]);
        part += users > 0 ? 1.0 / users : 0.0;
    }
    request->index = 0;
    request->count = 1;
    request->fair_cores = part < 1.0 ? 1 : (uint32_t)(part + 1e-9);
}

/* --- choosing cores --- */

/* What is out of the ordinary, for topo_plan_describe. */
__attribute__((format(printf, 2, 3))) static void note(topo_plan *plan, const char *format, ...)
{
    size_t used = strlen(plan->note);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(plan->note + used, sizeof plan->note - used, format, arguments);
    va_end(arguments);
}

/* The units that have an allowed CPU, in order, into plan->units. */
static base_status list_usable(topo_plan *plan, hwloc_const_bitmap_t allowed, const char *list, base_error *error)
{
    const topo_machine *machine = plan->machine;
    plan->units = calloc(machine->n_units, sizeof *plan->units);
    if (plan->units == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the pinning plan");
    for (uint32_t i = 0; i < machine->n_units; i++) {
        if (hwloc_bitmap_intersects(machine->units[i].cpus, allowed))
            plan->units[plan->n_units++] = &machine->units[i];
    }
    return plan->n_units > 0
               ? BASE_OK
               : base_fail(error, BASE_EINVAL, "no usable CPU in '%s'", list != NULL ? list : "the process's own set");
}

static uint32_t count_to_grade(const topo_plan *plan, uint32_t grade)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < plan->n_units; i++)
        n += plan->units[i]->grade <= grade;
    return n;
}

/* The slowest grade that is needed for a core for each rank, or for each thread when their number was given. */
static uint32_t grade_needed(const topo_plan *plan, const topo_request *request)
{
    uint64_t there = plan->n_units - request->spare_cores, wanted = request->count;
    uint32_t grade = 0;
    if (request->kinds == TOPO_KINDS_ALL)
        return UINT32_MAX;
    if (request->n_threads > 0)
        wanted *= request->n_threads;
    if (wanted > there)
        wanted = there;
    while (count_to_grade(plan, grade) < wanted)
        grade++;
    return grade;
}

/* Leave in plan->units what the ranks divide; the spare cores' CPUs go into plan->spare. */
static base_status choose_units(topo_plan *plan, const topo_request *request, base_error *error)
{
    if (request->spare_cores >= plan->n_units)
        return base_fail(error, BASE_EINVAL, "--spare-cores %u would leave none of the %u allowed cores for the ranks",
                         request->spare_cores, plan->n_units);
    uint32_t grade = grade_needed(plan, request), n = 0, n_all = plan->n_units;
    uint32_t n_idle = n_all - count_to_grade(plan, grade);
    uint32_t to_skip = request->spare_cores > n_idle ? request->spare_cores - n_idle : 0;
    for (uint32_t i = 0; i < n_all; i++) {
        const topo_unit *unit = plan->units[i];
        bool skipped = unit->grade <= grade && to_skip > 0;
        to_skip -= skipped;
        if (unit->grade <= grade && !skipped)
            plan->units[n++] = unit;
        else if (request->spare_cores > 0)
            hwloc_bitmap_or(plan->spare, plan->spare, unit->cpus);
    }
    plan->n_units = n;
    if (n_idle > 0)
        note(plan, ", %u slower core%s left out", n_idle, n_idle == 1 ? "" : "s");
    return BASE_OK;
}

/* --- the share --- */

static void take_units_cpus(topo_plan *plan, uint32_t begin, uint32_t end, hwloc_const_bitmap_t allowed)
{
    for (uint32_t i = begin; i < end; i++)
        hwloc_bitmap_or(plan->cpus, plan->cpus, plan->units[i]->cpus);
    hwloc_bitmap_and(plan->cpus, plan->cpus, allowed);
}

/* Keep the units that have a CPU of the share. */
static void keep_units(topo_plan *plan)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < plan->n_units; i++) {
        if (hwloc_bitmap_intersects(plan->units[i]->cpus, plan->cpus))
            plan->units[n++] = plan->units[i];
    }
    plan->n_units = n;
}

static void cut_share(topo_plan *plan, hwloc_const_bitmap_t allowed, const topo_request *request)
{
    hwloc_topology_t topology = plan->machine->topology;
    uint64_t n = plan->n_units;
    uint32_t begin = (uint32_t)(request->index * n / request->count);
    uint32_t end = (uint32_t)((request->index + 1u) * n / request->count);
    plan->shared = n < request->count;
    if (plan->shared) {
        hwloc_const_cpuset_t first = plan->units[begin]->cpus;
        take_units_cpus(plan, 0, plan->n_units, allowed);
        hwloc_cpuset_to_nodeset(topology, first, plan->nodes);
        hwloc_cpuset_from_nodeset(topology, plan->near, plan->nodes);
        hwloc_bitmap_and(plan->cpus, plan->cpus, plan->near);
    } else {
        take_units_cpus(plan, begin, end, allowed);
    }
    keep_units(plan);
    hwloc_cpuset_to_nodeset(topology, plan->cpus, plan->nodes);
    for (uint32_t i = 0; i < plan->n_units; i++)
        hwloc_bitmap_set(plan->cores, plan->units[i]->number);
}

/* --- threads --- */

static uint32_t threads_wanted(topo_plan *plan, const topo_request *request)
{
    uint32_t n_cpus = (uint32_t)hwloc_bitmap_weight(plan->cpus);
    uint32_t wanted = request->smt == TOPO_SMT_ALL ? n_cpus : plan->n_units;
    uint32_t fair = request->fair_cores, quota = request->quota_milli / 1000u;
    if (plan->shared)
        wanted = 1;
    if (fair > 0) {
        wanted = wanted < fair ? wanted : fair;
        plan->floating = true;
        note(plan, ", set overlaps other ranks', threads not bound to single cores");
    }
    if (request->quota_milli > 0 && quota < plan->n_units) {
        wanted = quota == 0 ? 1 : wanted < quota ? wanted : quota;
        plan->floating = true;
        note(plan, ", quota of %u.%u CPUs, threads not bound to single cores", quota,
             request->quota_milli % 1000u / 100u);
    }
    uint32_t n_threads = request->n_threads > 0 ? request->n_threads : wanted;
    plan->crowded = plan->shared || n_threads > n_cpus || (fair > 0 && n_threads > fair) ||
                    (request->quota_milli > 0 && (uint64_t)n_threads * 1000u > request->quota_milli);
    return n_threads;
}

/* Fast cores first, else in order: a team smaller than the share takes the fast ones. */
static void sort_units(topo_plan *plan)
{
    for (uint32_t i = 1; i < plan->n_units; i++) {
        const topo_unit *unit = plan->units[i];
        uint32_t at = i;
        for (; at > 0 && plan->units[at - 1]->grade > unit->grade; at--)
            plan->units[at] = plan->units[at - 1];
        plan->units[at] = unit;
    }
}

/* CPUs of thread i: a whole core for the first round over the cores, single CPUs once cores hold several threads. */
static base_status place_thread(topo_plan *plan, uint32_t i, bool by_cpu, base_error *error)
{
    hwloc_cpuset_t set = hwloc_bitmap_alloc();
    if (set == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the pinning plan");
    plan->threads[i] = set;
    if (plan->shared || plan->floating) {
        hwloc_bitmap_copy(set, plan->cpus);
        return BASE_OK;
    }
    hwloc_bitmap_and(set, plan->units[i % plan->n_units]->cpus, plan->cpus);
    if (!by_cpu)
        return BASE_OK;
    uint32_t nth = i / plan->n_units % (uint32_t)hwloc_bitmap_weight(set);
    int cpu = hwloc_bitmap_first(set);
    while (nth-- > 0)
        cpu = hwloc_bitmap_next(set, cpu);
    hwloc_bitmap_only(set, (unsigned)cpu);
    return BASE_OK;
}

/* A thread on a core much slower than another's is worth a word. */
static void note_slow_threads(topo_plan *plan)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < plan->n_threads; i++)
        n += plan->units[i % plan->n_units]->grade > plan->units[0]->grade;
    if (n > 0)
        note(plan, ", %u of the threads on slower cores", n);
}

static base_status place_threads(topo_plan *plan, const topo_request *request, base_error *error)
{
    uint32_t n_threads = threads_wanted(plan, request);
    plan->threads = calloc(n_threads, sizeof *plan->threads);
    if (plan->threads == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a pinning plan of %u threads", n_threads);
    plan->n_threads = n_threads;
    sort_units(plan);
    note_slow_threads(plan);
    base_status status = BASE_OK;
    for (uint32_t i = 0; i < n_threads && status == BASE_OK; i++)
        status = place_thread(plan, i, n_threads > plan->n_units, error);
    return status;
}

/* --- the whole --- */

static base_status allowed_of(const topo_machine *machine, const char *list, hwloc_bitmap_t *out, base_error *error)
{
    hwloc_bitmap_t allowed = topo_machine_allowed_now(machine);
    if (allowed == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the pinning plan");
    hwloc_bitmap_t listed = list != NULL ? hwloc_bitmap_alloc() : NULL;
    base_status status = BASE_OK;
    if (list != NULL && (listed == NULL || hwloc_bitmap_list_sscanf(listed, list) != 0))
        status = base_fail(error, BASE_EINVAL, "bad CPU list '%s'", list);
    else if (listed != NULL)
        hwloc_bitmap_and(allowed, allowed, listed);
    hwloc_bitmap_free(listed);
    if (status != BASE_OK) {
        hwloc_bitmap_free(allowed);
        return status;
    }
    *out = allowed;
    return BASE_OK;
}

static topo_plan *plan_new(const topo_machine *machine)
{
    topo_plan *plan = calloc(1, sizeof *plan);
    if (plan == NULL)
        return NULL;
    hwloc_bitmap_t *sets[] = {&plan->cpus, &plan->spare, &plan->near, &plan->nodes, &plan->cores};
    plan->machine = machine;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        *sets[i] = hwloc_bitmap_alloc();
        if (*sets[i] == NULL)
            topo_plan_destroy(&plan);
        if (plan == NULL)
            return NULL;
    }
    return plan;
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
    topo_plan *plan = plan_new(machine);
    status = plan != NULL ? list_usable(plan, allowed, request->allowed, error)
                          : base_fail(error, BASE_ENOMEM, "no memory for the pinning plan");
    if (status == BASE_OK)
        status = choose_units(plan, request, error);
    if (status == BASE_OK) {
        hwloc_bitmap_and(plan->spare, plan->spare, allowed);
        cut_share(plan, allowed, request);
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
    free(p->units);
    hwloc_bitmap_free(p->cores);
    hwloc_bitmap_free(p->nodes);
    hwloc_bitmap_free(p->near);
    hwloc_bitmap_free(p->spare);
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

bool topo_plan_is_crowded(const topo_plan *plan)
{
    return plan->crowded;
}

void topo_plan_cpus(const topo_plan *plan, char *text)
{
    topo_list_text(plan->cpus, text, TOPO_TEXT_MAX);
}

void topo_plan_thread_cpus(const topo_plan *plan, uint32_t thread, char *text)
{
    topo_list_text(thread < plan->n_threads ? plan->threads[thread] : NULL, text, TOPO_TEXT_MAX);
}

void topo_plan_spare_cpus(const topo_plan *plan, char *text)
{
    topo_list_text(plan->spare, text, TOPO_TEXT_MAX);
}

void topo_plan_nodes(const topo_plan *plan, char *text)
{
    topo_list_text(plan->nodes, text, TOPO_TEXT_MAX);
}

void topo_plan_cores(const topo_plan *plan, char *text)
{
    topo_list_text(plan->cores, text, TOPO_TEXT_MAX);
}

void topo_plan_describe(const topo_plan *plan, bool pinned, char *text)
{
    char cores[81], cpus[81], nodes[41], spare[41];
    topo_list_text(plan->cores, cores, sizeof cores);
    topo_list_text(plan->cpus, cpus, sizeof cpus);
    topo_list_text(plan->nodes, nodes, sizeof nodes);
    topo_list_text(plan->spare, spare, sizeof spare);
    bool has_cpus = strcmp(cores, cpus) != 0, has_spare = spare[0] != '\0';
    snprintf(text, TOPO_TEXT_MAX, "cores %s%s%s%s%s%s, NUMA %s, %u thread%s%s%s%s", cores, has_cpus ? " (cpus " : "",
             has_cpus ? cpus : "", has_cpus ? ")" : "", plan->shared ? " shared" : "", pinned ? "" : " not pinned",
             nodes, plan->n_threads, plan->n_threads == 1 ? "" : "s", has_spare ? ", other threads on cpus " : "",
             spare, plan->note);
}
