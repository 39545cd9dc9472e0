/* cmd_eval.c - a model on a benchmark: tasks of a data directory asked through a server, judged, and written as
 * results.json and report.html.
 *
 *     OUT/TASK/answers.jsonl   what was answered: the same command goes on from there
 *     OUT/results.json         the figures
 *     OUT/report.html          the figures to look at
 *
 * Tasks run one after the other, each with many requests in flight.  The figures are made from the journals at the end,
 * so a finished run needs no server to be judged again. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/file.h"
#include "tools/eval/eval_results.h"
#include "tools/eval/eval_run.h"
#include "tools/palmgrove/build_info.h"
#include "tools/palmgrove/console_task.h"
#include "tools/output/terminal.h"

enum { OTHERS_MAX = 8, LINE_EVERY_S = 10, BOOTSTRAP_MAX = 100000 };

typedef struct eval_values {
    console_values client;
    option_list tasks, compare, slices;
    const char *data, *task_dir, *output, *labeller, *answer_begin;
    uint32_t in_flight, limit, bootstrap;
    uint64_t seed;
    bool no_scores, no_cases, quiet;
} eval_values;

#define AT(field) offsetof(eval_values, field)

static const option_row rows[] = {
    {"data", "DATA", OPTION_TEXT, AT(data), NULL, "a directory in the neutral layout (docs/EVALUATION.md)",
     OPTION_POSITIONAL | OPTION_REQUIRED | OPTION_NO_ENVIRONMENT},
    {"task", "NAME", OPTION_LIST, AT(tasks), NULL,
     "a task to run, may be repeated; otherwise, and for all, every task that DATA has cases of",
     OPTION_NO_ENVIRONMENT},
    {"task-dir", "DIR", OPTION_TEXT, AT(task_dir), NULL,
     "a directory of the site's own task files; the server needs it too", 0},
    {"output", "DIR", OPTION_TEXT, AT(output), "palmgrove-eval",
     "where answers, results.json and report.html are written; a run that was killed goes on there",
     OPTION_NO_ENVIRONMENT},
    {"in-flight", "N", OPTION_U32, AT(in_flight), "16", "requests at the same time, 1 to 256", 0},
    {"limit", "N", OPTION_U32, AT(limit), "0", "the first N cases of each task only; 0: all", OPTION_NO_ENVIRONMENT},
    {"seed", "N", OPTION_U64, AT(seed), "0", "of the bootstrap, and of tasks that sample", OPTION_NO_ENVIRONMENT},
    {"bootstrap", "N", OPTION_U32, AT(bootstrap), "1000", "resamples for the 95 % intervals; 0: no intervals",
     OPTION_NO_ENVIRONMENT},
    {"compare", "DIR", OPTION_LIST, AT(compare), NULL,
     "the --output of another run, shown beside this one; may be repeated", OPTION_NO_ENVIRONMENT},
    {"slice", "FIELD", OPTION_LIST, AT(slices), NULL,
     "figures by the values of this field of the tasks too, beside the slices that the data names; may be repeated",
     OPTION_NO_ENVIRONMENT},
    {"labeller", "COMMAND", OPTION_TEXT, AT(labeller), NULL,
     "a shell command that labels reports for CheXbert and RadGraph metrics (docs/METRICS.md)", 0},
    {"answer-begin", "TEXT", OPTION_TEXT, AT(answer_begin), "",
     "what stands in front of a class's answer when it is scored; a blank for models whose tokens carry the one in "
     "front of a word",
     0},
    {"no-scores", NULL, OPTION_FLAG, AT(no_scores), NULL,
     "do not score the classes: fewer requests, no AUC and no reliability curve", OPTION_NO_ENVIRONMENT},
    {"no-cases", NULL, OPTION_FLAG, AT(no_cases), NULL, "no texts and images of cases in the report",
     OPTION_NO_ENVIRONMENT},
    {"quiet", NULL, OPTION_FLAG, AT(quiet), NULL, "no progress, no table", OPTION_NO_ENVIRONMENT},
    CONSOLE_ROWS(eval_values),
};

typedef struct one_task {
    const task *task;
    eval_cases cases;
    eval_journal journal;
    bool is_open;
} one_task;

typedef struct evaluation {
    const eval_values *values;
    task_set *set;
    one_task *tasks;           /* [n_tasks] */
    eval_scored *scored;       /* [n_scored] */
    const char **slice_fields; /* [values->slices.n] */
    size_t n_tasks, n_scored, n_others;
    eval_other others[OTHERS_MAX];
    eval_report report;
} evaluation;

