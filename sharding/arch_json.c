/* arch_json.c - one table of fields per structure serves both directions.
 *
 *     {"family", "gguf", "prefix", "tower_prefix", "projector_prefix",
 *      "decoder": {..., "stack": {..., "rope_global": {...}, "rope_local": {...}}}, "tower": null or {..., "fit":
 * {...}, "stack": {...}}}
 *
 * Kinds are written by name; local_layers as the list of the local layers; every other field under its own name in
 * arch.h. */
#include "sharding/arch_json.h"

#include <stdio.h>
#include <string.h>

#include "sharding/families.h"
#include "sharding/families/config_fields.h"
#include "sharding/json_read.h"

/* --- tables --- */

typedef enum field_kind { FIELD_U32, FIELD_I32, FIELD_BOOL, FIELD_F32, FIELD_F64, FIELD_NAME, FIELD_TEXT } field_kind;

typedef struct field {
    const char *name;
    field_kind kind;
    size_t offset;
    double min, max;          /* of numbers; FIELD_TEXT: max is the size of the array */
    const char *const *names; /* FIELD_NAME: by value, NULL at the end */
} field;

_Static_assert(sizeof(arch_block_kind) == sizeof(uint32_t) && sizeof(arch_norm_kind) == sizeof(uint32_t) &&
                   sizeof(arch_mlp_kind) == sizeof(uint32_t) && sizeof(arch_rope_scaling) == sizeof(uint32_t) &&
                   sizeof(arch_fit_kind) == sizeof(uint32_t) && sizeof(arch_filter) == sizeof(uint32_t) &&
                   sizeof(arch_pad_side) == sizeof(uint32_t) && sizeof(arch_projector_kind) == sizeof(uint32_t),
               "kinds are read and written as 32 bits");

static const char *const block_names[] = {"parallel", "serial", "post_norm", NULL};
static const char *const norm_names[] = {"rms", "layernorm", NULL};
static const char *const mlp_names[] = {"swiglu", "geglu_tanh", "gelu_tanh", "gelu", "quick_gelu", NULL};
static const char *const scaling_names[] = {"plain", "linear", "llama3", "yarn", "divisors", NULL};
const char *const arch_fit_names[] = {"pad", "square", "stretch", "crop", NULL};
const char *const arch_filter_names[] = {"bilinear_float", "bilinear", "bicubic", NULL};
const char *const arch_pad_side_names[] = {"centre", "behind", "before", NULL};
static const char *const projector_names[] = {"affine", "mlp2", "gemma3", NULL};

#define ROPE(name, kind, min, max)                             \
    {                                                          \
#name, kind, offsetof(arch_rope, name), min, max, NULL \
    }
#define STACK(name, kind, min, max)                             \
    {                                                           \
#name, kind, offsetof(arch_stack, name), min, max, NULL \
    }
#define DECODER(name, kind, min, max)                             \
    {                                                             \
#name, kind, offsetof(arch_decoder, name), min, max, NULL \
    }
#define TOWER(name, kind, min, max)                             \
    {                                                           \
#name, kind, offsetof(arch_tower, name), min, max, NULL \
    }
#define MODEL(name, kind, min, max)                       \
    {                                                     \
#name, kind, offsetof(arch, name), min, max, NULL \
    }

/* What a scaling does not use is 0. */
static const field rope_fields[] = {
    ROPE(theta, FIELD_F64, 0, MAX_THETA),
    {"scaling", FIELD_NAME, offsetof(arch_rope, scaling), 0, 0, scaling_names},
    ROPE(factor, FIELD_F64, 0, MAX_FACTOR),
    ROPE(low_factor, FIELD_F64, 0, MAX_FACTOR),
    ROPE(high_factor, FIELD_F64, 0, MAX_FACTOR),
    ROPE(beta_fast, FIELD_F64, 0, 1e6),
    ROPE(beta_slow, FIELD_F64, 0, 1e6),
    ROPE(attention_factor, FIELD_F64, 0, 1e3),
    ROPE(original_positions, FIELD_U32, 0, MAX_POSITIONS),
};

