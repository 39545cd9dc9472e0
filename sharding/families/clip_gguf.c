/* clip_gguf.c - the vision file that llama.cpp puts beside a decoder (mmproj, general.architecture clip): tensor names,
 * and the keys that describe tower and projector.
 *
 * LLaVA's files hold the layers whose features are used and no more (their converter drops the last), and all that are
 * there are computed, as the model was trained.  llama.cpp leaves one more out (its issue 25817). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sharding/families/config_fields.h"
#include "sharding/families/gguf_fields.h"
#include "sharding/families/tower_fields.h"

#define BLOCK "v.blk.%u."

static const char *const names[ARCH_N_ROLES] = {
    [ARCH_PATCH] = "v.patch_embd.weight",
    [ARCH_PATCH_BIAS] = "v.patch_embd.bias",
    [ARCH_CLASS] = "v.class_embd",
    [ARCH_POSITION] = "v.position_embd.weight",
    [ARCH_PRE_NORM] = "v.pre_ln.weight",
    [ARCH_PRE_NORM_BIAS] = "v.pre_ln.bias",
    [ARCH_FINAL_NORM] = "v.post_ln.weight",
    [ARCH_FINAL_NORM_BIAS] = "v.post_ln.bias",
    [ARCH_LAYER_NORM] = BLOCK "ln1.weight",
    [ARCH_LAYER_NORM_BIAS] = BLOCK "ln1.bias",
    [ARCH_LAYER_Q] = BLOCK "attn_q.weight",
    [ARCH_LAYER_K] = BLOCK "attn_k.weight",
    [ARCH_LAYER_V] = BLOCK "attn_v.weight",
    [ARCH_LAYER_Q_BIAS] = BLOCK "attn_q.bias",
    [ARCH_LAYER_K_BIAS] = BLOCK "attn_k.bias",
    [ARCH_LAYER_V_BIAS] = BLOCK "attn_v.bias",
    [ARCH_LAYER_O] = BLOCK "attn_out.weight",
    [ARCH_LAYER_O_BIAS] = BLOCK "attn_out.bias",
    [ARCH_LAYER_MLP_NORM] = BLOCK "ln2.weight",
    [ARCH_LAYER_MLP_NORM_BIAS] = BLOCK "ln2.bias",
    [ARCH_LAYER_UP] = BLOCK "ffn_up.weight",
    [ARCH_LAYER_UP_BIAS] = BLOCK "ffn_up.bias",
    [ARCH_LAYER_DOWN] = BLOCK "ffn_down.weight",
    [ARCH_LAYER_DOWN_BIAS] = BLOCK "ffn_down.bias",
    [ARCH_PROJECTOR] = "mm.0.weight",
    [ARCH_PROJECTOR_BIAS] = "mm.0.bias",
    [ARCH_PROJECTOR_2] = "mm.2.weight",
    [ARCH_PROJECTOR_2_BIAS] = "mm.2.bias",
    [ARCH_PROJECTOR_NORM] = "mm.soft_emb_norm.weight",
};

/* Older files call the MLP's matrices the other way round. */
static arch_role role_in_file(const arch_tower *tower, arch_role role)
{
    if (!tower->swapped_mlp)
        return role;
    switch (role) {
    case ARCH_LAYER_UP:
        return ARCH_LAYER_DOWN;
    case ARCH_LAYER_UP_BIAS:
        return ARCH_LAYER_DOWN_BIAS;
    case ARCH_LAYER_DOWN:
        return ARCH_LAYER_UP;
    case ARCH_LAYER_DOWN_BIAS:
        return ARCH_LAYER_UP_BIAS;
    default:
        return role;
    }
}

const char *family_gguf_tower_name(const arch_tower *tower, arch_role role)
{
    if (role == ARCH_PROJECTOR && tower->projector == ARCH_PROJECTOR_GEMMA3)
        return "mm.input_projection.weight";
    return names[role_in_file(tower, role)];
}

/* --- metadata --- */

