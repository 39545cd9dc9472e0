/* cgroup.c - control groups (cgroups): finding them, and their CPU quotas.
 *
 * From the process's group up to the root; inside a container the upper part of the path does not exist and is skipped.
 * Version 1 mounts every controller on a folder of its own, version 2 all on one. */
#include "worker/topo/cgroup_int.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/topo/topo.h"

bool topo_read_text(const char *path, char *text)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    size_t n = fread(text, 1, TOPO_FILE_MAX - 1, file);
    fclose(file);
    text[n] = '\0';
    return n > 0;
}

bool topo_read_entry(const char *folder, const char *name, char *text)
{
    char path[TOPO_PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return topo_read_text(path, text);
}

bool topo_read_number(const char *folder, const char *name, uint64_t *out)
{
    char text[TOPO_FILE_MAX], *end;
    if (!topo_read_entry(folder, name, text) || !isdigit((unsigned char)text[0]))
        return false;
    *out = strtoull(text, &end, 10);
    return true;
}

/* Does a line of /proc/self/cgroup ("N:controllers:/path") belong to the controller's group of the wanted version? */
static const char *group_path(const char *line, const char *controller, bool version1)
{
    const char *names = strchr(line, ':');
    const char *path = names != NULL ? strchr(names + 1, ':') : NULL;
    const char *end = line + strcspn(line, "\n");
    if (path == NULL || path > end)
        return NULL;
    size_t length = strlen(controller);
    if (!version1)
        return path == names + 1 ? path + 1 : NULL;
    for (const char *name = names + 1; name < path; name += strcspn(name, ",:") + 1) {
        if (strcspn(name, ",:") == length && strncmp(name, controller, length) == 0)
            return path + 1;
    }
    return NULL;
}

bool topo_text_cgroup(const char *text, const char *controller, bool *version1, char *path, size_t size)
{
    for (int version = 1; version <= 2; version++) {
        for (const char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
            line += *line == '\n';
            const char *found = group_path(line, controller, version == 1);
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

void topo_groups_visit(const char *controller, void (*visit)(const char *folder, bool version1, void *context),
                       void *context)
{
    char text[TOPO_FILE_MAX], path[TOPO_PATH_MAX / 2], folder[TOPO_PATH_MAX];
    bool version1;
    if (!topo_read_text("/proc/self/cgroup", text) || !topo_text_cgroup(text, controller, &version1, path, sizeof path))
        return;
    for (;;) {
        snprintf(folder, sizeof folder, "/sys/fs/cgroup%s%s%s", version1 ? "/" : "", version1 ? controller : "", path);
        visit(folder, version1, context);
        char *slash = strrchr(path, '/');
        if (slash == NULL)
            return;
        *slash = '\0';
    }
}

/* --- quotas --- */

static bool milli_of(uint64_t quota_us, uint64_t period_us, uint32_t *milli)
{
    if (period_us == 0 || quota_us == 0 || quota_us > UINT64_MAX / 1000u)
        return false;
    uint64_t value = quota_us * 1000u / period_us;
    *milli = value > UINT32_MAX ? UINT32_MAX : value == 0 ? 1 : (uint32_t)value;
    return true;
}

bool topo_text_quota(const char *text, uint32_t *milli)
{
    char *end;
    if (!isdigit((unsigned char)text[0]))
        return false;
    unsigned long long quota = strtoull(text, &end, 10);
    if (*end != ' ' || !isdigit((unsigned char)end[1]))
        return false;
    return milli_of(quota, strtoull(end + 1, NULL, 10), milli);
}

static void visit_quota(const char *folder, bool version1, void *context)
{
    uint32_t *least = context, milli = 0;
    uint64_t quota, period;
    char text[TOPO_FILE_MAX];
    bool limited = version1
                       ? topo_read_number(folder, "cpu.cfs_quota_us", &quota) &&
                             topo_read_number(folder, "cpu.cfs_period_us", &period) && milli_of(quota, period, &milli)
                       : topo_read_entry(folder, "cpu.max", text) && topo_text_quota(text, &milli);
    if (limited && (*least == 0 || milli < *least))
        *least = milli;
}

uint32_t topo_cpu_quota(void)
{
    uint32_t least = 0;
    topo_groups_visit("cpu", visit_quota, &least);
    const char *slurm = getenv("SLURM_CPUS_ON_NODE");
    unsigned long cpus = slurm != NULL ? strtoul(slurm, NULL, 10) : 0;
    if (cpus > 0 && cpus < UINT32_MAX / 1000u && (least == 0 || cpus * 1000u < least))
        least = (uint32_t)cpus * 1000u;
    return least;
}
