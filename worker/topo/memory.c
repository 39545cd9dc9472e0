/* memory.c - how much memory this process can still take.
 *
 * hwloc's local_memory is wrong on machines with hot-plugged memory, and knows no control groups, so the kernel is
 * asked: MemAvailable of /proc/meminfo, and for the process's memory control group and every one above it: limit -
 * (usage - inactive file cache), which is how container runtimes count.  Groups of version 1 and 2 differ in file names
 * only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/topo/topo.h"

enum { FILE_MAX_BYTES = 16384, PATH_MAX_BYTES = 1024 };

/* The start of a small system file as text; false when it cannot be read. */
static bool read_text(const char *path, char text[FILE_MAX_BYTES])
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    size_t n = fread(text, 1, FILE_MAX_BYTES - 1, file);
    fclose(file);
    text[n] = '\0';
    return n > 0;
}

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

/* Does a line of /proc/self/cgroup ("N:controllers:/path") belong to the memory group of the wanted version? */
static const char *cgroup_path(const char *line, bool version1)
{
    const char *controllers = strchr(line, ':');
    const char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    const char *end = line + strcspn(line, "\n");
    if (path == NULL || path > end)
        return NULL;
    size_t length = (size_t)(path - controllers - 1);
    if (!version1)
        return length == 0 ? path + 1 : NULL;
    for (const char *name = controllers + 1; name < path; name += strcspn(name, ",:") + 1) {
        if (strcspn(name, ",:") == 6 && strncmp(name, "memory", 6) == 0)
            return path + 1;
    }
    return NULL;
}

bool topo_text_cgroup(const char *text, bool *version1, char *path, size_t size)
{
    for (int version = 1; version <= 2; version++) {
        for (const char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
            line += *line == '\n';
            const char *found = cgroup_path(line, version == 1);
            size_t length = found != NULL ? strcspn(found, "\n") : 0;
            if (found == NULL || length >= size)
                continue;
            memcpy(path, found, length);
            path[length] = '\0';
            *version1 = version == 1;
            return true;
        }
    }
    return false;
}

static bool read_number(const char *folder, const char *name, uint64_t *out)
{
    char path[PATH_MAX_BYTES + 64], text[FILE_MAX_BYTES], *end;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (!read_text(path, text))
        return false;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text) /* "max": no limit */
        return false;
    *out = value;
    return true;
}

/* What the group in `folder` leaves; UINT64_MAX when it sets no limit. */
static uint64_t group_leaves(const char *folder, bool version1)
{
    uint64_t limit, usage, cache = 0;
    if (!read_number(folder, version1 ? "memory.limit_in_bytes" : "memory.max", &limit) ||
        !read_number(folder, version1 ? "memory.usage_in_bytes" : "memory.current", &usage))
        return UINT64_MAX;
    char path[PATH_MAX_BYTES + 64], text[FILE_MAX_BYTES];
    snprintf(path, sizeof path, "%s/memory.stat", folder);
    if (read_text(path, text))
        topo_text_field(text, version1 ? "total_inactive_file" : "inactive_file", &cache);
    uint64_t held = usage > cache ? usage - cache : 0;
    return limit > held ? limit - held : 0;
}

static uint64_t groups_leave(void)
{
    char text[FILE_MAX_BYTES], path[PATH_MAX_BYTES / 2], folder[PATH_MAX_BYTES];
    bool version1;
    if (!read_text("/proc/self/cgroup", text) || !topo_text_cgroup(text, &version1, path, sizeof path))
        return UINT64_MAX;
    const char *root = version1 ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup";
    uint64_t least = UINT64_MAX;
    /* From the process's group up to the root; inside a container the upper part of the path does not exist and is
     * skipped. */
    for (;;) {
        snprintf(folder, sizeof folder, "%s%s", root, path);
        uint64_t leaves = group_leaves(folder, version1);
        least = leaves < least ? leaves : least;
        char *slash = strrchr(path, '/');
        if (slash == NULL)
            return least;
        *slash = '\0';
    }
}

uint64_t topo_memory_available(void)
{
    char text[FILE_MAX_BYTES];
    uint64_t kib = 0;
    uint64_t system = UINT64_MAX;
    if (read_text("/proc/meminfo", text) && topo_text_field(text, "MemAvailable", &kib))
        system = kib * 1024u;
    uint64_t groups = groups_leave();
    uint64_t least = system < groups ? system : groups;
    return least == UINT64_MAX ? 0 : least;
}
