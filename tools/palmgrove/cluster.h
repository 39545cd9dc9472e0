/* cluster.h - a small cluster on this machine, started with mpirun and reached through a socket in a private folder.
 *
 * Owns: the mpirun process (a process group of its own, so a Ctrl-C meant for us does not reach it first), the folder,
 * the log. */
#ifndef PALMGROVE_CLUSTER_H
#define PALMGROVE_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "proto/base/status.h"

typedef struct cluster cluster;

/* Make the private folder; nothing runs yet.  Changes TMPDIR and Open MPI's variables of this process, so call it
 * before threads start. Errors: BASE_EIO with the folder. */
base_status cluster_create(cluster **out, base_error *error);

/* "ipc:///..."; valid as long as the cluster. */
const char *cluster_endpoint(const cluster *c);

/* Start `palmgrove serve` on tp x pp ranks.  Errors: BASE_EIO, BASE_ENOTFOUND no mpirun. */
base_status cluster_start(cluster *c, const char *model, uint32_t tp, uint32_t pp, base_error *error);

/* Wait until the cluster says that it is ready, and hand each line it prints meanwhile to `line`.
 * Errors: BASE_EINTERNAL it ended; BASE_EDEADLINE; BASE_ECANCELED `is_canceled` said so. */
base_status cluster_wait(cluster *c, uint32_t timeout_s, void (*line)(const char *text), bool (*is_canceled)(void),
                         base_error *error);

/* Stop the processes (asked first, killed after a while), remove the folder, free; NULL is fine.
 * false when it had to be killed or ended with a failure by itself. */
bool cluster_destroy(cluster **c);

#endif
