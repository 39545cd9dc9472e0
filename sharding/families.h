/* families.h - the model families: one table row each.  A family knows how to read its config.json and what its tensors
 * are called; what a model computes stands in `arch`, so a new family changes no layer loop. */
#ifndef PALMGROVE_SHARDING_FAMILIES_H
#define PALMGROVE_SHARDING_FAMILIES_H

#include <jansson.h>

#include "proto/base/status.h"
#include "sharding/arch.h"

typedef struct arch_family {
    const char *name; /* model_type in config.json */
    /* Fill `out` (zeroed, family set) from the parsed config.json; `file` names it in errors. */
    base_status (*fill)(const json_t *config, const char *file, arch *out, base_error *error);
    /* Name of a tensor by part and role; NULL when the family has none.  "%u" stands for the layer. */
    const char *names[2][ARCH_N_ROLES];
} arch_family;

/* NULL when no family has that name. */
const arch_family *arch_family_find(const char *name);

/* The known names, separated by ", ", static. */
const char *arch_family_list(void);

#endif
