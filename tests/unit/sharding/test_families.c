/* test_families.c - published configurations and GGUF metadata to models as data: what each says, what it leaves out,
 * what is refused. Expected values are those of the models' papers and of the configuration classes of transformers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/buf.h"
#include "sharding/arch_json.h"
#include "sharding/families.h"
#include "tests/helpers/config_edits.h"

/* --- published configurations --- */

typedef struct sizes {
    const char *file, *family;
    uint32_t layers, d, h, kv, dh, f, vocab, positions;
    bool tied;
    float embedding_scale, attn_scale;
    uint32_t window, n_local;
    int32_t bos, stops[4];
    uint32_t n_stops;
} sizes;

/* bf16(sqrt(d)): 640 -> 25.25, 1152 -> 34, 2560 -> 50.5, 5376 -> 73.5. */
static const sizes published[] = {
    {"llama-3.1-8b-instruct.json",
     "llama",
     32,
     4096,
     32,
     8,
     128,
     14336,
     128256,
     131072,
     false,
     1.0f,
     0.088388348f,
     0,
     0,
     128000,
     {128001, 128008, 128009},
     3},
    {"llama-3.1-8b-instruct.new.json",
     "llama",
     32,
     4096,
     32,
     8,
     128,
     14336,
     128256,
     131072,
     false,
     1.0f,
     0.088388348f,
     0,
     0,
     128000,
     {128001, 128008, 128009},
     3},
    {"mistral-7b-v0.1.json",
     "llama",
     32,
     4096,
     32,
     8,
     128,
     14336,
     32000,
     32768,
     false,
     1.0f,
     0.088388348f,
     4096,
     32,
     1,
     {2},
     1},
    {"mistral-7b-instruct-v0.2.json",
     "llama",
     32,
     4096,
     32,
     8,
     128,
     14336,
     32000,
     32768,
     false,
     1.0f,
     0.088388348f,
     0,
     0,
     1,
     {2},
     1},
    {"qwen2.5-0.5b-instruct.json",
     "qwen2",
     24,
     896,
     14,
     2,
     64,
     4864,
     151936,
     32768,
     true,
     1.0f,
     0.125f,
     0,
     0,
     151643,
     {151645},
     1},
    {"smollm2-135m-instruct.json", "llama", 30, 576, 9, 3, 64, 1536, 49152, 8192, true, 1.0f, 0.125f, 0, 0, 1, {2}, 1},
    {"gemma-3-270m-it.json",
     "gemma3",
     18,
     640,
     4,
     1,
     256,
     2048,
     262144,
     32768,
     true,
     25.25f,
     0.0625f,
     512,
     15,
     2,
     {1},
     1},
    {"gemma-3-1b-it.json",
     "gemma3",
     26,
     1152,
     4,
     1,
     256,
     6912,
     262144,
     32768,
     true,
     34.0f,
     0.0625f,
     512,
     22,
     2,
     {1, 106},
     2},
    {"gemma-3-4b-it.json",
     "gemma3",
     34,
     2560,
     8,
     4,
     256,
     10240,
     262208,
     131072,
     true,
     50.5f,
     0.0625f,
     1024,
     29,
     2,
     {1, 106},
     2},
    {"gemma-3-4b-it.new.json",
     "gemma3",
     34,
     2560,
     8,
     4,
     256,
     10240,
     262208,
     131072,
     true,
     50.5f,
     0.0625f,
     1024,
     29,
     2,
     {1, 106},
     2},
    {"gemma-3-27b-it.json",
     "gemma3",
     62,
     5376,
     32,
     16,
     128,
     21504,
     262208,
     131072,
     true,
     73.5f,
     0.077151675f,
     1024,
     52,
     2,
     {1, 106},
     2},
};

static uint32_t count_local(const arch_stack *stack)
{
    uint32_t n = 0;
    for (uint32_t il = 0; il < stack->n_layers; il++)
        n += arch_layer_is_local(stack, il);
    return n;
}

