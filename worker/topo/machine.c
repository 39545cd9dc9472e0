/* machine.c - reading the machine, and grading its cores.
 *
 * Hybrid processors: hwloc sorts CPUs into kinds, ranked by speed where it can tell.  Kinds that differ by type
 * (performance and efficiency cores), by the kernel's capacity or by clock to less than 3/4 of the faster get a grade
 * of their own.  Smaller differences are favoured cores of one make: a team evens those out, and leaving half of the
 * cores idle for them would be wrong. */
#include "worker/topo/machine_int.h"

#include <stdlib.h>
#include <string.h>

static const char *kind_info(hwloc_topology_t topology, int kind, const char *name)
{
    struct hwloc_info_s *infos = NULL;
    unsigned n = 0;
    if (hwloc_cpukinds_get_info(topology, (unsigned)kind, NULL, NULL, &n, &infos, 0) != 0)
        return NULL;
    for (unsigned i = 0; i < n; i++) {
        if (strcmp(infos[i].name, name) == 0)
            return infos[i].value;
    }
    return NULL;
}

/* Is `kind` much slower than `faster`, which hwloc ranked above it?  A ranking without a reason is
 * believed. */
static bool is_much_slower(hwloc_topology_t topology, int kind, int faster)
{
    static const char *const measures[] = {"LinuxCapacity", "FrequencyMaxMHz", "FrequencyBaseMHz"};
    const char *type = kind_info(topology, kind, "CoreType"), *fast_type = kind_info(topology, faster, "CoreType");
    if (type != NULL && fast_type != NULL && strcmp(type, fast_type) != 0)
        return true;
    for (size_t i = 0; i < sizeof measures / sizeof *measures; i++) {
        const char *value = kind_info(topology, kind, measures[i]), *fast = kind_info(topology, faster, measures[i]);
        if (value != NULL && fast != NULL)
            return 4.0 * strtod(value, NULL) < 3.0 * strtod(fast, NULL);
    }
    return true;
}

static void grade_kind(topo_machine *machine, int kind, uint32_t grade)
{
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    if (set != NULL && hwloc_cpukinds_get_info(machine->topology, (unsigned)kind, set, NULL, NULL, NULL, 0) == 0) {
        for (uint32_t i = 0; i < machine->n_units; i++) {
            if (hwloc_bitmap_intersects(machine->units[i].cpus, set))
                machine->units[i].grade = grade;
        }
    }
    hwloc_bitmap_free(set);
}

/* hwloc ranks kinds from slow to fast; without a ranking every core counts as equal. */
static void grade_units(topo_machine *machine)
{
    hwloc_topology_t topology = machine->topology;
    int efficiency = -1, n = hwloc_cpukinds_get_nr(topology, 0);
    if (n < 2 || hwloc_cpukinds_get_info(topology, 0, NULL, &efficiency, NULL, NULL, 0) != 0 || efficiency < 0)
        return;
    uint32_t grade = 0;
    for (int kind = n - 1, first = n - 1; kind >= 0; kind--) {
        if (kind != first && is_much_slower(topology, kind, first)) {
            grade++;
            first = kind;
        }
        grade_kind(machine, kind, grade);
    }
}

static bool list_units(topo_machine *machine)
{
    hwloc_topology_t topology = machine->topology;
    int n = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PU);
    machine->units = n > 0 ? calloc((size_t)n, sizeof *machine->units) : NULL;
    if (machine->units == NULL)
        return false;
    hwloc_obj_t cpu = NULL, last = NULL;
    while ((cpu = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_PU, cpu)) != NULL) {
        hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_CORE, cpu);
        hwloc_obj_t unit = core != NULL ? core : cpu;
        if (unit != last)
            machine->units[machine->n_units++] = (topo_unit){.cpus = unit->cpuset, .number = unit->logical_index};
        last = unit;
    }
    return true;
}

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
    else if (!list_units(machine))
        status = base_fail(error, BASE_ENOMEM, "no memory for the machine's cores");
    if (status != BASE_OK) {
        topo_machine_close(&machine);
        return status;
    }
    grade_units(machine);
    *out = machine;
    return BASE_OK;
}

void topo_machine_close(topo_machine **machine)
{
    if (*machine == NULL)
        return;
    hwloc_topology_destroy((*machine)->topology);
    free((*machine)->units);
    free(*machine);
    *machine = NULL;
}

hwloc_bitmap_t topo_machine_allowed_now(const topo_machine *machine)
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

void topo_list_text(hwloc_const_bitmap_t set, char *text, size_t size)
{
    text[0] = '\0';
    int length = set != NULL ? hwloc_bitmap_list_snprintf(text, size, set) : 0;
    if (length >= (int)size)
        memcpy(text + size - 4, "...", 4);
}

void topo_machine_allowed(const topo_machine *machine, char *text)
{
    hwloc_bitmap_t set = topo_machine_allowed_now(machine);
    topo_list_text(set, text, TOPO_TEXT_MAX);
    hwloc_bitmap_free(set);
}

uint32_t topo_machine_allowed_words(const topo_machine *machine, uint64_t *words, uint32_t n_max)
{
    hwloc_bitmap_t set = topo_machine_allowed_now(machine);
    int last = set != NULL ? hwloc_bitmap_last(set) : -1;
    uint32_t n = last < 0 ? 0 : (uint32_t)last / 64u + 1u;
    memset(words, 0, n_max * sizeof *words);
    for (int cpu = -1; set != NULL && (cpu = hwloc_bitmap_next(set, cpu)) >= 0;) {
        if ((uint32_t)cpu / 64u < n_max)
            words[cpu / 64] |= (uint64_t)1 << (cpu % 64);
    }
    hwloc_bitmap_free(set);
    return n;
}

static bool has_cpu_in(const topo_unit *unit, const uint64_t *words, uint32_t n_words)
{
    for (int cpu = -1; (cpu = hwloc_bitmap_next(unit->cpus, cpu)) >= 0;) {
        if ((uint32_t)cpu / 64u < n_words && (words[cpu / 64] >> (cpu % 64) & 1u) != 0)
            return true;
    }
    return false;
}

uint32_t topo_machine_n_cores(const topo_machine *machine, const uint64_t *words, uint32_t n_words)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < machine->n_units; i++)
        n += words == NULL || has_cpu_in(&machine->units[i], words, n_words);
    return n;
}
