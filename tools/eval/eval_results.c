/* eval_results.c - results.json, written and read back, and the table on the terminal. */
#include "proto/base/file.h"
#include "tools/eval/eval_results.h"

#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "tools/output/json_text.h"
#include "tools/output/terminal.h"

enum { RESULTS_BYTES_MAX = 64 << 20, FAILURES_MAX = 100 };

/* ---- what others wrote ---- */

static base_status read_json(const char *path, json_t **out, base_error *error)
{
    base_buf bytes = {0};
    json_error_t cause;
    base_status status = base_file_read(path, RESULTS_BYTES_MAX, &bytes, error);
    if (status == BASE_OK) {
        *out = json_loadb((const char *)bytes.data, bytes.size, JSON_REJECT_DUPLICATES, &cause);
        if (!json_is_object(*out)) {
            json_decref(*out);
            *out = NULL;
            status = base_fail(error, BASE_EFORMAT, "'%.200s' is no JSON object", path);
        }
    }
    base_buf_release(&bytes);
    return status;
}

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

base_status eval_dataset_read(const char *data, eval_dataset *out, base_error *error)
{
    char path[PATH_MAX];
    json_t *json = NULL;
    *out = (eval_dataset){{0}, {0}, {0}, {0}};
    if ((size_t)snprintf(path, sizeof path, "%s/dataset.json", data) >= sizeof path)
        return base_fail(error, BASE_ETOOBIG, "'%.200s' is too long a name", data);
    base_status status = read_json(path, &json, error);
    if (status == BASE_ENOTFOUND)
        return BASE_OK;
    snprintf(out->name, sizeof out->name, "%s", text_at(json, "name"));
    snprintf(out->version, sizeof out->version, "%s", text_at(json, "version"));
    snprintf(out->source, sizeof out->source, "%s", text_at(json, "source"));
    snprintf(out->made_by, sizeof out->made_by, "%s", text_at(json, "made_by"));
    json_decref(json);
    return status;
}

base_status eval_other_open(const char *dir, eval_other *out, base_error *error)
{
    char path[PATH_MAX];
    json_t *json = NULL;
    size_t end = strlen(dir);
    while (end > 1 && dir[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && dir[begin - 1] != '/')
        begin--;
    if ((size_t)snprintf(path, sizeof path, "%s/results.json", dir) >= sizeof path)
        return base_fail(error, BASE_ETOOBIG, "'%.200s' is too long a name", dir);
    base_status status = read_json(path, &json, error);
    if (status != BASE_OK)
        return status;
    if (json_integer_value(json_object_get(json, "palmgrove_eval")) != 1) {
        json_decref(json);
        return base_fail(error, BASE_EFORMAT, "'%.200s' was not written by palmgrove eval", path);
    }
    *out = (eval_other){.json = json};
    snprintf(out->label, sizeof out->label, "%.*s", (int)(end - begin), dir + begin);
    return BASE_OK;
}

void eval_other_close(eval_other *other)
{
    json_decref(other->json);
    *other = (eval_other){.json = NULL};
}

static const json_t *find_named(const json_t *list, const char *key, const char *name)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(text_at(json_array_get(list, i), key), name) == 0)
            return json_array_get(list, i);
    return NULL;
}

static double number_at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

eval_figure eval_other_figure(const eval_other *other, const char *task_name, const char *name)
{
    const json_t *one = find_named(json_object_get(other->json, "tasks"), "task", task_name);
    const json_t *m = find_named(json_object_get(one, "metrics"), "name", name);
    return (eval_figure){number_at(m, "value"), number_at(m, "low"), number_at(m, "high")};
}

const char *eval_other_model(const eval_other *other)
{
    return text_at(json_object_get(other->json, "model"), "digest");
}

const char *eval_other_data(const eval_other *other, const char *task_name)
{
    return text_at(find_named(json_object_get(other->json, "tasks"), "task", task_name), "data_digest");
}

/* ---- results.json ---- */

static void write_model(json_text *j, const eval_model *model)
{
    json_text_open(j, "model", '{');
    json_text_string(j, "name", model->name);
    json_text_string(j, "digest", model->digest);
    json_text_string(j, "version", model->version);
    json_text_string(j, "layout", model->layout);
    json_text_string(j, "isa", model->isa);
    json_text_close(j, '}');
}

static void write_metric(json_text *j, const eval_metric *m)
{
    json_text_open(j, NULL, '{');
    json_text_string(j, "name", metric_name(m->metric));
    json_text_string(j, "about", metric_about(m->metric));
    json_text_real(j, "value", m->result.value);
    json_text_real(j, "low", m->result.low);
    json_text_real(j, "high", m->result.high);
    json_text_count(j, "n", m->result.n_used);
    if (m->missing != NULL)
        json_text_string(j, "missing", m->missing);
    if (m->published != NULL) {
        json_text_open(j, "published_percent", '{');
        json_text_real(j, "12B", m->published->size_12b);
        json_text_real(j, "84B", m->published->size_84b);
        json_text_real(j, "562B", m->published->size_562b);
        json_text_close(j, '}');
    }
    json_text_close(j, '}');
}

static void write_spread(json_text *j, const char *name, const eval_spread *s)
{
    json_text_open(j, name, '{');
    json_text_real(j, "mean", s->mean);
    json_text_real(j, "p50", s->p50);
    json_text_real(j, "p90", s->p90);
    json_text_real(j, "p99", s->p99);
    json_text_real(j, "max", s->most);
    json_text_close(j, '}');
}

