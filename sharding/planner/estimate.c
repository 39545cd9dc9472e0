#include "sharding/planner/estimate.h"

#include "sharding/slices.h"

/* What the layer loop and the kernels do (worker/model/stack.c, worker/kernels/linear.c, worker/par/grid.c). */
#define ROW_BLOCK       64u  /* rows of a matrix product's tile */
#define ATTENTION_ROWS  8u   /* queries of an attention tile, at least, where there are more (worker/model/batch.c) */
#define ATTENTION_SPLIT 256u /* positions of a part of a long row: KERN_SPLIT */
#define OTHER_CALLS                                                                                  \
    6u /* parallel regions of a layer besides its products: norms, cache, attention, activation, sum \
        */
#define REDUCE_PIECE (128u << 10) /* elements of one MPI_Iallreduce */

static double at_least(double a, double b)
{
    return a > b ? a : b;
}

static double ceil_div(double n, double by)
{
    double whole = (double)(uint64_t)(n / by);
    return whole * by < n ? whole + 1 : whole;
}

uint32_t plan_tree_levels(uint32_t n)
{
    uint32_t bits = 0;
    while (bits < 31 && (1u << bits) < n)
        bits++;
    return bits;
}

link_limits plan_limits_of(const plan_demand *demand)
{
    uint64_t blocks_each = ((uint64_t)demand->context + LINK_KV_BLOCK_TOKENS - 1) / LINK_KV_BLOCK_TOKENS;
    uint64_t n_blocks = blocks_each * demand->batch;
    return (link_limits){.max_seqs = demand->batch,
                         .max_positions = demand->context,
                         .max_step_tokens = demand->step_tokens,
                         .n_kv_blocks = n_blocks < UINT32_MAX ? (uint32_t)n_blocks : UINT32_MAX,
                         .n_image_slots = demand->image_slots};
}

double plan_time_total(const plan_time *time)
{
    return time->matrix_us + time->attention_us + time->reduce_us + time->hop_us;
}

/* --- what a rank has --- */

static double rank_cores(const plan_cluster *c)
{
    return c->cores_per_node > c->ranks_per_node ? (double)(c->cores_per_node / c->ranks_per_node) : 1.0;
}

static double rank_read_us(const plan_cluster *c, double bytes)
{
    return bytes * c->ranks_per_node / (c->memory_gb_per_s * 1e3);
}

/* --- computing --- */

/* One product of `rows` rows with a packed matrix: what a core does for a weight grows in a straight line from 1 row
 * to 64. */
static void add_matrix(const plan_cluster *c, pack_type type, uint32_t n, uint32_t k, uint32_t unit, bool is_fixed,
                       uint32_t rows, plan_time *time)
{
    const plan_rates *rates = &c->rates[type];
    double ns_1 = 2.0 / (is_fixed ? rates->fixed_rows_1 : rates->rows_1);
    double ns_64 = 2.0 * ROW_BLOCK / (is_fixed ? rates->fixed_rows_64 : rates->rows_64);
    double tile_rows = rows < ROW_BLOCK ? rows : ROW_BLOCK;
    double ns_weight = ns_1 + (tile_rows - 1.0) / (ROW_BLOCK - 1.0) * (ns_64 - ns_1);
    double tiles = (double)pack_n_panels(n) * ceil_div(rows, ROW_BLOCK);
    double compute_us = ceil_div(tiles, rank_cores(c)) * PACK_PANEL * (double)k * ns_weight * 1e-3;
    double memory_us = rank_read_us(c, (double)pack_bytes(type, n, k, unit));
    time->matrix_us += at_least(compute_us, memory_us) + c->call_us;
    if (memory_us > compute_us)
        time->memory_us += memory_us;
}