static void read_sizes(gguf_fields *fields, arch_tower *out)
{
    arch_stack *s = &out->stack;
    s->n_layers = gguf_fields_u32(fields, "vision.block_count", 1, ARCH_MAX_LAYERS);
    s->d = gguf_fields_u32(fields, "vision.embedding_length", 1, MAX_HIDDEN);
    s->f = gguf_fields_u32(fields, "vision.feed_forward_length", 1, MAX_MLP);
    s->h = s->kv = gguf_fields_u32(fields, "vision.attention.head_count", 1, MAX_HEADS);
    s->norm_eps = (float)gguf_fields_number_or(fields, "vision.attention.layer_norm_epsilon", MIN_EPS, MAX_EPS, 1e-6);
    out->image_size = gguf_fields_u32(fields, "vision.image_size", 1, MAX_IMAGE_SIZE);
    out->patch_size = gguf_fields_u32(fields, "vision.patch_size", 1, MAX_IMAGE_SIZE);
    if (fields->status == BASE_OK && (s->d % s->h != 0 || s->d / s->h > MAX_HEAD_DIM))
        gguf_fields_unsupported(fields, "vision.attention.head_count",
                                "a divisor of embedding_length, heads of at most 1024");
    if (fields->status == BASE_OK && out->image_size % out->patch_size != 0)
        gguf_fields_unsupported(fields, "vision.patch_size", "a divisor of image_size");
    s->dh = s->d / s->h;
    s->attn_scale = (float)(1.0 / sqrt((double)(s->dh > 0 ? s->dh : 1)));
}

/* What the file's tensors say. */
static void look_at_tensors(const gguf_fields *fields, arch_tower *out)
{
    shard_tensor up;
    out->class_token = gguf_fields_has_tensor(fields, names[ARCH_CLASS]);
    out->pre_norm = gguf_fields_has_tensor(fields, names[ARCH_PRE_NORM]);
    out->patch_bias = gguf_fields_has_tensor(fields, names[ARCH_PATCH_BIAS]);
    out->swapped_mlp = shard_source_find(fields->of->source, "v.blk.0.ffn_up.weight", &up, NULL) == BASE_OK &&
                       up.n_dims == 2 && up.shape[0] == out->stack.d && up.shape[1] == out->stack.f &&
                       out->stack.d != out->stack.f;
}

/* gelu is ggml's, the tanh form; neither flag means CLIP's own. */
static void read_activation(gguf_fields *fields, arch_stack *s)
{
    s->mlp = gguf_fields_bool_or(fields, "use_gelu", false) ? ARCH_MLP_GELU_TANH : ARCH_MLP_QUICK_GELU;
    if (gguf_fields_bool_or(fields, "use_silu", false))
        gguf_fields_unsupported(fields, "use_silu", "false");
}

static void read_projector(gguf_fields *fields, bool is_gemma, arch_tower *out)
{
    char type[32], newer[32];
    gguf_fields_text(fields, "projector_type", type);
    gguf_fields_text(fields, "vision.projector_type", newer);
    const char *known = is_gemma ? "gemma3" : "mlp", *found = newer[0] != '\0' ? newer : type[0] != '\0' ? type : "mlp";
    if (strcmp(found, known) != 0)
        gguf_fields_unsupported(fields, "projector_type",
                                is_gemma ? "gemma3 with this decoder" : "mlp with this decoder");
    out->pool = 1;
    if (!is_gemma) {
        family_llava_tower(out);
        return;
    }
    out->final_norm = true;
    out->pool = gguf_fields_u32_or(fields, "vision.projector.scale_factor", 1, MAX_IMAGE_SIZE, 4);
    family_gemma3_tower(out);
    snprintf(out->open, sizeof out->open, "<start_of_image>");
    snprintf(out->close, sizeof out->close, "<end_of_image>");
}

base_status gguf_tower_read(const family_gguf *gguf, bool is_gemma, arch_tower *out)
{
    gguf_fields fields = gguf_fields_over(gguf);
    arch_stack *s = &out->stack;
    read_sizes(&fields, out);
    if (fields.status != BASE_OK)
        return fields.status;
    s->block = ARCH_BLOCK_SERIAL;
    s->norm = ARCH_NORM_LAYERNORM;
    s->norm_bias = s->qkv_bias = s->o_bias = s->mlp_bias = true;
    read_activation(&fields, s);
    look_at_tensors(&fields, out);
    for (int i = 0; i < 3; i++)
        out->image_mean[i] = out->image_std[i] = 0.5f;
    gguf_fields_numbers(&fields, "vision.image_mean", 3, -10.0, 10.0, out->image_mean);
    gguf_fields_numbers(&fields, "vision.image_std", 3, 1e-6, 1e6, out->image_std);
    read_projector(&fields, is_gemma, out);
    base_status status = fields.status != BASE_OK ? fields.status : tower_count_patches(gguf->file, out, gguf->error);
    if (status == BASE_OK && out->image_size / out->patch_size % out->pool != 0)
        gguf_fields_unsupported(&fields, "vision.projector.scale_factor", "a divisor of the patches a side");
    return status != BASE_OK ? status : fields.status;
}
