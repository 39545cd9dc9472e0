/* draft_model.c - opening, budgeting and loading the draft model. */
#include "worker/draft_model.h"

#include <stdio.h>

#include "sharding/split.h"

/* Name the draft model in an error. */
static base_status fail_draft(const char *path, base_status status, base_error *error)
{
    char text[sizeof error->text];
    if (error == NULL)
        return status;
    snprintf(text, sizeof text, "%s", error->text);
    return base_fail(error, status, "draft model '%.120s': %.240s", path, text);
}

static base_status check_split(const draft_model *draft, base_error *error)
{
    shard_split split;
    return shard_split_of(&draft->checkpoint->a, draft->place.tp, 1, draft->place.tp_rank, 0, &split, error);
}

base_status draft_model_open(const worker_options *options, const par_place *place, draft_model *out, base_error *error)
{
    draft_model draft = {.recipe = options->draft_recipe, .is_here = place->stage == 0};
    draft.place = (par_place){.rank = place->rank, .tp = place->tp, .pp = 1, .tp_rank = place->tp_rank};
    if (options->draft == NULL)
        return BASE_OK;
    base_status status = shard_checkpoint_open(options->draft, &draft.checkpoint, error);
    if (status != BASE_OK)
        return fail_draft(options->draft, status, error);
    draft.checkpoint->a.has_tower = false;
    draft.checkpoint->a.n_encoders = 0;
    if (draft.checkpoint->shards != NULL && draft.recipe.kind != RECIPE_AUTO)
        status = base_fail(error, BASE_EINVAL, "it is packed already; leave out --draft-weights");
    else
        status = check_split(&draft, error);
    if (status == BASE_OK) {
        *out = draft;
        return BASE_OK;
    }
    shard_checkpoint_close(&draft.checkpoint);
    return fail_draft(options->draft, status, error);
}

uint32_t draft_model_positions(const draft_model *draft, uint32_t context)
{
    if (draft->checkpoint == NULL)
        return 0;
    uint32_t own = draft->checkpoint->a.decoder.max_positions;
    return own < context ? own : context;
}

/* The draft model's limits. */
static link_limits limits_of(const link_limits *replica)
{
    return (link_limits){.max_seqs = replica->max_seqs,
                         .max_positions = replica->draft_positions,
                         .max_step_tokens = replica->max_step_tokens,
                         .n_kv_blocks = replica->n_draft_blocks};
}

base_status draft_model_memory(const draft_model *draft, const link_limits *limits, const model_numerics *numerics,
                               model_memory *memory, base_error *error)
{
    if (draft->checkpoint == NULL || !draft->is_here)
        return BASE_OK;
    const model_options options = {.limits = limits_of(limits), .numerics = *numerics};
    model_memory own;
    base_status status = model_memory_of(draft->checkpoint, &draft->recipe, &draft->place, &options, &own, error);
    if (status != BASE_OK)
        return fail_draft(draft->checkpoint->path, status, error);
    memory->weights_bytes += own.weights_bytes;
    memory->kv_bytes += own.kv_bytes;
    memory->workspace_bytes += own.workspace_bytes;
    return BASE_OK;
}

base_status draft_model_load(draft_model *draft, par_grid *grid, const model_options *options,
                             uint32_t target_vocab_size, base_error *error)
{
    if (draft->checkpoint == NULL || !draft->is_here)
        return BASE_OK;
    model_options own = *options;
    own.limits = limits_of(&options->limits);
    own.place = &draft->place;
    base_status status = model_create(draft->checkpoint, &draft->recipe, grid, &own, &draft->m, error);
    if (status == BASE_OK)
        status = draft_proposer_create(draft->m, grid, target_vocab_size, &draft->proposer, error);
    return status == BASE_OK ? BASE_OK : fail_draft(draft->checkpoint->path, status, error);
}

void draft_model_close_checkpoint(draft_model *draft)
{
    shard_checkpoint_close(&draft->checkpoint);
}

void draft_model_release(draft_model *draft)
{
    draft_proposer_destroy(&draft->proposer);
    model_destroy(&draft->m);
    draft_model_close_checkpoint(draft);
}
