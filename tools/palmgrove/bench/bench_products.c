/* bench_products.c - our many-row products against OpenBLAS's, in turns on the same matrices.
 *
 * Each pair of runs gives a ratio; the median of these is told, because on a busy machine neighbouring runs differ less
 * than distant ones.  Rows go up from one, where reading the weights is the limit, to a prompt of 512.  "linear" and
 * "fixed" as in bench_kernels.c: in fixed point our kernels round a partial for every SHARD_MLP_GROUP columns,
 * OpenBLAS's sum is rounded once (worker/kernels/blas/openblas.h).  Our bf16 weights are measured with f32 activations
 * and with bf16 ones, which are the default; OpenBLAS's activations are f32. */
#include <stdlib.h>
#include <string.h>

#include "proto/base/size.h"
#include "sharding/split.h"
#include "tools/palmgrove/bench/bench.h"
#include "worker/kernels/blas/openblas.h"
#include "worker/kernels/linear.h"

#define COLUMNS  4096u
#define OUTPUTS  4096u
#define ROWS_MAX 512u
#define PAIRS    7
#define FEW_US   2000.0 /* shorter runs are repeated within one measurement */
#define REPEATS  64

typedef struct lab {
    bench_rank *rank;
    float *x;       /* [ROWS_MAX][COLUMNS] */
    uint16_t *bf16; /* the same */
    void *y;        /* [ROWS_MAX][OUTPUTS] int64 or float */
    int64_t *overflow;
    char *scratch;
    /* what is running */
    pack_matrix matrix;
    kern_activations quantised;
    bool is_fixed, has_bf16, is_openblas;
    uint32_t m, n_repeats;
} lab;

static void *lines(size_t bytes)
{
    void *memory = aligned_alloc(KERN_ALIGN, base_size_round_up(bytes, KERN_ALIGN));
    return memory != NULL ? memset(memory, 0, bytes) : NULL;
}

static base_status allocate(lab *l, base_error *error)
{
    l->x = lines((size_t)ROWS_MAX * COLUMNS * sizeof *l->x);
    l->bf16 = lines((size_t)ROWS_MAX * COLUMNS * sizeof *l->bf16);
    l->y = lines((size_t)ROWS_MAX * OUTPUTS * sizeof(int64_t));
    l->overflow = lines(ROWS_MAX * sizeof *l->overflow);
    l->scratch = lines(l->rank->n_threads * kern_openblas_scratch_bytes());
    bool ok = l->x != NULL && l->bf16 != NULL && l->y != NULL && l->overflow != NULL && l->scratch != NULL;
    for (size_t i = 0; ok && i < (size_t)ROWS_MAX * COLUMNS; i++)
        l->x[i] = (float)(i % 17) * 1e-4f;
    for (size_t r = 0; ok && r < ROWS_MAX; r++)
        kern_active()->round_bf16(l->x + r * COLUMNS, COLUMNS, COLUMNS, l->bf16 + r * COLUMNS);
    l->quantised = (kern_activations){.bf16 = l->bf16, .n_bf16 = COLUMNS};
    return par_world_agree(l->rank->world,
                           ok ? BASE_OK : base_fail(error, BASE_ENOMEM, "no memory to measure products"), error);
}

static void release(lab *l)
{
    free(l->x), free(l->bf16), free(l->y), free(l->overflow), free(l->scratch);
}

static void multiply(void *context, team_member *me)
{
    lab *l = context;
    const kern_span all = {0, l->m};
    const kern_rows rows = {.x = l->x,
                            .ldx = COLUMNS,
                            .m = l->m,
                            .quantised = l->has_bf16 ? &l->quantised : NULL,
                            .scratch = l->scratch,
                            .scratch_stride = kern_openblas_scratch_bytes(),
                            .spans = &all,
                            .n_spans = l->is_openblas};
    const kern_product product = {.w = &l->matrix, .y = l->y, .ldy = OUTPUTS};
    const kern_term term = {.rows = &rows, .w = &l->matrix};
    for (uint32_t i = 0; i < l->n_repeats; i++) {
        if (l->is_fixed)
            kern_linear_fixed(me, &term, 1, l->y, OUTPUTS, l->overflow);
        else
            kern_linear(me, &rows, &product, 1);
        team_barrier(me);
    }
}

static void run_multiply(void *context)
{
    const lab *l = context;
    team_run(l->rank->team, multiply, context);
}

static double time_us(lab *l, bool is_openblas)
{
    l->is_openblas = is_openblas;
    return bench_time_us(l->rank, run_multiply, l) / l->n_repeats;
}

static bench_products_row measure_pair(lab *l)
{
    double own[PAIRS], openblas[PAIRS], ratios[PAIRS];
    double gop = 2e-3 * COLUMNS * OUTPUTS * l->m * par_world_size(l->rank->world); /* times 1000 */
    l->n_repeats = 1;
    if (time_us(l, false) < FEW_US) /* the same on every rank */
        l->n_repeats = REPEATS;
    time_us(l, true);
    for (int i = 0; i < PAIRS; i++) {
        own[i] = time_us(l, false);
        openblas[i] = time_us(l, true);
        ratios[i] = own[i] / openblas[i];
    }
    return (bench_products_row){.type = pack_type_name(l->matrix.type),
                                .activations = l->has_bf16 ? "bf16" : "f32",
                                .what = l->is_fixed ? "fixed" : "linear",
                                .rows = l->m,
                                .own_gop_s = gop / bench_spread_of(own, PAIRS).median,
                                .openblas_gop_s = gop / bench_spread_of(openblas, PAIRS).median,
                                .ratio = bench_spread_of(ratios, PAIRS).median};
}

base_status bench_products_measure(bench_rank *rank, bench_results *results, base_error *error)
{
    static const struct {
        pack_type type;
        bool has_bf16;
    } forms[] = {{PACK_F32, false}, {PACK_BF16, false}, {PACK_BF16, true}};
    static const uint32_t rows[] = {1, 8, 64, 256, ROWS_MAX};
    lab l = {.rank = rank};
    size_t largest = pack_bytes(PACK_F32, OUTPUTS, COLUMNS, COLUMNS);
    base_status status =
        rank->memory_bytes >= largest
            ? BASE_OK
            : base_fail(error, BASE_EINVAL, "--memory is too little: products are measured over %zu MiB of each rank",
                        largest >> 20);
    status = par_world_agree(rank->world, status, error);
    if (status == BASE_OK)
        status = allocate(&l, error);
    snprintf(results->provider, sizeof results->provider, "%s", kern_openblas_name());
    for (int fixed = 0; status == BASE_OK && fixed < 2; fixed++)
        for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
            bench_say(rank, "products: %s weights, own %s activations, %s ...", pack_type_name(forms[f].type),
                      forms[f].has_bf16 ? "bf16" : "f32", fixed ? "fixed" : "linear");
            for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
                l.is_fixed = fixed != 0, l.has_bf16 = forms[f].has_bf16, l.m = rows[i];
                l.matrix = (pack_matrix){.type = forms[f].type,
                                         .n = OUTPUTS,
                                         .k = COLUMNS,
                                         .unit = fixed ? SHARD_MLP_GROUP : COLUMNS,
                                         .data = rank->memory.base};
                results->products[results->n_products++] = measure_pair(&l);
            }
        }
    release(&l);
    return status;
}
