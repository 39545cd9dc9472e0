/* numerics.c - names of the numeric choices. */
#include "worker/model/numerics.h"

#include <stdio.h>
#include <string.h>

#include "worker/kernels/blas/openblas.h"
#include "worker/kernels/kern.h"

static const char *const activation_names[MODEL_N_ACTIVATIONS] = {"f32", "int8"};
static const char *const kv_names[MODEL_N_KV_TYPES] = {"f32", "bf16", "int8"};
static const char *const product_names[MODEL_N_PRODUCTS] = {"own", "openblas"};

/* The index of `name`, or n. */
static int find(const char *const *names, int n, const char *name)
{
    int i = 0;
    while (i < n && strcmp(names[i], name) != 0)
        i++;
    return i;
}

const char *model_activations_name(model_activations activations)
{
    return activation_names[activations];
}

bool model_activations_find(const char *name, model_activations *out)
{
    int i = find(activation_names, MODEL_N_ACTIVATIONS, name);
    if (i < MODEL_N_ACTIVATIONS)
        *out = (model_activations)i;
    return i < MODEL_N_ACTIVATIONS;
}

const char *model_kv_type_name(model_kv_type type)
{
    return kv_names[type];
}

bool model_kv_type_find(const char *name, model_kv_type *out)
{
    int i = find(kv_names, MODEL_N_KV_TYPES, name);
    if (i < MODEL_N_KV_TYPES)
        *out = (model_kv_type)i;
    return i < MODEL_N_KV_TYPES;
}

const char *model_products_name(model_products products)
{
    return product_names[products];
}

bool model_products_find(const char *name, model_products *out)
{
    int i = find(product_names, MODEL_N_PRODUCTS, name);
    if (i < MODEL_N_PRODUCTS)
        *out = (model_products)i;
    return i < MODEL_N_PRODUCTS;
}

base_status model_products_choose(const char *name, model_products *out, base_error *error)
{
    if (!model_products_find(name, out))
        return base_fail(error, BASE_EINVAL, "unknown products '%.40s'; known are own, openblas", name);
    return *out == MODEL_PRODUCTS_OPENBLAS ? kern_openblas_open(error) : BASE_OK;
}

void model_kernels_name(const model_numerics *numerics, char out[MODEL_KERNELS_CHARS])
{
    bool own = numerics->products == MODEL_PRODUCTS_OWN;
    snprintf(out, MODEL_KERNELS_CHARS, "%s%s%s", kern_active()->name, own ? "" : "+", own ? "" : kern_openblas_name());
}
