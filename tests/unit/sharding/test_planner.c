/* test_planner.c - the planner's arithmetic against figures worked out by hand, published tables, and the worker's own
 * sums. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "sharding/families.h"
#include "sharding/planner/inspection.h"
#include "sharding/planner/plan_report.h"
#include "sharding/planner/presets.h"
#include "worker/model/model.h"
#include "worker/model/stack.h"

#define PHANTOM PALMGROVE_SOURCE_DIR "/models/phantom"
#define GOLDEN  PALMGROVE_SOURCE_DIR "/tests/golden/families/"

static arch preset(const char *name)
{
    arch a;
    assert_int_equal(preset_arch(name, &a, NULL), BASE_OK);
    return a;
}

/* --- presets --- */

/* Published counts: exact ones from the checkpoints' tensors, the others as far as their papers print them (tolerance:
 * half of the last digit, and the norms that the papers' products leave out). */
static void parameter_counts_are_the_published_ones(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double decoder, tolerance;
    } published[] = {
        {"palm-8b", 8.632e9, 1e6},         {"palm-62b", 62.496e9, 1.1e6},       {"palm-540b", 540.356e9, 3e6},
        {"gemma-3-270m", 268098176, 0},    {"gemma-3-1b", 999885952, 0},        {"medgemma-4b", 3.880e9, 5e5},
        {"gemma-3-12b", 11.77e9, 5e6},     {"medgemma-27b", 27.01e9, 5e6},      {"llama-3.1-8b", 8030261248, 0},
        {"llama-3.1-70b", 70553706496, 0}, {"llama-3.1-405b", 405853388800, 0}, {"llama-3.2-1b", 1235814400, 0},
        {"llama-1b", 1235290112, 0}, /* counted by hand: 16 (2 x 2048^2 + 2 x 2048 x 512 + 3 x 2048 x 8192) + 2 x 64000
                                        x 2048 + 33 x 2048 */
        {"mistral-7b", 7241732096, 0},     {"qwen2.5-0.5b", 494032768, 0},      {"qwen2.5-7b", 7615616512, 0},
        {"qwen2.5-72b", 72706203648, 0},   {"smollm2-135m", 134515008, 0},
    };
    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
        arch a = preset(published[i].name);
        double n = (double)plan_parameters_of(&a).decoder, off = n - published[i].decoder;
        if (off > published[i].tolerance || -off > published[i].tolerance)
            fail_msg("%s: %.0f parameters, published %.0f", published[i].name, n, published[i].decoder);
    }
}

/* ViT-22B: 21 743 M in the matrices of its blocks (arXiv 2302.05442 table 1); ViT-e: 3.8 billion there.  Patches,
 * positions, biases and norms are a small rest. */
static void towers_have_the_published_counts(void **state)
{
    (void)state;
    arch large = preset("palm-e-562b"), small = preset("palm-e-12b");
    double projector = 18432.0 * 6144 + 18432, blocks = 48.0 * (4.0 * 6144 * 6144 + 2.0 * 6144 * 24576);
    double rest = (double)plan_parameters_of(&large).tower - projector - blocks;
    assert_true(blocks > 21.7425e9 && blocks < 21.7435e9);
    assert_true(rest > 0 && rest < 0.0005 * blocks);
    projector = 4096.0 * 1792 + 4096;
    blocks = 56.0 * (4.0 * 1792 * 1792 + 2.0 * 1792 * 15360);
    rest = (double)plan_parameters_of(&small).tower - projector - blocks;
    assert_true(rest > 0 && rest < 0.001 * blocks);
}

static void presets_are_of_known_families(void **state)
{
    (void)state;
    const char *name, *about;
    size_t n = 0;
    for (; preset_list(n, &name, &about); n++) {
        arch a = preset(name);
        const arch_family *family = arch_family_find(a.family);
        assert_non_null(family);
        assert_string_equal(a.prefix, family->prefixes[0]);
        assert_true(strlen(about) > 0);
    }
    assert_int_equal(n, 22);
}

static void a_wrong_name_is_answered_with_the_nearest(void **state)
{
    (void)state;
    arch a;
    base_error error = {0};
    assert_int_equal(preset_arch("palm540b", &a, &error), BASE_ENOTFOUND);
    assert_non_null(strstr(error.text, "did you mean 'palm-540b'"));
    assert_non_null(strstr(error.text, "smollm2-135m")); /* the last of the list: nothing was cut */
    assert_int_equal(preset_arch("xyzzy", &a, &error), BASE_ENOTFOUND);
    assert_null(strstr(error.text, "did you mean"));
}

