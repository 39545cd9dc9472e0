/* bench_engine.c - prefill and decode of a real model, as service runs them but without requests.
 *
 * Every pair of a depth and a batch size is one measurement of each kind: the cache is filled to the depth first (what
 * a measurement before has filled stays), then n tokens a sequence are prefilled or decoded, `repeats` times, after a
 * short run that does not count.
 *
 * Shares.  What a step must read (weights once, keys and values once) and compute is known from the dimensions
 * (bench_work.h).  The time that reading takes at the measured bandwidth, and computing at the measured rates (8-bit
 * products at the 8-bit rate, all else at f32's), over the time that a run took; the limits are measured before and
 * after each run. */
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "sharding/importance.h"
#include "sharding/shards/shard_set.h"
#include "tools/palmgrove/bench/bench.h"
#include "tools/palmgrove/bench/bench_steps.h"
#include "tools/palmgrove/bench/bench_work.h"
#include "worker/trace_file.h"

#define REPEATS_MAX    100u
#define WARM_TOKENS    4u
#define STEP_ALONE     512u /* rows of a plan when there is one stage */
#define STEP_PIPELINED 128u /* and when a prompt shall keep several busy */

typedef struct engine {
    bench_rank *rank;
    const bench_engine_options *options;
    bench_results *results;
    shard_checkpoint *checkpoint;
    shard_importance *importance;
    shard_recipe recipe;
    plan_model *types;
    bench_work work;
    par_grid *grid;
    model *m;
    bench_steps *steps;
    worker_trace *trace;
    uint32_t tp, pp, step_tokens, max_seqs;
    uint32_t *filled;     /* [max_seqs] positions that the cache holds */
    bench_engine_row row; /* being measured */
} engine;

/* --- opening --- */

static base_status read_recipe(engine *e, base_error *error)
{
    const bench_engine_options *options = e->options;
    e->recipe = options->recipe;
    if (e->checkpoint->shards != NULL && e->recipe.kind != RECIPE_AUTO)
        return base_fail(error, BASE_EINVAL, "'%s' is packed already; --weights is for `palmgrove shard` then",
                         options->model);
    if (options->importance == NULL)
        return BASE_OK;
    base_status status = shard_importance_open(options->importance, &e->checkpoint->a, &e->importance, error);
    e->recipe.importance = e->importance;
    return status;
}

static base_status read_layout(engine *e, base_error *error)
{
    e->tp = e->options->tp;
    e->pp = e->options->pp;
    if (e->checkpoint->shards != NULL && e->tp == 0 && e->pp == 0)
        shard_set_layout(e->checkpoint->shards, &e->tp, &e->pp);
    return shard_layout_choose(&e->checkpoint->a, (uint32_t)par_world_size(e->rank->world), &e->tp, &e->pp, error);
}

/* Positions that the longest measurement reaches. */
static uint32_t positions(const engine *e)
{
    uint32_t most = e->options->prompt > e->options->generate ? e->options->prompt : e->options->generate;
    return bench_list_max(&e->options->depths) + (most > WARM_TOKENS ? most : WARM_TOKENS);
}

static base_status check_sizes(engine *e, base_error *error)
{
    uint32_t allowed = e->checkpoint->a.decoder.max_positions;
    if (e->options->repeats < 1 || e->options->repeats > REPEATS_MAX)
        return base_fail(error, BASE_EINVAL, "--repeat %u: 1 to %u are possible", e->options->repeats, REPEATS_MAX);
    if (positions(e) > allowed)
        return base_fail(error, BASE_EINVAL,
                         "%u positions are more than the model's %u; lower --depth, --prompt or --generate",
                         positions(e), allowed);
    e->max_seqs = bench_list_max(&e->options->batches);
    e->step_tokens = e->options->step_tokens != 0 ? e->options->step_tokens : e->pp == 1 ? STEP_ALONE : STEP_PIPELINED;
    if (e->step_tokens < e->max_seqs)
        e->step_tokens = e->max_seqs;
    e->filled = calloc(e->max_seqs, sizeof *e->filled);
    e->types = calloc(1, sizeof *e->types);
    return e->filled != NULL && e->types != NULL ? BASE_OK : base_fail(error, BASE_ENOMEM, "out of memory");
}

static base_status read_model(engine *e, base_error *error)
{
    base_status status = shard_checkpoint_open(e->options->model, &e->checkpoint, error);
    if (status == BASE_OK)
        status = read_layout(e, error);
    if (status == BASE_OK)
        status = read_recipe(e, error);
    if (status == BASE_OK)
        status = check_sizes(e, error);
    if (status == BASE_OK)
        status = plan_model_init(e->types, &e->checkpoint->a, e->checkpoint, e->recipe.kind, error);
    if (status == BASE_OK)
        status = bench_work_of(e->types, e->tp, e->pp, &e->options->numerics, &e->work, error);
    return par_world_agree(e->rank->world, status, error);
}

/* --- loading --- */

