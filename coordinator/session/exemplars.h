/* exemplars.h - the few-shot examples that come with a model: DIR/exemplars.json, {"<task>": "<answered example>"}.
 * Immutable after open: any thread may look one up. */
#ifndef PALMGROVE_SESSION_EXEMPLARS_H
#define PALMGROVE_SESSION_EXEMPLARS_H

#include "proto/base/status.h"

typedef struct exemplars exemplars;

/* Read the file, at most 1 MiB; a directory without it, or a model that is one file, gives an empty set.  The caller
 * owns *out.  Errors: BASE_EFORMAT not an object of texts (the line); BASE_ETOOBIG; BASE_EIO; BASE_ENOMEM. */
base_status exemplars_open(const char *dir, exemplars **out, base_error *error);
void exemplars_close(exemplars **e);

/* The example of a task, borrowed; NULL when there is none. */
const char *exemplars_find(const exemplars *e, const char *task);

#endif
