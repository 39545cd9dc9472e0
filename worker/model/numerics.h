/* numerics.h - the choices that decide a model's bits, besides its weights and how they are packed. */
#ifndef PALMGROVE_MODEL_NUMERICS_H
#define PALMGROVE_MODEL_NUMERICS_H

#include <stdbool.h>

#include "proto/base/status.h"

/* What weights are multiplied with: activations as they are, or rounded: to 8 bits in groups of 32 before int8 and int4
 * weights, to bf16 before bf16 weights (kern.h).  f16 and f32 weights take f32 always. */
typedef enum model_activations { MODEL_ACTIVATIONS_F32, MODEL_ACTIVATIONS_INT8, MODEL_N_ACTIVATIONS } model_activations;

/* How keys and values are kept (kv_cache.h). */
typedef enum model_kv_type { MODEL_KV_F32, MODEL_KV_BF16, MODEL_KV_INT8, MODEL_N_KV_TYPES } model_kv_type;

/* Who multiplies the rows of prompts and images with matrices that are not quantised: our kernels, or OpenBLAS
 * (worker/kernels/blas/openblas.h), which must have been opened. */
typedef enum model_products { MODEL_PRODUCTS_OWN, MODEL_PRODUCTS_OPENBLAS, MODEL_N_PRODUCTS } model_products;

/* Images of fewer rows than this stay with our kernels.  The number is the model's, so all its images are alike; it is
 * where OpenBLAS caught up with them (docs/PERFORMANCE.md). */
#define MODEL_OPENBLAS_ROWS 64u

typedef struct model_numerics {
    model_activations activations;
    model_kv_type kv;
    model_products products;
} model_numerics;

/* "f32", "int8"; "f32", "bf16", "int8"; "own", "openblas"; static. */
const char *model_activations_name(model_activations activations);
bool model_activations_find(const char *name, model_activations *out);
const char *model_kv_type_name(model_kv_type type);
bool model_kv_type_find(const char *name, model_kv_type *out);
const char *model_products_name(model_products products);
bool model_products_find(const char *name, model_products *out);

/* The provider `name` ready for use: OpenBLAS is opened, so before any thread that reads the environment.  BASE_EINVAL
 * unknown name; kern_openblas_open's errors. */
base_status model_products_choose(const char *name, model_products *out, base_error *error);

/* The kernel set in use and, if there is one, the provider: "avx2", "avx2+openblas-0.3.21-Haswell". */
#define MODEL_KERNELS_CHARS 64
void model_kernels_name(const model_numerics *numerics, char out[MODEL_KERNELS_CHARS]);

#endif