static void assert_sizes(const arch *a, const sizes *want)
{
    const arch_stack *s = &a->decoder.stack;
    print_message("%s\n", want->file);
    assert_string_equal(a->family, want->family);
    assert_true(a->has_tower == (strcmp(want->family, "gemma3") == 0 && want->d >= 2560) && !a->gguf);
    const uint32_t found[] = {
        s->n_layers, s->d, s->h, s->kv, s->dh, s->f, a->decoder.vocab_size, a->decoder.max_positions};
    const uint32_t wanted[] = {want->layers, want->d, want->h,     want->kv,
                               want->dh,     want->f, want->vocab, want->positions};
    for (size_t i = 0; i < sizeof found / sizeof found[0]; i++)
        assert_int_equal(found[i], wanted[i]);
    assert_int_equal(a->decoder.tied_embeddings, want->tied);
    assert_true(a->decoder.embedding_scale == want->embedding_scale && a->decoder.logit_scale == 1.0f);
    assert_true(fabsf(s->attn_scale - want->attn_scale) < 1e-8f);
    assert_int_equal(s->window, want->window);
    assert_int_equal(count_local(s), want->n_local);
    assert_int_equal(a->decoder.bos_id, want->bos);
    assert_int_equal(a->decoder.eos_id, want->stops[0]);
    assert_int_equal(a->decoder.n_stop_ids, want->n_stops);
    assert_memory_equal(a->decoder.stop_ids, want->stops, want->n_stops * sizeof(int32_t));
    assert_true(s->causal && s->rope && !s->rope_interleaved && s->norm == ARCH_NORM_RMS && !s->mlp_bias);
}

static void published_models_are_known(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
        arch a = parsed(published[i].file);
        assert_sizes(&a, &published[i]);
    }
}

static void families_differ_where_they_should(void **state)
{
    (void)state;
    arch llama = parsed("llama-3.1-8b-instruct.json"), qwen = parsed("qwen2.5-0.5b-instruct.json");
    arch gemma = parsed("gemma-3-4b-it.json");
    const arch_stack *l = &llama.decoder.stack, *q = &qwen.decoder.stack, *g = &gemma.decoder.stack;
    assert_true(l->block == ARCH_BLOCK_SERIAL && l->mlp == ARCH_MLP_SWIGLU && !l->qkv_bias && !l->qk_norm &&
                !l->norm_plus_one);
    assert_true(q->block == ARCH_BLOCK_SERIAL && q->mlp == ARCH_MLP_SWIGLU && q->qkv_bias && !q->qk_norm);
    assert_true(g->block == ARCH_BLOCK_POST_NORM && g->mlp == ARCH_MLP_GEGLU_TANH && !g->qkv_bias && g->qk_norm &&
                g->norm_plus_one);
    assert_true(l->norm_eps == 1e-5f && q->norm_eps == 1e-6f && g->norm_eps == 1e-6f);
}

static void rotary_regimes_are_read(void **state)
{
    (void)state;
    const char *const llamas[] = {"llama-3.1-8b-instruct.json", "llama-3.1-8b-instruct.new.json"};
    const char *const gemmas[] = {"gemma-3-4b-it.json", "gemma-3-4b-it.new.json"};
    for (size_t i = 0; i < 2; i++) {
        arch a = parsed(llamas[i]);
        const arch_rope *r = &a.decoder.stack.rope_global;
        assert_int_equal(r->scaling, ARCH_ROPE_LLAMA3);
        assert_true(r->theta == 500000.0 && r->factor == 8.0 && r->low_factor == 1.0 && r->high_factor == 4.0);
        assert_int_equal(r->original_positions, 8192);
        a = parsed(gemmas[i]);
        const arch_rope *global = &a.decoder.stack.rope_global, *local = &a.decoder.stack.rope_local;
        assert_true(global->theta == 1e6 && global->scaling == ARCH_ROPE_LINEAR && global->factor == 8.0);
        assert_true(local->theta == 1e4 && local->scaling == ARCH_ROPE_PLAIN);
        for (uint32_t il = 0; il < 34; il++)
            assert_int_equal(arch_layer_is_local(&a.decoder.stack, il), il % 6 != 5);
    }
    arch small = parsed("gemma-3-270m-it.json");
    assert_int_equal(small.decoder.stack.rope_global.scaling, ARCH_ROPE_PLAIN);
}