/* --- bytes --- */

static plan_model *model_of(const arch *a, pack_type type)
{
    plan_model *packed = malloc(sizeof *packed);
    assert_non_null(packed);
    *packed = (plan_model){.a = a, .kv_type = PACK_F32};
    memset(packed->types, (int)type, sizeof packed->types);
    return packed;
}

static plan_bytes bytes_of(const plan_model *packed, uint32_t n_blocks)
{
    const link_limits limits = {.max_seqs = 1, .max_positions = 2048, .max_step_tokens = 1, .n_kv_blocks = n_blocks};
    plan_bytes bytes;
    assert_int_equal(plan_rank_bytes(packed, 1, 1, 0, 0, &limits, &bytes, NULL), BASE_OK);
    return bytes;
}

/* Multi-query: layers x 2 x 256 values a token; in f32 twice the bf16 bytes that follow from PaLM's table 1. */
static void cache_bytes_of_a_token(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t bf16_bytes;
    } rows[] = {{"palm-8b", 32768}, {"palm-62b", 65536}, {"palm-540b", 120832}};
    for (size_t i = 0; i < 3; i++) {
        arch a = preset(rows[i].name);
        plan_model *packed = model_of(&a, PACK_BF16);
        assert_int_equal(bytes_of(packed, 1).kv, 32 * 2 * rows[i].bf16_bytes);
        free(packed);
    }
}

static void weight_bytes_by_type(void **state)
{
    (void)state;
    arch a = preset("palm-540b");
    const uint64_t d = 18432, f = 73728, q = 48 * 256, kv = 256, layers = 118, vocab = 256000;
    const uint64_t weights = vocab * d + layers * (3 * d * f + 2 * d * q + 2 * d * kv), norms = (layers + 1) * d * 4;
    static const struct {
        pack_type type;
        uint64_t half_bits;
    } rows[] = {{PACK_F32, 64}, {PACK_F16, 32}, {PACK_BF16, 32}, {PACK_INT8, 17}, {PACK_INT4, 9}};
    for (size_t i = 0; i < 5; i++) {
        plan_model *packed = model_of(&a, rows[i].type);
        assert_int_equal(bytes_of(packed, 1).weights, weights / 16 * rows[i].half_bits + norms);
        free(packed);
    }
}

/* What the worker will take, field by field. */
static void check_footprint(const char *path)
{
    static const uint32_t layouts[][2] = {{1, 1}, {2, 1}, {1, 2}, {2, 2}, {3, 1}};
    static const recipe_kind recipes[] = {RECIPE_AUTO, RECIPE_INT8, RECIPE_INT4};
    const link_limits limits = {
        .max_seqs = 5, .max_positions = 333, .max_step_tokens = 77, .n_kv_blocks = 50, .n_image_slots = 3};
    static const pack_type kv_types[] = {
        [MODEL_KV_F32] = PACK_F32, [MODEL_KV_BF16] = PACK_BF16, [MODEL_KV_INT8] = PACK_INT8};
    model_options options = {.limits = limits, .numerics = {.activations = MODEL_ACTIVATIONS_INT8}};
    shard_checkpoint *checkpoint = NULL;
    assert_int_equal(shard_checkpoint_open(path, &checkpoint, NULL), BASE_OK);
    plan_model *packed = malloc(sizeof *packed);
    assert_non_null(packed);
    for (size_t ir = 0; ir < 3; ir++) {
        const shard_recipe recipe = {.kind = recipes[ir]};
        assert_int_equal(plan_model_init(packed, &checkpoint->a, checkpoint, recipes[ir], NULL), BASE_OK);
        assert_int_equal(packed->kv_type, PACK_F32);
        options.numerics.kv = (model_kv_type)ir; /* as many as recipes */
        packed->kv_type = kv_types[ir];
        for (size_t il = 0; il < sizeof layouts / sizeof layouts[0]; il++) {
            uint32_t tp = layouts[il][0], pp = layouts[il][1];
            for (uint32_t rank = 0; rank < tp * pp; rank++) {
                par_place place = {.rank = rank, .tp = tp, .pp = pp, .tp_rank = rank % tp, .stage = rank / tp};
                model_memory memory;
                plan_bytes bytes;
                assert_int_equal(model_memory_of(checkpoint, &recipe, &place, &options, &memory, NULL), BASE_OK);
                assert_int_equal(plan_rank_bytes(packed, tp, pp, rank % tp, rank / tp, &limits, &bytes, NULL), BASE_OK);
                assert_int_equal(bytes.weights, memory.weights_bytes);
                assert_int_equal(bytes.kv, memory.kv_bytes);
                assert_int_equal(bytes.workspace, memory.workspace_bytes);
            }
        }
    }
    free(packed);
    shard_checkpoint_close(&checkpoint);
}

