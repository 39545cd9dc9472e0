/* families.c - the table of model families.  A new one is a file of families/, a line here and its entry in both lists.
 */
#include "sharding/families.h"

#include <string.h>

static const arch_family *const families[] = {&family_palm_e, &family_llama, &family_qwen2,
                                              &family_gemma3, &family_llava, &family_llava_original};

#define N_FAMILIES (sizeof families / sizeof families[0])

const arch_family *arch_family_find(const char *name)
{
    for (size_t i = 0; i < N_FAMILIES; i++)
        if (strcmp(families[i]->name, name) == 0)
            return families[i];
    return NULL;
}

const arch_family *arch_family_of_model_type(const char *model_type)
{
    for (size_t i = 0; i < N_FAMILIES; i++)
        for (size_t k = 0; k < FAMILY_MAX_ALTERNATIVES && families[i]->model_types[k] != NULL; k++)
            if (strcmp(families[i]->model_types[k], model_type) == 0)
                return families[i];
    return NULL;
}

const arch_family *arch_family_of_gguf(const char *architecture)
{
    for (size_t i = 0; i < N_FAMILIES; i++)
        if (families[i]->gguf_architecture != NULL && strcmp(families[i]->gguf_architecture, architecture) == 0)
            return families[i];
    return NULL;
}

const char *arch_model_type_list(void)
{
    return "palm_e, llama, mistral, qwen2, gemma3_text, gemma3, llava, llava_mistral, llava_llama";
}

const char *arch_gguf_list(void)
{
    return "llama, qwen2, gemma3";
}
