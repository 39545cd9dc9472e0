/* prompt.c - in three steps: lay out (which text, image, vectors, in what order), tokenize, decode the images and copy
 * the vectors.  What is cheap to refuse comes first: nothing is decoded for a prompt that is too long. */
#include "coordinator/session/prompt.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/image/image.h"
#include "proto/base/grow.h"
#include "proto/base/size.h"
#include "proto/link/position.h"

/* How many times the context is tokenized before we stop counting how much too long a prompt is. */
enum { COUNTED_CONTEXTS = 16 };

typedef struct item {
    const char *text;         /* [size] NULL: an image or vectors */
    const wire_part *image;   /* NULL: a task's slot whose image has not come yet */
    const wire_part *vectors; /* NULL: none */
    size_t size;
    bool is_chat; /* one text with the chat items beside it */
    bool is_trusted;
    bool joins_previous, joins_next; /* one text with the item there, what stands around an image */
} item;

typedef struct layout {
    item *items; /* owned */
    size_t n_items, capacity;
    task_prompt *tasks; /* [n_tasks] owned: the texts of items */
    size_t n_tasks, n_task_parts;
    uint32_t n_images, n_vectors;
} layout;

/* A chat template's markup is trusted, the words in it are not. */
static bool has_words(const item *it)
{
    return it->text != NULL && it->size > 0 && !it->is_trusted;
}

static bool is_image(const item *it)
{
    return it->text == NULL && it->vectors == NULL;
}

static void layout_release(layout *l)
{
    for (size_t i = 0; i < l->n_tasks; i++)
        task_prompt_release(&l->tasks[i]);
    free(l->tasks);
    free(l->items);
}

static base_status add_item(layout *l, item added, base_error *error)
{
    if (!base_grow(&l->items, &l->capacity, l->n_items + 1, sizeof *l->items))
        return base_fail(error, BASE_ENOMEM, "no memory for a prompt of %zu parts", l->n_items + 1);
    l->items[l->n_items++] = added;
    return BASE_OK;
}

static base_status add_text(layout *l, const char *text, base_error *error)
{
    return add_item(l, (item){.text = text, .size = text != NULL ? strlen(text) : 0}, error);
}

static base_status add_chat(const prompt_env *env, const wire_part *part, layout *l, base_error *error)
{
    chat_message messages[WIRE_FIELDS_MAX];
    size_t n = part->n_fields < WIRE_FIELDS_MAX ? part->n_fields : WIRE_FIELDS_MAX, n_parts = 0;
    for (size_t i = 0; i < n; i++)
        if (!chat_message_of(part->fields[i].name, part->fields[i].value, &messages[i]))
            return base_fail(error, BASE_EINVAL,
                             "a chat has no field '%.64s'; known are system, user, image, assistant",
                             part->fields[i].name);
    chat_part *parts = NULL;
    base_status status = chat_render(&env->chat, messages, n, &parts, &n_parts, error);
    for (size_t i = 0; status == BASE_OK && i < n_parts; i++)
        status = add_item(
            l, (item){.text = parts[i].text, .size = parts[i].size, .is_chat = true, .is_trusted = parts[i].is_trusted},
            error);
    free(parts);
    return status;
}

/* How many images a task gets: those up to the next task, within what it takes; too few or too many are complained
 * about later. */
static uint32_t count_images(const task *t, const wire_part *part, const wire_part *end)
{
    uint32_t n = 0;
    for (part++; part < end && part->kind != WIRE_PART_TASK; part++)
        n += part->kind == WIRE_PART_IMAGE;
    n = n < t->min_images ? t->min_images : n;
    return n > t->max_images ? t->max_images : n;
}

/* `part` is the task, `end` where all parts end. */
static base_status add_task(const prompt_env *env, const wire_part *part, const wire_part *end, layout *l,
                            base_error *error)
{
    const task *t = NULL;
    task_field fields[WIRE_FIELDS_MAX];
    size_t n_fields = part->n_fields < WIRE_FIELDS_MAX ? part->n_fields : WIRE_FIELDS_MAX;
    for (size_t i = 0; i < n_fields; i++)
        fields[i] = (task_field){.name = part->fields[i].name, .value = part->fields[i].value};
    task_prompt *rendered = &l->tasks[l->n_tasks];
    base_status status = task_set_find(env->tasks, part->task, &t, error);
    if (status == BASE_OK)
        status = task_render(t, fields, n_fields, count_images(t, part, end),
                             exemplars_find(env->exemplars, part->task), rendered, error);
    if (status != BASE_OK)
        return status;
    l->n_tasks++;
    for (size_t i = 0; status == BASE_OK && i < rendered->n_parts; i++)
        status = add_text(l, rendered->parts[i].is_image ? NULL : rendered->parts[i].text, error);
    return status;
}

