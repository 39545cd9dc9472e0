/* hf_decoder.c - the fields that decoders share in the config.json of the transformers library, of every version
 * since 4.3x: fields that equal the class's default may be left out, null means left out, and newer versions moved
 * rope_theta and rope_scaling into rope_parameters. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sharding/families/config_fields.h"

void hf_must_be_false(shard_json *json, const char *field)
{
    if (shard_json_bool_or(json, field, false))
        config_unsupported_in(json, field, "false");
}

/* --- rotary positions --- */

static uint32_t read_original_positions(shard_json *json, uint32_t positions)
{
    return shard_json_u32_or(json, "original_max_position_embeddings", 1, MAX_POSITIONS, positions);
}

static void read_llama3(shard_json *json, uint32_t positions, arch_rope *out)
{
    out->scaling = ARCH_ROPE_LLAMA3;
    out->factor = shard_json_number(json, "factor", MIN_FACTOR, MAX_FACTOR);
    out->low_factor = shard_json_number(json, "low_freq_factor", MIN_FACTOR, MAX_FACTOR);
    out->high_factor = shard_json_number(json, "high_freq_factor", MIN_FACTOR, MAX_FACTOR);
    out->original_positions = read_original_positions(json, positions);
    if (out->high_factor <= out->low_factor)
        shard_json_fail(json, "high_freq_factor", "a number above low_freq_factor");
}

/* With both mscale and mscale_all_dim the factor is the ratio of two (DeepSeek's models). */
static double default_attention(shard_json *json, double factor)
{
    double mscale = shard_json_number_or(json, "mscale", 0.0, 100.0, 0.0);
    double all = shard_json_number_or(json, "mscale_all_dim", 0.0, 100.0, 0.0);
    double grown = config_yarn_attention(factor) - 1.0;
    return mscale != 0.0 && all != 0.0 ? (mscale * grown + 1.0) / (all * grown + 1.0) : grown + 1.0;
}

static void read_yarn(shard_json *json, uint32_t positions, arch_rope *out)
{
    out->scaling = ARCH_ROPE_YARN;
    out->original_positions = read_original_positions(json, positions);
    out->factor = (double)positions / (double)out->original_positions;
    if (shard_json_has(json, "factor") || out->factor < MIN_FACTOR || out->factor > MAX_FACTOR)
        out->factor = shard_json_number(json, "factor", MIN_FACTOR, MAX_FACTOR);
    out->beta_fast = shard_json_number_or(json, "beta_fast", 1e-3, 1e6, 32.0);
    out->beta_slow = shard_json_number_or(json, "beta_slow", 1e-3, 1e6, 1.0);
    double otherwise = default_attention(json, out->factor);
    out->attention_factor = shard_json_number_or(json, "attention_factor", 1e-3, 1e3, otherwise);
    if (!shard_json_bool_or(json, "truncate", true))
        config_unsupported_in(json, "truncate", "true");
}

base_status hf_rope_read(const shard_json *parent, const json_t *scaling, const char *path, double theta,
                         uint32_t positions, arch_rope *out)
{
    *out = config_rope_plain(theta);
    if (scaling == NULL || json_is_null(scaling))
        return parent->status;
    char full[128];
    snprintf(full, sizeof full, "%s%s", parent->path, path);
    if (!json_is_object(scaling))
        return base_fail(parent->error, BASE_EFORMAT, "'%s': '%.*s' is wrong: expected an object", parent->file,
                         (int)(strlen(full) - 1), full);
    shard_json json = shard_json_over(scaling, parent->file, full, parent->error);
    json.status = parent->status;
    const char *field = shard_json_has(&json, "rope_type") ? "rope_type" : "type";
    const char *type = shard_json_text_or(&json, field, "default");
    out->theta = shard_json_number_or(&json, "rope_theta", 1.0, MAX_THETA, theta);
    if (shard_json_number_or(&json, "partial_rotary_factor", 0.0, 1.0, 1.0) != 1.0)
        config_unsupported_in(&json, "partial_rotary_factor", "1");
    if (strcmp(type, "linear") == 0) {
        out->scaling = ARCH_ROPE_LINEAR;
        out->factor = shard_json_number(&json, "factor", MIN_FACTOR, MAX_FACTOR);
    } else if (strcmp(type, "llama3") == 0) {
        read_llama3(&json, positions, out);
    } else if (strcmp(type, "yarn") == 0) {
        read_yarn(&json, positions, out);
    } else if (strcmp(type, "default") != 0) {
        config_unsupported_in(&json, field, "default, linear, llama3, yarn");
    }
    return json.status;
}

