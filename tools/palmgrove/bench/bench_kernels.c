/* bench_kernels.c - products with packed weights and attention, each alone, against the limit that binds it.
 *
 * Few rows (1, 4: decoding) meet a matrix as large as the rank's memory, so that it comes from memory and not from a
 * cache.  Many rows (512: a prompt) meet a smaller one, because they compute for long on every weight they read: `n` is
 * chosen so that a run takes a tenth of a second at f32's peak.  "linear" are products whose columns no layout divides,
 * "fixed" the sums in fixed point over units of SHARD_MLP_GROUP columns (worker/kernels/linear.h).
 *
 * Attention: the query heads of one token (decoding), or of as many as a call takes (a prompt), over one sequence whose
 * keys and values of one KV head fill the memory. */
#include <stdlib.h>
#include <string.h>

#include "proto/base/size.h"
#include "sharding/split.h"
#include "tools/palmgrove/bench/bench.h"
#include "worker/kernels/linear.h"

#define COLUMNS     4096u
#define PROMPT_ROWS 512u
#define PROMPT_US   100000.0
#define RUNS_MAX    9
#define RUNS_US     300000.0 /* then three runs are enough */
#define HEAD_DIM    128u
#define HEADS       8u /* query heads that read one KV head */

typedef struct lab {
    bench_rank *rank;
    bench_limits *limits;
    float *x; /* [PROMPT_ROWS][COLUMNS] */
    float *y; /* output_values, and the same as int64 */
    size_t output_values;
    size_t prompt_panels; /* of a matrix that PROMPT_ROWS meet; chosen once, for limits may rise while kernels are
                             measured */
    int64_t *overflow;    /* [PROMPT_ROWS] */
    kern_activations quantised;
    char *scratch; /* a member's share: scratch_stride */
    size_t scratch_stride;
    /* what is running */
    pack_matrix matrix;
    bool is_fixed, has_q8;
    uint32_t m;
    kern_attention attention;
    size_t n_splits;
} lab;

/* --- memory --- */

static uint32_t unit_of(bool is_fixed)
{
    return is_fixed ? SHARD_MLP_GROUP : COLUMNS;
}

/* Outputs of the matrix that m rows meet. */
static uint32_t outputs_of(const lab *l, pack_type type, bool is_fixed, uint32_t m)
{
    size_t panels = l->rank->memory_bytes / pack_panel_bytes(type, COLUMNS, unit_of(is_fixed));
    if (m == PROMPT_ROWS && panels > l->prompt_panels)
        panels = l->prompt_panels;
    return (uint32_t)panels * PACK_PANEL;
}

static size_t largest_output(const lab *l)
{
    size_t most = 0;
    for (int type = 0; type < PACK_N_TYPES; type++) {
        size_t few = (size_t)outputs_of(l, (pack_type)type, false, 4) * 4;
        size_t many = (size_t)outputs_of(l, (pack_type)type, false, PROMPT_ROWS) * PROMPT_ROWS;
        most = few > most ? few : most;
        most = many > most ? many : most;
    }
    return most;
}

static void *lines(size_t n, size_t bytes)
{
    void *memory = aligned_alloc(KERN_ALIGN, base_size_round_up(n * bytes, KERN_ALIGN));
    if (memory != NULL)
        memset(memory, 0, n * bytes);
    return memory;
}

static base_status take_memory(lab *l, base_error *error)
{
    size_t n_groups = kern_n_groups(COLUMNS, COLUMNS); /* as many in units of SHARD_MLP_GROUP, which groups divide */
    double gop_s = l->limits->f32_gop_s / par_world_size(l->rank->world);
    l->prompt_panels = (size_t)(gop_s * 1e3 * PROMPT_US / (2.0 * PROMPT_ROWS * COLUMNS * PACK_PANEL)) + 1;
    l->output_values = largest_output(l);
    l->scratch_stride = kern_scratch_bytes(n_groups);
    l->x = lines((size_t)PROMPT_ROWS * COLUMNS, sizeof *l->x);
    l->y = lines(l->output_values, sizeof(int64_t));
    l->overflow = lines(PROMPT_ROWS, sizeof *l->overflow);
    l->scratch = lines(l->rank->n_threads, l->scratch_stride);
    l->quantised = (kern_activations){.q = lines(PROMPT_ROWS * n_groups, PACK_GROUP),
                                      .scales = lines(PROMPT_ROWS * n_groups, sizeof(float)),
                                      .corrections = lines(PROMPT_ROWS * n_groups, sizeof(int32_t)),
                                      .n_groups = n_groups};
    bool ok = l->x != NULL && l->y != NULL && l->overflow != NULL && l->scratch != NULL && l->quantised.q != NULL &&
              l->quantised.scales != NULL && l->quantised.corrections != NULL;
    base_status status = ok ? BASE_OK : base_fail(error, BASE_ENOMEM, "no memory to measure kernels");
    for (size_t i = 0; ok && i < (size_t)PROMPT_ROWS * COLUMNS; i++)
        l->x[i] = (float)(i % 17) * 1e-4f;
    return par_world_agree(l->rank->world, status, error);
}

