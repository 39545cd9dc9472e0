/* inspection.c - both tellings of a checkpoint stand side by side: what is printed is what the JSON holds. */
#include "sharding/planner/inspection.h"

#include <math.h>
#include <string.h>

#include "sharding/formats/gguf.h"
#include "sharding/planner/footprint.h"
#include "sharding/planner/plan_json.h"
#include "sharding/planner/tensor_list.h"
#include "sharding/shards/shard_set.h"

static const char *const formats[] = {[CHECKPOINT_SAFETENSORS] = "safetensors",
                                      [CHECKPOINT_GGUF] = "gguf",
                                      [CHECKPOINT_SHARDS] = "shards",
                                      [CHECKPOINT_SYNTHETIC] = "synthetic"};
static const char *const blocks[] = {
    [ARCH_BLOCK_PARALLEL] = "parallel", [ARCH_BLOCK_SERIAL] = "serial", [ARCH_BLOCK_POST_NORM] = "post-norm"};
static const char *const norms[] = {[ARCH_NORM_RMS] = "rms", [ARCH_NORM_LAYERNORM] = "layer"};
static const char *const mlps[] = {[ARCH_MLP_SWIGLU] = "swiglu",
                                   [ARCH_MLP_GEGLU_TANH] = "geglu",
                                   [ARCH_MLP_GELU_TANH] = "gelu_tanh",
                                   [ARCH_MLP_GELU] = "gelu",
                                   [ARCH_MLP_QUICK_GELU] = "quick_gelu"};
static const char *const scalings[] = {[ARCH_ROPE_PLAIN] = "none",
                                       [ARCH_ROPE_LINEAR] = "linear",
                                       [ARCH_ROPE_LLAMA3] = "llama3",
                                       [ARCH_ROPE_YARN] = "yarn",
                                       [ARCH_ROPE_DIVISORS] = "divisors"};

static uint32_t n_local_layers(const arch_stack *stack)
{
    uint32_t n = 0;
    for (uint32_t il = 0; il < stack->n_layers; il++)
        n += arch_layer_is_local(stack, il);
    return n;
}

/* Bits a weight takes, over the whole of a model. */
static double bits_of(const tensor_types *types, const plan_parameters *n)
{
    return 8.0 * (double)types->bytes / (double)(n->decoder + n->tower);
}

static const char *const projectors[] = {[ARCH_PROJECTOR_AFFINE] = "one matrix",
                                         [ARCH_PROJECTOR_MLP2] = "two matrices with gelu between",
                                         [ARCH_PROJECTOR_GEMMA3] = "averaging, a norm and one matrix"};
static const char *const fits[] = {[ARCH_FIT_PAD] = "the longer side fitted, then padded",
                                   [ARCH_FIT_SQUARE] = "padded to a square, then resized",
                                   [ARCH_FIT_STRETCH] = "stretched",
                                   [ARCH_FIT_CROP] = "the middle of the shorter side's square"};
static const char *const filters[] = {[ARCH_FILTER_BILINEAR_FLOAT] = "bilinear (PyTorch, floats)",
                                      [ARCH_FILTER_BILINEAR] = "bilinear (Pillow)",
                                      [ARCH_FILTER_BICUBIC] = "bicubic (Pillow)"};

/* --- for people --- */

static void print_rope(const char *what, const arch_rope *rope, FILE *out)
{
    fprintf(out, "  %s theta %.6g", what, rope->theta);
    if (rope->scaling != ARCH_ROPE_PLAIN)
        fprintf(out, ", %s", scalings[rope->scaling]);
    if (rope->scaling == ARCH_ROPE_LINEAR || rope->scaling == ARCH_ROPE_LLAMA3 || rope->scaling == ARCH_ROPE_YARN)
        fprintf(out, " %.4g", rope->factor);
}

