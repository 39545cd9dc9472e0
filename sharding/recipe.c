#include "sharding/recipe.h"

#include <string.h>

static const char *const kind_names[RECIPE_N_KINDS] = {"auto", "f32", "f16", "bf16", "int8", "int4"};

const char *recipe_kind_name(recipe_kind kind)
{
    return kind_names[kind];
}

bool recipe_kind_find(const char *name, recipe_kind *out)
{
    for (int kind = 0; kind < RECIPE_N_KINDS; kind++)
        if (strcmp(kind_names[kind], name) == 0) {
            *out = (recipe_kind)kind;
            return true;
        }
    return false;
}

/* The packed type that loses nothing, or the nearest that two bytes a weight allow. */
static pack_type type_of_checkpoint(shard_type from)
{
    switch (from) {
    case SHARD_F64:
    case SHARD_F32:
        return PACK_F32;
    case SHARD_BF16:
    case SHARD_SYNTHETIC:
        return PACK_BF16;
    case SHARD_Q8_0:
        return PACK_INT8;
    case SHARD_Q4_0:
        return PACK_INT4;
    default: /* f16, f8 and blocks with minima, uneven bits or groups of 16 */
        return PACK_F16;
    }
}

/* What int4 leaves in int8: the vocabulary matrices (every logit hangs on them), values (few columns, read by many heads), and the
 * vision tower with its projector (small beside a decoder, and nothing downstream corrects it). */
static bool is_sensitive(const shard_slice *slice)
{
    if (slice->part == ARCH_TOWER)
        return true;
    return slice->role == ARCH_EMBEDDING || slice->role == ARCH_OUTPUT || slice->role == ARCH_LAYER_V;
}

pack_type shard_recipe_type(const shard_recipe *recipe, const arch *a, const shard_slice *slice, shard_type from)
{
    (void)a;
    switch (recipe->kind) {
    case RECIPE_F32:
        return PACK_F32;
    case RECIPE_F16:
        return PACK_F16;
    case RECIPE_BF16:
        return PACK_BF16;
    case RECIPE_INT8:
        return PACK_INT8;
    case RECIPE_INT4:
        return is_sensitive(slice) ? PACK_INT8 : PACK_INT4;
    case RECIPE_AUTO:
    case RECIPE_N_KINDS:
        break;
    }
    return type_of_checkpoint(from);
}
