/* kv_budget.h - KV cache sizing: how much memory the ranks may take, decided before any is allocated. */
#ifndef PALMGROVE_WORKER_KV_BUDGET_H
#define PALMGROVE_WORKER_KV_BUDGET_H

#include "worker/draft_model.h"
#include "worker/model/model.h"
#include "worker/worker_options.h"

/* Choose the replica's limits, the same on every rank, such that on each node the ranks' weights, KV caches and
 * workspaces, the draft model's too, fit into the memory that is available there; *memory is what this rank will take.
 * Collective, agreed.  Errors: BASE_EINVAL an option out of range; BASE_ENOMEM with the bytes needed, the bytes
 * available, and what to change. */
base_status worker_budget_memory(par_world *world, const par_place *place, const shard_checkpoint *checkpoint,
                                 const shard_recipe *recipe, const draft_model *draft, const worker_options *options,
                                 uint32_t n_threads, link_limits *limits, model_memory *memory, base_error *error);

/* Should the KV cache's pages be touched before the first request?  Yes if its size was given, or if the caches of the
 * node's ranks are a small part of what is free; otherwise other programs on the machine would lose pages that no
 * request may ever use.  Collective. */
bool worker_touches_cache(par_world *world, const worker_options *options, const model_memory *memory);

#define WORKER_SIZE_TEXT 24u
/* "312 MB", "7.4 GB" (powers of ten) into text [WORKER_SIZE_TEXT]; returns text. */
const char *worker_size_text(uint64_t bytes, char *text);

#endif
