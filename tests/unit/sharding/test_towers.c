/* test_towers.c - configurations with a vision tower to models as data: published ones, switches, what is refused,
 * names, the way through JSON. */
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
#include "sharding/slices.h"
#include "sharding/split.h"
#include "tests/helpers/config_edits.h"

static const char llava_med[] = "llava-med-v1.5-mistral-7b.json", llava[] = "llava-1.5-7b-hf.json",
                  gemma[] = "gemma-3-4b-it.json";

static const char palm_e[] = "{\"model_type\": \"palm_e\", \"text_config\": {\"vocab_size\": 512, \"hidden_size\": 96, "
                             "\"num_hidden_layers\": 2, "
                             "\"num_attention_heads\": 4, \"num_key_value_heads\": 1, \"head_dim\": 24, "
                             "\"intermediate_size\": 384, \"max_position_embeddings\": 64, "
                             "\"rope_theta\": 10000.0, \"norm_type\": \"layernorm\", \"norm_eps\": 1e-6, "
                             "\"hidden_act\": \"silu\", \"tie_word_embeddings\": true, "
                             "\"logit_scale\": 0.1, \"bos_token_id\": 1, \"eos_token_id\": 2}, \"vision_config\": "
                             "{\"model_type\": \"vit_22b\", \"image_size\": 224, "
                             "\"patch_size\": 14, \"num_channels\": 3, \"hidden_size\": 64, \"num_hidden_layers\": 3, "
                             "\"num_attention_heads\": 4, \"head_dim\": 12, "
                             "\"intermediate_size\": 128, \"norm_eps\": 1e-6, \"hidden_act\": \"gelu_tanh\", "
                             "\"image_mean\": [0.5, 0.5, 0.5], \"image_std\": [0.5, "
                             "0.5, 0.5]}, \"projector_config\": {\"type\": \"affine\"}}";

static void assert_refused(const char *name, const char *from, const char *to, base_status status, const char *words)
{
    arch a;
    base_error error = {0};
    assert_int_equal(parse_edited(name, from, to, &a, &error), status);
    if (strstr(error.text, words) == NULL)
        fail_msg("'%s' is not in '%s'", words, error.text);
}

static void assert_stack(const arch_stack *s, uint32_t layers, uint32_t d, uint32_t h, uint32_t f)
{
    assert_int_equal(s->n_layers, layers);
    assert_int_equal(s->d, d);
    assert_true(s->h == h && s->kv == h && s->dh == d / h);
    assert_int_equal(s->f, f);
    assert_true(s->block == ARCH_BLOCK_SERIAL && s->norm == ARCH_NORM_LAYERNORM && s->norm_bias && s->qkv_bias &&
                s->o_bias && s->mlp_bias);
    assert_true(!s->causal && !s->rope && !s->qk_norm);
}

static void clip_gives_the_layer_before_its_last(void **state)
{
    (void)state;
    const char *const names[] = {llava_med, llava};
    for (size_t i = 0; i < 2; i++) {
        arch a = parsed(names[i]);
        const arch_tower *t = &a.tower;
        assert_true(a.has_tower);
        assert_stack(&t->stack, 23, 1024, 16, 4096);
        assert_true(t->stack.mlp == ARCH_MLP_QUICK_GELU && t->stack.norm_eps == 1e-5f);
        assert_true(t->class_token && t->pre_norm && !t->patch_bias && !t->final_norm &&
                    t->projector == ARCH_PROJECTOR_MLP2);
        assert_int_equal(arch_tower_rows(t), 577);
        assert_int_equal(arch_tower_vectors(t), 576);
        assert_true(t->fit.kind == ARCH_FIT_SQUARE && t->fit.filter == ARCH_FILTER_BICUBIC &&
                    t->fit.pad_side == ARCH_PAD_CENTRE);
        assert_true(t->fit.pad_value[0] == 122 && t->fit.pad_value[1] == 116 && t->fit.pad_value[2] == 104);
        assert_true(t->image_mean[2] == 0.40821073f && t->image_std[0] == 0.26862954f && !t->images_see_all);
        assert_string_equal(t->open, "");
        assert_string_equal(t->close, "\n");
    }
    arch med = parsed(llava_med), hf = parsed(llava);
    assert_string_equal(med.family, "llava_original");
    assert_true(med.decoder.stack.kv == 8 && med.decoder.stack.f == 14336 && med.decoder.stack.window == 0);
    assert_true(hf.decoder.stack.d == 4096 && hf.decoder.stack.f == 11008 && hf.decoder.stack.kv == 32 &&
                hf.decoder.vocab_size == 32064);
}

