/* plan_measure.c - the measurements, each repeated and its median taken.
 *
 * All ranks measure the same thing at the same time, as they compute at the same time: what a memory or a core gives
 * when its neighbours rest is of no use.  The slowest rank counts, because a tensor group waits for it. */
#include "tools/palmgrove/plan_measure.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "sharding/planner/estimate.h"
#include "worker/kernels/linear.h"
#include "worker/model/arena.h"
#include "worker/par/collectives.h"
#include "worker/team/team.h"
#include "worker/topo/topo.h"

#define MATRIX_BYTES ((size_t)256 << 20) /* of a rank: past its share of the last cache */
#define MATRIX_K     8192u
#define FIXED_UNIT   64u
#define MAX_ROWS     64u
#define REPEATS      7
#define HEAD_DIM     256u
#define N_BLOCKS     (MATRIX_BYTES / kern_block_bytes(PACK_F32, HEAD_DIM))
#define ATTENTIONS   16 /* splits, one after the other */

/* 0x3c in every byte is a plain small number in every weight type: f32 0.0115, bf16 0.0115, f16 and the scales 1.06. */
#define FILL 0x3c

typedef struct bench {
    par_world *world;
    uint32_t n_threads;
    team *team;
    model_arena arena;
    float *x; /* [MAX_ROWS][MATRIX_K] */
    float *y; /* [MAX_ROWS][widest n] */
    int64_t *acc;
    int64_t overflow[MAX_ROWS];
    kern_activations quantised; /* of x, for int8 and int4 */
    char *scratch;              /* [n_threads][kern_scratch_bytes] */
    float *attention;           /* [n_threads][attention_floats] */
    /* what is running */
    void (*run)(void *context, team_member *me);
    pack_matrix matrix;
    uint32_t rows;
    par_grid *grid;
    int64_t *values;
    size_t n_values;
} bench;

/* --- the clock --- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double plan_median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, by_size);
    return values[n / 2];
}

/* What the team does while the clock runs; the context is the bench. */
typedef void work(void *context, team_member *me);

/* The barrier ends the work of all members, and hands out the indices of team_take afresh: without it the next run
 * would find every index taken and compute nothing. */
static void run_once(void *context, team_member *me)
{
    bench *b = context;
    b->run(b, me);
    team_barrier(me);
}

/* Median microseconds of `repeats` runs, of the slowest rank; all ranks begin each together.  The first run is not
 * counted. */
static double time_us(bench *b, work *run, int repeats)
{
    double times[REPEATS];
    b->run = run;
    team_run(b->team, run_once, b);
    for (int i = 0; i < repeats; i++) {
        par_world_max(b->world, 0);
        uint64_t start_us = base_clock_us();
        team_run(b->team, run_once, b);
        times[i] = (double)par_world_max(b->world, base_clock_us() - start_us);
    }
    double median = plan_median(times, (size_t)repeats);
    return median > 1.0 ? median : 1.0;
}

/* --- memory --- */

static void read_stream(void *context, team_member *me)
{
    bench *b = context;
    const uint64_t *words = (const uint64_t *)(const void *)b->arena.base;
    uint64_t sum = 0;
    size_t begin, end;
    team_part(me, MATRIX_BYTES / sizeof *words, 512, &begin, &end);
    for (size_t i = begin; i < end; i++)
        sum += words[i];
    b->acc[me->index] = (int64_t)sum;
}

/* --- kernels --- */

/* int8 and int4 take activations of 8 bits, as they do in service unless told otherwise. */
static kern_rows rows_of(const bench *b)
{
    return (kern_rows){.x = b->x,
                       .ldx = MATRIX_K,
                       .m = b->rows,
                       .quantised = &b->quantised,
                       .scratch = b->scratch,
                       .scratch_stride = kern_scratch_bytes(b->quantised.n_groups)};
}

