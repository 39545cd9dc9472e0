/* test_arch.c - config.json to a model as data: every field read, every bad value named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "sharding/arch.h"

static const char good[] =
    "{ \"architectures\": [\"PalmEForConditionalGeneration\"], \"model_type\": \"palm_e\", \"torch_dtype\": "
    "\"bfloat16\",\n"
    "  \"text_config\": { \"model_type\": \"palm\", \"vocab_size\": 1000, \"hidden_size\": 96, \"num_hidden_layers\": "
    "3,\n"
    "    \"num_attention_heads\": 6, \"num_key_value_heads\": 1, \"head_dim\": 16, \"intermediate_size\": 256,\n"
    "    \"max_position_embeddings\": 512, \"rope_theta\": 10000.0, \"rope_interleaved\": false, \"norm_type\": "
    "\"layernorm\",\n"
    "    \"norm_eps\": 1e-6, \"hidden_act\": \"silu\", \"tie_word_embeddings\": true, \"logit_scale\": 0.102,\n"
    "    \"bos_token_id\": 1, \"eos_token_id\": 2 },\n"
    "  \"vision_config\": { \"model_type\": \"vit_22b\", \"image_size\": 224, \"patch_size\": 14, \"num_channels\": "
    "3,\n"
    "    \"hidden_size\": 64, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"head_dim\": 12, "
    "\"intermediate_size\": 128,\n"
    "    \"norm_eps\": 1e-5, \"hidden_act\": \"gelu_tanh\", \"image_mean\": [0.4, 0.5, 0.6], \"image_std\": [0.1, 0.2, "
    "0.3] },\n"
    "  \"projector_config\": { \"type\": \"affine\" } }\n";

static void everything_is_read(void **state)
{
    (void)state;
    arch a;
    base_error error = {0};
    assert_int_equal(arch_parse("config.json", good, strlen(good), &a, &error), BASE_OK);
    assert_string_equal(a.family, "palm_e");
    const arch_stack *s = &a.decoder.stack;
    assert_int_equal(s->n_layers, 3);
    assert_int_equal(s->d, 96);
    assert_int_equal(s->h, 6);
    assert_int_equal(s->kv, 1);
    assert_int_equal(s->dh, 16);
    assert_int_equal(s->f, 256);
    assert_int_equal(s->norm, ARCH_NORM_LAYERNORM);
    assert_int_equal(s->mlp, ARCH_MLP_SWIGLU);
    assert_true(s->causal && s->rope && !s->qk_norm && !s->mlp_bias);
    assert_true(s->attn_scale == 0.25f && s->norm_eps == 1e-6f && s->rope_global.theta == 10000.0);
    assert_int_equal(a.decoder.vocab_size, 1000);
    assert_int_equal(a.decoder.max_positions, 512);
    assert_true(a.decoder.tied_embeddings && a.decoder.embedding_scale == 1.0f && a.decoder.logit_scale == 0.102f);
    assert_int_equal(a.decoder.bos_id, 1);
    assert_int_equal(a.decoder.eos_id, 2);
    assert_true(a.has_tower);
    const arch_stack *t = &a.tower.stack;
    assert_int_equal(t->kv, 4);
    assert_int_equal(t->norm, ARCH_NORM_RMS);
    assert_int_equal(t->mlp, ARCH_MLP_GELU_TANH);
    assert_true(!t->causal && !t->rope && t->qk_norm && t->mlp_bias && t->norm_eps == 1e-5f);
    assert_int_equal(a.tower.n_patches, 256);
    assert_true(a.tower.image_mean[2] == 0.6f && a.tower.image_std[0] == 0.1f);
}

/* The config with the first `from` replaced by `to`; owned. */
static char *replaced(const char *from, const char *to)
{
    const char *at = strstr(good, from);
    if (at == NULL)
        fail_msg("'%s' is not in the config", from);
    size_t size = sizeof good + strlen(to);
    char *text = malloc(size);
    assert_non_null(text);
    snprintf(text, size, "%.*s%s%s", (int)(at - good), good, to, at + strlen(from));
    return text;
}

static void assert_refused(const char *from, const char *to, base_status status, const char *why)
{
    char *text = replaced(from, to);
    arch a;
    base_error error = {0};
    base_status found = arch_parse("config.json", text, strlen(text), &a, &error);
    if (found != status || strstr(error.text, why) == NULL)
        fail_msg("'%s' for '%s': '%s' is not in '%s'", to, from, why, error.text);
    free(text);
}

