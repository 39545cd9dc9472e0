/* task_answer.c - the form of a task's answer, its classes, decoding parameters, metrics and published figures, as read
 * from the file. */
#include <math.h>
#include <string.h>

#include "coordinator/task/task_int.h"

static const char *const forms[] = {"text", "class", "labels", "choice", "genotype", NULL};
static const char *const matches[] = {"exact", "normalised", "leading", NULL};
static const char *const modes[] = {"greedy", "sampling", NULL};

static const char *const metrics[] = {"accuracy",
                                      "exact_match",
                                      "rouge_l",
                                      "rouge_l_coco",
                                      "bleu_1",
                                      "bleu_4",
                                      "sacrebleu",
                                      "cider_d",
                                      "token_f1",
                                      "token_recall",
                                      "macro_f1",
                                      "micro_f1",
                                      "macro_auc",
                                      "snp_f1",
                                      "indel_f1",
                                      "genotype_f1",
                                      "chexbert_micro_f1_14",
                                      "chexbert_macro_f1_14",
                                      "chexbert_micro_f1_5",
                                      "chexbert_macro_f1_5",
                                      "radgraph_f1",
                                      NULL};

const char *task_form_name(task_answer_form form)
{
    return forms[form];
}

const char *task_match_name(task_match match)
{
    return matches[match];
}

const char *const *task_metric_names(void)
{
    return metrics;
}

/* ---- classes ---- */

static size_t n_words(const task_class *c)
{
    return 1 + c->n_synonyms;
}

static const char *word_of(const task_class *c, size_t i)
{
    return i == 0 ? c->name : c->synonyms[i - 1];
}

/* A word that two classes share, or that one has twice; NULL: none. */
static const char *shared_word(const task_class *a, const task_class *b)
{
    for (size_t i = 0; i < n_words(a); i++)
        for (size_t j = 0; j < n_words(b); j++)
            if ((a != b || i < j) && task_same_words(word_of(a, i), word_of(b, j)))
                return word_of(a, i);
    return NULL;
}

static base_status read_class(task_reader *r, json_t *object, task_class *out)
{
    static const task_member members[] = {{"name", TASK_STRING, true}, {"synonyms", TASK_STRINGS, false}};
    base_status status = task_reader_members(r, object, members, sizeof members / sizeof members[0]);
    if (status == BASE_OK)
        status = task_reader_strings(r, object, "synonyms", &out->synonyms, &out->n_synonyms);
    if (status != BASE_OK)
        return status;
    out->name = task_reader_string(object, "name", "");
    for (size_t i = 0; i < n_words(out); i++)
        if (task_same_words(word_of(out, i), ""))
            return task_reader_fail(r, TASK_AT_VALUE, "a class needs a name, and its synonyms words");
    const char *twice = shared_word(out, out);
    return twice == NULL ? BASE_OK : task_reader_fail(r, TASK_AT_VALUE, "\"%.40s\" is listed twice", twice);
}

static base_status read_classes(task_reader *r, json_t *object, task_answer *out)
{
    json_t *array = json_object_get(object, "classes");
    size_t n = json_array_size(array);
    out->classes = task_reader_alloc(r, n, sizeof *out->classes);
    if (out->classes == NULL)
        return task_reader_no_memory(r);
    task_reader_enter(r, object, "classes");
    base_status status =
        n >= 2 && n <= TASK_CLASSES_MAX
            ? BASE_OK
            : task_reader_fail(r, TASK_AT_VALUE, "%zu classes; an answer has 2 to %d", n, TASK_CLASSES_MAX);
    for (size_t i = 0; status == BASE_OK && i < n; i++) {
        task_class *added = &out->classes[i];
        status = read_class(r, task_reader_enter_item(r, array, i), added);
        for (size_t j = 0; status == BASE_OK && j < i; j++) {
            const char *twice = shared_word(added, &out->classes[j]);
            if (twice != NULL)
                status =
                    task_reader_fail(r, TASK_AT_VALUE, "\"%.40s\" is listed twice, here and in the class \"%.40s\"",
                                     twice, out->classes[j].name);
        }
        out->n_classes++;
        task_reader_leave(r);
    }
    task_reader_leave(r);
    return status;
}

