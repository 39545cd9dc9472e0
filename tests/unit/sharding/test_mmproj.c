/* test_mmproj.c - towers in files of their own: GGUF's mmproj beside a decoder, and the directory that LLaVA's
 * configuration names. */
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

#include "sharding/checkpoint.h"

#define FAMILIES PALMGROVE_SOURCE_DIR "/tests/golden/families/"
#define LLAVA    FAMILIES "llava_mmproj/"
#define GEMMA    FAMILIES "gemma3_mmproj/"

static char dir[] = "/tmp/palmgrove-mmproj-XXXXXX";

static char *in_dir(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) == NULL;
}

static int remove_dir(void **state)
{
    (void)state;
    static const char *const names[] = {"model.gguf", "mmproj-a.gguf", "b-mmproj.gguf", "config.json",
                                        "model.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unlink(in_dir(names[i]));
    return rmdir(dir);
}

static void digest_of(const char *model, char out[65])
{
    shard_checkpoint *c = NULL;
    base_error error = {0};
    if (shard_checkpoint_open(model, &c, &error) != BASE_OK)
        fail_msg("%s", error.text);
    assert_int_equal(c->format, CHECKPOINT_GGUF);
    assert_true(c->a.has_tower);
    assert_int_equal(shard_checkpoint_digest(c, out, NULL), BASE_OK);
    shard_checkpoint_close(&c);
}

static void assert_refused(const char *model, base_status status, const char *why)
{
    shard_checkpoint *c = NULL;
    base_error error = {0};
    base_status found = shard_checkpoint_open(model, &c, &error);
    if (found != status || strstr(error.text, why) == NULL)
        fail_msg("'%s' is not in '%s' (status %d)", why, error.text, (int)found);
    assert_null(c);
}

static void both_ways_of_naming_are_one(void **state)
{
    (void)state;
    char by_dir[65], by_name[65], name[SHARD_MODEL_NAME_BYTES], path[64];
    digest_of(LLAVA, by_dir);
    digest_of(shard_checkpoint_join(LLAVA "model.gguf", LLAVA "mmproj.gguf", name), by_name);
    assert_string_equal(by_dir, by_name);
    assert_string_equal(name, LLAVA "model.gguf,mmproj=" LLAVA "mmproj.gguf");
    assert_ptr_equal(shard_checkpoint_join(LLAVA, NULL, name), LLAVA);
    shard_checkpoint_path("a/b.gguf,mmproj=c.gguf", path, sizeof path);
    assert_string_equal(path, "a/b.gguf");
    shard_checkpoint_path("a/b", path, sizeof path);
    assert_string_equal(path, "a/b");
    arch a;
    assert_int_equal(shard_checkpoint_describe(LLAVA "model.gguf", &a, NULL),
                     BASE_OK); /* by itself it is a text model */
    assert_false(a.has_tower);
}

static void files_say_what_the_tower_is(void **state)
{
    (void)state;
    arch a;
    assert_int_equal(shard_checkpoint_describe(LLAVA, &a, NULL), BASE_OK);
    assert_true(a.gguf && a.tower.swapped_mlp && a.tower.class_token && a.tower.pre_norm && !a.tower.final_norm);
    assert_true(a.tower.projector == ARCH_PROJECTOR_MLP2 && a.tower.stack.mlp == ARCH_MLP_QUICK_GELU &&
                a.tower.stack.n_layers == 2);
    assert_true(a.tower.fit.kind == ARCH_FIT_SQUARE && a.tower.fit.pad_value[0] == 122 && !a.tower.images_see_all);
    assert_int_equal(shard_checkpoint_describe(GEMMA, &a, NULL), BASE_OK);
    assert_true(!a.tower.swapped_mlp && a.tower.projector == ARCH_PROJECTOR_GEMMA3 &&
                a.tower.stack.mlp == ARCH_MLP_GELU_TANH);
    assert_true(a.tower.pool == 2 && !a.tower.projector_plus_one && a.tower.images_see_all && a.tower.final_norm);
    assert_string_equal(a.tower.open, "<start_of_image>");
}

static void what_does_not_go_together_is_refused(void **state)
{
    (void)state;
    assert_refused(LLAVA "model.gguf,mmproj=" GEMMA "mmproj.gguf", BASE_EUNSUPPORTED, "clip.projector_type");
    assert_refused(GEMMA "model.gguf,mmproj=" LLAVA "mmproj.gguf", BASE_EUNSUPPORTED, "gemma3 with this decoder");
    assert_refused(LLAVA "model.gguf,mmproj=" LLAVA "model.gguf", BASE_EFORMAT, "is in both");
    assert_refused(LLAVA "model.gguf,mmproj=/tmp/palmgrove-no-such-file", BASE_ENOTFOUND, "palmgrove-no-such-file");
    assert_refused(LLAVA "model.gguf,mmproj=", BASE_EINVAL, "names no file");
    assert_refused(LLAVA "mmproj.gguf", BASE_EUNSUPPORTED, "clip");
    assert_refused(FAMILIES "llava,mmproj=" LLAVA "mmproj.gguf", BASE_EINVAL, "is no GGUF file");
    /* The decoder of another model: the first tensor that does not fit is named. */
    assert_refused(FAMILIES "llama_gguf/model.gguf,mmproj=" LLAVA "mmproj.gguf", BASE_EFORMAT,
                   "tensor 'mm.0.weight' has shape");
}

static void two_towers_in_a_directory_are_too_many(void **state)
{
    (void)state;
    assert_int_equal(symlink(LLAVA "model.gguf", in_dir("model.gguf")), 0);
    assert_int_equal(symlink(LLAVA "mmproj.gguf", in_dir("mmproj-a.gguf")), 0);
    arch a;
    assert_int_equal(shard_checkpoint_describe(dir, &a, NULL), BASE_OK);
    assert_true(a.has_tower);
    assert_int_equal(symlink(LLAVA "mmproj.gguf", in_dir("b-mmproj.gguf")), 0);
    assert_refused(dir, BASE_EINVAL, "holds 2 mmproj files");
}

/* LLaVA's directory without the tower that it names. */
static void a_tower_that_is_nowhere_is_asked_for(void **state)
{
    (void)state;
    assert_int_equal(symlink(FAMILIES "vit_e/model.safetensors", in_dir("model.safetensors")),
                     0); /* tensors of another model */
    FILE *file = fopen(in_dir("config.json"), "w");
    assert_non_null(file);
    fprintf(file, "{\"model_type\": \"llava_mistral\", \"hidden_size\": 40, \"intermediate_size\": 150, "
                  "\"num_hidden_layers\": 2, "
                  "\"num_attention_heads\": 4, \"num_key_value_heads\": 4, \"vocab_size\": 101, \"mm_vision_tower\": "
                  "\"openai/clip-vit-large-patch14-336\", \"mm_projector_type\": \"mlp2x_gelu\", "
                  "\"image_aspect_ratio\": \"pad\"}");
    fclose(file);
    assert_refused(dir, BASE_ENOTFOUND, "embed_tokens"); /* the decoder is looked for first */
    arch a;
    assert_int_equal(shard_checkpoint_describe(dir, &a, NULL), BASE_OK);
    assert_int_equal(a.tower.image_size, 336);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways_of_naming_are_one),
        cmocka_unit_test(files_say_what_the_tower_is),
        cmocka_unit_test(what_does_not_go_together_is_refused),
        cmocka_unit_test(two_towers_in_a_directory_are_too_many),
        cmocka_unit_test(a_tower_that_is_nowhere_is_asked_for),
    };
    return cmocka_run_group_tests_name("mmproj", tests, make_dir, remove_dir);
}
