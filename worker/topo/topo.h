/* topo.h - which cores, threads and memory a rank uses.  The only folder that includes hwloc.h.
 *
 * Planning is pure: a machine (this one, or a synthetic description), the CPUs the launcher allows, how many ranks
 * share them and which of them this one is, what a control group leaves, how many cores others want -> cores of the
 * rank, CPUs of each thread, NUMA nodes.  Applying binds the calling thread, the OpenMP team and the memory policy.
 * CPU sets are texts in the kernel's list form ("0-3,8"), numbered as the system does. */
#ifndef PALMGROVE_TOPO_H
#define PALMGROVE_TOPO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

#define TOPO_TEXT_MAX    512u
#define TOPO_THREADS_MAX 1024u /* of one rank */

typedef struct topo_machine topo_machine;

/* Read this machine's topology, or the one `synthetic` describes in hwloc's syntax ("Package:2 NUMANode:4 Core:8 PU:2";
 * NULL: this one). Errors: BASE_EINVAL bad description; BASE_EIO the topology cannot be read; BASE_ENOMEM. */
base_status topo_machine_open(const char *synthetic, topo_machine **out, base_error *error);
void topo_machine_close(topo_machine **machine);

/* The CPUs this process may use now (the launcher's mask within its control group), as a list; all of them on a
 * synthetic machine.  `text` [TOPO_TEXT_MAX]. */
void topo_machine_allowed(const topo_machine *machine, char *text);

/* The same as bits: CPU c is bit c % 64 of word c / 64.  Fills words [n_max], the rest zero; returns how many words the
 * set needs (more than n_max: what lies above is cut). */
uint32_t topo_machine_allowed_words(const topo_machine *machine, uint64_t *words, uint32_t n_max);

/* Cores of the machine that have a CPU in the set (words as above); NULL: all that this process's control group may
 * use, whatever the launcher allows. */
uint32_t topo_machine_n_cores(const topo_machine *machine, const uint64_t *words, uint32_t n_words);

typedef enum topo_smt {
    TOPO_SMT_CORES, /* one thread a core, free to move between the core's CPUs */
    TOPO_SMT_ALL,   /* one thread a CPU */
} topo_smt;

typedef enum topo_kinds {
    TOPO_KINDS_FAST, /* of a hybrid processor only the fast cores, as long as they suffice for ranks and threads */
    TOPO_KINDS_ALL,
} topo_kinds;

typedef struct topo_request {
    const char *allowed;   /* list; NULL: what the machine allows this process */
    uint32_t index, count; /* of the ranks that have this same set, this is number `index` of `count` */
    uint32_t
        fair_cores; /* not 0: other ranks' sets overlap this one without being equal; this many cores are its part */
    uint32_t quota_milli; /* thousandths of a CPU that this rank may take on average; 0: no limit */
    uint32_t n_threads;   /* 0: one for each core (or CPU, TOPO_SMT_ALL) of the share */
    topo_smt smt;
    topo_kinds kinds;
    uint32_t spare_cores; /* of the set, left to other threads: the coordinator, MPI's progress */
} topo_request;

/* Which other ranks use this rank's cores?  sets [n_ranks][n_words]: the allowed words of the node's ranks, this one's
 * at `me`. Fills in index, count and fair_cores. */
void topo_request_share(const topo_machine *machine, const uint64_t *sets, uint32_t n_words, uint32_t n_ranks,
                        uint32_t me, topo_request *request);

typedef struct topo_plan topo_plan;

/* Divide the allowed cores, neighbours together, evenly among `count` ranks.  With fewer cores than ranks no rank gets
 * a core alone: it shares all the allowed cores of the NUMA node where its part would lie, and the system balances. Nor
 * is a thread bound to one core where others may be using it: with overlapping sets, or under a quota smaller than the
 * set (several containers would all choose the first cores). Slower cores of a hybrid processor are left out while the
 * fast ones suffice; spare cores are taken from those first, then from the set's beginning. `machine` is borrowed for
 * the plan's life.  Errors: BASE_EINVAL bad list, no allowed CPU on this machine, index >= count, no core left besides
 * the spare ones; BASE_ENOMEM. */
base_status topo_plan_create(const topo_machine *machine, const topo_request *request, topo_plan **out,
                             base_error *error);
void topo_plan_destroy(topo_plan **plan);

uint32_t topo_plan_threads(const topo_plan *plan);
bool topo_plan_is_shared(const topo_plan *plan); /* other ranks use the same cores */
/* Threads that wait should offer their core at once: cores are shared, or there are more threads than CPUs or quota. */
bool topo_plan_is_crowded(const topo_plan *plan);
/* Lists into `text` [TOPO_TEXT_MAX]: the rank's CPUs, one thread's CPUs, the spare CPUs, NUMA nodes, core numbers
 * (hwloc's logical ones). */
void topo_plan_cpus(const topo_plan *plan, char *text);
void topo_plan_thread_cpus(const topo_plan *plan, uint32_t thread, char *text);
void topo_plan_spare_cpus(const topo_plan *plan, char *text);
void topo_plan_nodes(const topo_plan *plan, char *text);
void topo_plan_cores(const topo_plan *plan, char *text);

/* Set the size of the OpenMP team and, when `pin`, bind the calling thread and the team's threads to their CPUs and
 * prefer memory of the rank's NUMA node if it has one only (else first touch decides); with spare cores, bind the
 * process's other threads to those.  What the system refuses (containers often refuse memory policies) is told in
 * `remark` [TOPO_TEXT_MAX], as is an environment that makes waiting threads slow; empty when all is well.  It costs
 * speed, never correctness. */
void topo_plan_apply(const topo_plan *plan, bool pin, char *remark);

/* "cores 0-7, NUMA 0, 8 threads" and what is out of the ordinary, for people.  `text` [TOPO_TEXT_MAX]. */
void topo_plan_describe(const topo_plan *plan, bool pinned, char *text);

/* Bytes of memory this process can still take: the least of what the system has available and what every control group
 * above the process leaves (file cache that can be dropped counts as free).  0: unknown. */
uint64_t topo_memory_available(void);

/* Thousandths of a CPU that the processes of this one's control group may take together, by the tightest quota of the
 * group and those above it, or by Slurm's SLURM_CPUS_ON_NODE where no mask enforces it.  0: no limit. */
uint32_t topo_cpu_quota(void);

/* --- parsers of system files --- */

/* Field of a "Name:  123 kB" or "name 123" text in its own unit; false when it is absent. */
bool topo_text_field(const char *text, const char *name, uint64_t *out);
/* The path of the control group of a controller ("memory", "cpu") in the text of /proc/self/cgroup: version 1's
 * "N:memory:/path" before version 2's "0::/path". False when there is neither.  `path` [size]. */
bool topo_text_cgroup(const char *text, const char *controller, bool *version1, char *path, size_t size);
/* Thousandths of a CPU in version 2's cpu.max, "400000 100000"; false for "max 100000" and nonsense. */
bool topo_text_quota(const char *text, uint32_t *milli);

#endif