/* Attention of one layer, `heads` query heads reading `kv` key/value heads. */
static double attention_us(const plan_cluster *c, pack_type kv_type, const arch_stack *stack,
                           const shard_stack_split *split, bool is_local, const plan_pass *pass)
{
    double heads = shard_range_width(split->heads), kv = shard_range_width(split->kv_heads);
    double visible = is_local && stack->window < pass->visible ? stack->window : pass->visible;
    double queries = pass->rows_per_sequence * heads / kv, rows = ceil_div(queries, ATTENTION_ROWS);
    double n_sequences = (double)pass->rows / pass->rows_per_sequence;
    if (rows > pass->rows_per_sequence) /* the heads of one token stay together */
        rows = pass->rows_per_sequence;
    double tasks = n_sequences * kv * rows * ceil_div(visible, ATTENTION_SPLIT);
    double flops = 4.0 * visible * stack->dh * heads * pass->rows;
    double compute_us = ceil_div(tasks, rank_cores(c)) * flops / tasks / (c->attention_gflops * 1e3);
    double position_bytes = (double)plan_kv_block_bytes(kv_type, stack) / LINK_KV_BLOCK_TOKENS;
    return at_least(compute_us, rank_read_us(c, n_sequences * kv * visible * position_bytes));
}

typedef struct cost {
    const plan_model *model;
    const plan_cluster *cluster;
    const shard_split *split;
    arch_part part;
    const plan_pass *pass;
    bool is_last;
    plan_time time;
} cost;

static bool is_head(const cost *c, arch_role role)
{
    return c->is_last && role == (c->model->a->decoder.tied_embeddings ? ARCH_EMBEDDING : ARCH_OUTPUT);
}

static base_status add_slice(void *context, const shard_slice *slice, base_error *error)
{
    (void)error;
    cost *c = context;
    bool looked_up = slice->part == ARCH_DECODER && !arch_role_is_layer(slice->role) && !is_head(c, slice->role);
    if (!slice->is_matrix || slice->part != c->part || looked_up)
        return BASE_OK;
    uint32_t rows = is_head(c, slice->role) ? c->pass->sampled : c->pass->rows;
    if (rows > 0)
        add_matrix(c->cluster, plan_model_type(c->model, slice), shard_range_width(slice->rows),
                   shard_range_width(slice->columns), slice->unit,
                   slice->role == ARCH_LAYER_O || slice->role == ARCH_LAYER_DOWN, rows, &c->time);
    return BASE_OK;
}

static uint32_t reductions_of(const arch_stack *stack)
{
    return stack->block == ARCH_BLOCK_PARALLEL ? 1 : 2;
}

/* Bytes of a rounded row of d values, as the matrices of these roles take it (worker/model/stack.c: share_rows). */
static uint64_t form_bytes(const plan_model *model, arch_part part, const arch_stack *stack, const arch_role *roles,
                           size_t n_roles, uint32_t il)
{
    bool codes = false, halves = false, values = false;
    for (size_t i = 0; i < n_roles; i++) {
        pack_type type = (pack_type)model->types[part][roles[i]][il];
        codes = codes || pack_type_is_quantised(type);
        halves = halves || type == PACK_BF16;
        values = values || !(pack_type_is_quantised(type) || type == PACK_BF16);
    }
    uint64_t d = stack->d, groups = (d + PACK_GROUP - 1) / PACK_GROUP;
    return (codes ? groups * (PACK_GROUP + sizeof(float) + sizeof(int32_t)) : 0) +
           (halves ? (d + d % 2) * sizeof(uint16_t) : 0) + (values ? d * sizeof(float) : 0);
}

/* Of all rows that one layer sends for a row of its batch: those that meet q, k, v and those that meet gate, up; in a
 * parallel block they are one. */
static uint64_t gathered_bytes(const plan_model *model, arch_part part, const arch_stack *stack, uint32_t il)
{
    static const arch_role gated[] = {ARCH_LAYER_Q, ARCH_LAYER_K, ARCH_LAYER_V, ARCH_LAYER_UP, ARCH_LAYER_GATE};
    size_t n = arch_mlp_is_gated(stack->mlp) ? 5 : 4;
    if (stack->block == ARCH_BLOCK_PARALLEL)
        return form_bytes(model, part, stack, gated, n, il);
    return form_bytes(model, part, stack, gated, 3, il) + form_bytes(model, part, stack, gated + 3, n - 3, il);
}

static bool rows_divided(uint32_t tp, uint64_t rows)
{
    return tp > 1 && rows >= (uint64_t)tp * PLAN_ROWS_DIVIDED;
}

