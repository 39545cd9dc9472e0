/* memory_available.c - how much memory this process can still take.
 *
 * hwloc's local_memory is wrong on machines with hot-plugged memory, and knows no control groups, so the kernel is
 * asked: MemAvailable of /proc/meminfo, and for the process's memory control group and every one above it: limit -
 * (usage - inactive file cache), which is how container runtimes count.  Groups of version 1 and 2 differ in file names
 * only. */
#include <stdlib.h>
#include <string.h>

#include "worker/topo/cgroup_int.h"
#include "worker/topo/topo.h"

bool topo_text_field(const char *text, const char *name, uint64_t *out)
{
    size_t length = strlen(name);
    for (const char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) != 0 || (line[length] != ':' && line[length] != ' '))
            continue;
        const char *digits = line + length + strspn(line + length, ": \t");
        char *end;
        unsigned long long value = strtoull(digits, &end, 10);
        if (end == digits || *digits == '-')
            return false;
        *out = value;
        return true;
    }
    return false;
}

/* What the group in `folder` leaves; UINT64_MAX when it sets no limit. */
static uint64_t group_leaves(const char *folder, bool version1)
{
    uint64_t limit, usage, cache = 0;
    if (!topo_read_number(folder, version1 ? "memory.limit_in_bytes" : "memory.max", &limit) ||
        !topo_read_number(folder, version1 ? "memory.usage_in_bytes" : "memory.current", &usage))
        return UINT64_MAX;
    char text[TOPO_FILE_MAX];
    if (topo_read_entry(folder, "memory.stat", text))
        topo_text_field(text, version1 ? "total_inactive_file" : "inactive_file", &cache);
    uint64_t held = usage > cache ? usage - cache : 0;
    return limit > held ? limit - held : 0;
}

static void visit_memory(const char *folder, bool version1, void *context)
{
    uint64_t *least = context, leaves = group_leaves(folder, version1);
    *least = leaves < *least ? leaves : *least;
}

uint64_t topo_memory_available(void)
{
    char text[TOPO_FILE_MAX];
    uint64_t kib = 0;
    uint64_t system = UINT64_MAX;
    if (topo_read_text("/proc/meminfo", text) && topo_text_field(text, "MemAvailable", &kib))
        system = kib * 1024u;
    uint64_t groups = UINT64_MAX;
    topo_groups_visit("memory", visit_memory, &groups);
    uint64_t least = system < groups ? system : groups;
    return least == UINT64_MAX ? 0 : least;
}