/* The checkpoint that ships with the program, and one with each kind of tower and projector. */
static void footprint_is_the_workers_own(void **state)
{
    (void)state;
    static const char *const models[] = {
        PHANTOM,       GOLDEN "llava", GOLDEN "llava_original", GOLDEN "gemma3_vision", GOLDEN "gemma3_mmproj",
        GOLDEN "vit_e"};
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
        check_footprint(models[i]);
}

/* --- sending --- */

/* Pope et al.: one all-gather and one reduce-scatter of d values a layer, 2 x 18432 x 118 values; 8.7 MB in bf16, four
 * times that in int64; and an overflow flag for each. */
static void wire_bytes_of_a_token(void **state)
{
    (void)state;
    arch palm = preset("palm-540b"), llama = preset("llama-3.1-8b");
    plan_model *packed = model_of(&palm, PACK_BF16), *small = model_of(&llama, PACK_INT8);
    plan_traffic one = plan_traffic_of(packed, 8, 1), staged = plan_traffic_of(packed, 8, 2);
    assert_int_equal(one.reduce_bytes, 4u * 8699904u + 2u * 118u * 8u);
    assert_int_equal(one.n_reductions, 118);
    assert_int_equal(one.hop_bytes, 0);
    assert_int_equal(staged.reduce_bytes, one.reduce_bytes / 2);
    assert_int_equal(staged.hop_bytes, (18432 + 1) * 4);
    assert_int_equal(plan_traffic_of(small, 8, 1).n_reductions, 2 * 32); /* a serial block reduces twice */
    assert_int_equal(plan_traffic_of(packed, 1, 4).reduce_bytes, 0);
    free(packed);
    free(small);
}

/* Of a prompt's rows sums travel once, and the rounded rows: bf16, or codes with a scale and an offset for each 32. */
static void wire_bytes_of_a_prompt(void **state)
{
    (void)state;
    assert_int_equal(PLAN_ROWS_DIVIDED, MODEL_ROWS_DIVIDED);
    arch palm = preset("palm-540b"), llama = preset("llama-3.1-8b");
    plan_model *packed = model_of(&palm, PACK_BF16), *small = model_of(&llama, PACK_INT8);
    assert_int_equal(plan_traffic_of(packed, 8, 1).prompt_bytes, 118u * (18433u * 8u + 18432u * 2u));
    assert_int_equal(plan_traffic_of(small, 8, 1).prompt_bytes, 2u * 32u * (4097u * 8u + 4096u + 128u * 8u));
    assert_int_equal(plan_traffic_of(small, 1, 2).prompt_bytes, 0);
    free(packed);
    free(small);
}

static plan_cluster plain_cluster(void)
{
    plan_cluster c = {.nodes = 1,
                      .ranks_per_node = 1,
                      .cores_per_node = 1,
                      .memory_bytes = UINT64_C(1000000000000),
                      .memory_gb_per_s = 1e9,
                      .attention_gflops = 1e9,
                      .local = {1, 1},
                      .network = {10, 2}};
    for (int type = 0; type < PACK_N_TYPES; type++)
        c.rates[type] = (plan_rates){1e9, 1e9, 1e9, 1e9};
    return c;
}

static void about(double value, double expected)
{
    if (value < expected * (1 - 1e-9) || value > expected * (1 + 1e-9))
        fail_msg("%.9g instead of %.9g", value, expected);
}

/* The tree up and down, step by step; a message of B bytes takes 1 us + B / 1 GB/s inside, 10 us + B / 2 GB/s between
 * nodes. */