static model_options options_of(const engine *e)
{
    uint32_t n_positions = positions(e), blocks = (n_positions + LINK_KV_BLOCK_TOKENS - 1) / LINK_KV_BLOCK_TOKENS;
    return (model_options){.limits = {.max_seqs = e->max_seqs,
                                      .max_positions = n_positions,
                                      .max_step_tokens = e->step_tokens,
                                      .n_kv_blocks = e->max_seqs * blocks,
                                      .n_image_slots = 1},
                           .numerics = e->options->numerics,
                           .n_threads = e->rank->n_threads,
                           .crowded = e->rank->crowded,
                           .huge_pages = e->rank->huge_pages,
                           .touch_cache = true};
}

static void add_bytes(void *context, int rank, const void *bytes, size_t size)
{
    (void)rank;
    uint64_t one;
    if (size == sizeof one) {
        memcpy(&one, bytes, sizeof one);
        *(uint64_t *)context += one;
    }
}

static base_status load(engine *e, base_error *error)
{
    par_world *world = e->rank->world;
    base_status status = par_grid_create(world, e->tp, e->pp, &e->grid, error);
    if (status != BASE_OK)
        return status;
    const model_options options = options_of(e);
    par_place place = par_grid_place(e->grid);
    model_memory memory = {0};
    bench_say(e->rank, "loading %s ...", e->options->model);
    par_world_max(world, 0);
    uint64_t start_us = base_clock_us();
    status = model_memory_of(e->checkpoint, &e->recipe, &place, &options, &memory, error);
    if (status == BASE_OK)
        status = model_create(e->checkpoint, &e->recipe, e->grid, &options, &e->m, error);
    uint64_t us = par_world_max(world, base_clock_us() - start_us);
    status = par_world_agree(world, status, error);
    if (status != BASE_OK)
        return status;
    e->results->has_load = true;
    e->results->load = (bench_load){.seconds = (double)us * 1e-6};
    return par_world_gather_bytes(world, &memory.weights_bytes, sizeof memory.weights_bytes, add_bytes,
                                  &e->results->load.bytes, error);
}

static void describe(engine *e)
{
    bench_machine *machine = &e->results->machine;
    const bench_engine_options *options = e->options;
    snprintf(machine->model, sizeof machine->model, "%.200s", options->model);
    snprintf(machine->weights, sizeof machine->weights, "%s", recipe_kind_name(e->recipe.kind));
    snprintf(machine->activations, sizeof machine->activations, "%s",
             model_activations_name(options->numerics.activations));
    snprintf(machine->kv, sizeof machine->kv, "%s", model_kv_type_name(options->numerics.kv));
    machine->tp = e->tp;
    machine->pp = e->pp;
    machine->billions = (double)plan_parameters_of(&e->checkpoint->a).decoder * 1e-9;
}

/* --- measuring --- */

static void run_prefill(void *context)
{
    engine *e = context;
    bench_steps_prefill(e->steps, e->row.batch, e->row.depth, e->row.tokens, e->step_tokens, true);
}

static void run_decode(void *context)
{
    engine *e = context;
    bench_steps_decode(e->steps, e->row.batch, e->row.depth, e->row.tokens);
}

static void fill_cache(engine *e, uint32_t batch, uint32_t depth)
{
    uint32_t from = depth;
    for (uint32_t seq = 0; seq < batch; seq++)
        from = e->filled[seq] < from ? e->filled[seq] : from;
    if (from < depth)
        bench_steps_prefill(e->steps, batch, from, depth - from, e->step_tokens, false);
    for (uint32_t seq = 0; seq < batch; seq++)
        e->filled[seq] = e->filled[seq] > depth ? e->filled[seq] : depth;
}

static void note_filled(engine *e, uint32_t n)
{
    for (uint32_t seq = 0; seq < e->row.batch; seq++)
        if (e->filled[seq] < e->row.depth + n)
            e->filled[seq] = e->row.depth + n;
}

/* What one run reads and computes. */
typedef struct cost {
    double bytes, f32_ops, int8_ops;
} cost;

static cost cost_of_run(const engine *e)
{
    const bench_engine_row *row = &e->row;
    const bench_work *w = &e->work;
    double n = (double)row->batch * row->tokens, visible = row->depth + (row->tokens + 1) / 2.0;
    double plans, head_plans, head_rows, kv_reads;
    if (row->decode) {
        plans = head_plans = bench_steps_decode_plans(e->steps, row->batch, row->tokens);
        head_rows = kv_reads = n;
    } else {
        plans = bench_steps_prefill_plans(row->batch, row->tokens, e->step_tokens);
        head_rows = row->batch;
        head_plans = plans < row->batch ? plans : row->batch;
        kv_reads = plans;
    }
    return (cost){.bytes = plans * w->layer_bytes + head_plans * w->head_bytes +
                           kv_reads * bench_work_attention_bytes(w, visible),
                  .f32_ops =
                      n * (w->layer_f32_ops + bench_work_attention_ops(w, visible)) + head_rows * w->head_f32_ops,
                  .int8_ops = n * w->layer_int8_ops + head_rows * w->head_int8_ops};
}