static void release_memory(lab *l)
{
    free(l->x);
    free(l->y);
    free(l->overflow);
    free(l->scratch);
    free(l->quantised.q);
    free(l->quantised.scales);
    free(l->quantised.corrections);
}

/* --- running --- */

static void quantise_rows(lab *l)
{
    for (size_t r = 0; r < PROMPT_ROWS; r++) {
        size_t group = r * l->quantised.n_groups;
        kern_active()->quantise(l->x + r * COLUMNS, COLUMNS, unit_of(l->is_fixed), l->quantised.q + group * PACK_GROUP,
                                l->quantised.scales + group, l->quantised.corrections + group);
    }
}

static void multiply(void *context, team_member *me)
{
    lab *l = context;
    const kern_rows rows = {.x = l->x,
                            .ldx = COLUMNS,
                            .m = l->m,
                            .quantised = l->has_q8 ? &l->quantised : NULL,
                            .scratch = l->scratch,
                            .scratch_stride = l->scratch_stride};
    const kern_product product = {.w = &l->matrix, .y = l->y, .ldy = l->matrix.n};
    const kern_term term = {.rows = &rows, .w = &l->matrix};
    if (l->is_fixed)
        kern_linear_fixed(me, &term, 1, (int64_t *)(void *)l->y, l->matrix.n, l->overflow);
    else
        kern_linear(me, &rows, &product, 1);
    team_barrier(me);
}

static void run_multiply(void *context)
{
    const lab *l = context;
    team_run(l->rank->team, multiply, context);
}

/* Time what takes `bytes` and `ops` on this rank, in turns with the limit that binds it. */
static bench_kernel_row hold_against(lab *l, void (*run)(void *context), double bytes, double ops,
                                     bench_bound arithmetic)
{
    double times[RUNS_MAX], shares[RUNS_MAX], sum_us = 0.0, n_ranks = par_world_size(l->rank->world);
    bool reads = bytes / bench_limit_of(l->limits, BENCH_READ) > ops / bench_limit_of(l->limits, arithmetic);
    bench_kernel_row row = {.bound = reads ? BENCH_READ : arithmetic};
    size_t n = 0;
    run(l);
    double before = bench_limit_now(l->rank, l->limits, row.bound);
    for (; n < RUNS_MAX && (n < 3 || sum_us < RUNS_US);
         n++) { /* times are the same on every rank, so all leave together */
        times[n] = bench_time_us(l->rank, run, l);
        double after = bench_limit_now(l->rank, l->limits, row.bound);
        shares[n] = (reads ? bytes : ops) * n_ranks / (times[n] * 1e3) / (0.5 * (before + after));
        sum_us += times[n];
        before = after;
    }
    double us = bench_spread_of(times, n).median;
    row.gb_s = bytes * n_ranks / (us * 1e3);
    row.gop_s = ops * n_ranks / (us * 1e3);
    row.share = bench_spread_of(shares, n).median;
    return row;
}

static void measure_product(lab *l, pack_type type, bool has_q8, bool is_fixed, uint32_t m, bench_results *results)
{
    uint32_t unit = unit_of(is_fixed), n = outputs_of(l, type, is_fixed, m);
    l->matrix = (pack_matrix){.type = type, .n = n, .k = COLUMNS, .unit = unit, .data = l->rank->memory.base};
    l->m = m;
    l->is_fixed = is_fixed;
    l->has_q8 = has_q8;
    if (has_q8)
        quantise_rows(l);
    double bytes = (double)pack_bytes(type, n, COLUMNS, unit), ops = 2.0 * n * COLUMNS * m;
    bench_kernel_row row = hold_against(l, run_multiply, bytes, ops, has_q8 ? BENCH_INT8 : BENCH_F32);
    row.type = pack_type_name(type);
    row.activations = model_activations_name(has_q8 ? MODEL_ACTIVATIONS_INT8 : MODEL_ACTIVATIONS_F32);
    row.what = is_fixed ? "fixed" : "linear";
    row.rows = m;
    results->kernels[results->n_kernels++] = row;
}