static void a_reduction_is_two_trees(void **state)
{
    (void)state;
    plan_cluster c = plain_cluster();
    about(plan_reduce_us(&c, 1, 1000, 8) + 1, 1);
    c.ranks_per_node = 4;
    about(plan_reduce_us(&c, 2, 1000, 8), 2 * (1 + 8));
    about(plan_reduce_us(&c, 4, 1000, 8), 4 * (1 + 8));
    c.ranks_per_node = 1;
    about(plan_reduce_us(&c, 3, 1000, 8), 4 * (10 + 4)); /* three ranks: as four */
    c.ranks_per_node = 2; /* 4 ranks on 2 nodes: up one sends, down both share the link */
    about(plan_reduce_us(&c, 4, 1000, 8), 2 * (1 + 8) + (10 + 4) + (10 + 8));
    c.ranks_per_node = 4; /* two pieces: 128 Ki values, then one */
    about(plan_reduce_us(&c, 2, 131073, 8), 2 * (1 + 1048.576) + 2 * (1 + 0.008));
}

/* Half of the sums leave a rank of two, three quarters one of four; between nodes each byte crosses once. */
static void divided_rows_are_two_halves(void **state)
{
    (void)state;
    plan_cluster c = plain_cluster();
    about(plan_divide_us(&c, 1, 8000, 1000) + 1, 1);
    c.ranks_per_node = 4;
    about(plan_divide_us(&c, 2, 8000, 1000), (1 + 4) + (1 + 0.5));
    about(plan_divide_us(&c, 4, 8000, 1000), (1 + 6) + (1 + 0.75));
    c.ranks_per_node = 1;
    about(plan_divide_us(&c, 4, 8000, 1000), (10 + 3) + (10 + 0.375));
    c.ranks_per_node = 2;
    about(plan_divide_us(&c, 4, 8000, 1000), (1 + 4) + (1 + 0.5) + (10 + 2) + (10 + 0.25));
}

/* --- time --- */

static plan_time rank_time(const plan_model *packed, const plan_cluster *c, plan_pass pass)
{
    plan_time time;
    assert_int_equal(plan_rank_time(packed, c, 1, 1, 0, 0, &pass, &time, NULL), BASE_OK);
    return time;
}

/* PaLM 8B in bf16: everything but the look-up in the embedding, which is the output matrix as well. */
static void decoding_is_bound_by_memory_or_by_arithmetic(void **state)
{
    (void)state;
    arch a = preset("palm-8b");
    plan_model *packed = model_of(&a, PACK_BF16);
    const double weights = 256000.0 * 4096 + 32.0 * (3.0 * 4096 * 16384 + 2.0 * 4096 * 4096 + 2.0 * 4096 * 256);
    const plan_pass one = {.rows = 1, .rows_per_sequence = 1, .sampled = 1, .visible = 2048};
    plan_cluster c = plain_cluster();

    c.memory_gb_per_s = 100;
    plan_time slow_memory = rank_time(packed, &c, one);
    about(slow_memory.matrix_us, 2 * weights / 100e3);
    about(slow_memory.memory_us, slow_memory.matrix_us);

    c = plain_cluster();
    for (int type = 0; type < PACK_N_TYPES; type++)
        c.rates[type] = (plan_rates){10, 1e9, 10, 1e9};
    plan_time slow_core = rank_time(packed, &c, one);
    about(slow_core.matrix_us, 2 * weights / 10e3);
    about(slow_core.memory_us + 1, 1);
    c.cores_per_node = 4; /* panels of 32 outputs divide by 4, but K and V: 8 panels each, do too */
    about(rank_time(packed, &c, one).matrix_us, 2 * weights / 40e3);
    c.cores_per_node = 16; /* K and V have work for 8 of 16 */
    double kv = 32.0 * 2 * 4096 * 256;
    about(rank_time(packed, &c, one).matrix_us, 2 * (weights - kv) / 160e3 + 2 * kv / 80e3);
    free(packed);
}