static void print_stack(const char *what, const arch_stack *s, FILE *out)
{
    fprintf(out, "%-11s %u layers of width %u, %u heads of %u, %u key/value heads, MLP %u\n", what, s->n_layers, s->d,
            s->h, s->dh, s->kv, s->f);
    fprintf(out, "            %s blocks, %s norm (eps %.3g), %s%s%s%s\n", blocks[s->block], norms[s->norm],
            (double)s->norm_eps, mlps[s->mlp], s->mlp_bias ? ", MLP biases" : "", s->qkv_bias ? ", q/k/v biases" : "",
            s->qk_norm ? ", QK norm" : "");
    if (s->rope) {
        fprintf(out, "            rope%s:", s->rope_interleaved ? " (interleaved)" : "");
        print_rope("global", &s->rope_global, out);
        if (s->window != 0)
            print_rope("local", &s->rope_local, out);
        if (s->xpos_base > 0)
            fprintf(out, "  xpos %.4g", s->xpos_base);
        fprintf(out, "\n");
    }
    if (s->window != 0)
        fprintf(out, "            %u layers see %u positions, %u see all\n", n_local_layers(s), s->window,
                s->n_layers - n_local_layers(s));
}

static void print_encoders(const arch *a, FILE *out)
{
    for (uint32_t e = 0; e < a->n_encoders; e++)
        fprintf(out, "vectors     '%s' of %u numbers, %u hidden\n", a->encoders[e].name, a->encoders[e].width,
                a->encoders[e].hidden);
}

static void print_arch(const arch *a, FILE *out)
{
    const arch_decoder *d = &a->decoder;
    print_stack("decoder", &d->stack, out);
    fprintf(out, "            vocabulary %u%s, %u positions, bos %d, eos %d, embedding x %.6g, logits x %.6g\n",
            d->vocab_size, d->tied_embeddings ? " (output tied to it)" : "", d->max_positions, (int)d->bos_id,
            (int)d->eos_id, (double)d->embedding_scale, (double)d->logit_scale);
    print_encoders(a, out);
    if (!a->has_tower)
        return;
    print_stack("tower", &a->tower.stack, out);
    fprintf(out, "            images of %u pixels, patches of %u: %u vectors an image, by %s%s\n", a->tower.image_size,
            a->tower.patch_size, arch_tower_vectors(&a->tower), projectors[a->tower.projector],
            a->tower.images_see_all ? "; they see each other" : "");
    fprintf(out, "            pictures: %s, %s\n", fits[a->tower.fit.kind], filters[a->tower.fit.filter]);
}

static void print_types(const shard_checkpoint *c, FILE *out)
{
    tensor_types types = tensor_types_of(c);
    plan_parameters n = plan_parameters_of(&c->a);
    fprintf(out, "parameters  %llu", (unsigned long long)n.decoder);
    if (n.tower > 0)
        fprintf(out, " and %llu of the tower", (unsigned long long)n.tower);
    if (n.encoders > 0)
        fprintf(out, " and %llu of the vector encoders", (unsigned long long)n.encoders);
    if (types.bytes > 0)
        fprintf(out, "; %.2f bits each", bits_of(&types, &n));
    fprintf(out, "\ntensors     %llu, %llu bytes\n", (unsigned long long)types.n_tensors,
            (unsigned long long)types.bytes);
    for (size_t i = 0; i < types.n; i++)
        fprintf(out, "            %-10s %6llu tensors %16llu bytes\n", types.rows[i].type,
                (unsigned long long)types.rows[i].n_tensors, (unsigned long long)types.rows[i].bytes);
}

static void print_shards(const shard_set *set, FILE *out)
{
    uint32_t tp, pp;
    char digest[65];
    shard_set_layout(set, &tp, &pp);
    shard_set_digest(set, digest);
    fprintf(out, "shards      tp %u x pp %u, packed as %s; SHA-256 of the manifest %s\n", tp, pp, shard_set_recipe(set),
            digest);
    fprintf(out, "            every tensor has a checksum; palmgrove shard --verify reads and compares them\n");
    for (uint32_t stage = 0; stage < pp; stage++)
        for (uint32_t tp_rank = 0; tp_rank < tp; tp_rank++)
            fprintf(out, "            stage %u, tensor rank %u: %llu bytes\n", stage, tp_rank,
                    (unsigned long long)shard_set_rank_bytes(set, tp_rank, stage));
}

