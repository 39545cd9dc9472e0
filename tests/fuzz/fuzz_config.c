/* fuzz_config.c - any bytes as the description of a model, a config.json or the metadata of a GGUF file, a tower's too:
 * an error, or a model whose every dimension is usable, whose tensors have names, and which survives the way through
 * arch_json. */
#include <stdlib.h>
#include <string.h>

#include "sharding/arch_json.h"
#include "sharding/families.h"
#include "sharding/source_entries.h"
#include "sharding/split.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check_stack(const arch_stack *stack)
{
    if (stack->d == 0 || stack->h == 0 || stack->kv == 0 || stack->dh == 0 || stack->f == 0 || stack->n_layers == 0 ||
        stack->n_layers > ARCH_MAX_LAYERS || stack->h % stack->kv != 0 || (stack->rope && stack->dh % 2 != 0))
        abort();
}

static void check_names(const arch *a, arch_part part)
{
    uint64_t shape[2];
    char name[256];
    for (int role = 0; role < ARCH_N_ROLES; role++)
        if (arch_tensor_shape(a, part, (arch_role)role, shape) > 0 &&
            (!arch_tensor_name(a, part, (arch_role)role, 0, name, sizeof name) || shape[0] == 0 || shape[1] == 0))
            abort();
}

static void check_tower(const arch_tower *tower)
{
    uint32_t side = tower->image_size / tower->patch_size;
    check_stack(&tower->stack);
    if (side == 0 || side * side != tower->n_patches || tower->pool == 0 || side % tower->pool != 0 ||
        arch_tower_vectors(tower) == 0 || strlen(tower->open) >= ARCH_MAX_MARK || tower->fit.kind > ARCH_FIT_CROP ||
        tower->fit.pad_value[0] > 255)
        abort();
}

static void check_json(const arch *a)
{
    arch again;
    json_t *object = arch_to_json(a);
    if (object == NULL || arch_from_json(object, "fuzz", &again, NULL) != BASE_OK)
        abort();
    json_t *twice = arch_to_json(&again);
    if (twice == NULL || !json_equal(object, twice))
        abort();
    json_decref(object);
    json_decref(twice);
}

static void check_split(const arch *a)
{
    uint32_t tp = 0, pp = 0;
    shard_split split;
    if (shard_layout_choose(a, 6, &tp, &pp, NULL) == BASE_OK &&
        shard_split_of(a, tp, pp, tp - 1, pp - 1, &split, NULL) != BASE_OK)
        abort();
}

/* A decoder for a tower. */
static void make_decoder(const char *config, arch *out)
{
    if (arch_parse("fuzz", config, strlen(config), out, NULL) != BASE_OK)
        abort();
    out->gguf = true;
}

#define SIZES                                                                                               \
    "\"hidden_size\": 8, \"intermediate_size\": 16, \"num_hidden_layers\": 1, \"num_attention_heads\": 2, " \
    "\"num_key_value_heads\": 2, \"vocab_size\": 64}"

/* A decoder's file, or else a tower's, for one of two decoders. */
static base_status read_any(const gguf_file *gguf, const shard_source *source, bool is_gemma, arch *out,
                            base_error *error)
{
    if (arch_load_gguf(gguf, "fuzz", source, out, error) == BASE_OK)
        return BASE_OK;
    make_decoder(is_gemma ? "{\"model_type\": \"gemma3_text\", " SIZES : "{\"model_type\": \"llama\", " SIZES, out);
    return arch_load_mmproj(gguf, "fuzz", source, out, error);
}

static base_status read_gguf(const uint8_t *bytes, size_t size, arch *out)
{
    gguf_file *gguf = NULL;
    shard_source *source = NULL;
    base_error error = {0};
    base_status status = gguf_open_bytes("fuzz", bytes, size, &gguf, &error);
    if (status == BASE_OK)
        status = shard_source_from_gguf(gguf, &source, &error);
    if (status == BASE_OK)
        status = read_any(gguf, source, size % 2 == 0, out, &error);
    shard_source_close(&source);
    gguf_close(&gguf);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    arch a;
    base_error error = {0};
    base_status status = size >= 4 && memcmp(bytes, "GGUF", 4) == 0 ? read_gguf(bytes, size, &a)
                                                                    : arch_parse("fuzz", bytes, size, &a, &error);
    if (status != BASE_OK)
        return 0;
    check_stack(&a.decoder.stack);
    if (a.has_tower)
        check_tower(&a.tower);
    check_names(&a, ARCH_DECODER);
    for (int part = ARCH_TOWER; part < ARCH_N_PARTS; part++)
        check_names(&a, (arch_part)part);
    check_json(&a);
    check_split(&a);
    return 0;
}