static void siglip_is_pooled_for_gemma(void **state)
{
    (void)state;
    arch a = parsed(gemma);
    const arch_tower *t = &a.tower;
    assert_stack(&t->stack, 27, 1152, 16, 4304);
    assert_true(t->stack.mlp == ARCH_MLP_GELU_TANH && t->stack.norm_eps == 1e-6f);
    assert_true(!t->class_token && !t->pre_norm && t->patch_bias && t->final_norm &&
                t->projector == ARCH_PROJECTOR_GEMMA3);
    assert_true(t->pool == 4 && t->n_patches == 4096 && t->projector_plus_one && !t->stack.norm_plus_one &&
                t->images_see_all);
    assert_int_equal(arch_tower_vectors(t), 256);
    assert_true(t->fit.kind == ARCH_FIT_STRETCH && t->fit.filter == ARCH_FILTER_BILINEAR && t->image_mean[0] == 0.5f);
    assert_string_equal(t->open, "\n\n<start_of_image>");
    assert_string_equal(t->close, "<end_of_image>\n\n");
    assert_false(parsed("gemma-3-1b-it.json").has_tower);
    assert_false(edited(gemma, "\"vision_config\"", "\"no_vision_config\"").has_tower);
}

static void both_big_towers_are_known(void **state)
{
    (void)state;
    arch a = parsed(palm_e), e = edited(palm_e, "vit_22b", "vit_e");
    const arch_stack *s = &a.tower.stack, *t = &e.tower.stack;
    assert_true(s->block == ARCH_BLOCK_PARALLEL && s->norm == ARCH_NORM_RMS && s->qk_norm && !s->qkv_bias &&
                !s->o_bias && !s->norm_bias && s->mlp_bias);
    assert_true(t->block == ARCH_BLOCK_SERIAL && t->norm == ARCH_NORM_LAYERNORM && !t->qk_norm && t->qkv_bias &&
                t->o_bias && t->norm_bias && t->mlp_bias);
    assert_true(a.tower.final_norm && a.tower.patch_bias && a.tower.pool == 1 &&
                a.tower.projector == ARCH_PROJECTOR_AFFINE);
    assert_true(edited(palm_e, "\"patch_size\"", "\"out_proj_bias\": true, \"patch_size\"").tower.stack.o_bias);
    assert_false(edited(palm_e, "\"patch_size\"", "\"final_norm\": false, \"patch_size\"").tower.final_norm);
}