/* ---- which tasks ---- */

static bool has_cases(const char *data, const char *name)
{
    char path[PATH_MAX];
    return (size_t)snprintf(path, sizeof path, "%s/%s/cases.jsonl", data, name) < sizeof path &&
           access(path, R_OK) == 0;
}

static bool is_named(const option_list *names, const char *name)
{
    for (size_t i = 0; i < names->n; i++)
        if (strcmp(names->items[i].value, name) == 0)
            return true;
    return false;
}

static base_status find_tasks(evaluation *e, base_error *error)
{
    const option_list *names = &e->values->tasks;
    bool all = names->n == 0 || is_named(names, "all");
    const task *found;
    for (size_t i = 0; !all && i < names->n; i++) {
        base_status status = task_set_find(e->set, names->items[i].value, &found, error);
        if (status != BASE_OK)
            return base_fail(error, BASE_EINVAL, "there is no task '%.100s'; `palmgrove task list` lists the tasks",
                             names->items[i].value);
    }
    e->tasks = calloc(task_set_count(e->set) + 1, sizeof *e->tasks);
    e->scored = calloc(task_set_count(e->set) + 1, sizeof *e->scored);
    if (e->tasks == NULL || e->scored == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory");
    for (size_t i = 0; i < task_set_count(e->set); i++) {
        const task *t = task_set_at(e->set, i);
        if (all ? has_cases(e->values->data, t->name) : is_named(names, t->name))
            e->tasks[e->n_tasks++].task = t;
    }
    return e->n_tasks > 0
               ? BASE_OK
               : base_fail(error, BASE_EINVAL,
                           "'%.200s' has cases of no known task: there is no TASK/cases.jsonl in it", e->values->data);
}

static bool has_field(const task *t, const char *name)
{
    for (size_t i = 0; i < t->n_fields; i++)
        if (strcmp(t->fields[i].name, name) == 0)
            return true;
    return false;
}

static base_status find_slices(evaluation *e, base_error *error)
{
    const option_list *names = &e->values->slices;
    e->slice_fields = calloc(names->n + 1, sizeof *e->slice_fields);
    if (e->slice_fields == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory");
    for (size_t i = 0; i < names->n; i++) {
        bool is_known = false;
        e->slice_fields[i] = names->items[i].value;
        for (size_t k = 0; k < e->n_tasks; k++)
            is_known |= has_field(e->tasks[k].task, e->slice_fields[i]);
        if (!is_known)
            return base_fail(
                error, BASE_EINVAL,
                "--slice: no task of this run has a field '%.100s'; `palmgrove task show NAME` prints a task's fields",
                e->slice_fields[i]);
    }
    return BASE_OK;
}

/* ---- what is asked, what was answered ---- */

static base_status make_dir(const char *path, base_error *error)
{
    if (mkdir(path, 0777) == 0 || errno == EEXIST)
        return BASE_OK;
    return base_fail(error, BASE_EIO, "cannot make folder '%.200s': %s", path, strerror(errno));
}

static void identify(const evaluation *e, const one_task *one, eval_identity *out)
{
    *out = (eval_identity){.task = one->task->name};
    eval_digest(one->task->json, strlen(one->task->json), out->task_digest);
    memcpy(out->data_digest, one->cases.digest, sizeof out->data_digest);
    int n = snprintf(out->settings, sizeof out->settings, "answers begin with '%.60s'", e->values->answer_begin);
    if (one->task->decoding.temperature > 0.0f)
        snprintf(out->settings + n, sizeof out->settings - (size_t)n, ", seed %llu",
                 (unsigned long long)e->values->seed);
}

static base_status open_journal(evaluation *e, one_task *one, base_error *error)
{
    char path[PATH_MAX];
    eval_identity identity;
    size_t *n_classes = calloc(one->cases.n + 1, sizeof *n_classes);
    base_status status = n_classes == NULL ? base_fail(error, BASE_ENOMEM, "out of memory") : BASE_OK;
    for (size_t i = 0; status == BASE_OK && i < one->cases.n; i++)
        n_classes[i] = task_class_count(one->task, one->cases.cases[i].fields, one->cases.cases[i].n_fields);
    if (status == BASE_OK &&
        (size_t)snprintf(path, sizeof path, "%s/%s", e->values->output, one->task->name) + sizeof "/answers.jsonl" >=
            sizeof path)
        status = base_fail(error, BASE_ETOOBIG, "'%.200s' is too long a name", e->values->output);
    if (status == BASE_OK)
        status = make_dir(path, error);
    if (status == BASE_OK) {
        strcat(path, "/answers.jsonl");
        identify(e, one, &identity);
        status = eval_journal_open(path, &identity, &one->cases, n_classes, &one->journal, error);
        one->is_open = status == BASE_OK;
    }
    free(n_classes);
    return status;
}

static base_status open_all(evaluation *e, base_error *error)
{
    base_status status = task_set_open(e->values->task_dir, &e->set, error);
    if (status == BASE_OK)
        status = find_tasks(e, error);
    if (status == BASE_OK)
        status = find_slices(e, error);
    if (status == BASE_OK)
        status = eval_dataset_read(e->values->data, &e->report.dataset, error);
    for (size_t i = 0; status == BASE_OK && i < e->values->compare.n; i++)
        status = eval_other_open(e->values->compare.items[i].value, &e->others[e->n_others++], error);
    for (size_t i = 0; status == BASE_OK && i < e->n_tasks; i++)
        status = eval_cases_open(e->values->data, e->tasks[i].task, e->values->limit, &e->tasks[i].cases, error);
    if (status == BASE_OK)
        status = make_dir(e->values->output, error);
    for (size_t i = 0; status == BASE_OK && i < e->n_tasks; i++)
        status = open_journal(e, &e->tasks[i], error);
    return status;
}

/* ---- progress ---- */

typedef struct progress_line {
    const char *name;
    double next_s; /* of a plain line */
    bool is_terminal;
} progress_line;

static void put_time(char *out, size_t size, double seconds)
{
    unsigned long s = (unsigned long)seconds;
    if (s >= 3600)
        snprintf(out, size, "%lu h %02lu min", s / 3600, s / 60 % 60);
    else
        snprintf(out, size, "%lu min %02lu s", s / 60, s % 60);
}

static void show_progress(void *context, const eval_progress *p)
{
    progress_line *line = context;
    char left[32] = "?";
    bool whole = p->n_done == p->n_total;
    if (!line->is_terminal && !whole && p->seconds < line->next_s)
        return;
    line->next_s = p->seconds + LINE_EVERY_S;
    if (p->n_asked > 0)
        put_time(left, sizeof left, p->seconds / (double)p->n_asked * (double)(p->n_total - p->n_done));
    fprintf(stderr, "%s%s: %zu of %zu requests, %.1f a second, %zu failed", line->is_terminal ? "\r\033[K" : "",
            line->name, p->n_done, p->n_total, p->seconds > 0 ? (double)p->n_asked / p->seconds : 0.0, p->n_failed);
    if (!whole)
        fprintf(stderr, ", %s left", left);
    if (!line->is_terminal)
        fputc('\n', stderr);
    fflush(stderr);
}

static base_status answer_task(const evaluation *e, one_task *one, base_error *error)
{
    const eval_values *v = e->values;
    progress_line line = {.name = one->task->name, .is_terminal = isatty(STDERR_FILENO)};
    const eval_run run = {.task = one->task,
                          .endpoint = v->client.endpoint,
                          .answer_begin = v->answer_begin,
                          .timeout_ms = v->client.timeout_ms,
                          .in_flight = v->in_flight,
                          .seed = v->seed,
                          .scores = !v->no_scores && eval_needs_scores(one->task),
                          .is_interrupted = console_is_interrupted,
                          .on_progress = v->quiet ? NULL : show_progress,
                          .context = &line};
    eval_progress progress;
    base_status status = eval_run_all(&run, &one->journal, &progress, error);
    if (!v->quiet && progress.n_asked == 0 && status == BASE_OK)
        fprintf(stderr, "%s: all of %zu requests were answered before\n", one->task->name, progress.n_total);
    else if (!v->quiet && line.is_terminal)
        fputc('\n', stderr);
    return status;
}

/* One report is of one model. */
static base_status check_models(const evaluation *e, base_error *error)
{
    const eval_model *first = NULL;
    for (size_t i = 0; i < e->n_tasks; i++) {
        const eval_model *model = &e->tasks[i].journal.model;
        if (model->digest[0] == '\0')
            continue;
        if (first != NULL && strcmp(first->digest, model->digest) != 0)
            return base_fail(error, BASE_EINVAL, "'%.200s' holds answers of two models; choose another --output",
                             e->values->output);
        first = model;
    }
    return BASE_OK;
}

/* ---- the figures ---- */

static base_status write_file(const evaluation *e, const char *name, const base_buf *bytes, base_error *error)
{
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", e->values->output, name) >= sizeof path)
        return base_fail(error, BASE_ETOOBIG, "'%.200s' is too long a name", e->values->output);
    return base_file_replace(path, bytes, error);
}

static base_status judge(evaluation *e, base_error *error)
{
    base_buf results = {0}, page = {0};
    e->report.bootstrap =
        (metric_bootstrap){.n_resamples = e->values->bootstrap, .level = 0.95, .seed = e->values->seed};
    const eval_rules rules = {.bootstrap = e->report.bootstrap,
                              .labeller = e->values->labeller,
                              .slice_fields = e->slice_fields,
                              .n_slice_fields = e->values->slices.n};
    base_status status = check_models(e, error);
    for (size_t i = 0; status == BASE_OK && i < e->n_tasks; i++) {
        status = eval_score(e->tasks[i].task, &e->tasks[i].cases, &e->tasks[i].journal, &rules, &e->scored[i], error);
        e->n_scored += status == BASE_OK;
    }
    e->report.tasks = e->scored;
    e->report.n_tasks = e->n_scored;
    e->report.others = e->others;
    e->report.n_others = e->n_others;
    e->report.version = BUILD_INFO_VERSION;
    e->report.cases = !e->values->no_cases;
    if (status == BASE_OK) {
        eval_results_write(&e->report, &results);
        status = write_file(e, "results.json", &results, error);
    }
    if (status == BASE_OK)
        status = eval_page_write(&e->report, &page, error);
    if (status == BASE_OK)
        status = write_file(e, "report.html", &page, error);
    base_buf_release(&results);
    base_buf_release(&page);
    return status;
}

/* Other runs on other data are shown, but not silently. */
static void warn_of_others(const evaluation *e)
{
    for (size_t i = 0; i < e->n_others; i++)
        for (size_t k = 0; k < e->n_tasks; k++) {
            const char *data = eval_other_data(&e->others[i], e->tasks[k].task->name);
            if (data[0] != '\0' && strcmp(data, e->tasks[k].cases.digest) != 0)
                fprintf(stderr, "palmgrove: warning: '%s' has other cases of task '%s'\n", e->others[i].label,
                        e->tasks[k].task->name);
        }
}

static size_t count_failed(const evaluation *e)
{
    size_t n = 0;
    for (size_t i = 0; i < e->n_scored; i++)
        n += e->scored[i].n_failed;
    return n;
}

static int show(const evaluation *e)
{
    size_t n_failed = count_failed(e);
    warn_of_others(e);
    if (!e->values->quiet) {
        eval_results_print(&e->report, stdout);
        printf("%s/report.html\n", e->values->output);
    }
    if (n_failed > 0)
        fprintf(stderr, "palmgrove: error: %zu cases failed; the report names them, the same command asks them again\n",
                n_failed);
    return n_failed == 0 && !ferror(stdout) ? EXIT_DONE : EXIT_FAILED;
}

/* ---- the command line ---- */

static int check_values(const eval_values *v)
{
    const char *wrong = v->in_flight < 1 || v->in_flight > EVAL_IN_FLIGHT_MAX ? "--in-flight must be from 1 to 256"
                        : v->bootstrap > BOOTSTRAP_MAX                        ? "--bootstrap must be from 0 to 100000"
                        : v->compare.n > OTHERS_MAX                           ? "at most 8 runs can be compared"
                                                                              : NULL;
    if (wrong != NULL)
        command_complain(wrong);
    return wrong == NULL ? EXIT_DONE : EXIT_USAGE;
}

static int evaluate(evaluation *e)
{
    base_error error = {0};
    base_status status = open_all(e, &error);
    int code = status == BASE_EINVAL ? EXIT_USAGE : EXIT_FAILED;
    for (size_t i = 0; status == BASE_OK && i < e->n_tasks; i++) {
        status = answer_task(e, &e->tasks[i], &error);
        code = status == BASE_ECANCELED ? EXIT_INTERRUPTED : EXIT_FAILED;
    }
    if (status == BASE_OK)
        status = judge(e, &error);
    if (status == BASE_OK)
        return show(e);
    command_complain(status == BASE_ECANCELED ? "interrupted; the same command goes on from here" : error.text);
    return code;
}

static int run(void *opaque)
{
    evaluation e = {.values = opaque};
    int code = check_values(e.values);
    if (code != EXIT_DONE)
        return code;
    pg_client *client = console_open(&e.values->client); /* so that Ctrl-C is caught */
    code = client != NULL ? evaluate(&e) : EXIT_FAILED;
    console_close(&client);
    for (size_t i = 0; i < e.n_scored; i++)
        eval_scored_release(&e.scored[i]);
    for (size_t i = 0; i < e.n_tasks; i++) {
        if (e.tasks[i].is_open)
            eval_journal_close(&e.tasks[i].journal);
        eval_cases_release(&e.tasks[i].cases);
    }
    for (size_t i = 0; i < e.n_others; i++)
        eval_other_close(&e.others[i]);
    free(e.slice_fields);
    free(e.tasks);
    free(e.scored);
    task_set_close(&e.set);
    return code;
}

const command command_eval = {
    "eval",
    "DATA [options]",
    "measure a model on a benchmark",
    "Ask a server every case of a data directory, many at a time, and judge the answers with each task's metrics:\n\n"
    "    palmgrove demo --cases phantom-cases\n"
    "    palmgrove eval phantom-cases --output run-f32\n"
    "    palmgrove eval phantom-cases --output run-int4 --compare run-f32\n\n"
    "Writes results.json and report.html, a page that needs nothing else, and prints a table beside the figures that "
    "Med-PaLM M's paper "
    "published. Every answer is kept as it comes: the same command goes on where a run was killed. Answers are never "
    "mixed: another model, "
    "other data or another wording of the task needs another --output.",
    {rows, sizeof rows / sizeof rows[0]},
    sizeof(eval_values),
    run};