static void a_prompt_costs_its_flops(void **state)
{
    (void)state;
    arch a = preset("palm-8b");
    plan_model *packed = model_of(&a, PACK_F32);
    const double layers = 32.0 * (3.0 * 4096 * 16384 + 2.0 * 4096 * 4096 + 2.0 * 4096 * 256);
    plan_cluster c = plain_cluster();
    for (int type = 0; type < PACK_N_TYPES; type++)
        c.rates[type] = (plan_rates){50, 50, 50, 50}; /* 128 rows: two tiles of 64 */
    const plan_pass prompt = {.rows = 128, .rows_per_sequence = 128, .sampled = 0, .visible = 64.5};
    about(rank_time(packed, &c, prompt).matrix_us, 2 * 128 * layers / 50e3);
    c.attention_gflops = 2; /* 16 heads of 256 */
    about(rank_time(packed, &c, prompt).attention_us, 32 * 4.0 * 64.5 * 256 * 16 * 128 / 2e3);
    const plan_pass token = {.rows = 1, .rows_per_sequence = 1, .sampled = 1, .visible = 1000};
    about(rank_time(packed, &c, token).attention_us, 32 * 4.0 * 1000 * 256 * 16 / 2e3);
    c.cores_per_node = 8; /* 16 heads of one token are one tile, its 1000 positions four splits: four cores work */
    about(rank_time(packed, &c, token).attention_us, 32 * 4.0 * 1000 * 256 * 16 / 8e3);
    free(packed);
}

/* A window bounds what a local layer sees: 5 of 6 layers of Gemma. */
static void a_window_bounds_attention(void **state)
{
    (void)state;
    arch a = preset("gemma-3-1b");
    plan_model *packed = model_of(&a, PACK_BF16);
    plan_cluster c = plain_cluster();
    c.attention_gflops = 1;
    const plan_pass token = {.rows = 1, .rows_per_sequence = 1, .sampled = 1, .visible = 10000};
    about(rank_time(packed, &c, token).attention_us, (4 * 10000.0 + 22 * 512.0) * 4 * 256 * 4 / 1e3);
    free(packed);
}

/* --- layouts --- */

static plan_table table_of(const plan_model *packed, const plan_cluster *c, const plan_demand *demand)
{
    plan_table table;
    base_error error = {0};
    if (plan_table_make(packed, c, demand, PLAN_LATENCY, &table, &error) != BASE_OK)
        fail_msg("%s", error.text);
    return table;
}

static const plan_layout *layout_of(const plan_table *table, uint32_t tp, uint32_t pp)
{
    for (size_t i = 0; i < table->n; i++)
        if (table->layouts[i].tp == tp && table->layouts[i].pp == pp)
            return &table->layouts[i];
    fail_msg("no layout %u x %u", tp, pp);
    return NULL;
}

static void every_divisor_is_a_layout(void **state)
{
    (void)state;
    arch a = preset("palm-8b");
    plan_model *packed = model_of(&a, PACK_BF16);
    plan_cluster c = plan_cluster_default();
    const plan_demand demand = {.context = 2048, .batch = 4, .prompt = 700, .answer = 256, .step_tokens = 512};
    c.nodes = 3;
    c.ranks_per_node = 4;
    plan_table table = table_of(packed, &c, &demand);
    assert_int_equal(table.n, 6); /* 1 2 3 4 6 12 */
    assert_true(table.chosen != PLAN_NONE);
    for (size_t i = 0; i < table.n; i++) {
        assert_true(table.layouts[i].fits);
        assert_true(plan_goal_us(&table.layouts[i], &demand, PLAN_LATENCY) >=
                    plan_goal_us(&table.layouts[table.chosen], &demand, PLAN_LATENCY));
    }
    assert_non_null(strstr(table.reason, "next is tp"));
    plan_table_release(&table);
    free(packed);
}

