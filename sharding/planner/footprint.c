#include "sharding/planner/footprint.h"

#include "sharding/shards/shard_set.h"
#include "sharding/slices.h"

/* What worker/model takes memory by; a test holds the two together. */
#define CACHE_LINE      64u /* KERN_ALIGN: everything starts on one */
#define TILE_BYTES      20u /* model_tile */
#define CANDIDATE_BYTES 8u  /* model_candidate */
#define VALUE_PAD       16u /* values of a KV block are padded to this many dimensions */

static uint64_t add(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint64_t mul(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

/* n elements of `bytes`, up to a whole cache line. */
static uint64_t lines(uint64_t n, uint64_t bytes)
{
    uint64_t size = mul(n, bytes);
    return size > UINT64_MAX - CACHE_LINE ? UINT64_MAX : (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

static uint32_t rounded(uint32_t n, uint32_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* --- parameters --- */

static base_status count_parameters(void *context, const shard_slice *slice, base_error *error)
{
    (void)error;
    plan_parameters *sum = context;
    uint64_t n = (uint64_t)shard_range_width(slice->rows) * shard_range_width(slice->columns);
    if (slice->part == ARCH_TOWER)
        sum->tower += n;
    else if (slice->part >= ARCH_ENCODERS)
        sum->encoders += n;
    else
        sum->decoder += n;
    return BASE_OK;
}

plan_parameters plan_parameters_of(const arch *a)
{
    plan_parameters sum = {0};
    shard_split all;
    if (shard_split_of(a, 1, 1, 0, 0, &all, NULL) == BASE_OK)
        shard_slices_visit(a, &all, count_parameters, &sum, NULL);
    return sum;
}

/* --- weights --- */

typedef struct typing {
    plan_model *model;
    const shard_checkpoint *checkpoint;
    shard_recipe recipe;
} typing;

/* The type a tensor has in the checkpoint. */
static base_status stored_type(const typing *t, const shard_slice *slice, shard_type *out, base_error *error)
{
    *out = SHARD_BF16;
    if (t->checkpoint == NULL)
        return BASE_OK;
    shard_tensor tensor;
    base_status status = shard_source_find_role(t->checkpoint->source, t->model->a, slice->part, slice->role,
                                                slice->layer, &tensor, error);
    if (status == BASE_OK)
        *out = tensor.type;
    return status;
}

static base_status set_type(void *context, const shard_slice *slice, base_error *error)
{
    typing *t = context;
    if (!slice->is_matrix)
        return BASE_OK;
    shard_type stored;
    base_status status = stored_type(t, slice, &stored, error);
    if (status == BASE_OK)
        t->model->types[slice->part][slice->role][slice->layer] =
            (uint8_t)shard_recipe_type(&t->recipe, t->model->a, slice, stored);
    return status;
}

/* Shards are packed already: tensor rank 0 of every stage has a slice of every matrix. */
static void read_shard_types(plan_model *model, const shard_set *set)
{
    shard_set_layout(set, &model->only_tp, &model->only_pp);
    for (uint32_t stage = 0; stage < model->only_pp; stage++) {
        shard_slice slice;
        pack_type type;
        uint64_t bytes;
        for (size_t i = 0; shard_set_tensor(set, 0, stage, i, &slice, &type, &bytes); i++)
            model->types[slice.part][slice.role][slice.layer] = (uint8_t)type;
    }
}

base_status plan_model_init(plan_model *model, const arch *a, const shard_checkpoint *checkpoint, recipe_kind recipe,
                            base_error *error)
{
    *model = (plan_model){.a = a};
    typing t = {.model = model, .checkpoint = checkpoint, .recipe = {.kind = recipe}};
    if (checkpoint != NULL && checkpoint->format == CHECKPOINT_SHARDS) {
        read_shard_types(model, checkpoint->shards);
        return BASE_OK;
    }
    shard_split all;
    base_status status = shard_split_of(a, 1, 1, 0, 0, &all, error);
    return status == BASE_OK ? shard_slices_visit(a, &all, set_type, &t, error) : status;
}

pack_type plan_model_type(const plan_model *model, const shard_slice *slice)
{
    return (pack_type)model->types[slice->part][slice->role][slice->layer];
}

typedef struct weights_sum {
    const plan_model *model;
    uint64_t bytes;
} weights_sum;

static base_status add_weights(void *context, const shard_slice *slice, base_error *error)
{
    (void)error;
    weights_sum *sum = context;
    uint32_t rows = shard_range_width(slice->rows), columns = shard_range_width(slice->columns);
    uint64_t bytes = slice->is_matrix
                         ? lines(1, pack_bytes(plan_model_type(sum->model, slice), rows, columns, slice->unit))
                         : lines((uint64_t)rows * columns, sizeof(float));
    sum->bytes = add(sum->bytes, bytes);
    return BASE_OK;
}

/* --- KV cache and workspace --- */

uint64_t plan_kv_block_bytes(pack_type type, const arch_stack *stack)
{
    uint64_t dh = stack->dh, padded = rounded(stack->dh, VALUE_PAD);
    if (type == PACK_INT8) /* keys in quads; an f16 scale for each group of a position's keys and values */
        return LINK_KV_BLOCK_TOKENS *
               (rounded(stack->dh, 4) + padded + 2 * sizeof(uint16_t) * (rounded(stack->dh, PACK_GROUP) / PACK_GROUP));
    return LINK_KV_BLOCK_TOKENS * (dh + padded) * (type == PACK_BF16 ? sizeof(uint16_t) : sizeof(float));
}

static uint64_t kv_bytes(pack_type type, const arch_stack *stack, uint32_t n_layers, uint32_t n_heads,
                         uint32_t n_blocks)
{
    return lines(mul(mul((uint64_t)n_layers * n_heads, n_blocks), plan_kv_block_bytes(type, stack)), 1);
}

static uint64_t rope_bytes(const arch_stack *stack, uint64_t n_positions)
{
    if (!stack->rope)
        return 0;
    uint64_t table = lines(n_positions, stack->dh / 2 * sizeof(float));
    uint64_t n_tables = (stack->xpos_base > 0 ? 3u : 2u) * (stack->window != 0 ? 2u : 1u);
    return mul(n_tables, table);
}

/* model_batch: position, visible and (with a window) first position of each row, its blocks, and tiles of rows x heads.
 */
static uint64_t batch_bytes(const arch_stack *stack, uint64_t n_rows, uint32_t n_heads)
{
    uint64_t row_words = stack->window != 0 ? 3 : 2;
    return add(add(row_words * lines(n_rows, 4), lines(n_rows, sizeof(void *))),
               lines(mul(n_rows, n_heads), TILE_BYTES));
}

/* Rows of `width` in 8 bits, in groups of PACK_GROUP inside units: codes, scales, offsets; and in bf16, in pairs inside
 * units. */
static uint64_t code_bytes(uint64_t n_rows, uint64_t width, uint64_t unit)
{
    uint64_t groups = width / unit * rounded((uint32_t)unit, PACK_GROUP) / PACK_GROUP +
                      rounded((uint32_t)(width % unit), PACK_GROUP) / PACK_GROUP;
    uint64_t halves = width / unit * rounded((uint32_t)unit, 2) + rounded((uint32_t)(width % unit), 2);
    return add(add(lines(n_rows, groups * PACK_GROUP), mul(2, lines(n_rows, groups * sizeof(float)))),
               lines(n_rows, halves * sizeof(uint16_t)));
}

/* The buffers drawn in worker/model/stack.h. */
static uint64_t stack_bytes(const arch_stack *stack, const shard_stack_split *split, uint64_t n_rows,
                            uint64_t n_positions)
{
    uint64_t d = stack->d, f = shard_range_width(split->mlp);
    uint64_t q = (uint64_t)shard_range_width(split->heads) * stack->dh,
             kv = (uint64_t)shard_range_width(split->kv_heads) * stack->dh;
    uint64_t sum = add(rope_bytes(stack, n_positions), batch_bytes(stack, n_rows, shard_range_width(split->heads)));
    const uint64_t float_rows[] = {d + 1, d, q, kv, kv, q, f, arch_mlp_is_gated(stack->mlp) ? f : 0};
    for (size_t i = 0; i < sizeof float_rows / sizeof float_rows[0]; i++)
        sum = add(sum, lines(n_rows, float_rows[i] * sizeof(float)));
    sum = add(sum, code_bytes(n_rows, d, d));
    sum = add(sum, code_bytes(n_rows, q, stack->dh));
    sum = add(sum, code_bytes(n_rows, f, SHARD_MLP_GROUP));
    return add(sum, lines(n_rows, (d + 1) * sizeof(int64_t)));
}

static uint64_t tower_bytes(const arch *a, const shard_split *split, uint32_t n_slots)
{
    const arch_tower *tower = &a->tower;
    uint64_t n = arch_tower_rows(tower), vectors = arch_tower_vectors(tower), d = a->decoder.stack.d;
    uint32_t n_blocks = rounded((uint32_t)n, LINK_KV_BLOCK_TOKENS) / LINK_KV_BLOCK_TOKENS;
    uint64_t sum = kv_bytes(PACK_F32, &tower->stack, 1, shard_range_width(split->tower.kv_heads), n_blocks);
    sum = add(sum, stack_bytes(&tower->stack, &split->tower, n, 0));
    sum = add(sum, lines(n_blocks, sizeof(uint32_t)));
    sum = add(sum, lines(tower->n_patches, 3u * (uint64_t)tower->patch_size * tower->patch_size * sizeof(float)));
    sum = add(sum, tower->projector == ARCH_PROJECTOR_MLP2 ? lines(vectors, d * sizeof(float)) : 0);
    sum = add(sum, lines(n_slots * vectors, d * sizeof(float)));
    return add(sum, lines(n_slots, sizeof(bool)));
}

/* One vector and one hidden row of worker/model/vector_encoders.h. */
static uint64_t encoder_bytes(const arch *a)
{
    uint32_t width, hidden;
    arch_widest_encoder(a, &width, &hidden);
    return a->n_encoders == 0 ? 0 : add(lines(1, width * sizeof(float)), lines(1, hidden * sizeof(float)));
}

/* Logits of every sequence: this rank's vocabulary rows, and all of them on tensor rank 0, which samples. */
static uint64_t head_bytes(const arch *a, const shard_split *split, uint32_t tp, uint32_t tp_rank, uint64_t max_seqs)
{
    uint64_t vocab = a->decoder.vocab_size;
    uint64_t sum = add(add(lines(tp, sizeof(uint32_t)), lines(max_seqs, sizeof(uint32_t))),
                       lines(max_seqs, shard_range_width(split->vocab) * sizeof(float)));
    if (tp_rank == 0)
        sum = add(sum, add(lines(max_seqs, vocab * sizeof(float)), lines(vocab, CANDIDATE_BYTES)));
    return sum;
}

static uint64_t workspace_bytes(const arch *a, const shard_split *split, uint32_t tp, uint32_t pp, uint32_t tp_rank,
                                uint32_t stage, const link_limits *limits)
{
    uint64_t positions = limits->max_positions;
    if (positions == 0 || positions > a->decoder.max_positions)
        positions = a->decoder.max_positions;
    uint64_t sum = stack_bytes(&a->decoder.stack, &split->decoder, limits->max_step_tokens, positions);
    if (stage == 0)
        sum = add(sum, encoder_bytes(a));
    if (a->has_tower && stage == 0)
        sum = add(sum, tower_bytes(a, split, limits->n_image_slots));
    sum = add(sum, lines(limits->max_seqs, sizeof(int32_t)));
    return stage + 1 == pp ? add(sum, head_bytes(a, split, tp, tp_rank, limits->max_seqs)) : sum;
}

uint64_t plan_bytes_total(const plan_bytes *bytes)
{
    return add(add(bytes->weights, bytes->kv), bytes->workspace);
}

base_status plan_rank_bytes(const plan_model *model, uint32_t tp, uint32_t pp, uint32_t tp_rank, uint32_t stage,
                            const link_limits *limits, plan_bytes *out, base_error *error)
{
    const arch *a = model->a;
    shard_split split;
    base_status status = shard_split_of(a, tp, pp, tp_rank, stage, &split, error);
    if (status != BASE_OK)
        return status;
    weights_sum weights = {.model = model};
    status = shard_slices_visit(a, &split, add_weights, &weights, error);
    if (status != BASE_OK)
        return status;
    *out = (plan_bytes){
        .weights = weights.bytes,
        .kv = kv_bytes(model->kv_type, &a->decoder.stack, shard_range_width(split.layers),
                       shard_range_width(split.decoder.kv_heads), limits->n_kv_blocks),
        .workspace = workspace_bytes(a, &split, tp, pp, tp_rank, stage, limits),
    };
    return BASE_OK;
}