static task_class *genotype_classes(void)
{
    static task_class copies[] = {{"0", NULL, 0}, {"1", NULL, 0}, {"2", NULL, 0}};
    return copies;
}

/* ---- what an answer refers to ---- */

static base_status read_option_fields(task_reader *r, json_t *object, task_answer *out)
{
    base_status status = task_reader_strings(r, object, "options", &out->option_fields, &out->n_option_fields);
    if (status != BASE_OK)
        return status;
    task_reader_enter(r, object, "options");
    if (out->n_option_fields == 0)
        status = task_reader_fail(r, TASK_AT_VALUE, "\"options\" names one field at least");
    for (size_t i = 0; status == BASE_OK && i < out->n_option_fields; i++) {
        const char *name = out->option_fields[i];
        const task_field_spec *field = task_field_find(r->task, name, strlen(name));
        task_reader_enter_item(r, json_object_get(object, "options"), i);
        if (field == NULL || field->each)
            status = task_reader_fail(r, TASK_AT_VALUE, "\"%.40s\" is no field that could hold an option", name);
        task_reader_leave(r);
    }
    task_reader_leave(r);
    return status;
}

static bool is_class(const task_answer *a, const char *name)
{
    for (size_t i = 0; i < a->n_classes; i++)
        if (strcmp(a->classes[i].name, name) == 0)
            return true;
    return false;
}

static base_status read_references(task_reader *r, json_t *object, task_answer *out)
{
    out->positive = task_reader_string(object, "positive", NULL);
    out->per = task_reader_string(object, "per", NULL);
    if (out->positive != NULL && !is_class(out, out->positive))
        return task_reader_fail_member(r, object, "positive", "\"%.40s\" is no class of this answer", out->positive);
    if (out->per != NULL && task_field_find(r->task, out->per, strlen(out->per)) == NULL)
        return task_reader_fail_member(r, object, "per", "\"%.40s\" is no field of this task", out->per);
    return BASE_OK;
}

/* A key that another form needs is as wrong here as an unknown one. */
static base_status check_form(task_reader *r, json_t *object, task_answer_form form)
{
    bool has_own = form == TASK_ANSWER_CLASS || form == TASK_ANSWER_LABELS,
         has_classes = has_own || form == TASK_ANSWER_GENOTYPE;
    const struct {
        const char *key;
        bool allowed, required;
    } rules[] = {{"classes", has_own, has_own},
                 {"options", form == TASK_ANSWER_CHOICE, form == TASK_ANSWER_CHOICE},
                 {"positive", has_classes, false},
                 {"match", form != TASK_ANSWER_TEXT, form != TASK_ANSWER_TEXT},
                 {"end", form != TASK_ANSWER_TEXT, false}};
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        bool given = json_object_get(object, rules[i].key) != NULL;
        if (given && !rules[i].allowed)
            return task_reader_fail_member(r, object, rules[i].key,
                                           "\"%s\" does not belong to an answer of the form %s", rules[i].key,
                                           task_form_name(form));
        if (!given && rules[i].required)
            return task_reader_fail(r, TASK_AT_VALUE, "an answer of the form %s needs \"%s\"", task_form_name(form),
                                    rules[i].key);
    }
    return BASE_OK;
}