static void write_slices(json_text *j, const eval_scored *s)
{
    json_text_open(j, "slices", '[');
    for (size_t i = 0; i < s->n_slices; i++) {
        json_text_open(j, NULL, '{');
        json_text_string(j, "name", s->slices[i].name);
        json_text_string(j, "value", s->slices[i].value);
        json_text_count(j, "n", s->slices[i].n);
        json_text_real(j, "figure", s->slices[i].figure);
        json_text_real(j, "low", s->slices[i].low);
        json_text_real(j, "high", s->slices[i].high);
        json_text_close(j, '}');
    }
    json_text_close(j, ']');
}

static void write_failures(json_text *j, const eval_scored *s)
{
    size_t n = 0;
    json_text_open(j, "failures", '[');
    for (size_t i = 0; i < s->cases->n && n < FAILURES_MAX; i++) {
        if (s->journal->answers[i].error == NULL)
            continue;
        json_text_open(j, NULL, '{');
        json_text_string(j, "id", s->cases->cases[i].id);
        json_text_string(j, "error", s->journal->answers[i].error);
        json_text_close(j, '}');
        n++;
    }
    json_text_close(j, ']');
}

static void write_task(json_text *j, const eval_scored *s)
{
    json_text_open(j, NULL, '{');
    json_text_string(j, "task", s->task->name);
    json_text_string(j, "title", s->task->title);
    json_text_string(j, "task_digest", s->task_digest);
    json_text_string(j, "data_digest", s->cases->digest);
    json_text_count(j, "n_cases", s->cases->n);
    json_text_count(j, "n_answered", s->n_items);
    json_text_count(j, "n_failed", s->n_failed);
    json_text_count(j, "n_no_class", s->n_no_class);
    if (s->input.n_classes > 0)
        json_text_string(j, "match", task_match_name(s->task->answer.match));
    json_text_open(j, "metrics", '[');
    for (size_t i = 0; i < s->n_metrics; i++)
        write_metric(j, &s->metrics[i]);
    json_text_close(j, ']');
    write_slices(j, s);
    write_spread(j, "latency_ms", &s->latency_ms);
    write_spread(j, "answer_tokens", &s->tokens);
    write_failures(j, s);
    json_text_close(j, '}');
}

void eval_results_write(const eval_report *report, base_buf *out)
{
    json_text j = {.out = out};
    json_text_open(&j, NULL, '{');
    json_text_count(&j, "palmgrove_eval", 1);
    json_text_string(&j, "version", report->version);
    json_text_string(&j, "dataset", report->dataset.name);
    json_text_string(&j, "dataset_version", report->dataset.version);
    if (report->n_tasks > 0)
        write_model(&j, &report->tasks[0].journal->model);
    json_text_open(&j, "bootstrap", '{');
    json_text_count(&j, "resamples", report->bootstrap.n_resamples);
    json_text_real(&j, "level", report->bootstrap.level);
    json_text_count(&j, "seed", report->bootstrap.seed);
    json_text_close(&j, '}');
    json_text_open(&j, "tasks", '[');
    for (size_t i = 0; i < report->n_tasks; i++)
        write_task(&j, &report->tasks[i]);
    json_text_close(&j, ']');
    json_text_close(&j, '}');
}

/* ---- the table ---- */

static void print_number(FILE *out, int width, double value)
{
    if (isnan(value))
        fprintf(out, "%*s", width, "-");
    else
        fprintf(out, "%*.2f", width, value);
}

static void print_metric(const eval_report *report, const eval_scored *s, const eval_metric *m, FILE *out)
{
    char interval[48] = "";
    double unit = eval_unit(m->metric);
    const char *name = metric_name(m->metric);
    fprintf(out, "  %-22s", name);
    print_number(out, 8, m->result.value * unit);
    if (!isnan(m->result.low))
        snprintf(interval, sizeof interval, "[%.2f, %.2f]", m->result.low * unit, m->result.high * unit);
    fprintf(out, "  %-17s%7zu ", m->missing != NULL ? m->missing : interval, m->result.n_used);
    print_number(out, 8, m->published != NULL ? m->published->size_12b : (double)NAN);
    print_number(out, 8, m->published != NULL ? m->published->size_84b : (double)NAN);
    print_number(out, 8, m->published != NULL ? m->published->size_562b : (double)NAN);
    for (size_t i = 0; i < report->n_others; i++)
        print_number(out, 17, eval_other_figure(&report->others[i], s->task->name, name).value * unit);
    fputc('\n', out);
}

void eval_results_print(const eval_report *report, FILE *out)
{
    fprintf(out, "%-24s%8s  %-17s%7s %8s%8s%8s", "", "this run", "95 % interval", "cases", "12B", "84B", "562B");
    for (size_t i = 0; i < report->n_others; i++)
        fprintf(out, " %16.16s", report->others[i].label);
    fputc('\n', out);
    for (size_t i = 0; i < report->n_tasks; i++) {
        const eval_scored *s = &report->tasks[i];
        terminal_print(out, TERMINAL_BOLD, "%s", s->task->name);
        fprintf(out, "  %zu cases", s->cases->n);
        if (s->n_failed > 0)
            fprintf(out, ", %zu FAILED and are in no figure", s->n_failed);
        if (s->n_no_class > 0)
            fprintf(out, ", %zu answers say no class", s->n_no_class);
        fputc('\n', out);
        for (size_t k = 0; k < s->n_metrics; k++)
            print_metric(report, s, &s->metrics[k], out);
    }
    terminal_print(out, TERMINAL_DIM, "12B, 84B, 562B: Med-PaLM M as published (arXiv 2307.14334), in percent.\n");
}
