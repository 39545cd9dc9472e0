/* plan_json.h - inside the planner: its objects as JSON. */
#ifndef PALMGROVE_PLANNER_JSON_H
#define PALMGROVE_PLANNER_JSON_H

#include <jansson.h>

#include "sharding/planner/plan_cluster.h"

/* The caller owns the result; NULL when memory is out. */
json_t *plan_cluster_json(const plan_cluster *cluster);

/* The text of `json` (may be NULL: memory was out; released here) and a newline, appended to `out`.  BASE_ENOMEM. */
base_status plan_json_put(json_t *json, base_buf *out, base_error *error);

#endif
