#include "tools/palmgrove/plan_check.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/clock.h"
#include "sharding/planner/estimate.h"
#include "sharding/shards/shard_set.h"
#include "tools/palmgrove/plan_measure.h"
#include "worker/model/model.h"
#include "worker/par/channels.h"

#define PROMPT_ROWS 64u
#define RUNS        5

typedef struct trial {
    par_world *world;
    const plan_check_options *options;
    shard_checkpoint *checkpoint;
    uint32_t tp, pp, n_rows;
    par_grid *grid;
    model *m;
    link_plan plan;
    link_slice slice;
    int32_t *tokens;  /* [n_rows] */
    uint32_t *blocks; /* [ceil((n_rows + 1) / 32)] */
    link_token sampled[1];
} trial;

/* --- making ready --- */

static base_status open_model(trial *t, base_error *error)
{
    base_status status = shard_checkpoint_open(t->options->model, &t->checkpoint, error);
    if (status != BASE_OK)
        return status;
    t->tp = t->options->tp;
    t->pp = t->options->pp;
    if (t->checkpoint->shards != NULL && t->tp == 0 && t->pp == 0)
        shard_set_layout(t->checkpoint->shards, &t->tp, &t->pp);
    status = shard_layout_choose(&t->checkpoint->a, (uint32_t)par_world_size(t->world), &t->tp, &t->pp, error);
    if (status == BASE_OK && t->n_rows >= t->checkpoint->a.decoder.max_positions)
        status = base_fail(error, BASE_EINVAL, "a prompt of %u tokens and one more do not fit the model's %u positions",
                           t->n_rows, t->checkpoint->a.decoder.max_positions);
    return status;
}