/* --- edits --- */

#define LLAMA   "llama-3.1-8b-instruct.json"
#define QWEN    "qwen2.5-0.5b-instruct.json"
#define MISTRAL "mistral-7b-v0.1.json"
#define GEMMA   "gemma-3-1b-it.json"

static void absent_fields_have_the_class_defaults(void **state)
{
    (void)state;
    assert_int_equal(edited(LLAMA, "\"num_key_value_heads\": 8,", "").decoder.stack.kv, 32);
    assert_int_equal(edited(LLAMA, "\"num_key_value_heads\": 8", "\"num_key_value_heads\": null").decoder.stack.kv, 32);
    assert_int_equal(edited(LLAMA, "\"mlp_bias\"", "\"head_dim\": 64, \"mlp_bias\"").decoder.stack.dh, 64);
    assert_true(edited(LLAMA, "\"rope_theta\": 500000.0,", "").decoder.stack.rope_global.theta == 10000.0);
    assert_int_equal(edited(LLAMA, "\"bos_token_id\": 128000,", "").decoder.bos_id, 1);
    assert_int_equal(edited(QWEN, "\"bos_token_id\": 151643,", "").decoder.bos_id, -1);
    arch a = edited(QWEN, "\"eos_token_id\": 151645,", "");
    assert_true(a.decoder.eos_id == -1 && a.decoder.n_stop_ids == 0);
    assert_int_equal(edited(MISTRAL, "\"sliding_window\": 4096,", "").decoder.stack.window, 4096);
    assert_true(
        edited(QWEN, "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false").decoder.tied_embeddings ==
        false);
}

static void windows_are_read(void **state)
{
    (void)state;
    arch a = edited(QWEN, "\"use_sliding_window\": false", "\"use_sliding_window\": true");
    assert_int_equal(a.decoder.stack.window, 32768);
    assert_int_equal(count_local(&a.decoder.stack), 3); /* layers 21, 22, 23 */
    assert_true(!arch_layer_is_local(&a.decoder.stack, 20) && arch_layer_is_local(&a.decoder.stack, 21));
    a = edited(GEMMA, "\"sliding_window_pattern\": 6", "\"sliding_window_pattern\": 2");
    assert_int_equal(count_local(&a.decoder.stack), 13);
}

static void embedding_scale_follows_the_type_of_the_weights(void **state)
{
    (void)state;
    assert_true(edited(GEMMA, "bfloat16", "float32").decoder.embedding_scale == sqrtf(1152.0f));
    assert_true(edited(GEMMA, "bfloat16", "float16").decoder.embedding_scale == 33.9375f);
    assert_true(edited(GEMMA, "torch_dtype", "dtype").decoder.embedding_scale == 34.0f);
    assert_true(edited(GEMMA, "\"torch_dtype\": \"bfloat16\",", "").decoder.embedding_scale == sqrtf(1152.0f));
}