/* The image goes to the first open slot before it; without tasks it stands by itself. */
static base_status add_image(const wire_part *part, layout *l, base_error *error)
{
    l->n_images++;
    if (l->n_task_parts == 0)
        return add_item(l, (item){.image = part}, error);
    for (size_t i = 0; i < l->n_items; i++) {
        if (is_image(&l->items[i]) && l->items[i].image == NULL) {
            l->items[i].image = part;
            return BASE_OK;
        }
    }
    return base_fail(error, BASE_EINVAL,
                     "image %u has no place: no task before it still wants one; send each image after its task, "
                     "as many as the task takes",
                     l->n_images);
}

static uint32_t n_vectors_of(const wire_part *part)
{
    return (uint32_t)(part->n_values / part->width);
}

/* Which kind of vectors a part has; the names of encoders are the model's. */
static base_status find_kind(const prompt_env *env, const wire_part *part, uint32_t *kind, base_error *error)
{
    char known[ARCH_MAX_ENCODERS * (ARCH_MAX_ENCODER_NAME + 2) + 1] = "";
    *kind = LINK_VECTOR_EMBEDDING;
    if (part->encoder == NULL || part->encoder[0] == '\0')
        return BASE_OK;
    for (uint32_t e = 0; e < env->n_encoders; e++) {
        *kind = LINK_VECTOR_ENCODERS + e;
        if (strcmp(env->encoders[e].name, part->encoder) == 0)
            return BASE_OK;
        size_t n = strlen(known);
        snprintf(known + n, sizeof known - n, "%s%s", n > 0 ? ", " : "", env->encoders[e].name);
    }
    return base_fail(error, BASE_ENOTFOUND, "this model has no vector encoder '%.64s'; %s%s", part->encoder,
                     env->n_encoders > 0 ? "it has: " : "it takes embeddings only, without a name", known);
}

static base_status add_vectors(const prompt_env *env, const wire_part *part, layout *l, base_error *error)
{
    uint32_t kind;
    if (l->n_task_parts > 0)
        return base_fail(error, BASE_EINVAL,
                         "vectors do not go with a task; send its text as text parts, the vectors between them");
    base_status status = find_kind(env, part, &kind, error);
    if (status != BASE_OK)
        return status;
    if (part->width != env->limits.vector_widths[kind])
        return base_fail(error, BASE_EINVAL, "vectors of %u numbers for %s%s, which takes %u", part->width,
                         kind == LINK_VECTOR_EMBEDDING ? "the decoder" : "vector encoder ",
                         kind == LINK_VECTOR_EMBEDDING ? "" : part->encoder, env->limits.vector_widths[kind]);
    l->n_vectors += n_vectors_of(part);
    return add_item(l, (item){.vectors = part}, error);
}

static base_status check_layout(const prompt_env *env, const layout *l, base_error *error)
{
    bool has_text = false;
    uint32_t n_open = 0;
    for (size_t i = 0; i < l->n_items; i++) {
        has_text |= has_words(&l->items[i]);
        n_open += is_image(&l->items[i]) && l->items[i].image == NULL;
    }
    if (n_open > 0)
        return base_fail(error, BASE_EINVAL, "the task wants %u more image%s; add image parts after the task", n_open,
                         n_open == 1 ? "" : "s");
    if (!has_text && l->n_images == 0 && l->n_vectors == 0)
        return base_fail(error, BASE_EINVAL, "the prompt is empty; send a text, an image, vectors or a task");
    if (l->n_images > 0 && env->limits.rows_per_image == 0)
        return base_fail(error, BASE_EUNSUPPORTED, "the prompt has an image, but this model has no vision tower");
    if (l->n_images > env->limits.n_image_slots)
        return base_fail(error, BASE_ETOOBIG, "%u images in one request; this server holds %u at a time", l->n_images,
                         env->limits.n_image_slots);
    return BASE_OK;
}