/* One regime for all layers; families with two read rope_parameters themselves. */
static base_status read_rope(shard_json *json, const hf_defaults *defaults, uint32_t positions, arch_stack *out)
{
    double theta = shard_json_number_or(json, "rope_theta", 1.0, MAX_THETA, defaults->theta);
    const json_t *old = json_object_get(json->object, "rope_scaling");
    const json_t *parameters = json_object_get(json->object, "rope_parameters");
    if (shard_json_number_or(json, "partial_rotary_factor", 0.0, 1.0, 1.0) != 1.0)
        config_unsupported_in(json, "partial_rotary_factor", "1");
    bool is_nested = json_is_object(json_object_get(parameters, "full_attention"));
    if (json_is_object(parameters) && !is_nested)
        json->status = hf_rope_read(json, parameters, "rope_parameters.", theta, positions, &out->rope_global);
    else
        json->status = hf_rope_read(json, old, "rope_scaling.", theta, positions, &out->rope_global);
    out->rope = true;
    out->rope_local = out->rope_global;
    return json->status;
}

/* --- layers --- */

void hf_layer_types_read(shard_json *json, arch_stack *stack)
{
    const json_t *types = json_object_get(json->object, "layer_types");
    if (json_array_size(types) != stack->n_layers) {
        shard_json_fail(json, "layer_types", "one text a layer");
        return;
    }
    memset(stack->local_layers, 0, sizeof stack->local_layers);
    for (uint32_t il = 0; il < stack->n_layers; il++) {
        const char *type = json_string_value(json_array_get(types, il));
        if (type != NULL && strcmp(type, "sliding_attention") == 0)
            config_set_local(stack, il);
        else if (type == NULL || strcmp(type, "full_attention") != 0)
            config_unsupported_in(json, "layer_types", "sliding_attention, full_attention");
    }
}

/* --- ids --- */

/* One id of `field`, whose value is `value`. */
static int32_t read_id(shard_json *json, const char *field, const json_t *value, uint32_t vocab_size)
{
    json_int_t id = json_integer_value(value);
    if (json_is_integer(value) && id >= 0 && id < (json_int_t)vocab_size)
        return (int32_t)id;
    char expected[64];
    snprintf(expected, sizeof expected, "ids from 0 to %u", vocab_size - 1);
    shard_json_fail(json, field, expected);
    return -1;
}

/* eos_token_id: one or a list. */
static void read_stops(shard_json *json, arch_decoder *out)
{
    const json_t *value = json_object_get(json->object, "eos_token_id");
    if (value == NULL || json_is_null(value))
        return;
    if (!json_is_array(value)) {
        config_add_stop(out, read_id(json, "eos_token_id", value, out->vocab_size));
        return;
    }
    if (json_array_size(value) > ARCH_MAX_STOPS)
        shard_json_fail(json, "eos_token_id", "at most 8 ids");
    for (size_t i = 0; i < json_array_size(value) && i < ARCH_MAX_STOPS; i++)
        config_add_stop(out, read_id(json, "eos_token_id", json_array_get(value, i), out->vocab_size));
}

static bool read_bos(shard_json *json, arch_decoder *out)
{
    if (!shard_json_has(json, "bos_token_id"))
        return false;
    const json_t *value = json_object_get(json->object, "bos_token_id");
    out->bos_id = read_id(json, "bos_token_id", value, out->vocab_size);
    return true;
}

/* A multimodal model states its ids beside text_config, a text model in it; generation_config.json may add some. */
static base_status read_ids(const family_config *config, shard_json *json, const hf_defaults *defaults,
                            arch_decoder *out)
{
    shard_json root = shard_json_over(config->root, config->file, "", config->error);
    shard_json generation = shard_json_over(config->generation, "generation_config.json", "", config->error);
    if (!read_bos(&root, out) && !read_bos(json, out) && !read_bos(&generation, out))
        out->bos_id = defaults->bos_id;
    read_stops(&root, out);
    read_stops(json, out);
    read_stops(&generation, out);
    if (out->n_stop_ids == 0)
        config_add_stop(out, defaults->eos_id);
    out->eos_id = out->n_stop_ids > 0 ? out->stop_ids[0] : -1;
    if (root.status != BASE_OK)
        json->status = root.status;
    if (json->status == BASE_OK)
        json->status = generation.status;
    return json->status;
}