static const field stack_fields[] = {
    STACK(n_layers, FIELD_U32, 1, ARCH_MAX_LAYERS),
    STACK(d, FIELD_U32, 1, MAX_HIDDEN),
    STACK(h, FIELD_U32, 1, MAX_HEADS),
    STACK(kv, FIELD_U32, 1, MAX_HEADS),
    STACK(dh, FIELD_U32, 1, MAX_HEAD_DIM),
    STACK(f, FIELD_U32, 1, MAX_MLP),
    {"block", FIELD_NAME, offsetof(arch_stack, block), 0, 0, block_names},
    {"norm", FIELD_NAME, offsetof(arch_stack, norm), 0, 0, norm_names},
    STACK(norm_eps, FIELD_F32, 0.9 * MIN_EPS, 1.1 * MAX_EPS), /* bounds are f64, the value was rounded to f32 */
    {"mlp", FIELD_NAME, offsetof(arch_stack, mlp), 0, 0, mlp_names},
    STACK(mlp_bias, FIELD_BOOL, 0, 0),
    STACK(qkv_bias, FIELD_BOOL, 0, 0),
    STACK(o_bias, FIELD_BOOL, 0, 0),
    STACK(norm_bias, FIELD_BOOL, 0, 0),
    STACK(qk_norm, FIELD_BOOL, 0, 0),
    STACK(norm_plus_one, FIELD_BOOL, 0, 0),
    STACK(causal, FIELD_BOOL, 0, 0),
    STACK(rope, FIELD_BOOL, 0, 0),
    STACK(rope_interleaved, FIELD_BOOL, 0, 0),
    STACK(xpos_base, FIELD_F64, 0, 1e9),
    STACK(window, FIELD_U32, 0, MAX_POSITIONS),
    STACK(attn_scale, FIELD_F32, 1e-9, 1e6),
};

static const field decoder_fields[] = {
    DECODER(vocab_size, FIELD_U32, 1, MAX_VOCAB),  DECODER(max_positions, FIELD_U32, 1, MAX_POSITIONS),
    DECODER(tied_embeddings, FIELD_BOOL, 0, 0),    DECODER(embedding_scale, FIELD_F32, 1e-9, 1e9),
    DECODER(logit_scale, FIELD_F32, 1e-9, 1e9),    DECODER(bos_id, FIELD_I32, -1, MAX_VOCAB - 1),
    DECODER(eos_id, FIELD_I32, -1, MAX_VOCAB - 1),
};

static const field tower_fields[] = {
    TOWER(image_size, FIELD_U32, 1, MAX_IMAGE_SIZE),
    TOWER(patch_size, FIELD_U32, 1, MAX_IMAGE_SIZE),
    TOWER(n_patches, FIELD_U32, 1, MAX_PATCHES),
    TOWER(pool, FIELD_U32, 1, MAX_IMAGE_SIZE),
    TOWER(class_token, FIELD_BOOL, 0, 0),
    TOWER(patch_bias, FIELD_BOOL, 0, 0),
    TOWER(pre_norm, FIELD_BOOL, 0, 0),
    TOWER(final_norm, FIELD_BOOL, 0, 0),
    TOWER(swapped_mlp, FIELD_BOOL, 0, 0),
    {"projector", FIELD_NAME, offsetof(arch_tower, projector), 0, 0, projector_names},
    TOWER(projector_plus_one, FIELD_BOOL, 0, 0),
    TOWER(images_see_all, FIELD_BOOL, 0, 0),
    TOWER(open, FIELD_TEXT, 0, ARCH_MAX_MARK),
    TOWER(close, FIELD_TEXT, 0, ARCH_MAX_MARK),
};

static const field encoder_fields[] = {
    {"name", FIELD_TEXT, offsetof(arch_encoder, name), 0, ARCH_MAX_ENCODER_NAME, NULL},
    {"width", FIELD_U32, offsetof(arch_encoder, width), 1, MAX_HIDDEN, NULL},
    {"hidden", FIELD_U32, offsetof(arch_encoder, hidden), 1, MAX_MLP, NULL},
};