/* Put the model's marks around every image. */
static base_status mark_images(const prompt_images *images, layout *l, base_error *error)
{
    const char *open = images->open != NULL ? images->open : "", *close = images->close != NULL ? images->close : "";
    layout marked = {0};
    base_status status = BASE_OK;
    if (open[0] == '\0' && close[0] == '\0')
        return BASE_OK;
    for (size_t i = 0; status == BASE_OK && i < l->n_items; i++) {
        bool has_marks = is_image(&l->items[i]);
        if (has_marks && open[0] != '\0')
            status = add_item(
                &marked, (item){.text = open, .size = strlen(open), .is_trusted = true, .joins_previous = true}, error);
        if (status == BASE_OK)
            status = add_item(&marked, l->items[i], error);
        if (status == BASE_OK && has_marks && close[0] != '\0')
            status = add_item(
                &marked, (item){.text = close, .size = strlen(close), .is_trusted = true, .joins_next = true}, error);
    }
    if (status != BASE_OK) {
        free(marked.items);
        return status;
    }
    free(l->items);
    l->items = marked.items;
    l->n_items = marked.n_items;
    l->capacity = marked.capacity;
    return BASE_OK;
}

static base_status lay_out(const prompt_env *env, const wire_generate *g, layout *l, base_error *error)
{
    for (size_t i = 0; i < g->n_parts; i++)
        l->n_task_parts += g->parts[i].kind == WIRE_PART_TASK;
    l->tasks = calloc(l->n_task_parts + 1, sizeof *l->tasks);
    base_status status = l->tasks != NULL ? BASE_OK : base_fail(error, BASE_ENOMEM, "no memory for a prompt");
    for (size_t i = 0; status == BASE_OK && i < g->n_parts; i++) {
        const wire_part *part = &g->parts[i];
        if (part->kind == WIRE_PART_TEXT)
            status = add_text(l, part->text, error);
        else if (part->kind == WIRE_PART_IMAGE)
            status = add_image(part, l, error);
        else if (part->kind == WIRE_PART_VECTORS)
            status = add_vectors(env, part, l, error);
        else if (strcmp(part->task, CHAT_TASK) == 0)
            status = add_chat(env, part, l, error);
        else
            status = add_task(env, part, g->parts + g->n_parts, l, error);
    }
    if (status == BASE_OK)
        status = check_layout(env, l, error);
    return status == BASE_OK ? mark_images(&env->images, l, error) : status;
}

/* ---- tokens ---- */

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

static bool is_one_text(const item *before, const item *behind)
{
    return behind->text != NULL &&
           ((before->is_chat && behind->is_chat) || before->joins_next || behind->joins_previous);
}

/* The text items from `at` on that are tokenized as one: a text by itself, or a chat's up to an image, with the marks
 * of images at both ends. */
static size_t run_length(const layout *l, size_t at)
{
    size_t end = at + 1;
    while (end < l->n_items && is_one_text(&l->items[end - 1], &l->items[end]))
        end++;
    return end - at;
}