static void run_linear(void *context, team_member *me)
{
    const bench *b = context;
    kern_rows rows = rows_of(b);
    kern_linear(me, &rows, &(kern_product){&b->matrix, b->y, b->matrix.n}, 1);
}

static void run_fixed(void *context, team_member *me)
{
    bench *b = context;
    kern_rows rows = rows_of(b);
    kern_linear_fixed(me, &(kern_term){&rows, &b->matrix}, 1, b->acc, b->matrix.n, b->overflow);
}

/* A matrix of this type that fills the arena (or a quarter: 64 rows take 64 times as long and do not read for it). */
static void take_matrix(bench *b, pack_type type, bool is_fixed, uint32_t rows)
{
    uint32_t unit = is_fixed ? FIXED_UNIT : MATRIX_K;
    size_t bytes = rows == 1 ? MATRIX_BYTES : MATRIX_BYTES / 8;
    b->matrix = (pack_matrix){.type = type, .k = MATRIX_K, .unit = unit, .data = b->arena.base};
    b->matrix.n = (uint32_t)(bytes / pack_panel_bytes(type, MATRIX_K, unit)) * PACK_PANEL;
    b->rows = rows;
}

/* GFLOP/s of one core. */
static double rate(bench *b, pack_type type, bool is_fixed, uint32_t rows)
{
    take_matrix(b, type, is_fixed, rows);
    double us = time_us(b, is_fixed ? run_fixed : run_linear, rows == 1 ? REPEATS : 3);
    return 2.0 * b->matrix.n * MATRIX_K * rows / (us * 1e3) / b->n_threads;
}

/* The widest matrix of all types and both numbers of rows decides the size of y and acc. */
static size_t output_floats(void)
{
    size_t most = 0;
    for (int type = 0; type < PACK_N_TYPES; type++) {
        size_t n = MATRIX_BYTES / pack_panel_bytes((pack_type)type, MATRIX_K, MATRIX_K) * PACK_PANEL;
        size_t alone = n, many = n / 8 * MAX_ROWS;
        most = alone > most ? alone : most;
        most = many > most ? many : most;
    }
    return most;
}

/* A thread's parts and scratch. */
static size_t attention_floats(void)
{
    return KERN_ATTENTION_ROWS * kern_partial_floats(HEAD_DIM) + kern_attention_scratch(HEAD_DIM);
}

/* One split of a tile of KERN_ATTENTION_ROWS rows, again and again, on every thread; the threads' blocks follow each
 * other in the arena. */
static void run_attention(void *context, team_member *me)
{
    const bench *b = context;
    uint32_t blocks[KERN_SPLIT / KERN_PANEL], visible[KERN_ATTENTION_ROWS];
    for (uint32_t i = 0; i < KERN_SPLIT / KERN_PANEL; i++)
        blocks[i] = (uint32_t)((me->index * (KERN_SPLIT / KERN_PANEL) + i) % N_BLOCKS);
    for (uint32_t r = 0; r < KERN_ATTENTION_ROWS; r++)
        visible[r] = KERN_SPLIT;
    float *memory = b->attention + me->index * attention_floats();
    const kern_attention call = {
        .type = PACK_F32,
        .base = b->arena.base,
        .blocks = blocks,
        .dh = HEAD_DIM,
        .scale = 0.0625f,
        .q = b->x,
        .ldq = HEAD_DIM,
        .n_tokens = KERN_ATTENTION_ROWS,
        .n_heads = 1,
        .n_visible = visible,
        .scratch = memory + KERN_ATTENTION_ROWS * kern_partial_floats(HEAD_DIM),
    };
    for (int repeat = 0; repeat < ATTENTIONS; repeat++)
        kern_active()->attention_partial(&call, 0, memory);
}

/* A product too small to take time: what remains is the barrier after it. */
static void run_calls(void *context, team_member *me)
{
    for (int i = 0; i < 256; i++) {
        run_linear(context, me);
        team_barrier(me);
    }
}