static base_status read_answer(task_reader *r, json_t *object, task_answer *out)
{
    static const task_member members[] = {{"form", TASK_STRING, true},      {"match", TASK_STRING, false},
                                          {"end", TASK_STRING, false},      {"classes", TASK_ARRAY, false},
                                          {"options", TASK_STRINGS, false}, {"positive", TASK_STRING, false},
                                          {"per", TASK_STRING, false}};
    size_t form = 0, match = 0;
    base_status status = task_reader_members(r, object, members, sizeof members / sizeof members[0]);
    if (status == BASE_OK)
        status = task_reader_word(r, object, "form", forms, 0, &form);
    if (status == BASE_OK)
        status = task_reader_word(r, object, "match", matches, TASK_MATCH_NORMALISED, &match);
    if (status == BASE_OK)
        status = check_form(r, object, (task_answer_form)form);
    if (status != BASE_OK)
        return status;
    *out = (task_answer){
        .form = (task_answer_form)form, .match = (task_match)match, .end = task_reader_string(object, "end", ".")};
    if (out->form == TASK_ANSWER_CLASS || out->form == TASK_ANSWER_LABELS)
        status = read_classes(r, object, out);
    if (out->form == TASK_ANSWER_GENOTYPE) {
        out->classes = genotype_classes();
        out->n_classes = 3;
    }
    if (status == BASE_OK && out->form == TASK_ANSWER_CHOICE)
        status = read_option_fields(r, object, out);
    return status == BASE_OK ? read_references(r, object, out) : status;
}

/* The answer that a model is trained to give must match its own class. */
static base_status check_answers(task_reader *r)
{
    const task *t = r->task;
    for (size_t i = 0; i < t->answer.n_classes; i++) {
        base_buf answer = {0};
        size_t found = t->answer.n_classes;
        task_class_answer(t, NULL, 0, i, &answer);
        base_buf_put_u8(&answer, 0);
        bool failed = answer.failed,
             is_own = !failed && task_answer_class(t, NULL, 0, (const char *)answer.data, &found) && found == i;
        base_buf_release(&answer);
        if (failed)
            return task_reader_no_memory(r);
        if (!is_own)
            return task_reader_fail(r, TASK_AT_VALUE,
                                    "the answer \"%.40s%.10s\" would not be matched with its own class",
                                    t->answer.classes[i].name, t->answer.end);
    }
    return BASE_OK;
}

base_status task_read_answer(task_reader *r, json_t *root)
{
    json_t *object = task_reader_enter(r, root, "answer");
    base_status status = read_answer(r, object, &r->task->answer);
    if (status == BASE_OK)
        status = check_answers(r);
    task_reader_leave(r);
    return status;
}

/* ---- decoding ---- */

static base_status check_decoding(task_reader *r, const task_decoding *d, bool samples)
{
    if (!samples && (d->temperature != 0.0f || d->top_k != 0 || d->top_p != 1.0f))
        return task_reader_fail(r, TASK_AT_VALUE,
                                "\"temperature\", \"top_k\" and \"top_p\" belong to the mode sampling");
    if (samples && !(d->temperature > 0.0f && d->temperature <= 10.0f))
        return task_reader_fail(r, TASK_AT_VALUE, "the mode sampling needs a \"temperature\" above 0, up to 10");
    if (!(d->top_p > 0.0f && d->top_p <= 1.0f))
        return task_reader_fail(r, TASK_AT_VALUE, "\"top_p\" must be above 0, up to 1");
    if (d->n_stops > 8)
        return task_reader_fail(r, TASK_AT_VALUE, "%zu stop texts; at most 8 are taken", d->n_stops);
    for (size_t i = 0; i < d->n_stops; i++)
        if (d->stops[i][0] == '\0' || strlen(d->stops[i]) > 64)
            return task_reader_fail(r, TASK_AT_VALUE, "a stop text has 1 to 64 bytes");
    return BASE_OK;
}

static base_status read_decoding(task_reader *r, json_t *object, task_decoding *out)
{
    static const task_member members[] = {{"mode", TASK_STRING, true},         {"temperature", TASK_NUMBER, false},
                                          {"top_k", TASK_INTEGER, false},      {"top_p", TASK_NUMBER, false},
                                          {"max_tokens", TASK_INTEGER, false}, {"stop", TASK_STRINGS, false}};
    size_t mode = 0;
    base_status status = task_reader_members(r, object, members, sizeof members / sizeof members[0]);
    if (status == BASE_OK)
        status = task_reader_word(r, object, "mode", modes, 0, &mode);
    if (status == BASE_OK)
        status = task_reader_strings(r, object, "stop", &out->stops, &out->n_stops);
    if (status != BASE_OK)
        return status;
    json_t *top_p = json_object_get(object, "top_p");
    out->temperature = (float)json_number_value(json_object_get(object, "temperature"));
    out->top_k = (uint32_t)json_integer_value(json_object_get(object, "top_k"));
    out->top_p = top_p != NULL ? (float)json_number_value(top_p) : out->top_p;
    out->max_tokens = (uint32_t)json_integer_value(json_object_get(object, "max_tokens"));
    return check_decoding(r, out, mode == 1);
}

