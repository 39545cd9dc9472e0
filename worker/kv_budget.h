/* kv_budget.h - how much memory the ranks may take, settled before any is taken. */
#ifndef PALMGROVE_WORKER_KV_BUDGET_H
#define PALMGROVE_WORKER_KV_BUDGET_H

#include "worker/draft_model.h"
#include "worker/model/model.h"
#include "worker/worker_options.h"

/* Choose the replica's limits, the same on every rank, such that on each node the ranks' weights, KV caches and
 * workspaces, the draft model's too, fit into the memory that is available there; *memory is what this rank will take.
 * Collective, agreed. Errors: BASE_EINVAL an option out of range; BASE_ENOMEM with the bytes needed, the bytes there
 * are, and what to change. */
base_status worker_budget(par_world *world, const par_place *place, const shard_checkpoint *checkpoint,
                          const shard_recipe *recipe, const draft_model *draft, const worker_options *options,
                          link_limits *limits, model_memory *memory, base_error *error);

/* Should the KV cache's pages be taken before the first request?  Yes where its size was asked for, or where the caches
 * of the node's ranks are a small part of what is free: otherwise pages that no request may ever use would be taken
 * from everybody else on the machine.  Collective. */
bool worker_takes_cache(par_world *world, const worker_options *options, const model_memory *memory);

#define WORKER_SIZE_TEXT 24u
/* "312 MB", "7.4 GB" (powers of ten) into text [WORKER_SIZE_TEXT]; returns text. */
const char *worker_size_text(uint64_t bytes, char *text);

#endif