static base_status add_run(const prompt_env *env, const item *items, size_t n, size_t max_ids, text_ids *tokens,
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

static base_status tokenize(const prompt_env *env, const layout *l, text_ids *tokens, base_error *error)
{
    uint32_t context = env->limits.max_positions, rows = env->limits.rows_per_image, first_row = 0, n_vectors = 0;
    size_t counted = (size_t)context * COUNTED_CONTEXTS;
    base_status status = BASE_OK;
    if (env->bos_id >= 0 && !text_ids_push(tokens, env->bos_id))
        status = base_fail(error, BASE_ENOMEM, "no memory for the tokens of a prompt");
    for (size_t i = 0, n; status == BASE_OK && i < l->n_items; i += n) {
        n = 1;
        if (l->items[i].vectors != NULL) {
            status = push_vectors(tokens, n_vectors, n_vectors_of(l->items[i].vectors), error);
            n_vectors += n_vectors_of(l->items[i].vectors);
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

/* ---- images ---- */

static base_status decode_one(const prompt_env *env, const wire_part *part, uint8_t **out, base_error *error)
{
    const image_options options = {.max_pixels = env->max_image_pixels, .frame = part->image_frame};
    return image_load_square(part->image, part->image_bytes, &options, &env->images.fit, env->limits.image_size, out,
                             error);
}

/* The digest of all images and vectors so far: of the one before (NULL: none) and the name of the newest. */
static void chain(const unsigned char *before, const unsigned char *name, unsigned char *digest)
{
    crypto_generichash_state hash;
    crypto_generichash_init(&hash, NULL, 0, CONTENT_DIGEST_BYTES);
    if (before != NULL)
        crypto_generichash_update(&hash, before, CONTENT_DIGEST_BYTES);
    crypto_generichash_update(&hash, name, CONTENT_DIGEST_BYTES);
    crypto_generichash_final(&hash, digest, CONTENT_DIGEST_BYTES);
}

/* The name of a vector; the key keeps it apart from pixels. */
static void name_vector(const content_vector *vector, unsigned char *name)
{
    static const unsigned char key[crypto_generichash_KEYBYTES_MIN] = "vector";
    crypto_generichash_state hash;
    crypto_generichash_init(&hash, key, sizeof key, CONTENT_DIGEST_BYTES);
    crypto_generichash_update(&hash, (const unsigned char *)&vector->kind, sizeof vector->kind);
    crypto_generichash_update(&hash, (const unsigned char *)vector->values, vector->width * sizeof(float));
    crypto_generichash_final(&hash, name, CONTENT_DIGEST_BYTES);
}

/* Copy a part's vectors behind the others; find_kind has succeeded before. */
static const unsigned char *copy_vectors(const prompt_env *env, const wire_part *part, const unsigned char *before,
                                         float **values, prompt *p)
{
    uint32_t kind = 0;
    find_kind(env, part, &kind, NULL);
    memcpy(*values, part->values, part->n_values * sizeof **values);
    for (uint32_t v = 0; v < n_vectors_of(part); v++, *values += part->width) {
        unsigned char name[CONTENT_DIGEST_BYTES];
        content_vector *vector = &p->vectors[p->n_vectors++];
        *vector = (content_vector){.kind = kind, .width = part->width, .values = *values};
        name_vector(vector, name);
        chain(before, name, vector->digest);
        before = vector->digest;
    }
    return before;
}

static base_status take_vectors_memory(const layout *l, prompt *p, base_error *error)
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

static base_status take_images_memory(const layout *l, prompt *p, base_error *error)
{
    p->images = calloc(l->n_images + 1u, sizeof *p->images);
    p->image_digests = calloc(l->n_images + 1u, sizeof *p->image_digests);
    p->image_keys = calloc(l->n_images + 1u, sizeof *p->image_keys);
    if (p->images == NULL || p->image_digests == NULL || p->image_keys == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for %u images", l->n_images);
    return BASE_OK;
}

/* Images and vectors, in the order in which they stand. */
static base_status decode_inputs(const prompt_env *env, const layout *l, prompt *p, base_error *error)
{
    size_t image_bytes = (size_t)env->limits.image_size * env->limits.image_size * 3;
    const unsigned char *before = NULL;
    base_status status = take_images_memory(l, p, error);
    if (status == BASE_OK)
        status = take_vectors_memory(l, p, error);
    if (status != BASE_OK)
        return status;
    float *values = p->vector_values;
    for (size_t i = 0; i < l->n_items; i++) {
        if (l->items[i].vectors != NULL)
            before = copy_vectors(env, l->items[i].vectors, before, &values, p);
        if (l->items[i].image == NULL)
            continue;
        status = decode_one(env, l->items[i].image, &p->images[p->n_images], error);
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

base_status prompt_build(const prompt_env *env, const wire_generate *generate, prompt *out, base_error *error)
{
    layout l = {0};
    prompt p = {0};
    base_status status = lay_out(env, generate, &l, error);
    if (status == BASE_OK)
        status = tokenize(env, &l, &p.tokens, error);
    if (status == BASE_OK)
        status = decode_inputs(env, &l, &p, error);
    layout_release(&l);
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
    text_ids_release(&p->tokens);
    *p = (prompt){0};
}
