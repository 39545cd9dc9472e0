/* ask.h - a task as a request: its fields, the classes of its answer as scored answers. */
#ifndef PALMGROVE_ASK_H
#define PALMGROVE_ASK_H

#include <stdbool.h>

#include "coordinator/task/task.h"
#include "proto/client/palmgrove.h"

/* A task with the values of its fields; all borrowed. */
typedef struct ask_task {
    const task *task;
    const task_field *fields; /* [n_fields] */
    size_t n_fields;
} ask_task;

/* Add the task and its fields to a request; failures stay with the request. */
void ask_add_task(const ask_task *asked, pg_request *request);

/* Have the answer that says class `i` scored instead of one written, with `begin` in front of it.  False: out of
 * memory. */
bool ask_score_class(const ask_task *asked, size_t i, const char *begin, pg_request *request);

/* The log-likelihood of a scored answer: the sum over its tokens. */
double ask_score(const pg_result *result);

#endif
