/* gguf_fields.c - keys as in llama.cpp's gguf-py/gguf/constants.py; what is left out as llama.cpp's loader takes it. */
#include "sharding/families/gguf_fields.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sharding/families/config_fields.h"

/* Keys are ours, the architecture one of the table: 128 bytes hold both. */
typedef struct full_key {
    char text[128];
} full_key;

static full_key key_of(const gguf_fields *fields, const char *key)
{
    full_key full;
    snprintf(full.text, sizeof full.text, "%s.%s", fields->of->architecture, key);
    return full;
}

gguf_fields gguf_fields_over(const family_gguf *of)
{
    return (gguf_fields){.of = of, .status = BASE_OK};
}

static void field_fail(gguf_fields *fields, const char *key, const char *expected)
{
    if (fields->status != BASE_OK)
        return;
    const char *problem = gguf_has(fields->of->gguf, key) ? "is wrong" : "is missing";
    fields->status = base_fail(fields->of->error, BASE_EFORMAT, "'%s': key '%s' %s: expected %s", fields->of->file, key,
                               problem, expected);
}

void gguf_fields_unsupported(gguf_fields *fields, const char *key, const char *known)
{
    if (fields->status == BASE_OK)
        fields->status = config_unsupported(fields->of->file, key_of(fields, key).text, known, fields->of->error);
}

/* --- one value --- */

static uint32_t read_u32(gguf_fields *fields, const char *key, uint32_t min, uint32_t max)
{
    uint64_t value;
    if (gguf_get_u64(fields->of->gguf, key, &value) && value >= min && value <= max)
        return (uint32_t)value;
    char expected[64];
    snprintf(expected, sizeof expected, "an integer from %u to %u", min, max);
    field_fail(fields, key, expected);
    return min;
}

uint32_t gguf_fields_u32(gguf_fields *fields, const char *key, uint32_t min, uint32_t max)
{
    return read_u32(fields, key_of(fields, key).text, min, max);
}

uint32_t gguf_fields_u32_or(gguf_fields *fields, const char *key, uint32_t min, uint32_t max, uint32_t otherwise)
{
    full_key full = key_of(fields, key);
    return gguf_has(fields->of->gguf, full.text) ? read_u32(fields, full.text, min, max) : otherwise;
}

double gguf_fields_number_or(gguf_fields *fields, const char *key, double min, double max, double otherwise)
{
    full_key full = key_of(fields, key);
    double value;
    if (!gguf_has(fields->of->gguf, full.text))
        return otherwise;
    if (gguf_get_f64(fields->of->gguf, full.text, &value) && value >= min && value <= max)
        return value;
    char expected[96];
    snprintf(expected, sizeof expected, "a number from %g to %g", min, max);
    field_fail(fields, full.text, expected);
    return otherwise;
}

void gguf_fields_text(gguf_fields *fields, const char *key, char out[32])
{
    full_key full = key_of(fields, key);
    gguf_string text = {0};
    memset(out, 0, 32);
    if (!gguf_has(fields->of->gguf, full.text))
        return;
    if (gguf_get_string(fields->of->gguf, full.text, &text) && text.size < 32)
        memcpy(out, text.bytes, text.size);
    if (out[0] != '\0' && !shard_name_is_plain(out, 31))
        out[0] = '\0';
    if (out[0] == '\0')
        field_fail(fields, full.text, "a short text");
}

bool gguf_fields_bool_or(gguf_fields *fields, const char *key, bool otherwise)
{
    full_key full = key_of(fields, key);
    bool value = otherwise;
    if (gguf_has(fields->of->gguf, full.text) && !gguf_get_bool(fields->of->gguf, full.text, &value))
        field_fail(fields, full.text, "true or false");
    return value;
}

void gguf_fields_numbers(gguf_fields *fields, const char *key, size_t n, double min, double max, float *out)
{
    full_key full = key_of(fields, key);
    bool good = gguf_array_size(fields->of->gguf, full.text) == n;
    if (!gguf_has(fields->of->gguf, full.text))
        return;
    for (size_t i = 0; good && i < n; i++) {
        double value = 0.0;
        good = gguf_array_f64(fields->of->gguf, full.text, i, &value) && value >= min && value <= max;
        out[i] = (float)value;
    }
    if (!good)
        field_fail(fields, full.text, "as many numbers as a pixel has colours, in a sane range");
}

bool gguf_fields_flags(gguf_fields *fields, const char *key, uint32_t n, uint64_t *bits)
{
    full_key full = key_of(fields, key);
    if (gguf_array_size(fields->of->gguf, full.text) != n)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        int64_t flag;
        if (!gguf_array_i64(fields->of->gguf, full.text, i, &flag))
            return false;
        uint64_t bit = UINT64_C(1) << (i % 64);
        bits[i / 64] = flag != 0 ? bits[i / 64] | bit : bits[i / 64] & ~bit;
    }
    return true;
}

