/* pin_plan_int.h - the inside of a pinning plan. */
#ifndef PALMGROVE_TOPO_PIN_PLAN_INT_H
#define PALMGROVE_TOPO_PIN_PLAN_INT_H

#include "worker/topo/machine_int.h"

struct topo_plan {
    const topo_machine *machine; /* borrowed */
    hwloc_cpuset_t cpus;         /* allowed CPUs of the rank's cores */
    hwloc_cpuset_t spare;        /* for the process's other threads; empty: they stay where they are */
    hwloc_cpuset_t near;         /* CPUs of the NUMA node of a shared rank */
    hwloc_nodeset_t nodes;
    hwloc_bitmap_t cores;    /* unit numbers */
    const topo_unit **units; /* [n_units] the share's, fast ones first */
    uint32_t n_units;
    hwloc_cpuset_t *threads; /* [n_threads] */
    uint32_t n_threads;
    bool shared, floating, crowded;
    char note[160]; /* what is out of the ordinary, each part with ", " before it */
};

#endif
