/* cmd_task.c - the tasks that can be asked: which there are, what they want, and whether a site's own file is right. No
 * server.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/task/task.h"
#include "tools/palmgrove/command.h"

typedef struct task_values {
    const char *action, *dir;
    option_list words; /* a name, or files */
    bool json;
} task_values;

static const option_row rows[] = {
    {"action", "ACTION", OPTION_TEXT, offsetof(task_values, action), NULL, "list, show or check",
     OPTION_POSITIONAL | OPTION_REQUIRED | OPTION_NO_ENVIRONMENT},
    {"words", "NAME|FILE...", OPTION_LIST, offsetof(task_values, words), NULL, "show: the task; check: task files",
     OPTION_POSITIONAL | OPTION_NO_ENVIRONMENT},
    {"task-dir", "DIR", OPTION_TEXT, offsetof(task_values, dir), NULL,
     "a directory of the site's own task files, beside the built-in ones", 0},
    {"json", NULL, OPTION_FLAG, offsetof(task_values, json), NULL, "show: the file itself", OPTION_NO_ENVIRONMENT},
};

/* ---- list ---- */

static void print_images(const task *t)
{
    if (t->min_images == t->max_images)
        printf("%-6u ", t->min_images);
    else
        printf("%u-%-4u ", t->min_images, t->max_images);
}

static int list(const task_set *set)
{
    printf("%-30s %-6s %-9s %-10s %s\n", "NAME", "IMAGES", "ANSWER", "FROM", "TITLE");
    for (size_t i = 0; i < task_set_count(set); i++) {
        const task *t = task_set_at(set, i);
        printf("%-30s ", t->name);
        print_images(t);
        printf("%-9s %-10s %s\n", task_form_name(t->answer.form), t->builtin ? "built in" : "own", t->title);
    }
    return EXIT_DONE;
}

/* ---- show ---- */

static void print_line(const char *label, const char *text)
{
    if (text[0] != '\0')
        printf("%-12s %s\n", label, text);
}

static void print_fields(const task *t)
{
    for (size_t i = 0; i < t->n_fields; i++) {
        const task_field_spec *f = &t->fields[i];
        printf("%-12s %s: %s", i == 0 ? "fields" : "", f->name, task_kind_name(f->kind));
        for (size_t c = 0; c < f->n_choices; c++)
            printf("%s%s", c == 0 ? " of " : ", ", f->choices[c]);
        if (isfinite(f->least))
            printf(" from %g", f->least);
        if (isfinite(f->most))
            printf(" to %g", f->most);
        printf("%s%s", f->each ? "; one for each image" : "", f->required ? "; required" : "");
        if (f->fallback != NULL)
            printf("; otherwise '%s'", f->fallback);
        printf("%s%s\n", f->about[0] != '\0' ? " - " : "", f->about);
    }
}

static void print_answer(const task *t)
{
    const task_answer *a = &t->answer;
    printf("%-12s %s", "answer", task_form_name(a->form));
    if (a->form != TASK_ANSWER_TEXT)
        printf(", matched as %s", task_match_name(a->match));
    for (size_t i = 0; i < a->n_classes; i++)
        printf("%s%s%s", i == 0 ? ": " : ", ", a->classes[i].name, a->end);
    for (size_t i = 0; i < a->n_option_fields; i++)
        printf("%s%s", i == 0 ? ", from " : ", ", a->option_fields[i]);
    if (a->per != NULL)
        printf("; measured per %s", a->per);
    putchar('\n');
    printf("%-12s ", "decoding");
    if (t->decoding.temperature == 0.0f)
        printf("greedy");
    else
        printf("temperature %g, top_k %u, top_p %g", (double)t->decoding.temperature, t->decoding.top_k,
               (double)t->decoding.top_p);
    if (t->decoding.max_tokens > 0)
        printf(", %u tokens at most", t->decoding.max_tokens);
    putchar('\n');
    for (size_t i = 0; i < t->n_metrics; i++)
        printf("%s%s", i == 0 ? "metrics      " : ", ", t->metrics[i]);
    if (t->n_metrics > 0)
        putchar('\n');
}