/* arXiv 2309.00071: attention factor 0.1 ln(s) + 1; transformers' defaults 32 and 1 for the betas. */
static void yarn_is_read(void **state)
{
    (void)state;
    arch a = edited(QWEN, "\"rope_theta\"",
                    "\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4.0, \"original_max_position_embeddings\": "
                    "32768}, \"rope_theta\"");
    const arch_rope *r = &a.decoder.stack.rope_global;
    assert_int_equal(r->scaling, ARCH_ROPE_YARN);
    assert_true(r->factor == 4.0 && r->beta_fast == 32.0 && r->beta_slow == 1.0 && r->original_positions == 32768);
    assert_true(fabs(r->attention_factor - 1.1386294361119891) < 1e-15);
    a = edited(QWEN, "\"rope_theta\"",
               "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 40, \"mscale\": 1.0, \"mscale_all_dim\": 1.0,"
               " \"beta_fast\": 16}, \"rope_theta\"");
    r = &a.decoder.stack.rope_global;
    assert_true(r->attention_factor == 1.0 && r->beta_fast == 16.0 && r->original_positions == 32768);
    a = edited(QWEN, "\"rope_theta\"",
               "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 2, \"attention_factor\": 1.5}, \"rope_theta\"");
    assert_true(a.decoder.stack.rope_global.attention_factor == 1.5);
}