/* Layers [layers): attention, reductions, and the calls beside the matrix products. */
static void add_layers(const cost *c, const arch_stack *stack, const shard_stack_split *split, shard_range layers,
                       uint32_t tp, plan_time *time)
{
    uint64_t rows = c->pass->rows, reduced = rows * (stack->d + 1u);
    bool divided = rows_divided(tp, rows);
    double n = shard_range_width(layers), n_reductions = reductions_of(stack);
    for (uint32_t il = layers.begin; il < layers.end; il++) {
        double gathered = (double)(rows * gathered_bytes(c->model, c->part, stack, il)) / n_reductions;
        time->attention_us +=
            attention_us(c->cluster, c->model->kv_type, stack, split, arch_layer_is_local(stack, il), c->pass);
        if (divided)
            time->reduce_us +=
                n_reductions * plan_divide_us(c->cluster, tp, (double)reduced * sizeof(int64_t), gathered);
    }
    time->matrix_us += n * OTHER_CALLS * c->cluster->call_us;
    if (!divided)
        time->reduce_us += n * n_reductions * plan_reduce_us(c->cluster, tp, reduced, sizeof(int64_t));
}

/* --- sending --- */

static double wire_us(const plan_wire *wire, double bytes)
{
    return wire->latency_us + bytes / (wire->gb_per_s * 1e3);
}

/* Does a tensor group lie on several nodes, `per_node` of its ranks on each? */
static bool group_crosses(const plan_cluster *cluster, uint32_t tp, uint32_t *per_node)
{
    *per_node = cluster->ranks_per_node < tp ? cluster->ranks_per_node : tp;
    return tp > *per_node || cluster->ranks_per_node % tp != 0;
}

/* Both ways a rank's messages to all others of its node leave at once, then those to its fellows on other nodes; a
 * node's ranks share its link. */
double plan_divide_us(const plan_cluster *cluster, uint32_t tp, double scattered, double gathered)
{
    uint32_t per_node;
    bool crosses = group_crosses(cluster, tp, &per_node);
    double inside = (per_node - 1.0) / per_node, nodes = at_least(ceil_div(tp, per_node), crosses ? 2.0 : 1.0);
    double us = 0.0;
    if (tp > 1 && per_node > 1)
        us += wire_us(&cluster->local, inside * scattered) + wire_us(&cluster->local, inside * gathered);
    if (tp > 1 && crosses)
        us += wire_us(&cluster->network, scattered * (nodes - 1.0) / nodes) +
              wire_us(&cluster->network, gathered * (nodes - 1.0) / nodes);
    return us;
}

double plan_reduce_us(const plan_cluster *cluster, uint32_t tp, uint64_t n, uint32_t bytes_each)
{
    if (tp == 1)
        return 0.0;
    uint32_t per_node;
    bool crosses = group_crosses(cluster, tp, &per_node);
    uint32_t steps = plan_tree_levels(tp), network = crosses ? steps - plan_tree_levels(per_node) : 0;
    if (crosses && network == 0)
        network = 1;
    double us = 0.0;
    for (uint64_t at = 0; at < n; at += REDUCE_PIECE) {
        double bytes = (double)(n - at < REDUCE_PIECE ? n - at : REDUCE_PIECE) * bytes_each;
        us += 2.0 * (steps - network) * wire_us(&cluster->local, bytes);
        us += network * wire_us(&cluster->network, bytes);            /* up: one rank of a node sends */
        us += network * wire_us(&cluster->network, bytes * per_node); /* down: its ranks share the link */
    }
    return us;
}

/* Logits of `rows` rows to tensor rank 0, row by row. */
static double gather_us(const plan_cluster *c, uint32_t tp, uint32_t rows, uint32_t vocab)
{
    if (tp == 1)
        return 0.0;
    const plan_wire *wire = tp > c->ranks_per_node ? &c->network : &c->local;
    return rows * wire_us(wire, 4.0 * vocab * (tp - 1.0) / tp);
}

/* A rank's `bytes` from stage to stage + 1.  A tensor group's ranks on one node share its link. */
static double hop_us(const plan_cluster *c, uint32_t tp, uint32_t stage, uint64_t bytes)
{
    uint32_t from = stage * tp, to = from + tp, per_node = c->ranks_per_node;
    bool crosses = from / per_node != to / per_node || (from + tp - 1) / per_node != (to + tp - 1) / per_node;
    double sharing = tp < per_node ? tp : per_node;
    return crosses ? wire_us(&c->network, (double)bytes * sharing) : wire_us(&c->local, (double)bytes);
}

