#include "sharding/families/config_fields.h"

#include <string.h>

#include <math.h>
#include <stdio.h>

base_status config_unsupported(const char *file, const char *field, const char *known, base_error *error)
{
    return base_fail(error, BASE_EUNSUPPORTED, "'%s': this value of '%s' is not supported; known: %s", file, field,
                     known);
}

void config_unsupported_in(shard_json *json, const char *field, const char *known)
{
    char path[128];
    snprintf(path, sizeof path, "%s%s", json->path, field);
    if (json->status == BASE_OK)
        json->status = config_unsupported(json->file, path, known, json->error);
}

arch_rope config_rope_plain(double theta)
{
    return (arch_rope){.theta = theta, .scaling = ARCH_ROPE_PLAIN, .factor = 1.0, .attention_factor = 1.0};
}

double config_yarn_attention(double factor)
{
    return factor <= 1.0 ? 1.0 : 0.1 * log(factor) + 1.0;
}

void config_add_stop(arch_decoder *decoder, int32_t id)
{
    for (uint32_t i = 0; i < decoder->n_stop_ids; i++)
        if (decoder->stop_ids[i] == id)
            return;
    if (id >= 0 && decoder->n_stop_ids < ARCH_MAX_STOPS)
        decoder->stop_ids[decoder->n_stop_ids++] = id;
}

void config_set_local(arch_stack *stack, uint32_t il)
{
    stack->local_layers[il / 64] |= UINT64_C(1) << (il % 64);
}

void config_set_pattern(arch_stack *stack, uint32_t pattern)
{
    for (uint32_t il = 0; il < stack->n_layers; il++)
        if ((il + 1) % pattern != 0)
            config_set_local(stack, il);
}

base_status config_check_heads(const char *file, const arch_stack *stack, base_error *error)
{
    if (stack->h % stack->kv != 0)
        return base_fail(error, BASE_EFORMAT,
                         "'%s': the number of query heads %u is not a multiple of the number of key/value heads %u",
                         file, stack->h, stack->kv);
    if (stack->rope && stack->dh % 2 != 0)
        return base_fail(error, BASE_EFORMAT, "'%s': head_dim %u is odd; rotary positions need pairs", file, stack->dh);
    return BASE_OK;
}

base_status config_check_encoders(const char *file, const arch *a, base_error *error)
{
    for (uint32_t e = 0; e < a->n_encoders; e++) {
        const char *name = a->encoders[e].name;
        if (!shard_name_is_plain(name, ARCH_MAX_ENCODER_NAME - 1))
            return base_fail(error, BASE_EFORMAT,
                             "'%s': the name of vector encoder %u is not 1 to %u printable characters without blanks",
                             file, e, ARCH_MAX_ENCODER_NAME - 1);
        for (uint32_t other = 0; other < e; other++)
            if (strcmp(a->encoders[other].name, name) == 0)
                return base_fail(error, BASE_EFORMAT, "'%s': vector encoders %u and %u are both called '%s'", file,
                                 other, e, name);
    }
    return BASE_OK;
}
