/* machine_int.h - a machine as planning sees it: a list of units.
 *
 * A unit is what one thread of a team gets: a core or, where the system shows only CPUs (containers without /sys on
 * machines that hwloc cannot ask otherwise), a CPU.  The order is hwloc's logical one: neighbours share caches, then
 * NUMA nodes, then packages. */
#ifndef PALMGROVE_TOPO_MACHINE_INT_H
#define PALMGROVE_TOPO_MACHINE_INT_H

#include <hwloc.h>

#include "worker/topo/topo.h"

typedef struct topo_unit {
    hwloc_const_cpuset_t cpus; /* of the topology */
    uint32_t number;           /* logical index of the core (or CPU) */
    uint32_t grade;            /* 0: the fastest kind of core on the machine; 1: a slower one; ... */
} topo_unit;

struct topo_machine {
    hwloc_topology_t topology;
    topo_unit *units; /* [n_units] */
    uint32_t n_units;
};

/* What the process may use, within what the topology knows; owned by the caller, NULL without memory. */
hwloc_bitmap_t topo_machine_allowed_now(const topo_machine *machine);

/* A set in list form into `text` [size >= 4]; one too long ends in "...".  NULL: empty. */
void topo_list_text(hwloc_const_bitmap_t set, char *text, size_t size);

#endif