static void measure_type(lab *l, pack_type type, bool has_q8, bench_results *results)
{
    static const uint32_t rows[] = {1, 4, PROMPT_ROWS};
    bench_say(l->rank, "kernels: %s weights, %s activations ...", pack_type_name(type),
              model_activations_name(has_q8 ? MODEL_ACTIVATIONS_INT8 : MODEL_ACTIVATIONS_F32));
    for (int fixed = 0; fixed < 2; fixed++)
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
            measure_product(l, type, has_q8, fixed != 0, rows[i], results);
}

/* --- attention --- */

static size_t split_scratch(void)
{
    return base_size_round_up((kern_attention_scratch(HEAD_DIM) + KERN_ATTENTION_ROWS * kern_partial_floats(HEAD_DIM)) *
                                  sizeof(float),
                              KERN_ALIGN);
}

/* A member's scratch, followed by the partials of a split. */
static void attend(void *context, team_member *me)
{
    const lab *l = context;
    float *own = (float *)(void *)((char *)l->attention.scratch + me->index * split_scratch());
    kern_attention call = l->attention;
    call.scratch = own;
    for (size_t i; team_take(me, l->n_splits, &i);)
        kern_active()->attention_partial(&call, (uint32_t)i, own + kern_attention_scratch(HEAD_DIM));
    team_barrier(me);
}

static void run_attend(void *context)
{
    const lab *l = context;
    team_run(l->rank->team, attend, context);
}

static void measure_cache(lab *l, pack_type type, uint32_t n_tokens, const uint32_t *blocks, const uint32_t *visible,
                          bench_results *results)
{
    size_t block_bytes = kern_block_bytes(type, HEAD_DIM), blocks_per_split = KERN_SPLIT / KERN_PANEL;
    float *scratch = l->attention.scratch;
    l->n_splits = l->rank->memory_bytes / (block_bytes * blocks_per_split);
    l->attention = (kern_attention){.type = type,
                                    .base = l->rank->memory.base,
                                    .blocks = blocks,
                                    .dh = HEAD_DIM,
                                    .scale = 0.088f,
                                    .q = l->x,
                                    .ldq = COLUMNS,
                                    .n_tokens = n_tokens,
                                    .n_heads = HEADS,
                                    .n_visible = visible,
                                    .scratch = scratch};
    double bytes = (double)(l->n_splits * blocks_per_split * block_bytes);
    double ops = 4.0 * HEAD_DIM * HEADS * n_tokens * (double)l->n_splits * KERN_SPLIT;
    bench_kernel_row row = hold_against(l, run_attend, bytes, ops, BENCH_F32);
    row.type = pack_type_name(type);
    row.activations = model_activations_name(MODEL_ACTIVATIONS_F32);
    row.what = "attention";
    row.rows = HEADS * n_tokens;
    results->kernels[results->n_kernels++] = row;
}

static base_status measure_attention(lab *l, bench_results *results, base_error *error)
{
    static const pack_type types[] = {PACK_F32, PACK_BF16, PACK_INT8};
    size_t n_blocks = l->rank->memory_bytes / kern_block_bytes(PACK_INT8, HEAD_DIM); /* the smallest */
    uint32_t *blocks = calloc(n_blocks + 1, sizeof *blocks), visible[KERN_ATTENTION_ROWS / HEADS];
    l->attention.scratch = lines(l->rank->n_threads, split_scratch());
    base_status status = blocks != NULL && l->attention.scratch != NULL
                             ? BASE_OK
                             : base_fail(error, BASE_ENOMEM, "no memory to measure attention");
    status = par_world_agree(l->rank->world, status, error);
    for (size_t i = 0; status == BASE_OK && i < n_blocks; i++)
        blocks[i] = (uint32_t)i;
    for (size_t i = 0; i < KERN_ATTENTION_ROWS / HEADS; i++)
        visible[i] = (uint32_t)(n_blocks * KERN_PANEL);
    for (size_t i = 0; status == BASE_OK && i < sizeof types / sizeof types[0]; i++) {
        bench_say(l->rank, "kernels: attention, %s cache ...", pack_type_name(types[i]));
        measure_cache(l, types[i], 1, blocks, visible, results);
        measure_cache(l, types[i], KERN_ATTENTION_ROWS / HEADS, blocks, visible, results);
    }
    free(l->attention.scratch);
    free(blocks);
    return status;
}

base_status bench_kernels_measure(bench_rank *rank, bench_results *results, base_error *error)
{
    lab l = {.rank = rank, .limits = &results->limits};
    base_status status = take_memory(&l, error);
    for (int type = 0; status == BASE_OK && type < PACK_N_TYPES; type++) {
        measure_type(&l, (pack_type)type, false, results);
        if (pack_type_is_quantised((pack_type)type))
            measure_type(&l, (pack_type)type, true, results);
    }
    if (status == BASE_OK)
        status = measure_attention(&l, results, error);
    release_memory(&l);
    return status;
}
