/* cgroup_int.h - control groups (cgroups) as files. */
#ifndef PALMGROVE_TOPO_CGROUP_INT_H
#define PALMGROVE_TOPO_CGROUP_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TOPO_FILE_MAX = 16384, TOPO_PATH_MAX = 1024 };

/* The start of a small system file as text [TOPO_FILE_MAX]; false when it cannot be read. */
bool topo_read_text(const char *path, char *text);
/* The start of `name` in `folder`, the same way. */
bool topo_read_entry(const char *folder, const char *name, char *text);
/* A number in such a file; false when there is none ("max": no limit; "-1" is none either). */
bool topo_read_number(const char *folder, const char *name, uint64_t *out);

/* Call `visit` with the folder of this process's group of a controller and of every group above it. */
void topo_groups_visit(const char *controller, void (*visit)(const char *folder, bool version1, void *context),
                       void *context);

#endif