/* --- a rank, a stage, the whole --- */

base_status plan_rank_time(const plan_model *model, const plan_cluster *cluster, uint32_t tp, uint32_t pp,
                           uint32_t tp_rank, uint32_t stage, const plan_pass *pass, plan_time *out, base_error *error)
{
    const arch_decoder *decoder = &model->a->decoder;
    shard_split split;
    base_status status = shard_split_of(model->a, tp, pp, tp_rank, stage, &split, error);
    if (status != BASE_OK)
        return status;
    cost c = {.model = model,
              .cluster = cluster,
              .split = &split,
              .part = ARCH_DECODER,
              .pass = pass,
              .is_last = stage + 1 == pp};
    status = shard_slices_visit(model->a, &split, add_slice, &c, error);
    if (status != BASE_OK)
        return status;
    add_layers(&c, &decoder->stack, &split.decoder, split.layers, tp, &c.time);
    if (stage == 0)
        c.time.reduce_us += plan_reduce_us(cluster, tp, (uint64_t)pass->rows * decoder->stack.d, sizeof(uint32_t));
    if (c.is_last)
        c.time.reduce_us += gather_us(cluster, tp, pass->sampled, decoder->vocab_size);
    *out = c.time;
    return BASE_OK;
}

static base_status image_time(const plan_model *model, const plan_cluster *cluster, uint32_t tp, uint32_t pp,
                              uint32_t tp_rank, double *out, base_error *error)
{
    const arch_tower *tower = &model->a->tower;
    uint32_t n = arch_tower_rows(tower);
    const plan_pass pass = {.rows = n, .rows_per_sequence = n, .visible = n};
    shard_split split;
    base_status status = shard_split_of(model->a, tp, pp, tp_rank, 0, &split, error);
    if (status != BASE_OK)
        return status;
    cost c = {.model = model, .cluster = cluster, .split = &split, .part = ARCH_TOWER, .pass = &pass};
    status = shard_slices_visit(model->a, &split, add_slice, &c, error);
    add_layers(&c, &tower->stack, &split.tower, (shard_range){0, tower->stack.n_layers}, tp, &c.time);
    *out = plan_time_total(&c.time);
    return status;
}

/* The slowest rank of a stage. */
static base_status stage_time(const plan_model *model, const plan_cluster *cluster, uint32_t tp, uint32_t pp,
                              uint32_t stage, const plan_pass *pass, plan_time *out, base_error *error)
{
    *out = (plan_time){0};
    for (uint32_t tp_rank = 0; tp_rank < tp; tp_rank++) {
        plan_time time;
        base_status status = plan_rank_time(model, cluster, tp, pp, tp_rank, stage, pass, &time, error);
        if (status != BASE_OK)
            return status;
        if (plan_time_total(&time) > plan_time_total(out))
            *out = time;
    }
    uint64_t hop_bytes = (uint64_t)pass->rows * (model->a->decoder.stack.d + 1u) * sizeof(float);
    if (stage + 1 < pp) /* of divided rows each rank sends its own */
        out->hop_us = hop_us(cluster, tp, stage, rows_divided(tp, pass->rows) ? hop_bytes / tp : hop_bytes);
    else if ((uint64_t)tp * pp > 1) /* the sampled token goes back to stage 0 */
        out->hop_us = tp * pp > cluster->ranks_per_node ? cluster->network.latency_us : cluster->local.latency_us;
    return BASE_OK;
}

/* All stages one after the other, and the slowest. */
static base_status pipeline_time(const plan_model *model, const plan_cluster *cluster, uint32_t tp, uint32_t pp,
                                 const plan_pass *pass, plan_time *sum, double *slowest_us, base_error *error)
{
    *sum = (plan_time){0};
    *slowest_us = 0.0;
    for (uint32_t stage = 0; stage < pp; stage++) {
        plan_time time;
        base_status status = stage_time(model, cluster, tp, pp, stage, pass, &time, error);
        if (status != BASE_OK)
            return status;
        sum->matrix_us += time.matrix_us;
        sum->memory_us += time.memory_us;
        sum->attention_us += time.attention_us;
        sum->reduce_us += time.reduce_us;
        sum->hop_us += time.hop_us;
        *slowest_us = at_least(*slowest_us, plan_time_total(&time));
    }
    return BASE_OK;
}

