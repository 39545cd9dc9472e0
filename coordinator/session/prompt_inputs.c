/* prompt_inputs.c - a layout's images as square pixels, its vectors as one array, and the digests that let the
 * scheduler recognise both.
 *
 *     inputs in order     image 0          vector 0                      image 1
 *     key                 H(pixels 0)      H("vector"; kind, values 0)   H(pixels 1)      H: BLAKE2b, 256 bits
 *     digest              H(key)           H(digest before, key)         H(digest before, key)
 *
 * A key identifies one input (the encoder cache's key); a digest everything up to it (prefix reuse). */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/image/image.h"
#include "coordinator/session/prompt_int.h"

static base_status keep_warnings(const image_warnings *found, prompt *p, base_error *error)
{
    if (found->n == 0)
        return BASE_OK;
    prompt_warning *all = realloc(p->warnings, (p->n_warnings + found->n) * sizeof *all);
    if (all == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the warnings of an image");
    p->warnings = all;
    for (size_t i = 0; i < found->n; i++)
        all[p->n_warnings++] = (prompt_warning){p->n_images, found->list[i]};
    return BASE_OK;
}

/* The next image of the prompt. */
static base_status decode_one(const prompt_env *env, const prompt_item *item, bool is_strict, prompt *p,
                              base_error *error)
{
    const wire_part *part = item->image;
    image_warnings warnings = {0};
    image_expected expected = {0};
    if (item->task != NULL)
        expected = (image_expected){item->task->modalities, item->task->body_parts, item->task->views};
    const image_options options = {
        .max_pixels = env->max_image_pixels, .frame = part->image_frame, .expected = &expected, .warnings = &warnings};
    base_status status = image_load_square(part->image, part->image_bytes, &options, &env->images.fit,
                                           env->limits.image_size, &p->images[p->n_images], error);
    if (status != BASE_OK)
        return status;
    if (is_strict && warnings.n > 0)
        status = base_fail(error, BASE_EINVAL, "%s (the request is strict about images)", warnings.list[0].text);
    else
        status = keep_warnings(&warnings, p, error);
    if (status != BASE_OK)
        free(p->images[p->n_images]);
    return status;
}

/* The digest of all images and vectors so far: of the one before (NULL: none) and the key of the newest. */
static void chain(const unsigned char *before, const unsigned char *key, unsigned char *digest)
{
    crypto_generichash_state hash;
    crypto_generichash_init(&hash, NULL, 0, CONTENT_DIGEST_BYTES);
    if (before != NULL)
        crypto_generichash_update(&hash, before, CONTENT_DIGEST_BYTES);
    crypto_generichash_update(&hash, key, CONTENT_DIGEST_BYTES);
    crypto_generichash_final(&hash, digest, CONTENT_DIGEST_BYTES);
}

/* The key of a vector; a keyed hash keeps it distinct from pixels. */
static void key_of_vector(const content_vector *vector, unsigned char *key)
{
    static const unsigned char domain[crypto_generichash_KEYBYTES_MIN] = "vector";
    crypto_generichash_state hash;
    crypto_generichash_init(&hash, domain, sizeof domain, CONTENT_DIGEST_BYTES);
    crypto_generichash_update(&hash, (const unsigned char *)&vector->kind, sizeof vector->kind);
    crypto_generichash_update(&hash, (const unsigned char *)vector->values, vector->width * sizeof(float));
    crypto_generichash_final(&hash, key, CONTENT_DIGEST_BYTES);
}

/* Append a part's vectors; prompt_vector_kind has succeeded before. */
static const unsigned char *copy_vectors(const prompt_env *env, const wire_part *part, const unsigned char *before,
                                         float **values, prompt *p)
{
    uint32_t kind = 0;
    prompt_vector_kind(env, part, &kind, NULL);
    memcpy(*values, part->values, part->n_values * sizeof **values);
    for (uint32_t v = 0; v < prompt_vectors_of(part); v++, *values += part->width) {
        unsigned char key[CONTENT_DIGEST_BYTES];
        content_vector *vector = &p->vectors[p->n_vectors++];
        *vector = (content_vector){.kind = kind, .width = part->width, .values = *values};
        key_of_vector(vector, key);
        chain(before, key, vector->digest);
        before = vector->digest;
    }
    return before;
}

static base_status alloc_vectors(const prompt_layout *l, prompt *p, base_error *error)
{
    size_t n_values = 0; /* all of them came in one message */
    for (size_t i = 0; i < l->n_items; i++)
        n_values += l->items[i].vectors != NULL ? l->items[i].vectors->n_values : 0;
    p->vectors = calloc(l->n_vectors + 1u, sizeof *p->vectors);
    p->vector_values = calloc(n_values + 1, sizeof *p->vector_values);
    if (p->vectors == NULL || p->vector_values == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for %u vectors", l->n_vectors);
    return BASE_OK;
}

static base_status alloc_images(const prompt_layout *l, prompt *p, base_error *error)
{
    p->images = calloc(l->n_images + 1u, sizeof *p->images);
    p->image_digests = calloc(l->n_images + 1u, sizeof *p->image_digests);
    p->image_keys = calloc(l->n_images + 1u, sizeof *p->image_keys);
    if (p->images == NULL || p->image_digests == NULL || p->image_keys == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for %u images", l->n_images);
    return BASE_OK;
}

/* Images and vectors, in the order of the prompt. */
base_status prompt_decode_inputs(const prompt_env *env, const prompt_layout *l, prompt *p, base_error *error)
{
    size_t image_bytes = (size_t)env->limits.image_size * env->limits.image_size * 3;
    const unsigned char *before = NULL;
    base_status status = alloc_images(l, p, error);
    if (status == BASE_OK)
        status = alloc_vectors(l, p, error);
    if (status != BASE_OK)
        return status;
    float *values = p->vector_values;
    for (size_t i = 0; i < l->n_items; i++) {
        if (l->items[i].vectors != NULL)
            before = copy_vectors(env, l->items[i].vectors, before, &values, p);
        if (l->items[i].image == NULL)
            continue;
        status = decode_one(env, &l->items[i], l->strict_images, p, error);
        if (status != BASE_OK) {
            base_error_prefix(error, "image %u of %u: ", p->n_images + 1, l->n_images);
            return status;
        }
        crypto_generichash(p->image_keys[p->n_images], CONTENT_DIGEST_BYTES, p->images[p->n_images], image_bytes, NULL,
                           0);
        chain(before, p->image_keys[p->n_images], p->image_digests[p->n_images]);
        before = p->image_digests[p->n_images];
        p->n_images++;
    }
    return BASE_OK;
}