/* --- all of it --- */

/* `otherwise` 0: it must be there. */
static uint32_t read_size(shard_json *json, const char *field, uint32_t max, uint32_t otherwise)
{
    return otherwise == 0 ? shard_json_u32(json, field, 1, max) : shard_json_u32_or(json, field, 1, max, otherwise);
}

static void read_sizes(shard_json *json, const hf_defaults *defaults, arch_decoder *out)
{
    arch_stack *stack = &out->stack;
    stack->n_layers = read_size(json, "num_hidden_layers", ARCH_MAX_LAYERS, defaults->layers);
    stack->d = read_size(json, "hidden_size", MAX_HIDDEN, defaults->hidden);
    stack->f = read_size(json, "intermediate_size", MAX_MLP, defaults->mlp);
    stack->h = read_size(json, "num_attention_heads", MAX_HEADS, defaults->heads);
    stack->kv =
        shard_json_u32_or(json, "num_key_value_heads", 1, MAX_HEADS, defaults->kv == 0 ? stack->h : defaults->kv);
    uint32_t head_dim = defaults->head_dim;
    if (head_dim == 0 && !shard_json_has(json, "head_dim")) {
        head_dim = stack->d / stack->h;
        if (stack->d % stack->h != 0 || head_dim > MAX_HEAD_DIM)
            shard_json_fail(json, "head_dim", "to be given: hidden_size / num_attention_heads is not one");
    }
    stack->dh = shard_json_u32_or(json, "head_dim", 1, MAX_HEAD_DIM, head_dim);
    out->vocab_size = read_size(json, "vocab_size", MAX_VOCAB, defaults->vocab_size);
    out->max_positions = shard_json_u32_or(json, "max_position_embeddings", 1, MAX_POSITIONS, defaults->positions);
    stack->norm_eps = (float)shard_json_number_or(json, "rms_norm_eps", MIN_EPS, MAX_EPS, defaults->norm_eps);
}

static bool has_output(const family_config *config)
{
    shard_tensor output;
    char name[ARCH_MAX_PREFIX + 16];
    snprintf(name, sizeof name, "%.*slm_head.weight", (int)arch_prefix_outside(config->prefix), config->prefix);
    return shard_source_find(config->source, name, &output, NULL) == BASE_OK;
}

/* Where neither config.json nor the family says so, a missing output matrix does. */
static bool read_tied(const family_config *config, shard_json *json, const hf_defaults *defaults)
{
    shard_json root = shard_json_over(config->root, config->file, "", config->error);
    if (shard_json_has(json, "tie_word_embeddings"))
        return shard_json_bool(json, "tie_word_embeddings");
    if (json_is_boolean(json_object_get(root.object, "tie_word_embeddings")))
        return shard_json_bool(&root, "tie_word_embeddings");
    return defaults->tied || (config->source != NULL && !has_output(config));
}

base_status hf_decoder_read(const family_config *config, shard_json *json, const hf_defaults *defaults,
                            arch_decoder *out)
{
    arch_stack *stack = &out->stack;
    read_sizes(json, defaults, out);
    if (json->status != BASE_OK)
        return json->status;
    stack->norm = ARCH_NORM_RMS;
    stack->causal = true;
    stack->attn_scale = (float)(1.0 / sqrt((double)stack->dh));
    out->embedding_scale = 1.0f;
    out->logit_scale = 1.0f;
    out->tied_embeddings = read_tied(config, json, defaults);
    const char *activation = shard_json_text_or(json, defaults->activation_field, defaults->activation);
    if (strcmp(activation, defaults->activation) != 0)
        config_unsupported_in(json, defaults->activation_field, defaults->activation);
    base_status status = read_rope(json, defaults, out->max_positions, stack);
    if (status == BASE_OK)
        status = read_ids(config, json, defaults, out);
    return status != BASE_OK ? status : config_check_heads(config->file, stack, config->error);
}
