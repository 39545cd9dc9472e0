/* prompt_layout.c - which text, image and vectors come in what order.
 *
 *     request parts    task "vqa", image, image, text           (a task has slots for its images, a chat is rendered)
 *     items            text | slot <- image | text | slot <- image | text | text
 *     with marks       text | open | image | close | text | ...            (models that frame images; one text each)
 *
 * Whatever can be refused without a token or a pixel is refused here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/session/prompt_int.h"
#include "proto/base/grow.h"
#include "proto/base/quote.h"

/* A chat template's markup is trusted, the words in it are not. */
static bool has_words(const prompt_item *it)
{
    return it->text != NULL && it->size > 0 && !it->is_trusted;
}

static bool is_image(const prompt_item *it)
{
    return it->text == NULL && it->vectors == NULL;
}

void prompt_layout_release(prompt_layout *l)
{
    for (size_t i = 0; i < l->n_tasks; i++)
        task_prompt_release(&l->tasks[i]);
    free(l->tasks);
    free(l->items);
}

static base_status add_item(prompt_layout *l, prompt_item added, base_error *error)
{
    if (!base_grow(&l->items, &l->capacity, l->n_items + 1, sizeof *l->items))
        return base_fail(error, BASE_ENOMEM, "no memory for a prompt of %zu parts", l->n_items + 1);
    l->items[l->n_items++] = added;
    return BASE_OK;
}

static base_status add_text(prompt_layout *l, const char *text, base_error *error)
{
    return add_item(l, (prompt_item){.text = text, .size = text != NULL ? strlen(text) : 0}, error);
}

static base_status add_chat(const prompt_env *env, const wire_part *part, prompt_layout *l, base_error *error)
{
    chat_message messages[WIRE_FIELDS_MAX];
    size_t n = part->n_fields < WIRE_FIELDS_MAX ? part->n_fields : WIRE_FIELDS_MAX, n_parts = 0;
    for (size_t i = 0; i < n; i++)
        if (!chat_message_of(part->fields[i].name, part->fields[i].value, &messages[i]))
            return base_fail(error, BASE_EINVAL, "a chat has no field %s; known are system, user, image, assistant",
                             base_quote(part->fields[i].name).text);
    chat_part *parts = NULL;
    base_status status = chat_render(&env->chat, messages, n, &parts, &n_parts, error);
    for (size_t i = 0; status == BASE_OK && i < n_parts; i++)
        status = add_item(
            l,
            (prompt_item){
                .text = parts[i].text, .size = parts[i].size, .is_chat = true, .is_trusted = parts[i].is_trusted},
            error);
    free(parts);
    return status;
}

/* How many images a task gets: those up to the next task, within what it takes; too few or too many are refused
 * later. */
static uint32_t count_images(const task *t, const wire_part *part, const wire_part *end)
{
    uint32_t n = 0;
    for (part++; part < end && part->kind != WIRE_PART_TASK; part++)
        n += part->kind == WIRE_PART_IMAGE;
    n = n < t->min_images ? t->min_images : n;
    return n > t->max_images ? t->max_images : n;
}

/* `part` is the task, `end` where all parts end. */
static base_status add_task(const prompt_env *env, const wire_part *part, const wire_part *end, prompt_layout *l,
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
    for (size_t i = 0; status == BASE_OK && i < rendered->n_parts; i++) {
        status = add_text(l, rendered->parts[i].is_image ? NULL : rendered->parts[i].text, error);
        if (status == BASE_OK && rendered->parts[i].is_image)
            l->items[l->n_items - 1].task = t;
    }
    return status;
}

/* The image goes to the first open slot before it; without tasks it is an item of its own. */
static base_status add_image(const wire_part *part, prompt_layout *l, base_error *error)
{
    l->n_images++;
    if (l->n_task_parts == 0)
        return add_item(l, (prompt_item){.image = part}, error);
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

uint32_t prompt_vectors_of(const wire_part *part)
{
    return (uint32_t)(part->n_values / part->width);
}

/* Which kind of vectors a part has; the names of encoders are the model's. */
base_status prompt_vector_kind(const prompt_env *env, const wire_part *part, uint32_t *kind, base_error *error)
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
    return base_fail(error, BASE_ENOTFOUND, "this model has no vector encoder %s; %s%s", base_quote(part->encoder).text,
                     env->n_encoders > 0 ? "it has: " : "it takes embeddings only, without a name", known);
}

static base_status add_vectors(const prompt_env *env, const wire_part *part, prompt_layout *l, base_error *error)
{
    uint32_t kind;
    if (l->n_task_parts > 0)
        return base_fail(error, BASE_EINVAL,
                         "vectors do not go with a task; send its text as text parts, the vectors between them");
    base_status status = prompt_vector_kind(env, part, &kind, error);
    if (status != BASE_OK)
        return status;
    if (part->width != env->limits.vector_widths[kind])
        return base_fail(error, BASE_EINVAL, "vectors of %u numbers for %s%s, which takes %u", part->width,
                         kind == LINK_VECTOR_EMBEDDING ? "the decoder" : "vector encoder ",
                         kind == LINK_VECTOR_EMBEDDING ? "" : part->encoder, env->limits.vector_widths[kind]);
    l->n_vectors += prompt_vectors_of(part);
    return add_item(l, (prompt_item){.vectors = part}, error);
}

static base_status check_layout(const prompt_env *env, const prompt_layout *l, base_error *error)
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
static base_status mark_images(const prompt_images *images, prompt_layout *l, base_error *error)
{
    const char *open = images->open != NULL ? images->open : "", *close = images->close != NULL ? images->close : "";
    prompt_layout marked = {0};
    base_status status = BASE_OK;
    if (open[0] == '\0' && close[0] == '\0')
        return BASE_OK;
    for (size_t i = 0; status == BASE_OK && i < l->n_items; i++) {
        bool has_marks = is_image(&l->items[i]);
        if (has_marks && open[0] != '\0')
            status = add_item(
                &marked, (prompt_item){.text = open, .size = strlen(open), .is_trusted = true, .joins_previous = true},
                error);
        if (status == BASE_OK)
            status = add_item(&marked, l->items[i], error);
        if (status == BASE_OK && has_marks && close[0] != '\0')
            status = add_item(
                &marked, (prompt_item){.text = close, .size = strlen(close), .is_trusted = true, .joins_next = true},
                error);
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

base_status prompt_lay_out(const prompt_env *env, const wire_generate *g, prompt_layout *l, base_error *error)
{
    l->strict_images = g->strict_images;
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