static void switches_of_pictures_are_read(void **state)
{
    (void)state;
    arch_fit fit = parsed(palm_e).tower.fit;
    assert_true(fit.kind == ARCH_FIT_PAD && fit.filter == ARCH_FILTER_BILINEAR_FLOAT &&
                fit.pad_side == ARCH_PAD_CENTRE && fit.pad_value[1] == 0);
    fit = edited(palm_e, "\"patch_size\"",
                 "\"image_fit\": \"square\", \"interpolation\": \"bicubic\", \"padding_side\": \"behind\", "
                 "\"padding_value\": 9, \"patch_size\"")
              .tower.fit;
    assert_true(fit.kind == ARCH_FIT_SQUARE && fit.filter == ARCH_FILTER_BICUBIC && fit.pad_side == ARCH_PAD_BEHIND &&
                fit.pad_value[2] == 9);
    assert_refused(palm_e, "\"patch_size\"", "\"image_fit\": \"crop\", \"patch_size\"", BASE_EUNSUPPORTED,
                   "vision_config.interpolation");
    assert_refused(palm_e, "\"patch_size\"", "\"padding_side\": \"left\", \"patch_size\"", BASE_EUNSUPPORTED,
                   "centre, behind, before");
    assert_refused(palm_e, "\"patch_size\"", "\"padding_value\": 256, \"patch_size\"", BASE_EFORMAT,
                   "vision_config.padding_value");
    assert_true(edited(llava_med, "\"pad\"", "\"square\"").tower.fit.kind == ARCH_FIT_CROP);
}

static void what_is_not_computed_is_refused(void **state)
{
    (void)state;
    assert_refused(palm_e, "vit_22b", "vit_4b", BASE_EUNSUPPORTED, "vit_22b, vit_e");
    assert_refused(llava, "\"clip_vision_model\"", "\"dinov2\"", BASE_EUNSUPPORTED, "vision_config.model_type");
    assert_refused(llava, "\"llama\"", "\"phi3\"", BASE_EUNSUPPORTED, "text_config.model_type");
    assert_refused(llava, "\"default\"", "\"full\"", BASE_EUNSUPPORTED, "vision_feature_select_strategy");
    assert_refused(llava, "\"vision_feature_layer\": -2", "\"vision_feature_layer\": -25", BASE_EFORMAT,
                   "vision_feature_layer");
    assert_refused(llava, "\"vision_feature_layer\": -2", "\"vision_feature_layer\": [-2, -5]", BASE_EFORMAT,
                   "vision_feature_layer");
    assert_refused(llava, "\"vision_feature_layer\": -2", "\"vision_feature_layer\": 0", BASE_EFORMAT,
                   "vision_feature_layer");
    assert_int_equal(edited(llava, "\"vision_feature_layer\": -2", "\"vision_feature_layer\": -1").tower.stack.n_layers,
                     24);
    assert_int_equal(edited(llava, "\"vision_feature_layer\": -2", "\"vision_feature_layer\": 7").tower.stack.n_layers,
                     7);
    assert_refused(llava, "\"hidden_size\": 1024", "\"hidden_size\": 1023", BASE_EFORMAT,
                   "vision_config.num_attention_heads");
    assert_refused(llava, "\"patch_size\": 14", "\"patch_size\": 13", BASE_EFORMAT, "not a multiple of patch_size");
    assert_refused(llava, "\"patch_size\": 14", "\"patch_size\": 1", BASE_EFORMAT, "patches");
    assert_refused(llava, "\"patch_size\": 14", "\"patch_size\": 0", BASE_EFORMAT, "vision_config.patch_size");
    assert_refused(llava, "\"projection_dim\"", "\"hidden_act\": \"relu\", \"projection_dim\"", BASE_EUNSUPPORTED,
                   "vision_config.hidden_act");
    assert_refused(llava_med, "\"mlp2x_gelu\"", "\"mlp3x_gelu\"", BASE_EUNSUPPORTED, "mm_projector_type");
    assert_refused(llava_med, "\"pad\"", "\"anyres\"", BASE_EUNSUPPORTED, "image_aspect_ratio");
    assert_refused(llava_med, "\"flat\"", "\"spatial_unpad\"", BASE_EUNSUPPORTED, "mm_patch_merge_type");
    assert_refused(llava_med, "openai/clip-vit-large-patch14-336", "google/siglip-so400m", BASE_EUNSUPPORTED,
                   "mm_vision_tower");
    assert_refused(gemma, "\"mm_tokens_per_image\": 256", "\"mm_tokens_per_image\": 255", BASE_EFORMAT,
                   "mm_tokens_per_image");
    assert_refused(gemma, "\"mm_tokens_per_image\": 256", "\"mm_tokens_per_image\": 9", BASE_EFORMAT,
                   "mm_tokens_per_image");
}