static void print_tokenizer(const inspection_tokenizer *t, FILE *out)
{
    if (t->kind == NULL) {
        fprintf(out, "tokenizer   none: %s\n", t->problem);
        return;
    }
    fprintf(out, "tokenizer   %s, %u tokens, start %d, eos %d", t->kind, t->n_tokens, (int)t->start_id, (int)t->eos_id);
    if (t->chat_template_bytes > 0)
        fprintf(out, ", a chat template of %zu bytes", t->chat_template_bytes);
    fprintf(out, "\n");
}

static void print_tensor(void *context, const listed_tensor *t)
{
    FILE *out = context;
    char shape[96] = "";
    size_t used = 0;
    for (int i = 0; i < t->n_dims; i++)
        used += (size_t)snprintf(shape + used, sizeof shape - used, "%s%llu", i > 0 ? " x " : "",
                                 (unsigned long long)t->shape[i]);
    if (t->is_sharded)
        fprintf(out, "stage %u rank %u  ", t->stage, t->tp_rank);
    fprintf(out, "%-64s %-10s %-20s %14llu\n", t->name, t->type, shape, (unsigned long long)t->bytes);
}

static void print_metadata(const gguf_file *gguf, FILE *out)
{
    gguf_string key;
    char value[160];
    for (size_t i = 0; gguf_describe(gguf, i, &key, value, sizeof value); i++)
        fprintf(out, "%.*s = %s\n", (int)key.size, key.bytes, value);
}

void inspection_print(const inspection *what, FILE *out)
{
    const shard_checkpoint *c = what->checkpoint;
    fprintf(out, "model       %s\nformat      %s, family %s%s%s\n", c->path, formats[c->format], c->a.family,
            c->a.prefix[0] != '\0' ? ", names begin with " : "", c->a.prefix);
    print_arch(&c->a, out);
    print_types(c, out);
    if (c->shards != NULL)
        print_shards(c->shards, out);
    if (c->format != CHECKPOINT_SYNTHETIC)
        print_tokenizer(&what->tokenizer, out);
    if (what->metadata && c->gguf != NULL) {
        fprintf(out, "\n");
        print_metadata(c->gguf, out);
    }
    if (what->tensors) {
        fprintf(out, "\n");
        tensor_list_visit(c, print_tensor, out);
    }
}

/* --- for machines --- */