static void what_is_not_computed_is_refused(void **state)
{
    (void)state;
    const struct {
        const char *file, *from, *to;
        base_status status;
        const char *why;
    } cases[] = {
        {LLAMA, "\"attention_bias\": false", "\"attention_bias\": true", BASE_EUNSUPPORTED, "'attention_bias'"},
        {LLAMA, "\"mlp_bias\": false", "\"mlp_bias\": true", BASE_EUNSUPPORTED,
         "'mlp_bias' is not supported; known: false"},
        {LLAMA, "\"silu\"", "\"gelu\"", BASE_EUNSUPPORTED, "'hidden_act' is not supported; known: silu"},
        {LLAMA, "\"llama3\"", "\"longrope\"", BASE_EUNSUPPORTED,
         "'rope_scaling.rope_type' is not supported; known: default"},
        {LLAMA, "\"llama3\"", "7", BASE_EFORMAT, "'rope_scaling.rope_type' is wrong"},
        {LLAMA, "\"high_freq_factor\": 4.0", "\"high_freq_factor\": 1.0", BASE_EFORMAT, "above low_freq_factor"},
        {LLAMA, "\"factor\": 8.0,", "", BASE_EFORMAT, "'rope_scaling.factor' is missing"},
        {LLAMA, "\"factor\": 8.0,", "\"factor\": 0,", BASE_EFORMAT, "'rope_scaling.factor' is wrong"},
        {LLAMA, "\"pretraining_tp\": 1", "\"partial_rotary_factor\": 0.5", BASE_EUNSUPPORTED,
         "'partial_rotary_factor'"},
        {LLAMA, "\"eos_token_id\": [128001", "\"eos_token_id\": [128256", BASE_EFORMAT,
         "'eos_token_id' is wrong: expected ids from 0"},
        {LLAMA, "\"eos_token_id\": [", "\"eos_token_id\": [1, 2, 3, 4, 5, 6, 7, ", BASE_EFORMAT, "at most 8 ids"},
        {LLAMA, "\"eos_token_id\": [128001", "\"eos_token_id\": [\"x\"", BASE_EFORMAT, "'eos_token_id' is wrong"},
        {LLAMA, "\"bos_token_id\": 128000", "\"bos_token_id\": -2", BASE_EFORMAT, "'bos_token_id' is wrong"},
        {LLAMA, "\"num_key_value_heads\": 8", "\"num_key_value_heads\": 5", BASE_EFORMAT, "not a multiple"},
        {LLAMA, "\"num_attention_heads\": 32", "\"num_attention_heads\": 24", BASE_EFORMAT, "'head_dim' is missing"},
        {LLAMA, "\"hidden_size\": 4096,", "", BASE_EFORMAT, "'hidden_size' is missing"},
        {LLAMA, "\"num_hidden_layers\": 32", "\"num_hidden_layers\": 1025", BASE_EFORMAT,
         "'num_hidden_layers' is wrong"},
        {LLAMA, "\"rope_scaling\": {", "\"rope_scaling\": 3, \"x\": {", BASE_EFORMAT,
         "'rope_scaling' is wrong: expected an object"},
        {MISTRAL, "\"sliding_window\": 4096", "\"sliding_window\": 0", BASE_EFORMAT, "'sliding_window' is wrong"},
        {QWEN, "\"model_type\": \"qwen2\"", "\"model_type\": \"qwen3\"", BASE_EUNSUPPORTED,
         "model_type 'qwen3' is not supported"},
        {GEMMA, "\"attn_logit_softcapping\": null", "\"attn_logit_softcapping\": 50.0", BASE_EUNSUPPORTED,
         "'attn_logit_softcapping'"},
        {GEMMA, "\"final_logit_softcapping\": null", "\"final_logit_softcapping\": 30.0", BASE_EUNSUPPORTED,
         "'final_logit_softcapping'"},
        {GEMMA, "\"gelu_pytorch_tanh\"", "\"gelu\"", BASE_EUNSUPPORTED, "'hidden_activation'"},
        {GEMMA, "\"sliding_window_pattern\": 6", "\"layer_types\": [\"full_attention\"]", BASE_EFORMAT,
         "one text a layer"},
        {GEMMA, "\"rope_theta\"", "\"rope_parameters\": {\"rope_type\": \"default\"}, \"x\"", BASE_EUNSUPPORTED,
         "'rope_parameters'"},
        {"gemma-3-270m-it.json", "\"full_attention\"", "\"linear_attention\"", BASE_EUNSUPPORTED,
         "known: sliding_attention, full"},
        {"gemma-3-270m-it.json", "\"use_bidirectional_attention\": false", "\"use_bidirectional_attention\": true",
         BASE_EUNSUPPORTED, "'use_bidirectional_attention'"},
        {"gemma-3-4b-it.json", "\"hidden_size\": 2560,", "", BASE_EFORMAT, "'text_config.hidden_size' is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        arch a;
        base_error error = {0};
        base_status status = parse_edited(cases[i].file, cases[i].from, cases[i].to, &a, &error);
        if (status != cases[i].status || strstr(error.text, cases[i].why) == NULL)
            fail_msg("'%s' for '%s': '%s' is not in '%s'", cases[i].to, cases[i].from, cases[i].why, error.text);
    }
}

/* --- names --- */

static void assert_name(const arch *a, arch_role role, const char *want)
{
    char name[128];
    if (want == NULL) {
        uint64_t shape[2];
        assert_false(arch_tensor_name(a, ARCH_DECODER, role, 3, name, sizeof name));
        assert_int_equal(arch_tensor_shape(a, ARCH_DECODER, role, shape), 0);
        return;
    }
    assert_true(arch_tensor_name(a, ARCH_DECODER, role, 3, name, sizeof name));
    assert_string_equal(name, want);
}

static void names_follow_prefix_and_format(void **state)
{
    (void)state;
    arch a = parsed(LLAMA);
    assert_name(&a, ARCH_EMBEDDING, "model.embed_tokens.weight");
    assert_name(&a, ARCH_OUTPUT, "lm_head.weight");
    assert_name(&a, ARCH_LAYER_MLP_NORM, "model.layers.3.post_attention_layernorm.weight");
    assert_name(&a, ARCH_LAYER_POST_ATTN_NORM, NULL);
    assert_name(&a, ARCH_LAYER_Q_BIAS, NULL);
    a.gguf = true;
    assert_name(&a, ARCH_LAYER_Q, "blk.3.attn_q.weight");
    assert_name(&a, ARCH_ROPE_FREQUENCIES, NULL);
    a.decoder.stack.rope_global.scaling = ARCH_ROPE_DIVISORS;
    assert_name(&a, ARCH_ROPE_FREQUENCIES, "rope_freqs.weight");
    a = parsed("gemma-3-4b-it.json");
    snprintf(a.prefix, sizeof a.prefix, "language_model.model.");
    assert_name(&a, ARCH_LAYER_POST_ATTN_NORM, "language_model.model.layers.3.post_attention_layernorm.weight");
    assert_name(&a, ARCH_LAYER_MLP_NORM, "language_model.model.layers.3.pre_feedforward_layernorm.weight");
    assert_name(&a, ARCH_LAYER_Q_NORM, "language_model.model.layers.3.self_attn.q_norm.weight");
    assert_name(&a, ARCH_OUTPUT, NULL);
    a = parsed(QWEN);
    assert_name(&a, ARCH_LAYER_V_BIAS, "model.layers.3.self_attn.v_proj.bias");
    uint64_t shape[2];
    assert_int_equal(arch_tensor_shape(&a, ARCH_DECODER, ARCH_LAYER_K_BIAS, shape), 1);
    assert_int_equal(shape[0], 128);
}

/* Every tensor that a model computes with has a name, in every family and format. */
static void every_role_has_a_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++)
        for (int gguf = 0; gguf < 2; gguf++) {
            arch a = parsed(published[i].file);
            a.gguf = gguf != 0;
            for (int role = 0; role < ARCH_N_ROLES; role++) {
                uint64_t shape[2];
                char name[128];
                bool is_there = arch_tensor_shape(&a, ARCH_DECODER, (arch_role)role, shape) > 0;
                assert_int_equal(arch_tensor_name(&a, ARCH_DECODER, (arch_role)role, 0, name, sizeof name), is_there);
            }
        }
}