/* --- tensors --- */

static bool find_tensor(const gguf_fields *fields, const char *name, shard_tensor *out)
{
    return shard_source_find(fields->of->source, name, out, NULL) == BASE_OK;
}

bool gguf_fields_has_tensor(const gguf_fields *fields, const char *name)
{
    shard_tensor tensor;
    return find_tensor(fields, name, &tensor);
}

void gguf_must_lack_tensor(gguf_fields *fields, const char *name)
{
    if (fields->status == BASE_OK && gguf_fields_has_tensor(fields, name))
        fields->status = base_fail(fields->of->error, BASE_EUNSUPPORTED,
                                   "'%s': models of architecture '%s' with a tensor '%s' are "
                                   "not supported",
                                   fields->of->file, fields->of->architecture, name);
}

/* --- a decoder --- */

static void read_sizes(gguf_fields *fields, arch_stack *stack)
{
    stack->n_layers = gguf_fields_u32(fields, "block_count", 1, ARCH_MAX_LAYERS);
    stack->d = gguf_fields_u32(fields, "embedding_length", 1, MAX_HIDDEN);
    stack->f = gguf_fields_u32(fields, "feed_forward_length", 1, MAX_MLP);
    stack->h = gguf_fields_u32(fields, "attention.head_count", 1, MAX_HEADS);
    stack->kv = gguf_fields_u32_or(fields, "attention.head_count_kv", 1, MAX_HEADS, stack->h);
    stack->dh = gguf_fields_u32_or(fields, "attention.key_length", 1, MAX_HEAD_DIM, stack->d / stack->h);
    stack->norm_eps = (float)gguf_fields_number_or(fields, "attention.layer_norm_rms_epsilon", MIN_EPS, MAX_EPS, -1.0);
    if (stack->norm_eps < 0.0f)
        field_fail(fields, key_of(fields, "attention.layer_norm_rms_epsilon").text, "a number");
    if (stack->dh == 0 || stack->dh > MAX_HEAD_DIM)
        field_fail(fields, key_of(fields, "attention.key_length").text, "an integer");
    char known[32];
    snprintf(known, sizeof known, "%u", stack->dh);
    if (gguf_fields_u32_or(fields, "attention.value_length", 1, MAX_HEAD_DIM, stack->dh) != stack->dh)
        gguf_fields_unsupported(fields, "attention.value_length", known);
    if (gguf_fields_u32_or(fields, "rope.dimension_count", 1, MAX_HEAD_DIM, stack->dh) != stack->dh)
        gguf_fields_unsupported(fields, "rope.dimension_count", known);
    if (gguf_fields_u32_or(fields, "expert_count", 0, UINT32_MAX, 0) != 0)
        gguf_fields_unsupported(fields, "expert_count", "0");
}

static bool string_is(gguf_string string, const char *text)
{
    return string.size == strlen(text) && memcmp(string.bytes, text, string.size) == 0;
}

/* A factor without a type is a linear one (old files); a factor of 0 is none. */
static void read_scaling(gguf_fields *fields, uint32_t positions, arch_rope *out)
{
    gguf_string type = {.bytes = "linear", .size = strlen("linear")};
    full_key key = key_of(fields, "rope.scaling.type");
    if (gguf_has(fields->of->gguf, key.text) && !gguf_get_string(fields->of->gguf, key.text, &type))
        field_fail(fields, key.text, "a text");
    double old = gguf_fields_number_or(fields, "rope.scale_linear", 0.0, MAX_FACTOR, 0.0);
    double factor = gguf_fields_number_or(fields, "rope.scaling.factor", 0.0, MAX_FACTOR, old);
    if (factor == 0.0)
        factor = 1.0;
    if (string_is(type, "none") || (string_is(type, "linear") && factor == 1.0))
        return;
    out->factor = factor < MIN_FACTOR ? MIN_FACTOR : factor;
    if (string_is(type, "linear")) {
        out->scaling = ARCH_ROPE_LINEAR;
    } else if (string_is(type, "yarn")) {
        out->scaling = ARCH_ROPE_YARN;
        out->original_positions =
            gguf_fields_u32_or(fields, "rope.scaling.original_context_length", 1, MAX_POSITIONS, positions);
        out->beta_fast = gguf_fields_number_or(fields, "rope.scaling.yarn_beta_fast", 1e-3, 1e6, 32.0);
        out->beta_slow = gguf_fields_number_or(fields, "rope.scaling.yarn_beta_slow", 1e-3, 1e6, 1.0);
        out->attention_factor = config_yarn_attention(out->factor) *
                                gguf_fields_number_or(fields, "rope.scaling.attn_factor", 1e-3, 100.0, 1.0);
        if (gguf_fields_number_or(fields, "rope.scaling.yarn_log_multiplier", -1e6, 1e6, 0.0) != 0.0)
            gguf_fields_unsupported(fields, "rope.scaling.yarn_log_multiplier", "0");
    } else {
        gguf_fields_unsupported(fields, "rope.scaling.type", "none, linear, yarn");
    }
}