static void other_forms_of_llava_are_read(void **state)
{
    (void)state;
    arch a = edited(llava_med, "openai/clip-vit-large-patch14-336", "openai/clip-vit-large-patch14");
    assert_true(a.tower.image_size == 224 && arch_tower_vectors(&a.tower) == 256);
    a = edited(llava_med, "\"mlp2x_gelu\"", "\"linear\"");
    assert_true(a.tower.projector == ARCH_PROJECTOR_AFFINE);
    a = edited(llava_med, "\"mm_use_im_start_end\": false", "\"mm_use_im_start_end\": true");
    assert_string_equal(a.tower.open, "<im_start>");
    assert_string_equal(a.tower.close, "<im_end>\n");
    a = edited(llava_med, "\"llava_mistral\"", "\"llava\""); /* version 1.0 calls itself so, without a text_config */
    assert_string_equal(a.family, "llava_original");
}

static void assert_name(const arch *a, arch_role role, const char *expected)
{
    char name[192] = "";
    assert_int_equal(arch_tensor_name(a, ARCH_TOWER, role, 3, name, sizeof name), expected != NULL);
    if (expected != NULL)
        assert_string_equal(name, expected);
}

static void names_follow_the_form(void **state)
{
    (void)state;
    arch a = parsed(llava_med);
    assert_name(&a, ARCH_CLASS, "model.vision_tower.vision_tower.vision_model.embeddings.class_embedding");
    assert_name(&a, ARCH_LAYER_O_BIAS,
                "model.vision_tower.vision_tower.vision_model.encoder.layers.3.self_attn.out_proj.bias");
    assert_name(&a, ARCH_PROJECTOR, "model.mm_projector.0.weight");
    assert_name(&a, ARCH_PROJECTOR_2_BIAS, "model.mm_projector.2.bias");
    assert_name(&a, ARCH_FINAL_NORM, NULL);
    assert_name(&a, ARCH_PATCH_BIAS, NULL);
    a = parsed(llava);
    assert_name(&a, ARCH_PRE_NORM, "vision_tower.vision_model.pre_layrnorm.weight");
    assert_name(&a, ARCH_PROJECTOR_2, "multi_modal_projector.linear_2.weight");
    char name[64];
    snprintf(a.prefix, sizeof a.prefix, "language_model.model.");
    assert_true(arch_tensor_name(&a, ARCH_DECODER, ARCH_OUTPUT, 0, name, sizeof name));
    assert_string_equal(name, "language_model.lm_head.weight");
    snprintf(a.prefix, sizeof a.prefix, "model.language_model.");
    assert_true(arch_tensor_name(&a, ARCH_DECODER, ARCH_OUTPUT, 0, name, sizeof name));
    assert_string_equal(name, "lm_head.weight");
    a = parsed(gemma);
    assert_name(&a, ARCH_PROJECTOR, "multi_modal_projector.mm_input_projection_weight");
    assert_true(arch_tensor_is_transposed(&a, ARCH_TOWER, ARCH_PROJECTOR) &&
                arch_gain_plus_one(&a, ARCH_TOWER, ARCH_PROJECTOR_NORM) &&
                !arch_gain_plus_one(&a, ARCH_TOWER, ARCH_FINAL_NORM));
    a.gguf = true;
    assert_name(&a, ARCH_PROJECTOR, "mm.input_projection.weight");
    assert_name(&a, ARCH_LAYER_UP, "v.blk.3.ffn_up.weight");
    a.tower.swapped_mlp = true;
    assert_name(&a, ARCH_LAYER_UP, "v.blk.3.ffn_down.weight");
    assert_name(&a, ARCH_LAYER_DOWN_BIAS, "v.blk.3.ffn_up.bias");
}

