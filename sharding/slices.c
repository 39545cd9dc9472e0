#include "sharding/slices.h"

#include <stdio.h>

typedef struct walk {
    shard_slice_visitor *visit;
    void *context;
    base_error *error;
    base_status status; /* the first failure; later slices are skipped */
    arch_part part;
    uint32_t layer;
} walk;

static shard_range whole(uint32_t n)
{
    return (shard_range){0, n};
}

static void visit(walk *w, const shard_slice *slice)
{
    if (w->status == BASE_OK)
        w->status = w->visit(w->context, slice, w->error);
}

static void visit_vector(walk *w, arch_role role, shard_range columns)
{
    visit(w, &(shard_slice){.part = w->part,
                            .role = role,
                            .layer = w->layer,
                            .rows = whole(1),
                            .columns = columns,
                            .unit = shard_range_width(columns)});
}

/* `unit` 0: this contraction is never split. */
static void visit_matrix(walk *w, arch_role role, shard_range rows, shard_range columns, uint32_t unit)
{
    visit(w, &(shard_slice){.part = w->part,
                            .role = role,
                            .layer = w->layer,
                            .rows = rows,
                            .columns = columns,
                            .is_matrix = true,
                            .unit = unit != 0 ? unit : shard_range_width(columns)});
}

/* A range of heads as a range of rows. */
static shard_range rows_of_heads(shard_range heads, uint32_t dh)
{
    return (shard_range){heads.begin * dh, heads.end * dh};
}

static void visit_attention(walk *w, const arch_stack *stack, const shard_stack_split *split)
{
    shard_range d = whole(stack->d), dh = whole(stack->dh);
    shard_range q = rows_of_heads(split->heads, stack->dh), kv = rows_of_heads(split->kv_heads, stack->dh);

    visit_vector(w, ARCH_LAYER_NORM, d);
    if (stack->norm_bias)
        visit_vector(w, ARCH_LAYER_NORM_BIAS, d);
    visit_matrix(w, ARCH_LAYER_Q, q, d, 0);
    visit_matrix(w, ARCH_LAYER_K, kv, d, 0);
    visit_matrix(w, ARCH_LAYER_V, kv, d, 0);
    if (stack->qkv_bias) {
        visit_vector(w, ARCH_LAYER_Q_BIAS, q);
        visit_vector(w, ARCH_LAYER_K_BIAS, kv);
        visit_vector(w, ARCH_LAYER_V_BIAS, kv);
    }
    if (stack->qk_norm) {
        visit_vector(w, ARCH_LAYER_Q_NORM, dh);
        visit_vector(w, ARCH_LAYER_K_NORM, dh);
    }
    visit_matrix(w, ARCH_LAYER_O, d, q, stack->dh);
    if (stack->o_bias)
        visit_vector(w, ARCH_LAYER_O_BIAS, d);
    if (stack->block == ARCH_BLOCK_POST_NORM)
        visit_vector(w, ARCH_LAYER_POST_ATTN_NORM, d);
}

static void visit_mlp(walk *w, const arch_stack *stack, const shard_stack_split *split)
{
    shard_range d = whole(stack->d);

    if (stack->block != ARCH_BLOCK_PARALLEL)
        visit_vector(w, ARCH_LAYER_MLP_NORM, d);
    if (stack->block != ARCH_BLOCK_PARALLEL && stack->norm_bias)
        visit_vector(w, ARCH_LAYER_MLP_NORM_BIAS, d);
    if (arch_mlp_is_gated(stack->mlp))
        visit_matrix(w, ARCH_LAYER_GATE, split->mlp, d, 0);
    visit_matrix(w, ARCH_LAYER_UP, split->mlp, d, 0);
    visit_matrix(w, ARCH_LAYER_DOWN, d, split->mlp, SHARD_MLP_GROUP);
    if (stack->mlp_bias) {
        visit_vector(w, ARCH_LAYER_UP_BIAS, split->mlp);
        visit_vector(w, ARCH_LAYER_DOWN_BIAS, d);
    }
    if (stack->block == ARCH_BLOCK_POST_NORM)
        visit_vector(w, ARCH_LAYER_POST_MLP_NORM, d);
}