static json_t *integer(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *rope_json(const arch_rope *rope)
{
    return json_pack("{sf ss sf}", "theta", rope->theta, "scaling", scalings[rope->scaling], "factor",
                     rope->factor > 0 ? rope->factor : 1.0);
}

static json_t *stack_json(const arch_stack *s)
{
    json_t *json = json_pack("{si si si si si si ss ss sf ss sb sb sb sf}", "layers", (int)s->n_layers, "width",
                             (int)s->d, "heads", (int)s->h, "kv_heads", (int)s->kv, "head_dim", (int)s->dh, "mlp",
                             (int)s->f, "block", blocks[s->block], "norm", norms[s->norm], "norm_eps",
                             (double)s->norm_eps, "activation", mlps[s->mlp], "mlp_bias", s->mlp_bias, "qkv_bias",
                             s->qkv_bias, "qk_norm", s->qk_norm, "attention_scale", (double)s->attn_scale);
    if (s->rope)
        json_object_set_new(json, "rope", rope_json(&s->rope_global));
    if (s->rope && s->window != 0)
        json_object_set_new(json, "rope_local", rope_json(&s->rope_local));
    if (s->window != 0) {
        json_object_set_new(json, "window", integer(s->window));
        json_object_set_new(json, "local_layers", integer(n_local_layers(s)));
    }
    return json;
}

static json_t *types_json(const tensor_types *types)
{
    json_t *json = json_object();
    for (size_t i = 0; i < types->n; i++)
        json_object_set_new(
            json, types->rows[i].type,
            json_pack("{so so}", "tensors", integer(types->rows[i].n_tensors), "bytes", integer(types->rows[i].bytes)));
    return json;
}

static json_t *shards_json(const shard_set *set)
{
    uint32_t tp, pp;
    char digest[65];
    shard_set_layout(set, &tp, &pp);
    shard_set_digest(set, digest);
    json_t *ranks = json_array();
    for (uint32_t stage = 0; stage < pp; stage++)
        for (uint32_t tp_rank = 0; tp_rank < tp; tp_rank++)
            json_array_append_new(ranks, json_pack("{si si so}", "stage", (int)stage, "tp_rank", (int)tp_rank, "bytes",
                                                   integer(shard_set_rank_bytes(set, tp_rank, stage))));
    return json_pack("{si si ss ss so}", "tp", (int)tp, "pp", (int)pp, "recipe", shard_set_recipe(set), "digest",
                     digest, "ranks", ranks);
}

static json_t *tokenizer_json(const inspection_tokenizer *t)
{
    if (t->kind == NULL)
        return json_pack("{ss}", "problem", t->problem);
    return json_pack("{ss si si si so}", "kind", t->kind, "tokens", (int)t->n_tokens, "start_id", (int)t->start_id,
                     "eos_id", (int)t->eos_id, "chat_template_bytes", integer(t->chat_template_bytes));
}

static void append_tensor(void *context, const listed_tensor *t)
{
    json_t *list = context, *shape = json_array();
    for (int i = 0; i < t->n_dims; i++)
        json_array_append_new(shape, integer(t->shape[i]));
    json_t *json =
        json_pack("{ss ss so so}", "name", t->name, "type", t->type, "shape", shape, "bytes", integer(t->bytes));
    if (t->is_sharded) {
        json_object_set_new(json, "stage", integer(t->stage));
        json_object_set_new(json, "tp_rank", integer(t->tp_rank));
    }
    json_array_append_new(list, json);
}

/* A list of [key, value], in the file's order; text that is not UTF-8 stays away from JSON. */
static json_t *metadata_json(const gguf_file *gguf)
{
    json_t *list = json_array();
    gguf_string key;
    char value[160];
    for (size_t i = 0; gguf_describe(gguf, i, &key, value, sizeof value); i++) {
        json_t *name = json_stringn(key.bytes, key.size), *text = json_string(value);
        json_array_append_new(list,
                              json_pack("[o o]", name != NULL ? name : json_null(), text != NULL ? text : json_null()));
    }
    return list;
}

static json_t *encoders_json(const arch *a)
{
    json_t *list = json_array();
    for (uint32_t e = 0; e < a->n_encoders; e++)
        json_array_append_new(list, json_pack("{ss si si}", "name", a->encoders[e].name, "input_size",
                                              (int)a->encoders[e].width, "hidden_size", (int)a->encoders[e].hidden));
    return list;
}

base_status inspection_json(const inspection *what, base_buf *out, base_error *error)
{
    const shard_checkpoint *c = what->checkpoint;
    tensor_types types = tensor_types_of(c);
    plan_parameters n = plan_parameters_of(&c->a);
    json_t *json =
        json_pack("{ss ss ss so si si sb so so so so so so}", "path", c->path, "format", formats[c->format], "family",
                  c->a.family, "decoder", stack_json(&c->a.decoder.stack), "vocabulary", (int)c->a.decoder.vocab_size,
                  "positions", (int)c->a.decoder.max_positions, "tied_embeddings", c->a.decoder.tied_embeddings,
                  "decoder_parameters", integer(n.decoder), "tower_parameters", integer(n.tower), "n_tensors",
                  integer(types.n_tensors), "bytes", integer(types.bytes), "types", types_json(&types), "tokenizer",
                  tokenizer_json(&what->tokenizer));
    if (c->a.n_encoders > 0)
        json_object_set_new(json, "vector_encoders", encoders_json(&c->a));
    if (c->a.has_tower)
        json_object_set_new(json, "tower", stack_json(&c->a.tower.stack));
    if (c->shards != NULL)
        json_object_set_new(json, "shards", shards_json(c->shards));
    if (what->metadata && c->gguf != NULL)
        json_object_set_new(json, "metadata", metadata_json(c->gguf));
    if (what->tensors) {
        json_t *list = json_array();
        tensor_list_visit(c, append_tensor, list);
        json_object_set_new(json, "tensors", list);
    }
    return plan_json_put(json, out, error);
}