static void scale_time(plan_time *time, double by)
{
    time->matrix_us *= by;
    time->memory_us *= by;
    time->attention_us *= by;
    time->reduce_us *= by;
    time->hop_us *= by;
}

static base_status decode_speed(const plan_model *model, const plan_cluster *cluster, uint32_t tp, uint32_t pp,
                                const plan_demand *demand, plan_speed *out, base_error *error)
{
    plan_pass pass = {.rows = 1, .rows_per_sequence = 1, .sampled = 1, .visible = demand->context};
    double slowest;
    base_status status = pipeline_time(model, cluster, tp, pp, &pass, &out->decode, &slowest, error);
    if (status != BASE_OK)
        return status;
    /* Full: the sequences in one group for each stage, so that every stage has one at any time. */
    uint32_t n_groups = demand->batch < pp ? demand->batch : pp;
    plan_time round;
    pass.rows = pass.sampled = (demand->batch + n_groups - 1) / n_groups;
    status = pipeline_time(model, cluster, tp, pp, &pass, &round, &slowest, error);
    out->decode_full_us = at_least(plan_time_total(&round), n_groups * slowest);
    return status;
}

static base_status prefill_speed(const plan_model *model, const plan_cluster *cluster, uint32_t tp, uint32_t pp,
                                 const plan_demand *demand, plan_speed *out, base_error *error)
{
    uint32_t rows = demand->prompt < demand->step_tokens ? demand->prompt : demand->step_tokens;
    plan_pass pass = {.rows = rows, .rows_per_sequence = rows, .sampled = 1, .visible = (demand->prompt + 1.0) / 2.0};
    double slowest;
    base_status status = pipeline_time(model, cluster, tp, pp, &pass, &out->prefill, &slowest, error);
    if (status != BASE_OK)
        return status;
    /* Further chunks follow the first through the pipeline at the slowest stage's pace; so do further prompts. */
    double first = plan_time_total(&out->prefill), n_chunks = (double)demand->prompt / rows;
    double one = first + (n_chunks - 1.0) * slowest;
    out->prefill_full_us = first + (n_chunks * demand->batch - 1.0) * slowest;
    scale_time(&out->prefill, one / first);
    return BASE_OK;
}

base_status plan_speed_of(const plan_model *model, const plan_cluster *cluster, uint32_t tp, uint32_t pp,
                          const plan_demand *demand, plan_speed *out, base_error *error)
{
    *out = (plan_speed){0};
    base_status status = decode_speed(model, cluster, tp, pp, demand, out, error);
    if (status == BASE_OK)
        status = prefill_speed(model, cluster, tp, pp, demand, out, error);
    for (uint32_t tp_rank = 0; tp_rank < tp && status == BASE_OK && model->a->has_tower; tp_rank++) {
        double us = 0.0;
        status = image_time(model, cluster, tp, pp, tp_rank, &us, error);
        out->image_us = at_least(out->image_us, us);
    }
    return status;
}

/* Of stage 0, which has as many layers as any. */
static uint64_t prompt_bytes(const plan_model *model, uint32_t pp)
{
    const arch_stack *stack = &model->a->decoder.stack;
    uint64_t sum = 0;
    for (uint32_t il = 0; il < shard_range_width(shard_range_of(stack->n_layers, pp, 0)); il++)
        sum +=
            reductions_of(stack) * (stack->d + 1u) * sizeof(int64_t) + gathered_bytes(model, ARCH_DECODER, stack, il);
    return sum;
}

plan_traffic plan_traffic_of(const plan_model *model, uint32_t tp, uint32_t pp)
{
    const arch_stack *stack = &model->a->decoder.stack;
    uint64_t row = stack->d + 1u, per_layer = reductions_of(stack);
    uint64_t largest_stage = shard_range_width(shard_range_of(stack->n_layers, pp, 0));
    return (plan_traffic){
        .reduce_bytes = tp > 1 ? 2 * largest_stage * per_layer * row * sizeof(int64_t) : 0,
        .prompt_bytes = tp > 1 ? prompt_bytes(model, pp) : 0,
        .hop_bytes = pp > 1 ? row * sizeof(float) : 0,
        .n_reductions = tp > 1 ? stack->n_layers * per_layer : 0,
    };
}