static base_status take_plan(trial *t, base_error *error)
{
    uint32_t n_blocks = t->n_rows / LINK_KV_BLOCK_TOKENS + 1;
    t->tokens = calloc(t->n_rows, sizeof *t->tokens);
    t->blocks = calloc(n_blocks, sizeof *t->blocks);
    if (t->tokens == NULL || t->blocks == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory for a prompt of %u tokens", t->n_rows);
    for (uint32_t i = 0; i < t->n_rows; i++)
        t->tokens[i] = (int32_t)(i % t->checkpoint->a.decoder.vocab_size);
    for (uint32_t i = 0; i < n_blocks; i++)
        t->blocks[i] = i;
    t->plan = (link_plan){.n_slices = 1, .slices = &t->slice, .tokens = t->tokens, .blocks = t->blocks};
    return BASE_OK;
}

static base_status load(trial *t, base_error *error)
{
    const shard_recipe recipe = {.kind = t->options->recipe};
    const model_options options = {.numerics = {.kv = t->options->kv_type},
                                   .limits = {.max_seqs = 1,
                                              .max_positions = t->n_rows + 1,
                                              .max_step_tokens = t->n_rows,
                                              .n_kv_blocks = t->n_rows / LINK_KV_BLOCK_TOKENS + 1}};
    base_status status = par_grid_create(t->world, t->tp, t->pp, &t->grid, error);
    if (status != BASE_OK)
        return status;
    status = model_create(t->checkpoint, &recipe, t->grid, &options, &t->m, error);
    if (status == BASE_OK)
        status = take_plan(t, error);
    status = par_world_agree(t->world, status, error);
    size_t stage_floats = (size_t)t->n_rows * (t->checkpoint->a.decoder.stack.d + 1u);
    return status == BASE_OK ? par_grid_reserve(t->grid, stage_floats, 1024, 1024, error) : status;
}

/* --- running --- */

/* One pass of n rows from position `pos` on, which samples a token; microseconds until the last rank is through. */
static double step_us(trial *t, uint32_t pos, uint32_t n)
{
    t->slice = (link_slice){.pos = pos, .n_tokens = n, .n_sampled = 1};
    t->plan.step++;
    t->plan.n_tokens = n;
    t->plan.n_blocks = (pos + n + LINK_KV_BLOCK_TOKENS - 1) / LINK_KV_BLOCK_TOKENS;
    link_result result = {.tokens = t->sampled};
    par_world_max(t->world, 0); /* all begin together */
    uint64_t start_us = base_clock_us();
    model_step(t->m, &t->plan, &result);
    return (double)par_world_max(t->world, base_clock_us() - start_us);
}

static double median_us(trial *t, uint32_t pos, uint32_t n)
{
    double times[RUNS];
    step_us(t, pos, n);
    for (int i = 0; i < RUNS; i++)
        times[i] = step_us(t, pos, n);
    return plan_median(times, RUNS);
}

/* --- comparing --- */

static void print_row(const char *what, double planned_us, double measured_us)
{
    printf("%-22s %12.2f %12.2f %8.0f %%\n", what, planned_us * 1e-3, measured_us * 1e-3,
           100.0 * measured_us / planned_us);
}

static void print_comparison(const trial *t, const plan_speed *planned, double token_us, double prompt_us)
{
    double planned_token = plan_time_total(&planned->decode), planned_prompt = plan_time_total(&planned->prefill);
    if (t->options->json) {
        printf("{\"tp\": %u, \"pp\": %u, \"rows\": %u, \"decode_planned_us\": %.1f, \"decode_measured_us\": %.1f, "
               "\"prefill_planned_us\": %.1f, \"prefill_measured_us\": %.1f}\n",
               t->tp, t->pp, t->n_rows, planned_token, token_us, planned_prompt, prompt_us);
        return;
    }
    printf("%s, tp %u x pp %u\n%-22s %12s %12s %10s\n", t->options->model, t->tp, t->pp, "", "planned ms",
           "measured ms", "of plan");
    char what[32];
    snprintf(what, sizeof what, "prompt of %u tokens", t->n_rows);
    print_row("token", planned_token, token_us);
    print_row(what, planned_prompt, prompt_us);
}

static base_status compare(trial *t, const plan_cluster *cluster, base_error *error)
{
    static plan_model described; /* large: a type for every layer */
    const plan_demand demand = {.context = t->n_rows + 1, .batch = 1, .prompt = t->n_rows, .step_tokens = t->n_rows};
    plan_speed planned;
    base_status status = plan_model_init(&described, &t->checkpoint->a, t->checkpoint, t->options->recipe, error);
    pack_type_find(model_kv_type_name(t->options->kv_type), &described.kv_type);
    if (status == BASE_OK)
        status = plan_speed_of(&described, cluster, t->tp, t->pp, &demand, &planned, error);
    status = par_world_agree(t->world, status, error);
    if (status != BASE_OK)
        return status;
    double prompt_us = median_us(t, 0, t->n_rows), token_us = median_us(t, t->n_rows, 1);
    if (par_world_rank(t->world) == 0)
        print_comparison(t, &planned, token_us, prompt_us);
    return BASE_OK;
}

base_status plan_check(par_world *world, uint32_t n_threads, const plan_cluster *cluster,
                       const plan_check_options *options, void (*say)(const char *line), base_error *error)
{
    plan_cluster measured = *cluster;
    trial t = {.world = world, .options = options, .n_rows = options->prompt != 0 ? options->prompt : PROMPT_ROWS};
    base_status status = par_world_agree(world, open_model(&t, error), error);
    if (status == BASE_OK && par_world_rank(world) == 0 && say != NULL)
        say("loading ...");
    if (status == BASE_OK)
        status = load(&t, error);
    if (status == BASE_OK) /* after loading: what else the machine does changes over minutes */
        status = plan_measure(world, n_threads, say, &measured, error);
    if (status == BASE_OK)
        status = compare(&t, &measured, error);
    model_destroy(&t.m);
    par_grid_destroy(&t.grid);
    shard_checkpoint_close(&t.checkpoint);
    free(t.tokens);
    free(t.blocks);
    return status;
}