static void every_family_is_listed(void **state)
{
    (void)state;
    const char *const families[] = {"palm_e", "llama", "qwen2", "gemma3"};
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        const arch_family *family = arch_family_find(families[i]);
        assert_non_null(family);
        for (size_t k = 0; k < FAMILY_MAX_ALTERNATIVES && family->model_types[k] != NULL; k++) {
            assert_ptr_equal(arch_family_of_model_type(family->model_types[k]), family);
            assert_non_null(strstr(arch_model_type_list(), family->model_types[k]));
        }
        if (family->gguf_architecture != NULL) {
            assert_ptr_equal(arch_family_of_gguf(family->gguf_architecture), family);
            assert_non_null(strstr(arch_gguf_list(), family->gguf_architecture));
        }
    }
    assert_null(arch_family_find("mamba"));
}

/* --- arch_json --- */

static void assert_round_trip(const arch *a)
{
    json_t *object = arch_to_json(a);
    assert_non_null(object);
    char *text = json_dumps(object, 0);
    json_decref(object);
    assert_non_null(text);
    json_t *again = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    free(text);
    arch b;
    base_error error = {0};
    if (arch_from_json(again, "manifest", &b, &error) != BASE_OK)
        fail_msg("%s", error.text);
    json_t *twice = arch_to_json(&b);
    assert_true(json_equal(again, twice));
    json_decref(again);
    json_decref(twice);
    /* Field by field where bytes between fields may differ. */
    const arch_stack *s = &a->decoder.stack, *t = &b.decoder.stack;
    assert_true(s->attn_scale == t->attn_scale && s->norm_eps == t->norm_eps &&
                s->rope_global.theta == t->rope_global.theta &&
                s->rope_global.attention_factor == t->rope_global.attention_factor &&
                s->rope_local.theta == t->rope_local.theta);
    assert_memory_equal(s->local_layers, t->local_layers, sizeof s->local_layers);
    assert_memory_equal(a->decoder.stop_ids, b.decoder.stop_ids, sizeof a->decoder.stop_ids);
    assert_true(a->gguf == b.gguf && strcmp(a->prefix, b.prefix) == 0 && a->has_tower == b.has_tower);
}