static void print_figure(double figure)
{
    if (isnan(figure))
        printf(" %7s", "-");
    else
        printf(" %7.2f", figure);
}

static void print_published(const task *t)
{
    if (t->n_published == 0)
        return;
    printf("\npublished (Med-PaLM M)     12B     84B    562B  before\n");
    for (size_t i = 0; i < t->n_published; i++) {
        const task_published *p = &t->published[i];
        printf("  %-20s", p->metric);
        print_figure(p->size_12b);
        print_figure(p->size_84b);
        print_figure(p->size_562b);
        print_figure(p->best_before);
        printf("%s%s\n", p->note[0] != '\0' ? "  " : "", p->note);
    }
}

static int show(const task_set *set, const task_values *values)
{
    const task *t = NULL;
    base_error error = {0};
    if (values->words.n != 1) {
        command_complain("name one task to show; `palmgrove task list` lists them");
        return EXIT_USAGE;
    }
    if (task_set_find(set, values->words.items[0].value, &t, &error) != BASE_OK) {
        command_complain(error.text);
        return EXIT_USAGE;
    }
    if (values->json) {
        fputs(t->json, stdout);
        return EXIT_DONE;
    }
    print_line("task", t->name);
    print_line("title", t->title);
    print_line("about", t->about);
    print_line("dataset", t->dataset);
    print_line("modality", t->modality);
    print_line("reference", t->reference);
    print_line("wording", t->paper_wording ? "the paper's" : "ours");
    print_line("file", t->source);
    if (t->n_test_cases > 0)
        printf("%-12s %u in the paper's test split\n", "cases", t->n_test_cases);
    printf("%-12s ", "images");
    print_images(t);
    putchar('\n');
    print_fields(t);
    print_answer(t);
    printf("\ninstruction\n  %s\nquery\n  %s\n", t->instruction[0] != '\0' ? t->instruction : "(none)", t->query);
    for (size_t i = 0; i < t->n_exemplars; i++)
        printf("%s  answered '%s'\n", i == 0 ? "exemplars (unless the model brings its own)\n" : "",
               t->exemplars[i].answer);
    print_published(t);
    return EXIT_DONE;
}

/* ---- check ---- */

static int check(const task_values *values)
{
    int code = EXIT_DONE;
    if (values->words.n == 0) {
        command_complain("name the task files to check");
        return EXIT_USAGE;
    }
    for (size_t i = 0; i < values->words.n; i++) {
        const char *file = values->words.items[i].value;
        task *t = NULL;
        base_error error = {0};
        if (task_load(file, &t, &error) == BASE_OK) {
            printf("%s: task '%s' is right\n", file, t->name);
        } else {
            command_complain(error.text);
            code = EXIT_FAILED;
        }
        task_destroy(&t);
    }
    return code;
}

static int run(void *opaque)
{
    const task_values *values = opaque;
    if (strcmp(values->action, "check") == 0)
        return check(values);
    bool lists = strcmp(values->action, "list") == 0;
    if (!lists && strcmp(values->action, "show") != 0) {
        command_complain("the actions of 'task' are list, show and check");
        return EXIT_USAGE;
    }
    task_set *set = NULL;
    base_error error = {0};
    if (task_set_open(values->dir, &set, &error) != BASE_OK) {
        command_complain(error.text);
        return EXIT_FAILED;
    }
    int code = lists ? list(set) : show(set, values);
    task_set_close(&set);
    return code;
}

const command command_task = {"task",
                              "list | show NAME | check FILE...",
                              "the tasks that can be asked, and checks of a site's own",
                              "List the tasks, built in and of --task-dir; show what one asks, wants and measures; or "
                              "check task files: a fault is "
                              "told with file, line, column and cause. docs/TASKS.md says how a task is written.",
                              {rows, sizeof rows / sizeof rows[0]},
                              sizeof(task_values),
                              run};