static void read_rope(gguf_fields *fields, uint32_t positions, arch_stack *out)
{
    out->rope = true;
    out->rope_global = config_rope_plain(gguf_fields_number_or(fields, "rope.freq_base", 1.0, MAX_THETA, 10000.0));
    read_scaling(fields, positions, &out->rope_global);
    if (gguf_fields_has_tensor(fields, "rope_freqs.weight")) {
        if (out->rope_global.scaling != ARCH_ROPE_PLAIN)
            gguf_fields_unsupported(fields, "rope.scaling.type", "none, beside a tensor 'rope_freqs.weight'");
        out->rope_global.scaling = ARCH_ROPE_DIVISORS;
    }
    out->rope_local = out->rope_global;
}

static int32_t read_id(gguf_fields *fields, const char *key, uint32_t vocab_size)
{
    return gguf_has(fields->of->gguf, key) ? (int32_t)read_u32(fields, key, 0, vocab_size - 1) : -1;
}

/* Pieces that end a turn or a text in these families' vocabularies, for files that do not name them by key (so does
 * llama.cpp). */
static bool ends_a_reply(gguf_string piece)
{
    static const char *const texts[] = {"<|eot_id|>",    "<|eom_id|>",      "<|im_end|>",
                                        "<|endoftext|>", "<|end_of_text|>", "<end_of_turn>"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (string_is(piece, texts[i]))
            return true;
    return false;
}

static void read_ids(gguf_fields *fields, arch_decoder *out)
{
    const gguf_file *gguf = fields->of->gguf;
    out->bos_id = read_id(fields, "tokenizer.ggml.bos_token_id", out->vocab_size);
    out->eos_id = read_id(fields, "tokenizer.ggml.eos_token_id", out->vocab_size);
    config_add_stop(out, out->eos_id);
    config_add_stop(out, read_id(fields, "tokenizer.ggml.eot_token_id", out->vocab_size));
    config_add_stop(out, read_id(fields, "tokenizer.ggml.eom_token_id", out->vocab_size));
    size_t n = gguf_array_size(gguf, "tokenizer.ggml.tokens");
    for (size_t i = 0; i < n && i < out->vocab_size; i++) {
        gguf_string piece;
        if (gguf_array_string(gguf, "tokenizer.ggml.tokens", i, &piece) && ends_a_reply(piece))
            config_add_stop(out, (int32_t)i);
    }
}

static void read_vocabulary(gguf_fields *fields, arch_decoder *out)
{
    shard_tensor embedding = {0};
    if (fields->status != BASE_OK)
        return;
    if (!find_tensor(fields, "token_embd.weight", &embedding) || embedding.n_dims != 2 || embedding.shape[0] == 0 ||
        embedding.shape[0] > MAX_VOCAB) {
        fields->status = base_fail(fields->of->error, BASE_EFORMAT,
                                   "'%s': tensor 'token_embd.weight' is missing or not a matrix of 1 to %u rows",
                                   fields->of->file, MAX_VOCAB);
        return;
    }
    out->vocab_size = (uint32_t)embedding.shape[0];
    out->tied_embeddings = !gguf_fields_has_tensor(fields, "output.weight");
    read_ids(fields, out);
}

base_status gguf_decoder_read(gguf_fields *fields, arch_decoder *out)
{
    arch_stack *stack = &out->stack;
    read_sizes(fields, stack);
    if (fields->status != BASE_OK)
        return fields->status;
    stack->norm = ARCH_NORM_RMS;
    stack->causal = true;
    stack->attn_scale = (float)(1.0 / sqrt((double)stack->dh));
    out->embedding_scale = 1.0f;
    out->logit_scale = 1.0f;
    out->max_positions = gguf_fields_u32(fields, "context_length", 1, MAX_POSITIONS);
    read_rope(fields, out->max_positions, stack);
    read_vocabulary(fields, out);
    return fields->status != BASE_OK ? fields->status : config_check_heads(fields->of->file, stack, fields->of->error);
}