static const field fit_fields[] = {
    {"kind", FIELD_NAME, offsetof(arch_fit, kind), 0, 0, arch_fit_names},
    {"filter", FIELD_NAME, offsetof(arch_fit, filter), 0, 0, arch_filter_names},
    {"pad_side", FIELD_NAME, offsetof(arch_fit, pad_side), 0, 0, arch_pad_side_names},
};

static const field model_fields[] = {
    MODEL(family, FIELD_TEXT, 0, sizeof((arch *)0)->family), MODEL(gguf, FIELD_BOOL, 0, 0),
    MODEL(prefix, FIELD_TEXT, 0, ARCH_MAX_PREFIX),           MODEL(tower_prefix, FIELD_TEXT, 0, ARCH_MAX_PREFIX),
    MODEL(projector_prefix, FIELD_TEXT, 0, ARCH_MAX_PREFIX),
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* --- writing --- */

static uint32_t read_bits(const void *structure, size_t offset)
{
    uint32_t bits;
    memcpy(&bits, (const char *)structure + offset, sizeof bits);
    return bits;
}

static json_t *field_to_json(const field *f, const void *structure)
{
    const char *at = (const char *)structure + f->offset;
    bool flag;
    float single;
    double real;
    switch (f->kind) {
    case FIELD_U32:
        return json_integer((json_int_t)read_bits(structure, f->offset));
    case FIELD_I32:
        return json_integer((json_int_t)(int32_t)read_bits(structure, f->offset));
    case FIELD_BOOL:
        memcpy(&flag, at, sizeof flag);
        return json_boolean(flag);
    case FIELD_F32:
        memcpy(&single, at, sizeof single);
        return json_real((double)single);
    case FIELD_F64:
        memcpy(&real, at, sizeof real);
        return json_real(real);
    case FIELD_NAME:
        return json_string(f->names[read_bits(structure, f->offset)]);
    case FIELD_TEXT:
        return json_string(at);
    }
    return NULL;
}

/* json_object_set_new frees the value and fails when it is NULL, so one failure shows at the end. */
static json_t *fields_to_json(const field *fields, size_t n, const void *structure)
{
    json_t *object = json_object();
    for (size_t i = 0; object != NULL && i < n; i++)
        if (json_object_set_new(object, fields[i].name, field_to_json(&fields[i], structure)) != 0) {
            json_decref(object);
            object = NULL;
        }
    return object;
}

static bool set(json_t *object, const char *name, json_t *value)
{
    return json_object_set_new(object, name, value) == 0;
}

/* The object when everything was set, else NULL. */
static json_t *whole(json_t *object, bool ok)
{
    if (!ok)
        json_decref(object);
    return ok ? object : NULL;
}

static json_t *layers_to_json(const arch_stack *stack)
{
    json_t *list = json_array();
    bool ok = true;
    for (uint32_t il = 0; il < stack->n_layers; il++)
        if ((stack->local_layers[il / 64] >> (il % 64) & 1u) != 0)
            ok = ok && json_array_append_new(list, json_integer((json_int_t)il)) == 0;
    return whole(list, ok);
}

static json_t *stack_to_json(const arch_stack *stack)
{
    json_t *object = fields_to_json(stack_fields, COUNT(stack_fields), stack);
    bool ok = set(object, "rope_global", fields_to_json(rope_fields, COUNT(rope_fields), &stack->rope_global));
    ok = set(object, "rope_local", fields_to_json(rope_fields, COUNT(rope_fields), &stack->rope_local)) && ok;
    ok = set(object, "local_layers", layers_to_json(stack)) && ok;
    return whole(object, ok);
}

static json_t *decoder_to_json(const arch_decoder *decoder)
{
    json_t *object = fields_to_json(decoder_fields, COUNT(decoder_fields), decoder), *stops = json_array();
    bool ok = true;
    for (uint32_t i = 0; i < decoder->n_stop_ids; i++)
        ok = json_array_append_new(stops, json_integer(decoder->stop_ids[i])) == 0 && ok;
    ok = set(object, "stop_ids", stops) && ok;
    ok = set(object, "stack", stack_to_json(&decoder->stack)) && ok;
    return whole(object, ok);
}

static json_t *numbers_to_json(const float numbers[3])
{
    return json_pack("[f, f, f]", (double)numbers[0], (double)numbers[1], (double)numbers[2]);
}

static json_t *fit_to_json(const arch_fit *fit)
{
    json_t *object = fields_to_json(fit_fields, COUNT(fit_fields), fit);
    const uint32_t *value = fit->pad_value;
    return whole(object, set(object, "pad_value", json_pack("[i, i, i]", (int)value[0], (int)value[1], (int)value[2])));
}

static json_t *tower_to_json(const arch_tower *tower)
{
    json_t *object = fields_to_json(tower_fields, COUNT(tower_fields), tower);
    bool ok = set(object, "image_mean", numbers_to_json(tower->image_mean));
    ok = set(object, "fit", fit_to_json(&tower->fit)) && ok;
    ok = set(object, "image_std", numbers_to_json(tower->image_std)) && ok;
    ok = set(object, "stack", stack_to_json(&tower->stack)) && ok;
    return whole(object, ok);
}

static json_t *encoders_to_json(const arch *a)
{
    json_t *list = json_array();
    bool ok = true;
    for (uint32_t e = 0; e < a->n_encoders; e++)
        ok = json_array_append_new(list, fields_to_json(encoder_fields, COUNT(encoder_fields), &a->encoders[e])) == 0 &&
             ok;
    return whole(list, ok);
}

json_t *arch_to_json(const arch *a)
{
    json_t *object = fields_to_json(model_fields, COUNT(model_fields), a);
    bool ok = set(object, "decoder", decoder_to_json(&a->decoder));
    ok = set(object, "tower", a->has_tower ? tower_to_json(&a->tower) : json_null()) && ok;
    if (a->n_encoders > 0)
        ok = set(object, "encoders", encoders_to_json(a)) && ok;
    return whole(object, ok);
}

/* --- reading --- */

static void read_name(shard_json *json, const field *f, void *at)
{
    const char *text = shard_json_text(json, f->name);
    for (uint32_t value = 0; f->names[value] != NULL; value++)
        if (strcmp(f->names[value], text) == 0) {
            memcpy(at, &value, sizeof value);
            return;
        }
    shard_json_fail(json, f->name, "a known kind");
}

static void read_text(shard_json *json, const field *f, char *at)
{
    const json_t *value = json_object_get(json->object, f->name);
    const char *text = json_string_value(value);
    size_t n = json_string_length(value);
    if (text == NULL || n >= (size_t)f->max || strlen(text) != n)
        shard_json_fail(json, f->name, "a short text");
    else
        memcpy(at, text, n + 1);
}

static void read_field(shard_json *json, const field *f, void *structure)
{
    char *at = (char *)structure + f->offset;
    if (f->kind == FIELD_NAME) {
        read_name(json, f, at);
    } else if (f->kind == FIELD_TEXT) {
        read_text(json, f, at);
    } else if (f->kind == FIELD_BOOL) {
        bool flag = shard_json_bool(json, f->name);
        memcpy(at, &flag, sizeof flag);
    } else if (f->kind == FIELD_U32) {
        uint32_t value = shard_json_u32(json, f->name, (uint32_t)f->min, (uint32_t)f->max);
        memcpy(at, &value, sizeof value);
    } else if (f->kind == FIELD_I32) {
        double number = shard_json_number(json, f->name, f->min, f->max);
        int32_t value = (int32_t)number;
        if ((double)value != number)
            shard_json_fail(json, f->name, "an integer");
        memcpy(at, &value, sizeof value);
    } else {
        double number = shard_json_number(json, f->name, f->min, f->max);
        float single = (float)number;
        memcpy(at, f->kind == FIELD_F32 ? (const void *)&single : (const void *)&number,
               f->kind == FIELD_F32 ? sizeof single : sizeof number);
    }
}

/* All fields of a table; the object holds `n_more` others. */
static void read_fields(shard_json *json, const field *fields, size_t n, size_t n_more, void *structure)
{
    for (size_t i = 0; i < n; i++)
        read_field(json, &fields[i], structure);
    if (json->status == BASE_OK && json_object_size(json->object) != n + n_more)
        json->status =
            base_fail(json->error, BASE_EFORMAT, "'%s': '%s' has fields that are not known", json->file, json->path);
}

/* An object inside `parent`; `path` [128] becomes its prefix in errors. */
static shard_json open_object(const shard_json *parent, const char *name, char path[128])
{
    snprintf(path, 128, "%s%s.", parent->path, name);
    shard_json json = shard_json_over(json_object_get(parent->object, name), parent->file, path, parent->error);
    json.status = parent->status;
    return json;
}

static bool is_rope_usable(const arch_rope *rope)
{
    bool has_factor = rope->factor >= MIN_FACTOR, has_original = rope->original_positions > 0;
    if (rope->theta < 1.0)
        return false;
    switch (rope->scaling) {
    case ARCH_ROPE_PLAIN:
    case ARCH_ROPE_DIVISORS:
        return true;
    case ARCH_ROPE_LINEAR:
        return has_factor;
    case ARCH_ROPE_LLAMA3:
        return has_factor && has_original && rope->low_factor > 0.0 && rope->high_factor > rope->low_factor;
    case ARCH_ROPE_YARN:
        return has_factor && has_original && rope->beta_fast > 0.0 && rope->beta_slow > 0.0 &&
               rope->attention_factor > 0.0;
    }
    return false;
}

static base_status read_rope(const shard_json *parent, const char *name, bool is_used, arch_rope *out)
{
    char path[128];
    shard_json json = open_object(parent, name, path);
    read_fields(&json, rope_fields, COUNT(rope_fields), 0, out);
    if (json.status == BASE_OK && is_used && !is_rope_usable(out))
        shard_json_fail(&json, "scaling", "numbers that the scaling can be computed with");
    return json.status;
}

static void read_local_layers(shard_json *json, arch_stack *out)
{
    const json_t *list = json_object_get(json->object, "local_layers");
    size_t n = json_array_size(list);
    bool good = json_is_array(list) && n <= out->n_layers;
    json_int_t least = 0;
    for (size_t i = 0; good && i < n; i++) {
        const json_t *value = json_array_get(list, i);
        json_int_t il = json_integer_value(value);
        good = json_is_integer(value) && il >= least && il < (json_int_t)out->n_layers;
        if (good)
            config_set_local(out, (uint32_t)il);
        least = il + 1;
    }
    if (!good)
        shard_json_fail(json, "local_layers", "numbers of layers, rising");
}

static base_status read_stack(const shard_json *parent, arch_stack *out)
{
    char path[128];
    shard_json json = open_object(parent, "stack", path);
    read_fields(&json, stack_fields, COUNT(stack_fields), 3, out);
    read_local_layers(&json, out);
    json.status = read_rope(&json, "rope_global", out->rope, &out->rope_global);
    json.status = read_rope(&json, "rope_local", out->rope && out->window != 0, &out->rope_local);
    return json.status != BASE_OK ? json.status : config_check_heads(json.file, out, json.error);
}

static void read_stops(shard_json *json, arch_decoder *out)
{
    const json_t *list = json_object_get(json->object, "stop_ids");
    size_t n = json_array_size(list);
    bool good = json_is_array(list) && n <= ARCH_MAX_STOPS;
    for (size_t i = 0; good && i < n; i++) {
        const json_t *value = json_array_get(list, i);
        json_int_t id = json_integer_value(value);
        good = json_is_integer(value) && id >= 0 && id < (json_int_t)out->vocab_size;
        out->stop_ids[i] = (int32_t)(good ? id : 0);
    }
    out->n_stop_ids = good ? (uint32_t)n : 0;
    if (!good)
        shard_json_fail(json, "stop_ids", "at most 8 ids of the vocabulary");
    if (out->bos_id >= (int32_t)out->vocab_size || out->eos_id >= (int32_t)out->vocab_size)
        shard_json_fail(json, out->bos_id >= (int32_t)out->vocab_size ? "bos_id" : "eos_id", "an id of the vocabulary");
}

static base_status read_decoder(const shard_json *parent, arch_decoder *out)
{
    char path[128];
    shard_json json = open_object(parent, "decoder", path);
    read_fields(&json, decoder_fields, COUNT(decoder_fields), 2, out);
    if (json.status == BASE_OK)
        read_stops(&json, out);
    return json.status != BASE_OK ? json.status : read_stack(&json, &out->stack);
}

static base_status read_fit(const shard_json *parent, arch_fit *out)
{
    char path[128];
    float value[3] = {0};
    shard_json json = open_object(parent, "fit", path);
    read_fields(&json, fit_fields, COUNT(fit_fields), 1, out);
    shard_json_numbers(&json, "pad_value", 3, 0, 255, value);
    for (int i = 0; i < 3; i++)
        out->pad_value[i] = (uint32_t)value[i];
    return json.status;
}

static base_status read_tower(const shard_json *parent, arch_tower *out)
{
    char path[128];
    shard_json json = open_object(parent, "tower", path);
    read_fields(&json, tower_fields, COUNT(tower_fields), 4, out);
    json.status = read_fit(&json, &out->fit);
    shard_json_numbers(&json, "image_mean", 3, -10.0, 10.0, out->image_mean);
    shard_json_numbers(&json, "image_std", 3, 0.9e-6, 1.1e6, out->image_std);
    if (json.status != BASE_OK)
        return json.status;
    uint64_t side = out->image_size / out->patch_size;
    if (out->image_size % out->patch_size != 0 || side * side != out->n_patches)
        shard_json_fail(&json, "n_patches", "(image_size / patch_size) squared");
    if (side % out->pool != 0)
        shard_json_fail(&json, "pool", "a divisor of the patches a side");
    return json.status != BASE_OK ? json.status : read_stack(&json, &out->stack);
}

/* What names begin with: "" or plain text. */
static void check_prefix(shard_json *json, const char *name, const char *prefix)
{
    if (prefix[0] != '\0' && !shard_name_is_plain(prefix, ARCH_MAX_PREFIX))
        shard_json_fail(json, name, "a short text");
}

static base_status read_encoders(const shard_json *parent, arch *out)
{
    const json_t *list = json_object_get(parent->object, "encoders");
    base_status status = BASE_OK;
    if (!json_is_array(list) || json_array_size(list) > ARCH_MAX_ENCODERS)
        return base_fail(parent->error, BASE_EFORMAT, "'%s': 'encoders' is no list of at most %u", parent->file,
                         ARCH_MAX_ENCODERS);
    out->n_encoders = (uint32_t)json_array_size(list);
    for (uint32_t e = 0; e < out->n_encoders && status == BASE_OK; e++) {
        shard_json json = shard_json_over(json_array_get(list, e), parent->file, "encoders.", parent->error);
        read_fields(&json, encoder_fields, COUNT(encoder_fields), 0, &out->encoders[e]);
        status = json.status;
    }
    return status == BASE_OK ? config_check_encoders(parent->file, out, parent->error) : status;
}

base_status arch_from_json(const json_t *object, const char *file, arch *out, base_error *error)
{
    shard_json json = shard_json_over(object, file, "", error);
    arch found = {0};
    bool has_encoders = shard_json_has(&json, "encoders");
    read_fields(&json, model_fields, COUNT(model_fields), has_encoders ? 3 : 2, &found);
    check_prefix(&json, "prefix", found.prefix);
    check_prefix(&json, "tower_prefix", found.tower_prefix);
    check_prefix(&json, "projector_prefix", found.projector_prefix);
    if (json.status != BASE_OK)
        return json.status;
    if (arch_family_find(found.family) == NULL)
        return base_fail(error, BASE_EUNSUPPORTED, "'%s': family '%s' is not known to this build", file, found.family);
    base_status status = read_decoder(&json, &found.decoder);
    found.has_tower = shard_json_has(&json, "tower");
    if (status == BASE_OK && found.has_tower)
        status = read_tower(&json, &found.tower);
    if (status == BASE_OK && has_encoders)
        status = read_encoders(&json, &found);
    if (status == BASE_OK)
        *out = found;
    return status;
}