/* A kernel that reads faster than the plain stream shows what the memory can do. */
static double fastest_kernel_gb_per_s(const bench *b, const plan_cluster *out)
{
    double most = 0.0;
    for (int type = 0; type < PACK_N_TYPES; type++) {
        double weight_bytes =
            (double)pack_panel_bytes((pack_type)type, MATRIX_K, MATRIX_K) / ((double)PACK_PANEL * MATRIX_K);
        double gb_per_s = out->rates[type].rows_1 / 2.0 * weight_bytes * b->n_threads * out->ranks_per_node;
        most = gb_per_s > most ? gb_per_s : most;
    }
    return most;
}

static void measure_kernels(bench *b, plan_cluster *out)
{
    for (int type = 0; type < PACK_N_TYPES; type++) {
        pack_type t = (pack_type)type;
        out->rates[type] = (plan_rates){rate(b, t, false, 1), rate(b, t, false, MAX_ROWS), rate(b, t, true, 1),
                                        rate(b, t, true, MAX_ROWS)};
    }
    out->attention_gflops =
        ATTENTIONS * 4.0 * KERN_SPLIT * HEAD_DIM * KERN_ATTENTION_ROWS / (time_us(b, run_attention, REPEATS) * 1e3);
    b->matrix =
        (pack_matrix){.type = PACK_F32, .n = PACK_PANEL * b->n_threads, .k = 16, .unit = 16, .data = b->arena.base};
    b->rows = 1;
    out->call_us = time_us(b, run_calls, REPEATS) / 256.0;
    double by_kernel = fastest_kernel_gb_per_s(b, out);
    out->memory_gb_per_s = by_kernel > out->memory_gb_per_s ? by_kernel : out->memory_gb_per_s;
}

/* --- messages --- */

#define SMALL_VALUES 128u
#define LARGE_VALUES ((size_t)128 << 10) /* one piece of par_allreduce_sum_i64 */
#define SUMS         32

static void run_sums(void *context, team_member *me)
{
    bench *b = context;
    for (int i = 0; i < SUMS; i++)
        par_allreduce_sum_i64(b->grid, me, b->values, b->n_values);
}

/* Microseconds of one reduction of n values over groups of `tp` ranks. */
static base_status time_sum(bench *b, uint32_t tp, size_t n, double *us, base_error *error)
{
    base_status status = par_grid_create(b->world, tp, (uint32_t)par_world_size(b->world) / tp, &b->grid, error);
    if (status != BASE_OK)
        return status;
    b->values = b->acc;
    b->n_values = n;
    memset(b->values, 0, n * sizeof *b->values);
    *us = time_us(b, run_sums, REPEATS) / SUMS;
    par_grid_destroy(&b->grid);
    return BASE_OK;
}

/* The same over all ranks, of values like activations: between nodes zeros would travel as next to nothing
 * (worker/par/wire_codec_int.h). */
static base_status time_sum_of_all(bench *b, size_t n, double *us, base_error *error)
{
    double mpi_us;
    base_status status = par_grid_create(b->world, (uint32_t)par_world_size(b->world), 1, &b->grid, error);
    if (status != BASE_OK)
        return status;
    status = par_measure_allreduce(b->grid, n * sizeof(int64_t), REPEATS, us, &mpi_us, error);
    par_grid_destroy(&b->grid);
    return status;
}

/* Latency and bandwidth from a small and a large sum: time = latencies x latency + loads x bytes / bandwidth. */
static plan_wire solve_wire(double small_us, double large_us, double latencies, double loads)
{
    double per_byte = (large_us - small_us) / (loads * (LARGE_VALUES - SMALL_VALUES) * sizeof(int64_t));
    per_byte = per_byte > 1e-6 ? per_byte : 1e-6; /* us a byte: 1000 GB/s */
    double latency = (small_us - loads * SMALL_VALUES * sizeof(int64_t) * per_byte) / latencies;
    return (plan_wire){.latency_us = latency > 0.05 ? latency : 0.05, .gb_per_s = 1e-3 / per_byte};
}