static void refusals_name_the_first_limit(void **state)
{
    (void)state;
    arch a = preset("palm-540b");
    plan_model *packed = model_of(&a, PACK_BF16);
    plan_cluster c = plan_cluster_default();
    plan_demand demand = {.context = 2048, .batch = 4, .prompt = 700, .answer = 256, .step_tokens = 512};
    c.nodes = 32;
    plan_table table = table_of(packed, &c, &demand);
    assert_false(layout_of(&table, 64, 1)->fits);
    assert_non_null(strstr(layout_of(&table, 64, 1)->refusal, "48 attention heads"));
    assert_null(strstr(layout_of(&table, 64, 1)->refusal, "nearest"));
    assert_true(layout_of(&table, 32, 2)->fits);
    plan_table_release(&table);

    c.nodes = 2; /* 1.08 TB of weights over two nodes */
    table = table_of(packed, &c, &demand);
    assert_int_equal(table.chosen, PLAN_NONE);
    assert_non_null(strstr(layout_of(&table, 4, 1)->refusal, "memory: weights of 54"));
    assert_non_null(strstr(table.reason, "nothing fits"));
    plan_table_release(&table);

    c.nodes = 4; /* weights fit, thousands of contexts do not: 241 664 bytes a token on every rank of a tensor group */
    demand.batch = 1000;
    table = table_of(packed, &c, &demand);
    assert_non_null(strstr(layout_of(&table, 8, 1)->refusal, "memory: KV cache of 989.9 GB (1000 x 2048 positions)"));
    plan_table_release(&table);
    free(packed);
}

static void demands_that_no_layout_meets(void **state)
{
    (void)state;
    arch a = preset("palm-8b");
    plan_model *packed = model_of(&a, PACK_BF16);
    plan_cluster c = plan_cluster_default();
    const plan_demand wrong[] = {
        {.context = 4096, .batch = 1, .prompt = 1, .step_tokens = 1},
        {.context = 100, .batch = 1, .prompt = 90, .answer = 20, .step_tokens = 1},
        {.context = 100, .batch = 0, .prompt = 90, .step_tokens = 1},
    };
    static const char *const why[] = {"2048 positions", "more than the context", "at least 1"};
    for (size_t i = 0; i < 3; i++) {
        plan_table table;
        base_error error = {0};
        assert_int_equal(plan_table_make(packed, &c, &wrong[i], PLAN_LATENCY, &table, &error), BASE_EINVAL);
        assert_non_null(strstr(error.text, why[i]));
    }
    free(packed);
}

/* A slow network makes stages better than tensor groups over nodes. */
static void the_network_decides(void **state)
{
    (void)state;
    arch a = preset("llama-3.1-405b");
    plan_model *packed = model_of(&a, PACK_INT4);
    plan_cluster c = plan_cluster_default();
    const plan_demand demand = {.context = 2048, .batch = 1, .prompt = 700, .answer = 256, .step_tokens = 512};
    c.nodes = 8;
    plan_table table = table_of(packed, &c, &demand);
    assert_int_equal(table.layouts[table.chosen].tp, 16);
    plan_table_release(&table);
    c.network = (plan_wire){2000, 0.1};
    table = table_of(packed, &c, &demand);
    assert_int_equal(table.layouts[table.chosen].tp, 2);
    plan_table_release(&table);
    free(packed);
}

/* --- files --- */