/* The least microseconds that a run can take by what memory and cores give now. */
typedef struct least_us {
    double read, compute;
} least_us;

static least_us least_now(engine *e, const cost *c)
{
    bench_limits *limits = &e->results->limits;
    double read = bench_limit_now(e->rank, limits, BENCH_READ) * 1e3;
    double f32 = bench_limit_now(e->rank, limits, BENCH_F32) * 1e3,
           int8 = bench_limit_now(e->rank, limits, BENCH_INT8) * 1e3;
    return (least_us){c->bytes / read, c->f32_ops / f32 + c->int8_ops / int8};
}

static void repeat(engine *e, void (*run)(void *context))
{
    double rates[REPEATS_MAX], reads[REPEATS_MAX], peaks[REPEATS_MAX];
    uint32_t repeats = e->options->repeats;
    const cost c = cost_of_run(e);
    double n = (double)e->row.batch * e->row.tokens;
    least_us before = least_now(e, &c);
    for (uint32_t i = 0; i < repeats; i++) {
        double us = bench_time_us(e->rank, run, e);
        least_us after = least_now(e, &c);
        rates[i] = n * 1e6 / us;
        reads[i] = 0.5 * (before.read + after.read) / us;
        peaks[i] = 0.5 * (before.compute + after.compute) / us;
        before = after;
    }
    e->row.tokens_per_s = bench_spread_of(rates, repeats);
    e->row.read_share = bench_spread_of(reads, repeats).median;
    e->row.peak_share = bench_spread_of(peaks, repeats).median;
    e->row.bytes_per_token = c.bytes / n;
    e->row.ops_per_token = (c.f32_ops + c.int8_ops) / n;
}

static void measure(engine *e, bool decode, uint32_t n, uint32_t batch, uint32_t depth)
{
    void (*run)(void *context) = decode ? run_decode : run_prefill;
    bench_say(e->rank, "%s of %u tokens, batch %u, depth %u ...", decode ? "decode" : "prefill", n, batch, depth);
    fill_cache(e, batch, depth);
    e->row = (bench_engine_row){
        .decode = decode, .tokens = n < WARM_TOKENS ? n : WARM_TOKENS, .batch = batch, .depth = depth};
    run(e); /* does not count */
    e->row.tokens = n;
    repeat(e, run);
    note_filled(e, n);
    e->results->engine[e->results->n_engine++] = e->row;
}

static base_status measure_all(engine *e, base_error *error)
{
    const bench_engine_options *options = e->options;
    size_t n = 2 * options->batches.n * options->depths.n;
    e->results->engine = calloc(n, sizeof *e->results->engine);
    base_status status = e->results->engine != NULL ? BASE_OK : base_fail(error, BASE_ENOMEM, "out of memory");
    status = par_world_agree(e->rank->world, status, error);
    if (status != BASE_OK)
        return status;
    for (size_t d = 0; d < options->depths.n; d++)
        for (size_t b = 0; b < options->batches.n; b++) {
            if (options->prompt > 0)
                measure(e, false, options->prompt, options->batches.values[b], options->depths.values[d]);
            if (options->generate > 0)
                measure(e, true, options->generate, options->batches.values[b], options->depths.values[d]);
        }
    if (bench_steps_overflowed(e->steps))
        status =
            base_fail(error, BASE_ENUMERIC, "an activation left the fixed-point range: these weights cannot be run");
    return par_world_agree(e->rank->world, status, error);
}

static void say_line(void *context, int rank, const char *text)
{
    (void)rank;
    bench_say(context, "trace: %s", text);
}

static base_status run_engine(engine *e, base_error *error)
{
    par_place place = par_grid_place(e->grid);
    base_status status =
        bench_steps_create(e->rank->world, e->grid, e->m, e->checkpoint->a.decoder.stack.d, &e->steps, error);
    if (status == BASE_OK)
        status = worker_trace_open(e->rank->world, &place, e->options->trace, &e->trace, error);
    if (status == BASE_OK)
        status = measure_all(e, error);
    if (status == BASE_OK)
        status = worker_trace_close(&e->trace, say_line, e->rank, error);
    return status;
}

/* In reverse order of opening; every part may be missing. */
static void release(engine *e)
{
    worker_trace_abandon(&e->trace);
    bench_steps_destroy(&e->steps);
    model_destroy(&e->m);
    par_grid_destroy(&e->grid);
    free(e->types);
    free(e->filled);
    shard_importance_close(&e->importance);
    shard_checkpoint_close(&e->checkpoint);
}

base_status bench_engine_measure(bench_rank *rank, const bench_engine_options *options, bool only_load,
                                 bench_results *results, base_error *error)
{
    engine e = {.rank = rank, .options = options, .results = results};
    base_status status = read_model(&e, error);
    if (status == BASE_OK)
        status = load(&e, error);
    if (status == BASE_OK) {
        describe(&e);
        if (!only_load)
            status = run_engine(&e, error);
    }
    release(&e);
    return status;
}
