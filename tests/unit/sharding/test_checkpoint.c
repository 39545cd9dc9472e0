/* test_checkpoint.c - from a path to a model: every format found by what is there, prefixes and tied matrices by which
 * tensors exist, GGUF metadata of every family, and errors that name what is missing.  The tensors' names are written
 * out here, not taken from the tables under test. */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/buf.h"
#include "sharding/checkpoint.h"

/* --- a directory that goes away again --- */

static char dir[32];

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/palmgrove-ck-XXXXXX");
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int remove_dir(void **state)
{
    (void)state;
    DIR *listing = opendir(dir);
    for (struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        if (entry->d_name[0] != '.')
            unlink(path);
    }
    closedir(listing);
    return rmdir(dir);
}

static char *file_path(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void write_file(const char *name, const void *bytes, size_t size)
{
    FILE *file = fopen(file_path(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void write_text(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

/* --- models being written: tensors of zeros, in either format --- */

typedef struct tensors {
    bool gguf;
    const char *prefix, *skipped; /* NULL: nothing */
    base_buf list;
    uint64_t n, bytes;
} tensors;

static void put_string(base_buf *out, const char *text)
{
    base_buf_put_u64(out, strlen(text));
    base_buf_put(out, text, strlen(text));
}

/* F32; columns 0: a vector of `rows`. */
static void add_named(tensors *t, const char *name, uint64_t rows, uint64_t columns)
{
    uint64_t bytes = rows * (columns > 0 ? columns : 1) * 4;
    if (t->skipped != NULL && strcmp(name, t->skipped) == 0)
        return;
    if (t->gguf) {
        put_string(&t->list, name);
        base_buf_put_u32(&t->list, columns > 0 ? 2 : 1);
        if (columns > 0)
            base_buf_put_u64(&t->list, columns);
        base_buf_put_u64(&t->list, rows);
        base_buf_put_u32(&t->list, 0);
        base_buf_put_u64(&t->list, t->bytes);
        bytes = (bytes + 31) / 32 * 32;
    } else {
        char entry[512], shape[64];
        snprintf(shape, sizeof shape, columns > 0 ? "%llu, %llu" : "%llu", (unsigned long long)rows,
                 (unsigned long long)columns);
        int n = snprintf(
            entry, sizeof entry, "%s\"%s\": {\"dtype\": \"F32\", \"shape\": [%s], \"data_offsets\": [%llu, %llu]}",
            t->n > 0 ? ", " : "{", name, shape, (unsigned long long)t->bytes, (unsigned long long)(t->bytes + bytes));
        base_buf_put(&t->list, entry, (size_t)n);
    }
    t->n++;
    t->bytes += bytes;
}

static void add(tensors *t, const char *name, uint64_t rows, uint64_t columns)
{
    char full[256];
    snprintf(full, sizeof full, "%s%s", t->prefix != NULL ? t->prefix : "", name);
    add_named(t, full, rows, columns);
}

static void add_in_layer(tensors *t, uint32_t il, const char *name, uint64_t rows, uint64_t columns)
{
    char full[256];
    snprintf(full, sizeof full, t->gguf ? "blk.%u.%s" : "layers.%u.%s", il, name);
    add(t, full, rows, columns);
}

static void put_zeros(base_buf *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        base_buf_put_u8(out, 0);
}

/* d 8, 4 query heads and 2 KV heads of 2, f 12, V 11. */
enum { D = 8, H = 4, KV = 2, DH = 2, F = 12, V = 11 };

static void add_hf_layer(tensors *t, uint32_t il)
{
    add_in_layer(t, il, "input_layernorm.weight", D, 0);
    add_in_layer(t, il, "post_attention_layernorm.weight", D, 0);
    add_in_layer(t, il, "self_attn.q_proj.weight", H * DH, D);
    add_in_layer(t, il, "self_attn.k_proj.weight", KV * DH, D);
    add_in_layer(t, il, "self_attn.v_proj.weight", KV * DH, D);
    add_in_layer(t, il, "self_attn.o_proj.weight", D, H * DH);
    add_in_layer(t, il, "mlp.gate_proj.weight", F, D);
    add_in_layer(t, il, "mlp.up_proj.weight", F, D);
    add_in_layer(t, il, "mlp.down_proj.weight", D, F);
}

static void write_hf(const char *prefix, bool lm_head)
{
    tensors t = {.prefix = prefix};
    add(&t, "embed_tokens.weight", V, D);
    add(&t, "norm.weight", D, 0);
    for (uint32_t il = 0; il < 2; il++)
        add_hf_layer(&t, il);
    if (lm_head)
        add_named(&t, strcmp(prefix, "language_model.model.") == 0 ? "language_model.lm_head.weight" : "lm_head.weight",
                  V, D);
    base_buf_put(&t.list, "}", 1);
    base_buf file = {0};
    base_buf_put_u64(&file, t.list.size);
    base_buf_put(&file, t.list.data, t.list.size);
    put_zeros(&file, (size_t)t.bytes);
    assert_false(file.failed || t.list.failed);
    write_file("model.safetensors", file.data, file.size);
    base_buf_release(&t.list);
    base_buf_release(&file);
}

#define LLAMA_CONFIG                                                                                        \
    "{\"model_type\": \"llama\", \"hidden_size\": 8, \"intermediate_size\": 12, \"num_hidden_layers\": 2, " \
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"vocab_size\": 11, \"bos_token_id\": 1, "     \
    "\"eos_token_id\": 2"

static void add_gguf_layer(tensors *t, const char *family, uint32_t il)
{
    add_in_layer(t, il, "attn_norm.weight", D, 0);
    add_in_layer(t, il, "ffn_norm.weight", D, 0);
    add_in_layer(t, il, "attn_q.weight", H * DH, D);
    add_in_layer(t, il, "attn_k.weight", KV * DH, D);
    add_in_layer(t, il, "attn_v.weight", KV * DH, D);
    add_in_layer(t, il, "attn_output.weight", D, H * DH);
    add_in_layer(t, il, "ffn_gate.weight", F, D);
    add_in_layer(t, il, "ffn_up.weight", F, D);
    add_in_layer(t, il, "ffn_down.weight", D, F);
    if (strcmp(family, "qwen2") == 0) {
        add_in_layer(t, il, "attn_q.bias", H * DH, 0);
        add_in_layer(t, il, "attn_k.bias", KV * DH, 0);
        add_in_layer(t, il, "attn_v.bias", KV * DH, 0);
    } else if (strcmp(family, "gemma3") == 0) {
        add_in_layer(t, il, "attn_q_norm.weight", DH, 0);
        add_in_layer(t, il, "attn_k_norm.weight", DH, 0);
        add_in_layer(t, il, "post_attention_norm.weight", D, 0);
        add_in_layer(t, il, "post_ffw_norm.weight", D, 0);
    }
}

/* Metadata: integers, texts, arrays; the key's family is put before keys that begin with '.'. */
typedef struct pairs {
    const char *family;
    base_buf list;
    uint64_t n;
} pairs;

static void put_key(pairs *p, const char *key, uint32_t kind)
{
    char full[128];
    snprintf(full, sizeof full, "%s%s", key[0] == '.' ? p->family : "", key);
    put_string(&p->list, full);
    base_buf_put_u32(&p->list, kind);
    p->n++;
}

static void put_u32(pairs *p, const char *key, uint32_t value)
{
    put_key(p, key, 4);
    base_buf_put_u32(&p->list, value);
}

static void put_f32(pairs *p, const char *key, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(p, key, 6);
    base_buf_put_u32(&p->list, bits);
}

static void put_text(pairs *p, const char *key, const char *text)
{
    put_key(p, key, 8);
    put_string(&p->list, text);
}

static void put_flags(pairs *p, const char *key, const char *bits)
{
    put_key(p, key, 9);
    base_buf_put_u32(&p->list, 7);
    base_buf_put_u64(&p->list, strlen(bits));
    for (const char *bit = bits; *bit != '\0'; bit++)
        base_buf_put_u8(&p->list, *bit == '1');
}

static void put_texts(pairs *p, const char *key, const char *const *texts, size_t n)
{
    put_key(p, key, 9);
    base_buf_put_u32(&p->list, 8);
    base_buf_put_u64(&p->list, n);
    for (size_t i = 0; i < n; i++)
        put_string(&p->list, texts[i]);
}

/* What every family needs. */
static pairs start_pairs(const char *family, uint32_t layers)
{
    pairs p = {.family = family};
    put_text(&p, "general.architecture", family);
    put_u32(&p, ".block_count", layers);
    put_u32(&p, ".context_length", 64);
    put_u32(&p, ".embedding_length", D);
    put_u32(&p, ".feed_forward_length", F);
    put_u32(&p, ".attention.head_count", H);
    put_u32(&p, ".attention.head_count_kv", KV);
    put_f32(&p, ".attention.layer_norm_rms_epsilon", 1e-5f);
    return p;
}

/* Writes model.gguf and releases `p`. */
static void write_gguf(pairs *p, uint32_t layers, const char *extra, const char *skipped)
{
    tensors t = {.gguf = true, .skipped = skipped};
    add(&t, "token_embd.weight", V, D);
    add(&t, "output_norm.weight", D, 0);
    if (extra != NULL)
        add(&t, extra, strcmp(extra, "output.weight") == 0 ? V : DH / 2, strcmp(extra, "output.weight") == 0 ? D : 0);
    for (uint32_t il = 0; il < layers; il++)
        add_gguf_layer(&t, p->family, il);
    base_buf file = {0};
    base_buf_put(&file, "GGUF", 4);
    base_buf_put_u32(&file, 3);
    base_buf_put_u64(&file, t.n);
    base_buf_put_u64(&file, p->n);
    base_buf_put(&file, p->list.data, p->list.size);
    base_buf_put(&file, t.list.data, t.list.size);
    put_zeros(&file, (32 - file.size % 32) % 32 + (size_t)t.bytes);
    assert_false(file.failed || t.list.failed || p->list.failed);
    write_file("model.gguf", file.data, file.size);
    base_buf_release(&t.list);
    base_buf_release(&file);
    base_buf_release(&p->list);
}

/* --- opening --- */

static shard_checkpoint *opened(const char *path)
{
    shard_checkpoint *c = NULL;
    base_error error = {0};
    if (shard_checkpoint_open(path, &c, &error) != BASE_OK)
        fail_msg("%s", error.text);
    return c;
}

static arch arch_of(const char *path)
{
    shard_checkpoint *c = opened(path);
    arch a = c->a;
    shard_checkpoint_close(&c);
    assert_null(c);
    return a;
}

static void assert_refused(const char *path, base_status status, const char *why)
{
    shard_checkpoint *c = NULL;
    base_error error = {0};
    base_status found = shard_checkpoint_open(path, &c, &error);
    if (found != status || strstr(error.text, why) == NULL)
        fail_msg("'%s' is not in '%s' (status %d)", why, error.text, (int)found);
    assert_null(c);
}

static void paths_are_told_apart(void **state)
{
    (void)state;
    assert_refused("/tmp/palmgrove-no-such-model", BASE_ENOTFOUND, "no model '/tmp/palmgrove-no-such-model'");
    assert_refused(dir, BASE_ENOTFOUND,
                   "neither palmgrove.json (shards) nor config.json (safetensors) nor a .gguf file");
    assert_refused("synthetic:no-such-preset", BASE_ENOTFOUND, "no-such-preset");
    pairs p = start_pairs("llama", 1);
    write_gguf(&p, 1, NULL, NULL);
    shard_checkpoint *c = opened(dir);
    assert_int_equal(c->format, CHECKPOINT_GGUF);
    assert_non_null(shard_checkpoint_gguf(c));
    assert_string_equal(c->path, file_path("model.gguf"));
    shard_checkpoint_close(&c);
    write_text("other.gguf", "GGUF");
    assert_refused(dir, BASE_EINVAL, "holds 2 .gguf files; name one of them");
    assert_string_equal(arch_of(file_path("model.gguf")).family, "llama");
    assert_refused(file_path("other.gguf"), BASE_EFORMAT, "other.gguf");
    write_text("config.json", LLAMA_CONFIG "}");
    assert_refused(dir, BASE_ENOTFOUND, "neither 'model.safetensors' nor");
    write_hf("model.", false);
    c = opened(dir);
    assert_int_equal(c->format, CHECKPOINT_SAFETENSORS);
    assert_null(shard_checkpoint_gguf(c));
    shard_checkpoint_close(&c);
    write_text("palmgrove.json", "{}");
    assert_refused(dir, BASE_EFORMAT, "palmgrove.json");
}

static void a_description_needs_no_tensors(void **state)
{
    (void)state;
    arch a;
    base_error error = {0};
    write_text("config.json", LLAMA_CONFIG "}");
    assert_int_equal(shard_checkpoint_describe(dir, &a, &error), BASE_OK);
    assert_int_equal(a.decoder.vocab_size, V);
    assert_int_equal(shard_checkpoint_describe("synthetic:palm-8b", &a, &error), BASE_OK);
    assert_int_equal(a.decoder.stack.d, 4096);
    assert_int_equal(shard_checkpoint_describe("/tmp/palmgrove-no-such-model", &a, &error), BASE_ENOTFOUND);
}

/* --- safetensors --- */

static void the_prefix_is_the_one_that_is_there(void **state)
{
    (void)state;
    const char *const prefixes[] = {"model.", "language_model.model.", "model.language_model.", ""};
    write_text("config.json", LLAMA_CONFIG "}");
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        write_hf(prefixes[i], true);
        arch a = arch_of(dir);
        assert_string_equal(a.prefix, prefixes[i]);
        assert_false(a.decoder.tied_embeddings);
    }
    write_hf("transformer.", true);
    assert_refused(dir, BASE_ENOTFOUND, "tensor 'model.embed_tokens.weight' is missing");
}

static void a_missing_output_matrix_is_the_embedding(void **state)
{
    (void)state;
    write_hf("model.", false);
    write_text("config.json", LLAMA_CONFIG "}");
    assert_true(arch_of(dir).decoder.tied_embeddings);
    write_text("config.json", LLAMA_CONFIG ", \"tie_word_embeddings\": true}");
    assert_true(arch_of(dir).decoder.tied_embeddings);
    write_text("config.json", LLAMA_CONFIG ", \"tie_word_embeddings\": false}");
    assert_refused(dir, BASE_ENOTFOUND, "tensor 'lm_head.weight' is missing");
    write_hf("model.", true);
    assert_false(arch_of(dir).decoder.tied_embeddings);
    write_text("config.json", LLAMA_CONFIG ", \"tie_word_embeddings\": true}");
    assert_true(arch_of(dir).decoder.tied_embeddings);
}

static void generation_config_adds_stops(void **state)
{
    (void)state;
    write_hf("model.", false);
    write_text("config.json", LLAMA_CONFIG "}");
    write_text("generation_config.json", "{\"eos_token_id\": [7, 2, 9]}");
    arch a = arch_of(dir);
    assert_int_equal(a.decoder.eos_id, 2);
    assert_int_equal(a.decoder.n_stop_ids, 3);
    assert_true(a.decoder.stop_ids[0] == 2 && a.decoder.stop_ids[1] == 7 && a.decoder.stop_ids[2] == 9);
    write_text("generation_config.json", "{\"eos_token_id\": [11]}");
    assert_refused(dir, BASE_EFORMAT, "'generation_config.json': field 'eos_token_id' is wrong");
    write_text("generation_config.json", "{");
    assert_refused(dir, BASE_EFORMAT, "generation_config.json' is not valid JSON");
}

/* --- GGUF --- */

static void gguf_llama(void **state)
{
    (void)state;
    const char *const pieces[] = {"<unk>", "<s>", "</s>", "a", "<|eot_id|>"};
    pairs p = start_pairs("llama", 2);
    put_u32(&p, "tokenizer.ggml.bos_token_id", 1);
    put_u32(&p, "tokenizer.ggml.eos_token_id", 2);
    put_u32(&p, "tokenizer.ggml.eot_token_id", 3);
    put_texts(&p, "tokenizer.ggml.tokens", pieces, 5);
    put_f32(&p, ".rope.freq_base", 5e5f);
    write_gguf(&p, 2, "rope_freqs.weight", NULL);
    arch a = arch_of(dir);
    const arch_stack *s = &a.decoder.stack;
    assert_true(a.gguf && s->rope_interleaved && s->block == ARCH_BLOCK_SERIAL && s->mlp == ARCH_MLP_SWIGLU &&
                !s->qkv_bias);
    assert_int_equal(s->rope_global.scaling, ARCH_ROPE_DIVISORS);
    assert_true(s->rope_global.theta == 5e5 && s->norm_eps == 1e-5f && s->attn_scale == (float)sqrt(0.5));
    assert_true(s->n_layers == 2 && s->dh == DH && s->kv == KV && a.decoder.vocab_size == V &&
                a.decoder.max_positions == 64);
    assert_true(a.decoder.tied_embeddings && a.decoder.bos_id == 1 && a.decoder.n_stop_ids == 3);
    assert_true(a.decoder.stop_ids[0] == 2 && a.decoder.stop_ids[1] == 3 && a.decoder.stop_ids[2] == 4);

    p = start_pairs("llama", 1);
    put_text(&p, ".rope.scaling.type", "yarn");
    put_f32(&p, ".rope.scaling.factor", 4.0f);
    put_u32(&p, ".rope.scaling.original_context_length", 16);
    write_gguf(&p, 1, "output.weight", NULL);
    a = arch_of(dir);
    const arch_rope *r = &a.decoder.stack.rope_global;
    assert_true(!a.decoder.tied_embeddings && a.decoder.bos_id == -1 && a.decoder.n_stop_ids == 0);
    assert_true(r->scaling == ARCH_ROPE_YARN && r->factor == 4.0 && r->original_positions == 16 && r->theta == 10000.0);
    assert_true(fabs(r->attention_factor - 1.1386294361119891) < 1e-15);
}

static void gguf_qwen2(void **state)
{
    (void)state;
    pairs p = start_pairs("qwen2", 1);
    put_f32(&p, ".rope.scale_linear", 2.0f);
    write_gguf(&p, 1, NULL, NULL);
    arch a = arch_of(dir);
    assert_true(a.decoder.stack.qkv_bias && !a.decoder.stack.rope_interleaved);
    assert_true(a.decoder.stack.rope_global.scaling == ARCH_ROPE_LINEAR && a.decoder.stack.rope_global.factor == 2.0);
    p = start_pairs("qwen2", 1);
    write_gguf(&p, 1, NULL, "blk.0.attn_k.bias");
    assert_refused(dir, BASE_ENOTFOUND, "tensor 'blk.0.attn_k.bias' is missing");
}

static void gguf_gemma3(void **state)
{
    (void)state;
    pairs p = start_pairs("gemma3", 8);
    put_u32(&p, ".attention.sliding_window", 16);
    put_f32(&p, ".rope.freq_base", 1e6f);
    put_text(&p, ".rope.scaling.type", "linear");
    put_f32(&p, ".rope.scaling.factor", 8.0f);
    write_gguf(&p, 8, NULL, NULL);
    arch a = arch_of(dir);
    const arch_stack *s = &a.decoder.stack;
    assert_true(s->block == ARCH_BLOCK_POST_NORM && s->mlp == ARCH_MLP_GEGLU_TANH && s->qk_norm && !s->norm_plus_one);
    assert_true(s->window == 16 && s->local_layers[0] == 0xdf && a.decoder.embedding_scale == sqrtf(8.0f));
    assert_true(s->rope_global.theta == 1e6 && s->rope_global.factor == 8.0 &&
                s->rope_global.scaling == ARCH_ROPE_LINEAR);
    assert_true(s->rope_local.theta == 1e4 && s->rope_local.scaling == ARCH_ROPE_PLAIN &&
                s->attn_scale == (float)sqrt(0.5));

    p = start_pairs("gemma3", 3);
    put_u32(&p, ".attention.sliding_window", 16);
    put_flags(&p, ".attention.sliding_window_pattern", "101");
    put_f32(&p, ".rope.freq_base_swa", 5000.0f);
    write_gguf(&p, 3, NULL, NULL);
    a = arch_of(dir);
    assert_true(a.decoder.stack.local_layers[0] == 5 && a.decoder.stack.rope_local.theta == 5000.0);

    p = start_pairs("gemma3", 1);
    write_gguf(&p, 1, NULL, NULL);
    assert_int_equal(arch_of(dir).decoder.stack.window, 0);

    p = start_pairs("gemma3", 62); /* the 27B: scale (d / heads)^-1/2, not that of the head dimension */
    put_u32(&p, ".attention.key_length", DH);
    put_u32(&p, ".attention.sliding_window", 16);
    write_gguf(&p, 62, NULL, NULL);
    assert_true(arch_of(dir).decoder.stack.attn_scale == (float)(1.0 / sqrt((double)D / H)));
}

static void gguf_is_refused_by_key(void **state)
{
    (void)state;
    const struct {
        const char *key;
        uint32_t number; /* used when text is NULL */
        const char *text;
        base_status status;
        const char *why;
    } cases[] = {
        {".expert_count", 8, NULL, BASE_EUNSUPPORTED, "'llama.expert_count' is not supported; known: 0"},
        {".rope.dimension_count", 1, NULL, BASE_EUNSUPPORTED,
         "'llama.rope.dimension_count' is not supported; known: 2"},
        {".attention.value_length", 4, NULL, BASE_EUNSUPPORTED, "'llama.attention.value_length'"},
        {".rope.scaling.factor", 4, NULL, BASE_OK, ""},
        {".rope.scaling.type", 4, NULL, BASE_EFORMAT, "'llama.rope.scaling.type' is wrong: expected a text"},
        {".rope.scaling.type", 0, "longrope", BASE_EUNSUPPORTED, "known: none, linear, yarn"},
        {"tokenizer.ggml.eos_token_id", V, NULL, BASE_EFORMAT,
         "'tokenizer.ggml.eos_token_id' is wrong: expected an integer from 0 to 10"},
        {"tokenizer.ggml.bos_token_id", 0, "x", BASE_EFORMAT, "'tokenizer.ggml.bos_token_id' is wrong"},
        {".attention.key_length", 0, NULL, BASE_EFORMAT, "'llama.attention.key_length' is wrong"},
        {".attention.key_length", 4, NULL, BASE_EFORMAT, "the model's description asks for"},
        {".attention.key_length", 3, NULL, BASE_EFORMAT, "head_dim 3 is odd"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pairs p = start_pairs("llama", 1);
        if (cases[i].text != NULL)
            put_text(&p, cases[i].key, cases[i].text);
        else
            put_u32(&p, cases[i].key, cases[i].number);
        write_gguf(&p, 1, NULL, NULL);
        if (cases[i].status == BASE_OK)
            arch_of(dir);
        else
            assert_refused(dir, cases[i].status, cases[i].why);
    }
    pairs p = start_pairs("mamba", 1);
    write_gguf(&p, 1, NULL, NULL);
    assert_refused(dir, BASE_EUNSUPPORTED,
                   "architecture 'mamba' is not supported; this build knows: llama, qwen2, gemma3");
    p = (pairs){.family = "llama"};
    write_gguf(&p, 1, NULL, NULL);
    assert_refused(dir, BASE_EFORMAT, "'general.architecture' is missing");
    p = (pairs){.family = "llama"};
    put_text(&p, "general.architecture", "llama");
    write_gguf(&p, 1, NULL, NULL);
    assert_refused(dir, BASE_EFORMAT, "'llama.block_count' is missing");
    p = start_pairs("llama", 1);
    write_gguf(&p, 1, NULL, "token_embd.weight");
    assert_refused(dir, BASE_EFORMAT, "tensor 'token_embd.weight' is missing");
}

/* --- digests --- */

static void digests_name_the_model(void **state)
{
    (void)state;
    char first[65], again[65], other[65];
    base_error error = {0};
    pairs p = start_pairs("llama", 1);
    write_gguf(&p, 1, NULL, NULL);
    shard_checkpoint *c = opened(dir);
    assert_int_equal(shard_checkpoint_digest(c, first, &error), BASE_OK);
    assert_int_equal(shard_checkpoint_digest(c, again, &error), BASE_OK);
    shard_checkpoint_close(&c);
    assert_string_equal(first, again);
    p = start_pairs("llama", 1);
    put_u32(&p, "tokenizer.ggml.eos_token_id", 3);
    write_gguf(&p, 1, NULL, NULL);
    c = opened(dir);
    assert_int_equal(shard_checkpoint_digest(c, other, &error), BASE_OK);
    shard_checkpoint_close(&c);
    assert_string_not_equal(first, other);
    c = opened("synthetic:smollm2-135m,layers=1");
    assert_int_equal(shard_checkpoint_digest(c, first, &error), BASE_OK);
    shard_checkpoint_close(&c);
    c = opened("synthetic:smollm2-135m,layers=2");
    assert_int_equal(shard_checkpoint_digest(c, other, &error), BASE_OK);
    shard_checkpoint_close(&c);
    assert_string_not_equal(first, other);
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIR(paths_are_told_apart),
        IN_DIR(a_description_needs_no_tensors),
        IN_DIR(the_prefix_is_the_one_that_is_there),
        IN_DIR(a_missing_output_matrix_is_the_embedding),
        IN_DIR(generation_config_adds_stops),
        IN_DIR(gguf_llama),
        IN_DIR(gguf_qwen2),
        IN_DIR(gguf_gemma3),
        IN_DIR(gguf_is_refused_by_key),
        IN_DIR(digests_name_the_model),
    };
    return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