/* Slices, shapes and names list the same tensors. */
typedef struct seen {
    const arch *a;
    uint32_t n[ARCH_N_ROLES];
} seen;

static base_status see(void *context, const shard_slice *slice, base_error *error)
{
    seen *all = context;
    (void)error;
    all->n[slice->role] += slice->part == ARCH_TOWER;
    return BASE_OK;
}

static void every_tensor_is_sliced_and_named(void **state)
{
    (void)state;
    const char *const names[] = {llava_med, llava, gemma, palm_e};
    for (size_t i = 0; i < 2 * sizeof names / sizeof names[0]; i++) {
        arch a = i % 2 == 0 ? parsed(names[i / 2]) : edited(names[i / 2], "vi", "vi");
        if (i == 7)
            a = edited(palm_e, "vit_22b", "vit_e");
        seen all = {.a = &a};
        shard_split split;
        assert_int_equal(shard_split_of(&a, 1, 1, 0, 0, &split, NULL), BASE_OK);
        assert_int_equal(shard_slices_visit(&a, &split, see, &all, NULL), BASE_OK);
        for (int role = 0; role < ARCH_N_ROLES; role++) {
            uint64_t shape[2];
            char name[192];
            bool is_there = arch_tensor_shape(&a, ARCH_TOWER, (arch_role)role, shape) > 0;
            uint32_t n = !is_there ? 0 : arch_role_is_layer((arch_role)role) ? a.tower.stack.n_layers : 1;
            assert_int_equal(all.n[role], n);
            assert_int_equal(arch_tensor_name(&a, ARCH_TOWER, (arch_role)role, 0, name, sizeof name), is_there);
        }
    }
}

static void descriptors_survive_json(void **state)
{
    (void)state;
    const char *const names[] = {llava_med, llava, gemma, palm_e};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        arch a = parsed(names[i]), b;
        json_t *object = arch_to_json(&a);
        assert_int_equal(arch_from_json(object, "manifest", &b, NULL), BASE_OK);
        json_t *again = arch_to_json(&b);
        assert_true(json_equal(object, again));
        assert_memory_equal(&a.tower.fit, &b.tower.fit, sizeof a.tower.fit);
        assert_string_equal(a.tower.open, b.tower.open);
        assert_string_equal(a.tower_prefix, b.tower_prefix);
        assert_string_equal(a.projector_prefix, b.projector_prefix);
        json_t *tower = json_object_get(again, "tower");
        const struct {
            const char *field;
            json_t *value;
        } wrong[] = {{"pool", json_integer(7)},
                     {"pool", json_integer(0)},
                     {"projector", json_string("mlp9")},
                     {"open", json_string("a text that is far longer than any mark around an image")},
                     {"fit", json_pack("{s: s}", "kind", "pad")},
                     {"class_token", json_null()},
                     {"n_patches", json_integer(5)}};
        for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
            json_t *right = json_incref(json_object_get(tower, wrong[k].field));
            json_object_set_new(tower, wrong[k].field, wrong[k].value);
            assert_int_not_equal(arch_from_json(again, "manifest", &b, NULL), BASE_OK);
            json_object_set_new(tower, wrong[k].field, right);
        }
        assert_int_equal(arch_from_json(again, "manifest", &b, NULL), BASE_OK);
        json_decref(object);
        json_decref(again);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clip_gives_the_layer_before_its_last),
        cmocka_unit_test(siglip_is_pooled_for_gemma),
        cmocka_unit_test(both_big_towers_are_known),
        cmocka_unit_test(switches_of_pictures_are_read),
        cmocka_unit_test(what_is_not_computed_is_refused),
        cmocka_unit_test(other_forms_of_llava_are_read),
        cmocka_unit_test(names_follow_the_form),
        cmocka_unit_test(every_tensor_is_sliced_and_named),
        cmocka_unit_test(descriptors_survive_json),
    };
    return cmocka_run_group_tests_name("towers", tests, NULL, NULL);
}