static void write_file(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void a_cluster_file_comes_back(void **state)
{
    (void)state;
    char path[] = "/tmp/palmgrove-cluster-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    plan_cluster c = plan_cluster_default(), back;
    c.nodes = 7;
    c.rates[PACK_INT4].fixed_rows_1 = 12.5;
    c.network.latency_us = 31.25;
    base_buf text = {0};
    assert_int_equal(plan_cluster_write(&c, &text, NULL), BASE_OK);
    write_file(path, text.data, text.size);
    assert_int_equal(plan_cluster_read(path, &back, NULL), BASE_OK);
    assert_int_equal(back.nodes, 7);
    assert_int_equal(back.memory_bytes, c.memory_bytes);
    about(back.rates[PACK_INT4].fixed_rows_1, 12.5);
    about(back.network.latency_us, 31.25);
    assert_string_equal(back.kernels, "assumed");

    char *field = strstr((char *)text.data, "\"latency_us\""); /* of the first wire: local */
    assert_non_null(field);
    field[1] = 'L';
    write_file(path, text.data, text.size);
    base_error error = {0};
    assert_int_equal(plan_cluster_read(path, &back, &error), BASE_EFORMAT);
    assert_non_null(strstr(error.text, "'local.latency_us' is missing"));
    assert_int_equal(plan_cluster_read("/nowhere/cluster.json", &back, &error), BASE_ENOTFOUND);
    assert_non_null(strstr(error.text, "plan --measure"));
    base_buf_release(&text);
    unlink(path);
}

static bool shell(const char *command, const char *path)
{
    char line[512];
    snprintf(line, sizeof line, "%s %s >/dev/null 2>&1", command, path);
    return system(line) == 0;
}

static void batch_scripts_are_accepted(void **state)
{
    (void)state;
    arch a = preset("medgemma-27b");
    plan_model *packed = model_of(&a, PACK_INT4);
    plan_cluster c = plan_cluster_default();
    const plan_demand demand = {.context = 2048, .batch = 4, .prompt = 700, .answer = 256, .step_tokens = 512};
    c.nodes = 2;
    plan_table table = table_of(packed, &c, &demand);
    plan_report report = {.name = "/models/it is/27b",
                          .weights = "int4",
                          .is_packing = true,
                          .model = packed,
                          .cluster = &c,
                          .demand = &demand,
                          .table = &table};
    char path[] = "/tmp/palmgrove-sbatch-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    for (int launcher = PLAN_SRUN; launcher <= PLAN_MPIRUN; launcher++) {
        base_buf text = {0};
        assert_int_equal(plan_sbatch(&report, (plan_launcher)launcher, &text, NULL), BASE_OK);
        write_file(path, text.data, text.size);
        base_buf_put_u8(&text, 0);
        const char *script = (const char *)text.data;
        assert_non_null(
            strstr(script,
                   "#SBATCH --nodes=2\n#SBATCH --ntasks=4\n#SBATCH --ntasks-per-node=2\n#SBATCH --cpus-per-task=32\n"));
        assert_non_null(strstr(script, "model='/models/it is/27b'"));
        assert_non_null(strstr(script, "--tp 4 --pp 1"));
        assert_non_null(strstr(script, "--weights int4"));
        assert_non_null(strstr(script, launcher == PLAN_SRUN ? "srun --mpi=pmix" : "mpirun -n"));
        assert_true(shell("bash -n", path));
        if (shell("sinfo -h", "")) /* a Slurm that answers */
            assert_true(shell(
                "sbatch --test-only --chdir=/tmp --nodes=1 --ntasks=1 --ntasks-per-node=1 --cpus-per-task=1 --mem=1M",
                path));
        base_buf_release(&text);
    }
    base_buf text = {0};
    base_error error = {0};
    report.name = "it's; rm -rf x";
    assert_int_equal(plan_sbatch(&report, PLAN_SRUN, &text, &error), BASE_EINVAL);
    base_buf_release(&text);
    unlink(path);
    plan_table_release(&table);
    free(packed);
}

static void reports_say_what_was_planned(void **state)
{
    (void)state;
    arch a = preset("palm-e-562b");
    plan_model *packed = model_of(&a, PACK_INT4);
    plan_cluster c = plan_cluster_default();
    const plan_demand demand = {
        .context = 2048, .batch = 4, .prompt = 700, .answer = 256, .step_tokens = 512, .image_slots = 8};
    c.nodes = 32;
    plan_table table = table_of(packed, &c, &demand);
    const plan_report report = {
        .name = "palm-e-562b", .weights = "int4", .model = packed, .cluster = &c, .demand = &demand, .table = &table};
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    plan_report_print(&report, out);
    fclose(out);
    static const char *const said[] = {
        "540.356 billion parameters and 21.8", "32 nodes x 2 ranks", "* ", "48 attention heads", "choice", "image "};
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++)
        if (strstr(text, said[i]) == NULL)
            fail_msg("'%s' is not in:\n%s", said[i], text);
    free(text);

    base_buf json = {0};
    assert_int_equal(plan_report_json(&report, &json, NULL), BASE_OK);
    base_buf_put_u8(&json, 0);
    assert_non_null(strstr((const char *)json.data, "\"refusal\""));
    assert_non_null(strstr((const char *)json.data, "\"reduce_bytes_per_token\""));
    assert_non_null(strstr((const char *)json.data, "\"image_us\""));
    base_buf_release(&json);
    plan_table_release(&table);
    free(packed);
}

/* --- inspection --- */

static char *inspected(const inspection *what)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    inspection_print(what, out);
    fclose(out);
    return text;
}

static void assert_says(const char *text, const char *what)
{
    if (strstr(text, what) == NULL)
        fail_msg("'%s' is not in:\n%s", what, text);
}