/* ---- metrics and published figures ---- */

static bool is_among(const char *word, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(word, words[i]) == 0)
            return true;
    return false;
}

static base_status read_metrics(task_reader *r, json_t *root)
{
    enum { N_KNOWN = sizeof metrics / sizeof metrics[0] - 1 };
    task *t = r->task;
    base_status status = task_reader_strings(r, root, "metrics", &t->metrics, &t->n_metrics);
    if (status != BASE_OK || t->n_metrics == 0)
        return status;
    task_reader_enter(r, root, "metrics");
    for (size_t i = 0; status == BASE_OK && i < t->n_metrics; i++) {
        task_reader_enter_item(r, json_object_get(root, "metrics"), i);
        if (!is_among(t->metrics[i], metrics, N_KNOWN))
            status = task_reader_fail(r, TASK_AT_VALUE, "unknown metric \"%.40s\"; docs/TASKS.md lists the metrics",
                                      t->metrics[i]);
        else if (is_among(t->metrics[i], t->metrics, i))
            status = task_reader_fail(r, TASK_AT_VALUE, "the metric \"%s\" is listed twice", t->metrics[i]);
        task_reader_leave(r);
    }
    task_reader_leave(r);
    return status;
}

static double figure_of(json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return value != NULL ? json_number_value(value) : NAN;
}

static base_status read_figure(task_reader *r, json_t *object, task_published *out)
{
    static const task_member members[] = {{"metric", TASK_STRING, true},  {"12B", TASK_NUMBER, false},
                                          {"84B", TASK_NUMBER, false},    {"562B", TASK_NUMBER, false},
                                          {"before", TASK_NUMBER, false}, {"note", TASK_STRING, false}};
    base_status status = task_reader_members(r, object, members, sizeof members / sizeof members[0]);
    if (status != BASE_OK)
        return status;
    *out = (task_published){.metric = task_reader_string(object, "metric", ""),
                            .note = task_reader_string(object, "note", ""),
                            .size_12b = figure_of(object, "12B"),
                            .size_84b = figure_of(object, "84B"),
                            .size_562b = figure_of(object, "562B"),
                            .best_before = figure_of(object, "before")};
    if (!is_among(out->metric, r->task->metrics, r->task->n_metrics))
        return task_reader_fail_member(r, object, "metric", "\"%.40s\" is not among the \"metrics\" of this task",
                                       out->metric);
    return BASE_OK;
}

static base_status read_published(task_reader *r, json_t *root)
{
    json_t *array = json_object_get(root, "published");
    size_t n = json_array_size(array);
    task *t = r->task;
    t->published = task_reader_alloc(r, n, sizeof *t->published);
    if (t->published == NULL)
        return task_reader_no_memory(r);
    task_reader_enter(r, root, "published");
    base_status status = BASE_OK;
    for (size_t i = 0; status == BASE_OK && i < n; i++) {
        status = read_figure(r, task_reader_enter_item(r, array, i), &t->published[t->n_published++]);
        task_reader_leave(r);
    }
    task_reader_leave(r);
    return status;
}

base_status task_read_measures(task_reader *r, json_t *root)
{
    task_decoding *decoding = &r->task->decoding;
    *decoding = (task_decoding){.top_p = 1.0f};
    json_t *object = json_object_get(root, "decoding");
    base_status status = BASE_OK;
    if (object != NULL) {
        task_reader_enter(r, root, "decoding");
        status = read_decoding(r, object, decoding);
        task_reader_leave(r);
    }
    if (status == BASE_OK)
        status = read_metrics(r, root);
    return status == BASE_OK ? read_published(r, root) : status;
}
