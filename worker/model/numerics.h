/* numerics.h - the choices that decide a model's bits, besides its weights and how they are packed. */
#ifndef PALMGROVE_MODEL_NUMERICS_H
#define PALMGROVE_MODEL_NUMERICS_H

#include <stdbool.h>

/* What weights are multiplied with: activations as they are, or rounded: to 8 bits in groups of 32 before int8 and int4
 * weights, to bf16 before bf16 weights (kern.h).  f16 and f32 weights take f32 always. */
typedef enum model_activations { MODEL_ACTIVATIONS_F32, MODEL_ACTIVATIONS_INT8, MODEL_N_ACTIVATIONS } model_activations;

/* How keys and values are kept (kv_cache.h). */
typedef enum model_kv_type { MODEL_KV_F32, MODEL_KV_BF16, MODEL_KV_INT8, MODEL_N_KV_TYPES } model_kv_type;

typedef struct model_numerics {
    model_activations activations;
    model_kv_type kv;
} model_numerics;

/* "f32", "int8"; "f32", "bf16", "int8"; static. */
const char *model_activations_name(model_activations activations);
bool model_activations_find(const char *name, model_activations *out);
const char *model_kv_type_name(model_kv_type type);
bool model_kv_type_find(const char *name, model_kv_type *out);

#endif
