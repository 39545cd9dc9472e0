/* task_query.c - the query of a task, parsed into steps when it is loaded, so that rendering cannot fail on it.
 *
 *     <img>            the next image
 *     {name}           the value of a field
 *     { (C) |name}     the same, preceded by the text before the bar, if it has a value
 *     {* ... *}        printed once for each image, separated by the task's "between"; holds the only <img>
 *     {{ and }}        braces */
#include <string.h>

#include "coordinator/task/task_int.h"

#define IMAGE_MARK "<img>"

typedef struct query_parser {
    task_reader *r;
    task *t;
    const char *at, *end;
    bool in_each, has_each;
    uint32_t n_images, n_images_each;
    bool used[TASK_FIELDS_MAX];
} query_parser;

enum { SHOWN_MAX = 40 };

/* How much of a text [length] an error shows. */
static int shown(size_t length)
{
    return length < SHOWN_MAX ? (int)length : SHOWN_MAX;
}

/* How much of what is left. */
static int shown_rest(const query_parser *p)
{
    return shown((size_t)(p->end - p->at));
}

static void add_step(query_parser *p, task_step step)
{
    task_step *last = p->t->n_steps > 0 ? &p->t->steps[p->t->n_steps - 1] : NULL;
    if (step.kind == TASK_STEP_TEXT && last != NULL && last->kind == TASK_STEP_TEXT &&
        last->text + last->size == step.text)
        last->size += step.size;
    else
        p->t->steps[p->t->n_steps++] = step;
}

/* Parse a slot after its '{'; moves past its '}'. */
static base_status read_slot(query_parser *p)
{
    const char *close = memchr(p->at, '}', (size_t)(p->end - p->at));
    if (close == NULL)
        return task_reader_fail(p->r, TASK_AT_VALUE, "the query has a '{' that no '}' closes: \"{%.*s\"", shown_rest(p),
                                p->at);
    const char *bar = memchr(p->at, '|', (size_t)(close - p->at));
    const char *name = bar != NULL ? bar + 1 : p->at;
    const task_field_spec *field = task_field_find(p->t, name, (size_t)(close - name));
    if (field == NULL)
        return task_reader_fail(p->r, TASK_AT_VALUE, "the query has the slot {%.*s}, which is no field of \"fields\"",
                                shown((size_t)(close - name)), name);
    if (field->each && !p->in_each)
        return task_reader_fail(p->r, TASK_AT_VALUE,
                                "the field \"%.40s\" has a value for each image, so its slot belongs between {* and *}",
                                field->name);
    p->used[field - p->t->fields] = true;
    add_step(p, (task_step){TASK_STEP_FIELD, p->at, bar != NULL ? (size_t)(bar - p->at) : 0, field});
    p->at = close + 1;
    return BASE_OK;
}

static base_status begin_each(query_parser *p)
{
    if (p->has_each)
        return task_reader_fail(p->r, TASK_AT_VALUE, "the query has a second {* at \"%.*s\"", shown_rest(p), p->at);
    p->in_each = p->has_each = true;
    add_step(p, (task_step){.kind = TASK_STEP_EACH});
    p->at += 2;
    return BASE_OK;
}

static bool follows(const query_parser *p, const char *mark)
{
    size_t length = strlen(mark);
    return (size_t)(p->end - p->at) >= length && memcmp(p->at, mark, length) == 0;
}

static base_status read_step(query_parser *p)
{
    if (follows(p, IMAGE_MARK)) {
        add_step(p, (task_step){.kind = TASK_STEP_IMAGE});
        p->n_images++;
        p->n_images_each += p->in_each;
        p->at += strlen(IMAGE_MARK);
        return BASE_OK;
    }
    if (follows(p, "{{") || follows(p, "}}")) {
        add_step(p, (task_step){.kind = TASK_STEP_TEXT, .text = p->at, .size = 1});
        p->at += 2;
        return BASE_OK;
    }
    if (follows(p, "{*"))
        return begin_each(p);
    if (p->in_each && follows(p, "*}")) {
        p->in_each = false;
        add_step(p, (task_step){.kind = TASK_STEP_EACH_END});
        p->at += 2;
        return BASE_OK;
    }
    if (*p->at == '}')
        return task_reader_fail(p->r, TASK_AT_VALUE,
                                "the query has a '}' that no '{' opens: \"%.*s\"; write }} for a brace", shown_rest(p),
                                p->at);
    if (*p->at == '{') {
        p->at++;
        return read_slot(p);
    }
    add_step(p, (task_step){.kind = TASK_STEP_TEXT, .text = p->at++, .size = 1});
    return BASE_OK;
}

static base_status check_images(query_parser *p)
{
    const task *t = p->t;
    if (p->in_each)
        return task_reader_fail(p->r, TASK_AT_VALUE, "the query has a {* that no *} closes");
    if (p->has_each ? p->n_images != 1 || p->n_images_each != 1 : t->min_images != t->max_images)
        return task_reader_fail(
            p->r, TASK_AT_VALUE,
            "with a number of images that varies the one <img> of the query stands between {* and *}");
    if (!p->has_each && p->n_images != t->min_images)
        return task_reader_fail(p->r, TASK_AT_VALUE, "the query has %u <img>, but \"images\" says %u", p->n_images,
                                t->min_images);
    if (p->has_each && t->max_images == 0)
        return task_reader_fail(p->r, TASK_AT_VALUE, "the query has {* *}, but \"images\" says none");
    return BASE_OK;
}

static base_status check_used(task_reader *r, json_t *root, const query_parser *p)
{
    base_status status = BASE_OK;
    task_reader_enter(r, root, "fields");
    for (size_t i = 0; status == BASE_OK && i < p->t->n_fields; i++) {
        task_reader_enter_item(r, NULL, i);
        if (!p->used[i])
            status =
                task_reader_fail(r, TASK_AT_KEY, "the field \"%.40s\" is not used by the query", p->t->fields[i].name);
        task_reader_leave(r);
    }
    task_reader_leave(r);
    return status;
}

base_status task_read_query(task_reader *r, json_t *root)
{
    task *t = r->task;
    size_t length = strlen(t->query);
    query_parser p = {.r = r, .t = t, .at = t->query, .end = t->query + length};
    t->steps = task_reader_alloc(r, length + 1, sizeof *t->steps); /* a step takes a character at least */
    if (t->steps == NULL)
        return task_reader_no_memory(r);
    task_reader_enter(r, root, "query");
    base_status status = length > 0 ? BASE_OK : task_reader_fail(r, TASK_AT_VALUE, "the query is empty");
    while (status == BASE_OK && p.at < p.end)
        status = read_step(&p);
    if (status == BASE_OK)
        status = check_images(&p);
    task_reader_leave(r);
    return status == BASE_OK ? check_used(r, root, &p) : status;
}
