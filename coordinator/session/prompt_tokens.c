/* prompt_tokens.c - a layout's tokens: text through the tokenizer, images as rows, vectors as one position each. */
#include <stdlib.h>

#include "coordinator/session/prompt_int.h"
#include "proto/link/position.h"

/* How many times the context is tokenized before we stop counting how much too long a prompt is. */
enum { COUNTED_CONTEXTS = 16 };

static base_status add_rows(text_ids *tokens, uint32_t first_row, uint32_t n_rows, base_error *error)
{
    for (uint32_t r = 0; r < n_rows; r++)
        if (!text_ids_push(tokens, link_image_row(first_row + r)))
            return base_fail(error, BASE_ENOMEM, "no memory for the tokens of a prompt");
    return BASE_OK;
}

static base_status push_vectors(text_ids *tokens, uint32_t first, uint32_t n, base_error *error)
{
    for (uint32_t v = first; v < first + n; v++)
        if (!text_ids_push(tokens, link_request_vector(v)))
            return base_fail(error, BASE_ENOMEM, "no memory for the tokens of a prompt");
    return BASE_OK;
}

static bool is_one_text(const prompt_item *before, const prompt_item *after)
{
    return after->text != NULL && ((before->is_chat && after->is_chat) || before->joins_next || after->joins_previous);
}

/* The text items from `at` on that are tokenized as one: a text by itself, or a chat's up to an image, with the marks
 * of images at both ends. */
static size_t run_length(const prompt_layout *l, size_t at)
{
    size_t end = at + 1;
    while (end < l->n_items && is_one_text(&l->items[end - 1], &l->items[end]))
        end++;
    return end - at;
}

static base_status add_run(const prompt_env *env, const prompt_item *items, size_t n, size_t max_ids, text_ids *tokens,
                           base_error *error)
{
    text_part *parts = calloc(n, sizeof *parts);
    if (parts == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a prompt of %zu parts", n);
    for (size_t i = 0; i < n; i++)
        parts[i] = (text_part){.text = items[i].text, .size = items[i].size, .is_trusted = items[i].is_trusted};
    base_status status = text_encode_parts(env->tokenizer, parts, n, max_ids, tokens, error);
    free(parts);
    return status;
}

/* A tokenizer may know a few pieces that the model has no row for (Gemma 3's image token). */
base_status prompt_check_ids(const prompt_env *env, const text_ids *tokens, base_error *error)
{
    for (size_t i = 0; i < tokens->n; i++)
        if (tokens->ids[i] >= 0 && (uint32_t)tokens->ids[i] >= env->limits.vocab_size)
            return base_fail(error, BASE_EINVAL,
                             "the prompt has token %d, but the model's vocabulary ends at %u; leave it out",
                             tokens->ids[i], env->limits.vocab_size - 1);
    return BASE_OK;
}

base_status prompt_tokenize(const prompt_env *env, const prompt_layout *l, text_ids *tokens, base_error *error)
{
    uint32_t context = env->limits.max_positions, rows = env->limits.rows_per_image, first_row = 0, n_vectors = 0;
    size_t counted = (size_t)context * COUNTED_CONTEXTS;
    base_status status = BASE_OK;
    if (env->bos_id >= 0 && !text_ids_push(tokens, env->bos_id))
        status = base_fail(error, BASE_ENOMEM, "no memory for the tokens of a prompt");
    for (size_t i = 0, n; status == BASE_OK && i < l->n_items; i += n) {
        n = 1;
        if (l->items[i].vectors != NULL) {
            status = push_vectors(tokens, n_vectors, prompt_vectors_of(l->items[i].vectors), error);
            n_vectors += prompt_vectors_of(l->items[i].vectors);
        } else if (l->items[i].text == NULL) {
            status = add_rows(tokens, first_row, rows, error);
            first_row += rows;
        } else {
            n = run_length(l, i);
            status = add_run(env, &l->items[i], n, counted, tokens, error);
            if (status == BASE_ETOOBIG)
                return base_fail(error, status,
                                 "the prompt has more than %zu tokens; the context is %u; shorten the text", counted,
                                 context);
        }
    }
    if (status == BASE_OK && tokens->n >= context)
        return base_fail(
            error, BASE_ETOOBIG,
            "the prompt has %zu tokens, %u of them for images; the context is %u and must hold the answer too; "
            "shorten the text or send fewer images",
            tokens->n, first_row, context);
    return status == BASE_OK ? prompt_check_ids(env, tokens, error) : status;
}
