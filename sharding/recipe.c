#include "sharding/recipe.h"

#include <stdint.h>
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

/* Wider models lose less by coarse weights: an output sums over more of them, and the errors of single weights average
 * out. */
#define NARROW 2048u

static bool is_attention(arch_role role)
{
    return role == ARCH_LAYER_Q || role == ARCH_LAYER_K || role == ARCH_LAYER_V || role == ARCH_LAYER_O;
}

/* One of the first or last n_layers / `part` layers. */
static bool is_outer(uint32_t layer, uint32_t n_layers, uint32_t part)
{
    uint32_t n = n_layers / part + (n_layers % part != 0);
    return layer < n || layer >= n_layers - n;
}

/* What int4 leaves in int8 (docs/QUANTISATION.md has the measurements):
 *     everywhere     the vocabulary matrices: every logit hangs on them
 *                    the tower, the projector: small beside a decoder, and nothing downstream corrects them
 *     wide models    keys and values that several query heads share: few columns, read by many
 *                    what leaves the MLP in the first and last sixteenth of the layers
 *     narrow models  attention and what leaves the MLP; the whole MLP in the first and last quarter of the layers, or
 * eighth where importance steers the scales */
static bool is_sensitive(const shard_recipe *recipe, const arch *a, const shard_slice *slice)
{
    const arch_stack *stack = &a->decoder.stack;
    if (slice->part == ARCH_TOWER || slice->role == ARCH_EMBEDDING || slice->role == ARCH_OUTPUT)
        return true;
    bool is_down = slice->role == ARCH_LAYER_DOWN;
    if (stack->d < NARROW)
        return is_down || is_attention(slice->role) ||
               is_outer(slice->layer, stack->n_layers, recipe->importance != NULL ? 8 : 4);
    if (slice->role == ARCH_LAYER_K || slice->role == ARCH_LAYER_V)
        return stack->kv < stack->h;
    return is_down && is_outer(slice->layer, stack->n_layers, 16);
}

pack_type shard_recipe_type(const shard_recipe *recipe, const arch *a, const shard_slice *slice, shard_type from)
{
    if (slice->part >= ARCH_ENCODERS) /* a few rows a request, and what sensors tell comes in any range */
        return PACK_F32;
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
        return is_sensitive(recipe, a, slice) ? PACK_INT8 : PACK_INT4;
    case RECIPE_AUTO:
    case RECIPE_N_KINDS:
        break;
    }
    bool has_codes = from == SHARD_Q8_0 || from == SHARD_Q4_0;
    if (has_codes &&
        slice->unit % PACK_GROUP != 0) /* its groups would cross heads: rounding anew loses more than f16 does */
        return PACK_F16;
    return type_of_checkpoint(from);
}
