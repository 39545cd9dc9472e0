/* recipe.h - which element type each matrix gets when weights are packed, at load or by `palmgrove shard`. */
#ifndef PALMGROVE_SHARDING_RECIPE_H
#define PALMGROVE_SHARDING_RECIPE_H

#include "sharding/importance.h"
#include "sharding/pack/pack.h"
#include "sharding/slices.h"
#include "sharding/source.h"

/* RECIPE_AUTO keeps the checkpoint's own precision: f32, f16, bf16, Q8_0 (int8) and Q4_0 (int4; both f16 where heads
 * are no multiple of 32 wide) as they are, every other type expanded to f16 (f64, f8: f32, f16).  The others ask for
 * that type; int8 and int4 keep sensitive tensors finer (recipe.c says which). */
typedef enum recipe_kind {
    RECIPE_AUTO,
    RECIPE_F32,
    RECIPE_F16,
    RECIPE_BF16,
    RECIPE_INT8,
    RECIPE_INT4,
    RECIPE_N_KINDS
} recipe_kind;

typedef struct shard_recipe {
    recipe_kind kind;
    const shard_importance *importance; /* borrowed; NULL: every column weighs the same */
} shard_recipe;

const char *recipe_kind_name(recipe_kind kind); /* "auto", "f32" ...; static */
bool recipe_kind_find(const char *name, recipe_kind *out);

/* The type of matrix slice `slice` whose tensor in the checkpoint has type `from`. */
pack_type shard_recipe_type(const shard_recipe *recipe, const arch *a, const shard_slice *slice, shard_type from);

/* The name of weights once they are packed by `recipe`: `digest` (64 hex digits and a NUL, in place) as it is when
 * nothing is rounded beyond the checkpoint (RECIPE_AUTO), else a SHA-256 of it, the recipe's name and the importance
 * file (digest.c). */
void shard_recipe_digest(const shard_recipe *recipe, char digest[65]);

/* The name of a model under a choice that moves its bits ("activations f32"): a SHA-256 of `digest` and the choice, in
 * place (digest.c). */
void shard_choice_digest(const char *choice, char digest[65]);

#endif