static void visit_layer(walk *w, arch_part part, uint32_t layer, const arch_stack *stack,
                        const shard_stack_split *split)
{
    w->part = part;
    w->layer = layer;
    visit_attention(w, stack, split);
    visit_mlp(w, stack, split);
    w->layer = 0;
}

static void visit_norm(walk *w, const arch_stack *stack, arch_role gain, arch_role bias)
{
    visit_vector(w, gain, whole(stack->d));
    if (stack->norm_bias)
        visit_vector(w, bias, whole(stack->d));
}

static void visit_patches(walk *w, const arch_tower *tower)
{
    shard_range width = whole(tower->stack.d);

    visit_matrix(w, ARCH_PATCH, width, whole(3 * tower->patch_size * tower->patch_size), 0);
    if (tower->patch_bias)
        visit_vector(w, ARCH_PATCH_BIAS, width);
    if (tower->class_token)
        visit_vector(w, ARCH_CLASS, width);
    visit(w, &(shard_slice){.part = ARCH_TOWER,
                            .role = ARCH_POSITION,
                            .rows = whole(arch_tower_rows(tower)),
                            .columns = width,
                            .unit = tower->stack.d});
    if (tower->pre_norm)
        visit_norm(w, &tower->stack, ARCH_PRE_NORM, ARCH_PRE_NORM_BIAS);
}

static void visit_projector(walk *w, const arch *a)
{
    shard_range d = whole(a->decoder.stack.d), width = whole(a->tower.stack.d);

    if (a->tower.projector == ARCH_PROJECTOR_GEMMA3)
        visit_vector(w, ARCH_PROJECTOR_NORM, width);
    visit_matrix(w, ARCH_PROJECTOR, d, width, 0);
    if (a->tower.projector != ARCH_PROJECTOR_GEMMA3)
        visit_vector(w, ARCH_PROJECTOR_BIAS, d);
    if (a->tower.projector != ARCH_PROJECTOR_MLP2)
        return;
    visit_matrix(w, ARCH_PROJECTOR_2, d, d, 0);
    visit_vector(w, ARCH_PROJECTOR_2_BIAS, d);
}

static void visit_tower(walk *w, const arch *a, const shard_split *split)
{
    const arch_tower *tower = &a->tower;

    w->part = ARCH_TOWER;
    visit_patches(w, tower);
    for (uint32_t il = 0; il < tower->stack.n_layers; il++)
        visit_layer(w, ARCH_TOWER, il, &tower->stack, &split->tower);
    if (tower->final_norm)
        visit_norm(w, &tower->stack, ARCH_FINAL_NORM, ARCH_FINAL_NORM_BIAS);
    visit_projector(w, a);
}

static void visit_encoders(walk *w, const arch *a)
{
    shard_range d = whole(a->decoder.stack.d);

    for (uint32_t e = 0; e < a->n_encoders; e++) {
        shard_range width = whole(a->encoders[e].width), hidden = whole(a->encoders[e].hidden);
        w->part = (arch_part)(ARCH_ENCODERS + e);
        visit_matrix(w, ARCH_ENCODER_IN, hidden, width, 0);
        visit_vector(w, ARCH_ENCODER_IN_BIAS, hidden);
        visit_matrix(w, ARCH_ENCODER_OUT, d, hidden, 0);
        visit_vector(w, ARCH_ENCODER_OUT_BIAS, d);
    }
}

base_status shard_slices_visit(const arch *a, const shard_split *split, shard_slice_visitor *visitor, void *context,
                               base_error *error)
{
    walk w = {.visit = visitor, .context = context, .error = error};
    const arch_decoder *decoder = &a->decoder;
    shard_range d = whole(decoder->stack.d);
    bool first = split->layers.begin == 0, last = split->layers.end == decoder->stack.n_layers;

    if (first && a->has_tower)
        visit_tower(&w, a, split);
    if (first)
        visit_encoders(&w, a);
    w.part = ARCH_DECODER;
    if (first || (last && decoder->tied_embeddings))
        visit_matrix(&w, ARCH_EMBEDDING, split->vocab, d, 0);
    if (decoder->stack.rope_global.scaling == ARCH_ROPE_DIVISORS)
        visit_vector(&w, ARCH_ROPE_FREQUENCIES, whole(decoder->stack.dh / 2));
    for (uint32_t il = split->layers.begin; il < split->layers.end; il++)
        visit_layer(&w, ARCH_DECODER, il, &decoder->stack, &split->decoder);
    if (last) {
        visit_vector(&w, ARCH_FINAL_NORM, d);
        if (!decoder->tied_embeddings)
            visit_matrix(&w, ARCH_OUTPUT, split->vocab, d, 0);
    }
    return w.status;
}