/* The tree of plan_reduce_us read backwards. */
static base_status measure_messages(bench *b, plan_cluster *out, base_error *error)
{
    uint32_t n = (uint32_t)par_world_size(b->world), local = out->ranks_per_node;
    double small_us, large_us;
    base_status status = BASE_OK;
    double local_steps = plan_tree_levels(local), network_steps = plan_tree_levels(n) - local_steps;
    if (local > 1) {
        status = time_sum(b, local, SMALL_VALUES, &small_us, error);
        if (status == BASE_OK)
            status = time_sum(b, local, LARGE_VALUES, &large_us, error);
        if (status != BASE_OK)
            return status;
        out->local = solve_wire(small_us, large_us, 2 * local_steps, 2 * local_steps);
    }
    if (n == local)
        return BASE_OK;
    status = time_sum_of_all(b, SMALL_VALUES, &small_us, error);
    if (status == BASE_OK)
        status = time_sum_of_all(b, LARGE_VALUES, &large_us, error);
    if (status != BASE_OK)
        return status;
    double inside_us = 2 * local_steps * out->local.latency_us;
    double inside_per_byte = 2 * local_steps / (out->local.gb_per_s * 1e3);
    out->network = solve_wire(small_us - inside_us - inside_per_byte * SMALL_VALUES * 8,
                              large_us - inside_us - inside_per_byte * LARGE_VALUES * 8, 2 * network_steps,
                              network_steps * (1 + local));
    return BASE_OK;
}

/* --- plausibility --- */

/* Far above any machine: a node of two sockets with stacked memory reads 4 TB/s from caches; a core with AMX computes 6
 * Top/s of int8. */
#define NODE_GB_PER_S_MAX 20000.0
#define CORE_GFLOPS_MAX   20000.0

/* A figure beyond any machine means that the clock ran around nothing; a plan made from it would be nonsense. */
static base_status check_plausible(const plan_cluster *c, base_error *error)
{
    if (!(c->memory_gb_per_s <= NODE_GB_PER_S_MAX))
        return base_fail(error, BASE_EINTERNAL, "measured %.3g GB/s of a node's memory; no machine reads that fast",
                         c->memory_gb_per_s);
    for (int type = 0; type < PACK_N_TYPES; type++) {
        const plan_rates *r = &c->rates[type];
        const double rates[] = {r->rows_1, r->rows_64, r->fixed_rows_1, r->fixed_rows_64};
        for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
            if (!(rates[i] <= CORE_GFLOPS_MAX))
                return base_fail(error, BASE_EINTERNAL,
                                 "measured %.3g GFLOP/s of a core with %s weights; no core is that fast", rates[i],
                                 pack_type_name((pack_type)type));
    }
    return BASE_OK;
}

/* --- the whole --- */

/* Rows of x rounded to 8 bits; the unit divides by groups, so one cut serves both units. */
static bool allocate_quantised(bench *b)
{
    size_t n = kern_n_groups(MATRIX_K, FIXED_UNIT);
    b->quantised = (kern_activations){.q = aligned_alloc(KERN_ALIGN, MAX_ROWS * n * PACK_GROUP),
                                      .scales = malloc(MAX_ROWS * n * sizeof(float)),
                                      .corrections = malloc(MAX_ROWS * n * sizeof(int32_t)),
                                      .n_groups = n};
    b->scratch = aligned_alloc(KERN_ALIGN, b->n_threads * kern_scratch_bytes(n));
    b->attention = aligned_alloc(KERN_ALIGN, b->n_threads * attention_floats() * sizeof(float));
    return b->attention != NULL && b->quantised.q != NULL && b->quantised.scales != NULL &&
           b->quantised.corrections != NULL && b->scratch != NULL;
}

static void fill_page(void *context, team_member *me)
{
    const bench *b = context;
    size_t begin, end;
    team_part(me, MATRIX_BYTES, 4096, &begin, &end); /* each thread its own: first touch places the page */
    memset(b->arena.base + begin, FILL, end - begin);
}

