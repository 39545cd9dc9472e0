/* prompt.c - a prompt in three steps: lay out (prompt_layout.c), tokenize (prompt_tokens.c), decode the images and
 * copy the vectors (prompt_inputs.c).  What is cheap to refuse comes first: nothing is decoded for a prompt that is too
 * long. */
#include "coordinator/session/prompt.h"

#include <stdlib.h>

#include "coordinator/session/prompt_int.h"

base_status prompt_build(const prompt_env *env, const wire_generate *generate, prompt *out, base_error *error)
{
    prompt_layout l = {0};
    prompt p = {0};
    base_status status = prompt_lay_out(env, generate, &l, error);
    if (status == BASE_OK)
        status = prompt_tokenize(env, &l, &p.tokens, error);
    if (status == BASE_OK)
        status = prompt_decode_inputs(env, &l, &p, error);
    prompt_layout_release(&l);
    if (status == BASE_OK)
        *out = p;
    else
        prompt_release(&p);
    return status;
}

void prompt_release(prompt *p)
{
    for (uint32_t i = 0; i < p->n_images; i++)
        free(p->images[i]);
    free(p->images);
    free(p->image_digests);
    free(p->image_keys);
    free(p->vectors);
    free(p->vector_values);
    free(p->warnings);
    text_ids_release(&p->tokens);
    *p = (prompt){0};
}
