/* topo.h - which cores, threads and memory a rank uses.  The only folder that includes hwloc.h.
 *
 * Planning is pure: a machine (this one, or a synthetic description), the CPUs the launcher allows, how many ranks
 * share them and which of them this one is -> cores of the rank, CPUs of each thread, NUMA nodes.  Applying binds the
 * calling thread, the OpenMP team and the memory policy.  CPU sets are texts in the kernel's list form ("0-3,8"),
 * numbered as the system does. */
#ifndef PALMGROVE_TOPO_H
#define PALMGROVE_TOPO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

#define TOPO_TEXT_MAX    512u
#define TOPO_THREADS_MAX 1024u /* of one rank */

typedef struct topo_machine topo_machine;

/* Look at this machine, or at the one `synthetic` describes in hwloc's words ("Package:2 NUMANode:4 Core:8 PU:2"; NULL:
 * this one). Errors: BASE_EINVAL bad description; BASE_EIO the topology cannot be read. */
base_status topo_machine_open(const char *synthetic, topo_machine **out, base_error *error);
void topo_machine_close(topo_machine **machine);

/* The CPUs this process may use now, as a list; all of them on a synthetic machine.  `text` [TOPO_TEXT_MAX]. */
void topo_machine_allowed(const topo_machine *machine, char *text);

/* A number that is equal for equal sets of allowed CPUs: ranks of a node compare theirs to see what the launcher
 * did. */
uint64_t topo_machine_allowed_key(const topo_machine *machine);

typedef enum topo_smt {
    TOPO_SMT_CORES, /* one thread a core, free to move between the core's CPUs */
    TOPO_SMT_ALL,   /* one thread a CPU */
} topo_smt;

typedef struct topo_request {
    const char *allowed;   /* list; NULL: what the machine allows this process */
    uint32_t index, count; /* of the ranks that have this same set, this is number `index` of `count` */
    uint32_t n_threads;    /* 0: one for each core (or CPU, TOPO_SMT_ALL) of the share */
    topo_smt smt;
} topo_request;

typedef struct topo_plan topo_plan;

/* Divide the allowed cores, neighbours together, evenly among `count` ranks.  With fewer cores than ranks nobody gets a
 * core alone: a rank shares all the allowed cores of the NUMA node where its part would lie, and the system balances.
 * `machine` is borrowed for the plan's life.  Errors: BASE_EINVAL bad list, no allowed CPU on this machine, index >=
 * count; BASE_ENOMEM. */
base_status topo_plan_create(const topo_machine *machine, const topo_request *request, topo_plan **out,
                             base_error *error);
void topo_plan_destroy(topo_plan **plan);

uint32_t topo_plan_threads(const topo_plan *plan);
bool topo_plan_is_shared(const topo_plan *plan); /* other ranks use the same cores */
/* Lists into `text` [TOPO_TEXT_MAX]: the rank's CPUs, one thread's CPUs, NUMA nodes, core numbers (hwloc's logical
 * ones). */
void topo_plan_cpus(const topo_plan *plan, char *text);
void topo_plan_thread_cpus(const topo_plan *plan, uint32_t thread, char *text);
void topo_plan_nodes(const topo_plan *plan, char *text);
void topo_plan_cores(const topo_plan *plan, char *text);

/* Set the size of the OpenMP team and, when `pin`, bind the calling thread and the team's threads to their CPUs and
 * prefer memory of the rank's NUMA node if it has one only (else first touch decides).  What the system refuses
 * (containers often refuse memory policies) is told in `remark` [TOPO_TEXT_MAX], empty when all went well; it costs
 * speed, never correctness. */
void topo_plan_apply(const topo_plan *plan, bool pin, char *remark);

/* "cores 0-7, NUMA 0, 8 threads", for people.  `text` [TOPO_TEXT_MAX]. */
void topo_plan_describe(const topo_plan *plan, bool pinned, char *text);

/* Bytes of memory this process can still take: the least of what the system has available and what every control group
 * above the process leaves (file cache that can be dropped counts as free).  0: unknown. */
uint64_t topo_memory_available(void);

/* The parts of it that read texts.  Field of a "Name:  123 kB" or "name 123" text in its own unit; false when it is
 * absent. */
bool topo_text_field(const char *text, const char *name, uint64_t *out);
/* The path of the memory control group in the text of /proc/self/cgroup: version 1's "N:memory:/path" before version
 * 2's "0::/path". False when there is neither.  `path` [size]. */
bool topo_text_cgroup(const char *text, bool *version1, char *path, size_t size);

#endif