void shard_slice_name(const shard_slice *slice, char name[SHARD_SLICE_NAME])
{
    static const char *const roles[ARCH_N_ROLES] = {
        [ARCH_EMBEDDING] = "embedding",
        [ARCH_OUTPUT] = "output",
        [ARCH_ROPE_FREQUENCIES] = "rope_frequencies",
        [ARCH_FINAL_NORM] = "final_norm",
        [ARCH_FINAL_NORM_BIAS] = "final_norm_bias",
        [ARCH_LAYER_NORM] = "norm",
        [ARCH_LAYER_NORM_BIAS] = "norm_bias",
        [ARCH_LAYER_POST_ATTN_NORM] = "post_attn_norm",
        [ARCH_LAYER_MLP_NORM] = "mlp_norm",
        [ARCH_LAYER_MLP_NORM_BIAS] = "mlp_norm_bias",
        [ARCH_LAYER_POST_MLP_NORM] = "post_mlp_norm",
        [ARCH_LAYER_Q] = "attn_q",
        [ARCH_LAYER_K] = "attn_k",
        [ARCH_LAYER_V] = "attn_v",
        [ARCH_LAYER_Q_BIAS] = "attn_q_bias",
        [ARCH_LAYER_K_BIAS] = "attn_k_bias",
        [ARCH_LAYER_V_BIAS] = "attn_v_bias",
        [ARCH_LAYER_O] = "attn_o",
        [ARCH_LAYER_O_BIAS] = "attn_o_bias",
        [ARCH_LAYER_Q_NORM] = "attn_q_norm",
        [ARCH_LAYER_K_NORM] = "attn_k_norm",
        [ARCH_LAYER_GATE] = "mlp_gate",
        [ARCH_LAYER_UP] = "mlp_up",
        [ARCH_LAYER_UP_BIAS] = "mlp_up_bias",
        [ARCH_LAYER_DOWN] = "mlp_down",
        [ARCH_LAYER_DOWN_BIAS] = "mlp_down_bias",
        [ARCH_PATCH] = "patch",
        [ARCH_PATCH_BIAS] = "patch_bias",
        [ARCH_CLASS] = "class",
        [ARCH_POSITION] = "position",
        [ARCH_PRE_NORM] = "pre_norm",
        [ARCH_PRE_NORM_BIAS] = "pre_norm_bias",
        [ARCH_PROJECTOR_NORM] = "projector_norm",
        [ARCH_PROJECTOR] = "projector",
        [ARCH_PROJECTOR_BIAS] = "projector_bias",
        [ARCH_PROJECTOR_2] = "projector_2",
        [ARCH_PROJECTOR_2_BIAS] = "projector_2_bias",
        [ARCH_ENCODER_IN] = "in",
        [ARCH_ENCODER_IN_BIAS] = "in_bias",
        [ARCH_ENCODER_OUT] = "out",
        [ARCH_ENCODER_OUT_BIAS] = "out_bias",
    };
    const char *part = slice->part == ARCH_TOWER ? "tower" : "decoder";
    if (slice->part >= ARCH_ENCODERS)
        snprintf(name, SHARD_SLICE_NAME, "encoders.%d.%s", (int)slice->part - ARCH_ENCODERS, roles[slice->role]);
    else if (arch_role_is_layer(slice->role))
        snprintf(name, SHARD_SLICE_NAME, "%s.layers.%u.%s", part, slice->layer, roles[slice->role]);
    else
        snprintf(name, SHARD_SLICE_NAME, "%s.%s", part, roles[slice->role]);
}