static void bad_values_are_named(void **state)
{
    (void)state;
    const struct {
        const char *from, *to, *why;
    } cases[] = {
        {"\"vocab_size\": 1000", "\"vocab_size\": 0", "'text_config.vocab_size' is wrong: expected an integer from 1"},
        {"\"vocab_size\": 1000", "\"vocab_size\": \"1000\"", "'text_config.vocab_size' is wrong"},
        {"\"vocab_size\": 1000", "\"vocab_size\": 1e3", "'text_config.vocab_size' is wrong"},
        {"\"vocab_size\": 1000,", "", "'text_config.vocab_size' is missing"},
        {"\"hidden_size\": 96", "\"hidden_size\": 99999999999", "'text_config.hidden_size' is wrong"},
        {"\"num_hidden_layers\": 3", "\"num_hidden_layers\": -1", "'text_config.num_hidden_layers' is wrong"},
        {"\"num_key_value_heads\": 1", "\"num_key_value_heads\": 4",
         "query heads 6 is not a multiple of the number of key/value heads 4"},
        {"\"head_dim\": 16", "\"head_dim\": 15", "head_dim 15 is odd"},
        {"\"rope_theta\": 10000.0", "\"rope_theta\": 0", "'text_config.rope_theta' is wrong"},
        {"\"norm_eps\": 1e-6", "\"norm_eps\": true", "'text_config.norm_eps' is wrong"},
        {"\"tie_word_embeddings\": true", "\"tie_word_embeddings\": 1", "'text_config.tie_word_embeddings' is wrong"},
        {"\"bos_token_id\": 1", "\"bos_token_id\": 1000",
         "'text_config.bos_token_id' is wrong: expected an integer from 0 to 999"},
        {"\"norm_type\": \"layernorm\"", "\"norm_type\": 3", "'text_config.norm_type' is wrong"},
        {"\"model_type\": \"palm_e\"", "\"model_type\": \"a\\nb\"", "'model_type' is wrong"},
        {"\"text_config\": {", "\"text_config_\": {", "'text_config.num_hidden_layers' is missing"},
        {"\"image_size\": 224", "\"image_size\": 225", "225 is not a multiple of patch_size 14"},
        {"\"image_size\": 224, \"patch_size\": 14", "\"image_size\": 4096, \"patch_size\": 1", "4096 x 4096 patches"},
        {"\"num_channels\": 3", "\"num_channels\": 1", "'vision_config.num_channels' is wrong"},
        {"[0.4, 0.5, 0.6]", "[0.4, 0.5]", "'vision_config.image_mean' is wrong: expected 3 numbers"},
        {"[0.1, 0.2, 0.3]", "[0.1, 0.0, 0.3]", "'vision_config.image_std' is wrong"},
        {"{ \"type\": \"affine\" }", "{}", "'projector_config.type' is missing"},
        {"\"head_dim\": 16", "\"head_dim\": 16, \"head_dim\": 16", "not valid JSON: line 3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(cases[i].from, cases[i].to, BASE_EFORMAT, cases[i].why);
}

static void unknown_kinds_are_listed(void **state)
{
    (void)state;
    assert_refused("\"palm_e\"", "\"mamba\"", BASE_EUNSUPPORTED,
                   "model_type 'mamba' is not supported; this build knows: palm_e, llama, mistral");
    assert_refused("\"norm_type\": \"layernorm\"", "\"norm_type\": \"batch\"", BASE_EUNSUPPORTED,
                   "known: layernorm, rmsnorm");
    assert_refused("\"silu\"", "\"relu\"", BASE_EUNSUPPORTED, "text_config.hidden_act");
    assert_refused("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false", BASE_EUNSUPPORTED,
                   "tie_word_embeddings");
    assert_refused("\"rope_interleaved\": false", "\"rope_interleaved\": true", BASE_EUNSUPPORTED, "rope_interleaved");
    assert_refused("\"vit_22b\"", "\"clip\"", BASE_EUNSUPPORTED, "known: vit_22b");
    assert_refused("\"gelu_tanh\"", "\"gelu\"", BASE_EUNSUPPORTED, "known: gelu_tanh");
    assert_refused("\"affine\"", "\"mlp\"", BASE_EUNSUPPORTED, "known: affine");
}

static void cut_configs_are_errors(void **state)
{
    (void)state;
    size_t whole = (size_t)(strrchr(good, '}') - good) + 1;
    for (size_t n = 0; n < whole; n++) {
        char *copy = malloc(n > 0 ? n : 1);
        assert_non_null(copy);
        memcpy(copy, good, n);
        arch a;
        assert_int_equal(arch_parse("config.json", copy, n, &a, NULL), BASE_EFORMAT);
        free(copy);
    }
}

static void decoder_alone(void **state)
{
    (void)state;
    char *text = replaced("\"vision_config\"", "\"no_vision\"");
    arch a;
    assert_int_equal(arch_parse("config.json", text, strlen(text), &a, NULL), BASE_OK);
    assert_false(a.has_tower);
    uint64_t shape[2];
    char name[256];
    assert_int_equal(arch_tensor_shape(&a, ARCH_TOWER, ARCH_PATCH, shape), 0);
    assert_false(arch_tensor_name(&a, ARCH_TOWER, ARCH_PROJECTOR, 0, name, sizeof name));
    free(text);
}

static void tensors_have_names_and_shapes(void **state)
{
    (void)state;
    arch a;
    assert_int_equal(arch_parse("config.json", good, strlen(good), &a, NULL), BASE_OK);
    const struct {
        arch_part part;
        arch_role role;
        const char *name;
        int n_dims;
        uint64_t rows, columns;
    } cases[] = {
        {ARCH_DECODER, ARCH_EMBEDDING, "language_model.embed_tokens.weight", 2, 1000, 96},
        {ARCH_DECODER, ARCH_FINAL_NORM, "language_model.norm.weight", 1, 96, 1},
        {ARCH_DECODER, ARCH_LAYER_NORM, "language_model.layers.2.norm.weight", 1, 96, 1},
        {ARCH_DECODER, ARCH_LAYER_Q, "language_model.layers.2.attn.q_proj.weight", 2, 96, 96},
        {ARCH_DECODER, ARCH_LAYER_K, "language_model.layers.2.attn.k_proj.weight", 2, 16, 96},
        {ARCH_DECODER, ARCH_LAYER_O, "language_model.layers.2.attn.o_proj.weight", 2, 96, 96},
        {ARCH_DECODER, ARCH_LAYER_GATE, "language_model.layers.2.mlp.gate_proj.weight", 2, 256, 96},
        {ARCH_DECODER, ARCH_LAYER_DOWN, "language_model.layers.2.mlp.down_proj.weight", 2, 96, 256},
        {ARCH_TOWER, ARCH_LAYER_V, "vision_tower.layers.2.attn.v_proj.weight", 2, 48, 64},
        {ARCH_TOWER, ARCH_LAYER_K_NORM, "vision_tower.layers.2.attn.k_norm.weight", 1, 12, 1},
        {ARCH_TOWER, ARCH_LAYER_UP, "vision_tower.layers.2.mlp.fc1.weight", 2, 128, 64},
        {ARCH_TOWER, ARCH_LAYER_DOWN_BIAS, "vision_tower.layers.2.mlp.fc2.bias", 1, 64, 1},
        {ARCH_TOWER, ARCH_PATCH, "vision_tower.patch_embed.weight", 2, 64, 588},
        {ARCH_TOWER, ARCH_POSITION, "vision_tower.pos_embed", 2, 256, 64},
        {ARCH_TOWER, ARCH_PROJECTOR, "projector.weight", 2, 96, 64},
        {ARCH_TOWER, ARCH_PROJECTOR_BIAS, "projector.bias", 1, 96, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char name[256];
        uint64_t shape[2];
        assert_true(arch_tensor_name(&a, cases[i].part, cases[i].role, 2, name, sizeof name));
        assert_string_equal(name, cases[i].name);
        assert_int_equal(arch_tensor_shape(&a, cases[i].part, cases[i].role, shape), cases[i].n_dims);
        assert_int_equal(shape[0], cases[i].rows);
        assert_int_equal(shape[1], cases[i].columns);
    }
    char name[256];
    assert_false(arch_tensor_name(&a, ARCH_DECODER, ARCH_LAYER_Q_NORM, 0, name, sizeof name));
    assert_false(arch_tensor_name(&a, ARCH_TOWER, ARCH_LAYER_GATE, 0, name, sizeof name));
    assert_false(arch_tensor_name(&a, ARCH_DECODER, ARCH_EMBEDDING, 0, name, 8)); /* too small a buffer */
}

static void files_are_read(void **state)
{
    (void)state;
    char dir[] = "/tmp/palmgrove-arch-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    arch a;
    base_error error = {0};
    assert_int_equal(arch_load(dir, &a, &error), BASE_ENOTFOUND);
    assert_non_null(strstr(error.text, "/config.json'"));
    snprintf(path, sizeof path, "%s/config.json", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(good, f);
    fclose(f);
    assert_int_equal(arch_load(dir, &a, &error), BASE_OK);
    assert_int_equal(a.decoder.vocab_size, 1000);
    unlink(path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_read),
        cmocka_unit_test(bad_values_are_named),
        cmocka_unit_test(unknown_kinds_are_listed),
        cmocka_unit_test(cut_configs_are_errors),
        cmocka_unit_test(decoder_alone),
        cmocka_unit_test(tensors_have_names_and_shapes),
        cmocka_unit_test(files_are_read),
    };
    return cmocka_run_group_tests_name("arch", tests, NULL, NULL);
}