static void descriptors_survive_json(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
        arch a = parsed(published[i].file);
        assert_round_trip(&a);
    }
    arch odd = edited(QWEN, "\"rope_theta\": 1000000.0",
                      "\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 3.3}, \"rope_theta\": 12345.678901234567");
    odd.gguf = true;
    odd.decoder.bos_id = -1;
    odd.decoder.stack.xpos_base = 512.0;
    assert_round_trip(&odd);
    arch a;
    base_error error = {0};
    if (arch_load(PALMGROVE_SOURCE_DIR "/models/phantom", &a, &error) != BASE_OK)
        fail_msg("%s", error.text);
    assert_true(a.has_tower);
    assert_round_trip(&a);
}

/* Every field of the object and of the objects inside it: missing, of another kind, or one too many, is refused. */
static void assert_strict(json_t *root, json_t *object)
{
    size_t n = json_object_size(object);
    const char *names[64];
    assert_true(n <= 64);
    size_t at = 0;
    for (void *it = json_object_iter(object); it != NULL; it = json_object_iter_next(object, it))
        names[at++] = json_object_iter_key(it);
    for (size_t i = 0; i < n; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s", names[i]);
        json_t *value = json_incref(json_object_get(object, name));
        arch a;
        json_object_set_new(object, name, json_pack("{s: i}", "wrong", 1));
        assert_int_not_equal(arch_from_json(root, "manifest", &a, NULL), BASE_OK);
        json_object_set(object, name, value);
        if (json_is_object(value))
            assert_strict(root, value);
        json_decref(value);
    }
    arch a;
    json_object_set_new(object, "more", json_true());
    assert_int_not_equal(arch_from_json(root, "manifest", &a, NULL), BASE_OK);
    json_object_del(object, "more");
    assert_int_equal(arch_from_json(root, "manifest", &a, NULL), BASE_OK);
}

static void hostile_descriptors_are_refused(void **state)
{
    (void)state;
    arch a;
    base_error error = {0};
    assert_int_equal(arch_load(PALMGROVE_SOURCE_DIR "/models/phantom", &a, NULL), BASE_OK);
    json_t *root = arch_to_json(&a);
    assert_strict(root, root);
    json_t *stack = json_object_get(json_object_get(root, "decoder"), "stack");
    json_object_set_new(stack, "kv", json_integer(4));
    assert_int_equal(arch_from_json(root, "manifest", &a, &error), BASE_EFORMAT);
    assert_non_null(strstr(error.text, "not a multiple"));
    json_object_set_new(stack, "kv", json_integer(1));
    json_object_set_new(stack, "local_layers", json_pack("[i]", 4));
    assert_int_equal(arch_from_json(root, "manifest", &a, &error), BASE_EFORMAT);
    assert_non_null(strstr(error.text, "'decoder.stack.local_layers' is wrong"));
    json_object_set_new(stack, "local_layers", json_array());
    json_object_set_new(json_object_get(stack, "rope_global"), "scaling", json_string("yarn"));
    assert_int_equal(arch_from_json(root, "manifest", &a, &error), BASE_EFORMAT);
    assert_non_null(strstr(error.text, "'decoder.stack.rope_global.scaling' is wrong"));
    json_object_set_new(root, "family", json_string("mamba"));
    assert_int_equal(arch_from_json(root, "manifest", &a, &error), BASE_EUNSUPPORTED);
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_models_are_known),
        cmocka_unit_test(families_differ_where_they_should),
        cmocka_unit_test(rotary_regimes_are_read),
        cmocka_unit_test(absent_fields_have_the_class_defaults),
        cmocka_unit_test(windows_are_read),
        cmocka_unit_test(embedding_scale_follows_the_type_of_the_weights),
        cmocka_unit_test(yarn_is_read),
        cmocka_unit_test(what_is_not_computed_is_refused),
        cmocka_unit_test(names_follow_prefix_and_format),
        cmocka_unit_test(every_role_has_a_name),
        cmocka_unit_test(every_family_is_listed),
        cmocka_unit_test(descriptors_survive_json),
        cmocka_unit_test(hostile_descriptors_are_refused),
    };
    return cmocka_run_group_tests_name("families", tests, NULL, NULL);
}