static base_status take_memory(bench *b, base_error *error)
{
    size_t n = output_floats();
    b->x = calloc((size_t)MAX_ROWS * MATRIX_K, sizeof *b->x);
    b->y = calloc(n, sizeof *b->y);
    b->acc = calloc(n > LARGE_VALUES ? n : LARGE_VALUES, sizeof *b->acc);
    bool ok = allocate_quantised(b) && team_create(b->n_threads, false, &b->team, error) == BASE_OK && b->x != NULL &&
              b->y != NULL && b->acc != NULL && model_arena_map(&b->arena, MATRIX_BYTES, MODEL_HUGE_AUTO);
    base_status status = ok ? BASE_OK : base_fail(error, BASE_ENOMEM, "out of memory for the measurement");
    status = par_world_agree(b->world, status, error);
    if (status != BASE_OK)
        return status;
    team_run(b->team, fill_page, b);
    for (size_t i = 0; i < (size_t)MAX_ROWS * MATRIX_K; i++)
        b->x[i] = (float)(i % 17) * 1e-4f;
    size_t groups = b->quantised.n_groups;
    for (size_t r = 0; r < MAX_ROWS; r++)
        kern_active()->quantise(b->x + r * MATRIX_K, MATRIX_K, FIXED_UNIT, b->quantised.q + r * groups * PACK_GROUP,
                                b->quantised.scales + r * groups, b->quantised.corrections + r * groups);
    return BASE_OK;
}

static base_status count_nodes(par_world *world, uint32_t n_threads, plan_cluster *out, base_error *error)
{
    uint32_t n = (uint32_t)par_world_size(world), local = (uint32_t)par_world_local_size(world);
    uint64_t most = par_world_max(world, local), least = UINT32_MAX - par_world_max(world, UINT32_MAX - local);
    if (most != least)
        return base_fail(error, BASE_EINVAL, "nodes have from %llu to %llu ranks; start the same number on each",
                         (unsigned long long)least, (unsigned long long)most);
    out->nodes = n / local;
    out->ranks_per_node = local;
    out->cores_per_node = n_threads * local;
    uint64_t bytes = topo_memory_available();
    if (bytes > 0)
        out->memory_bytes = UINT64_MAX - par_world_max(world, UINT64_MAX - bytes); /* of the node that has least */
    return BASE_OK;
}

static void tell(const bench *b, void (*say)(const char *line), const char *line)
{
    if (say != NULL && par_world_rank(b->world) == 0)
        say(line);
}

base_status plan_measure(par_world *world, uint32_t n_threads, void (*say)(const char *line), plan_cluster *cluster,
                         base_error *error)
{
    bench b = {.world = world, .n_threads = n_threads};
    plan_cluster out = *cluster;
    base_status status = count_nodes(world, n_threads, &out, error);
    if (status == BASE_OK)
        status = take_memory(&b, error);
    if (status == BASE_OK) {
        tell(&b, say, "memory bandwidth ...");
        out.memory_gb_per_s = (double)MATRIX_BYTES / (time_us(&b, read_stream, REPEATS) * 1e3) * out.ranks_per_node;
        tell(&b, say, "kernels ...");
        measure_kernels(&b, &out);
        status = check_plausible(&out, error);
    }
    if (status == BASE_OK) {
        strncpy(out.kernels, kern_active()->name, sizeof out.kernels - 1);
        tell(&b, say, "messages ...");
        status = measure_messages(&b, &out, error);
    }
    model_arena_unmap(&b.arena);
    free(b.x);
    free(b.y);
    free(b.acc);
    free(b.quantised.q);
    free(b.quantised.scales);
    free(b.quantised.corrections);
    free(b.scratch);
    free(b.attention);
    team_destroy(&b.team);
    if (status == BASE_OK)
        *cluster = out;
    return status;
}