static void a_checkpoint_is_described(void **state)
{
    (void)state;
    shard_checkpoint *checkpoint = NULL;
    assert_int_equal(shard_checkpoint_open(PHANTOM, &checkpoint, NULL), BASE_OK);
    inspection what = {.checkpoint = checkpoint,
                       .tokenizer = {.kind = "a kind", .n_tokens = 1024, .start_id = 1, .eos_id = 2}};
    char *text = inspected(&what);
    static const char *const said[] = {"format      safetensors, family palm_e",
                                       "4 layers of width 192, 6 heads of 48, 1 key/value heads",
                                       "parallel blocks, layer norm",
                                       "rope:  global theta 10000",
                                       "patches of 14: 256 vectors",
                                       "2483136 and 2861184 of the tower; 16.00 bits each",
                                       "BF16          106 tensors         10688640 bytes",
                                       "a kind, 1024 tokens, start 1, eos 2"};
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++)
        assert_says(text, said[i]);
    assert_null(strstr(text, "attn.q_proj")); /* not asked for */
    free(text);

    what.tensors = true;
    what.tokenizer = (inspection_tokenizer){.problem = "no words"};
    text = inspected(&what);
    assert_says(text, "tokenizer   none: no words");
    assert_says(text, "language_model.layers.3.attn.q_proj.weight");
    assert_says(text, "288 x 192"); /* 6 heads of 48 */
    free(text);

    base_buf json = {0};
    assert_int_equal(inspection_json(&what, &json, NULL), BASE_OK);
    base_buf_put_u8(&json, 0);
    assert_says((const char *)json.data, "\"block\": \"parallel\"");
    assert_says((const char *)json.data, "\"decoder_parameters\": 2483136");
    assert_says((const char *)json.data, "\"problem\": \"no words\"");
    base_buf_release(&json);
    shard_checkpoint_close(&checkpoint);
}

/* Windows, two regimes of RoPE and untied matrices of models that nobody has to have at hand. */
static void synthetic_models_are_described(void **state)
{
    (void)state;
    static const struct {
        const char *path, *said[3];
    } rows[] = {
        {"synthetic:medgemma-27b",
         {"global theta 1e+06, linear 8  local theta 10000", "52 layers see 1024 positions, 10 see all", "post-norm"}},
        {"synthetic:llama-3.1-8b", {"theta 500000, llama3 8", "serial blocks", "vocabulary 128256, 131072 positions"}},
        {"synthetic:palm-540b,layers=2", {"2 layers of width 18432", "(output tied to it)", "parallel blocks"}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        shard_checkpoint *checkpoint = NULL;
        base_error error = {0};
        if (shard_checkpoint_open(rows[i].path, &checkpoint, &error) != BASE_OK)
            fail_msg("%s: %s", rows[i].path, error.text);
        const inspection what = {.checkpoint = checkpoint};
        char *text = inspected(&what);
        for (size_t k = 0; k < 3; k++)
            assert_says(text, rows[i].said[k]);
        free(text);
        shard_checkpoint_close(&checkpoint);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameter_counts_are_the_published_ones),
        cmocka_unit_test(towers_have_the_published_counts),
        cmocka_unit_test(presets_are_of_known_families),
        cmocka_unit_test(a_wrong_name_is_answered_with_the_nearest),
        cmocka_unit_test(cache_bytes_of_a_token),
        cmocka_unit_test(weight_bytes_by_type),
        cmocka_unit_test(footprint_is_the_workers_own),
        cmocka_unit_test(wire_bytes_of_a_token),
        cmocka_unit_test(wire_bytes_of_a_prompt),
        cmocka_unit_test(a_reduction_is_two_trees),
        cmocka_unit_test(divided_rows_are_two_halves),
        cmocka_unit_test(decoding_is_bound_by_memory_or_by_arithmetic),
        cmocka_unit_test(a_prompt_costs_its_flops),
        cmocka_unit_test(a_window_bounds_attention),
        cmocka_unit_test(every_divisor_is_a_layout),
        cmocka_unit_test(refusals_name_the_first_limit),
        cmocka_unit_test(demands_that_no_layout_meets),
        cmocka_unit_test(the_network_decides),
        cmocka_unit_test(a_cluster_file_comes_back),
        cmocka_unit_test(batch_scripts_are_accepted),
        cmocka_unit_test(reports_say_what_was_planned),
        cmocka_unit_test(a_checkpoint_is_described),
        cmocka_unit_test(synthetic_models_are_described),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
