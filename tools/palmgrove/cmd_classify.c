/* cmd_classify.c - which class an image, or a text, is: the class that the answer says by the task's matching rule, the
 * answer itself, and with --scores how likely the model finds the answer of each class.
 *
 * A class's score is the log-likelihood of its answer ("Yes."); its probability is the share among the classes,
 * exp(score) over their sum.  Each score is a request of its own, one after the other: the prompt is computed by the
 * first and shared by the others. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/palmgrove/console_task.h"

typedef struct classify_values {
    console_values client;
    console_task_values task;
    console_answer_values answer;
    option_list images;
    const char *answer_begin;
    bool scores;
} classify_values;

static const option_row rows[] = {
    {"image", "IMAGE", OPTION_LIST, offsetof(classify_values, images), NULL, "an image file; as many as the task takes",
     OPTION_POSITIONAL | OPTION_NO_ENVIRONMENT},
    CONSOLE_IMAGE_ROWS(classify_values),
    CONSOLE_TASK_ROWS(classify_values, "classify"),
    {"scores", NULL, OPTION_FLAG, offsetof(classify_values, scores), NULL,
     "print the log-likelihood of each class's answer and its probability too", OPTION_NO_ENVIRONMENT},
    {"answer-begin", "TEXT", OPTION_TEXT, offsetof(classify_values, answer_begin), "",
     "with --scores: what stands in front of an answer; a blank for models whose tokens carry the one in front of a "
     "word",
     0},
    CONSOLE_ROWS(classify_values),
    CONSOLE_ANSWER_ROWS(classify_values),
};

typedef struct classified {
    const classify_values *values;
    console_task asked;
    pg_client *client;
    pg_result *result;           /* the answer */
    bool said[TASK_CLASSES_MAX]; /* [n_classes] by the answer: one class, or some labels */
    bool is_clear;               /* it says a class, or labels and nothing else */
    size_t n_classes;
    double *scores; /* [n_classes]; NULL: not asked for */
} classified;

/* ---- asking ---- */

enum { WRITE = -1 };

static bool set_answer(const classified *c, int which, pg_request *request)
{
    if (which == WRITE) {
        console_answer_values answer = console_task_decoding(&c->asked, &c->values->answer, request);
        console_apply(&answer, request);
        return true;
    }
    ask_task asked = console_task_asked(&c->asked);
    pg_request_set_deadline_ms(request, c->values->answer.deadline_ms);
    return ask_score_class(&asked, (size_t)which, c->values->answer_begin, request);
}

/* Run a request of the task.  `which`: the class whose answer is scored, or WRITE: one is written. */
static int ask(classified *c, int which, pg_result **out)
{
    pg_request *request = pg_request_create();
    pg_error error = {.status = PG_ENOMEM, .text = "out of memory"};
    pg_status status = PG_ENOMEM;
    if (request != NULL) {
        console_task_add(&c->asked, c->values->images.items, c->values->images.n, request);
        if (set_answer(c, which, request))
            status = pg_client_generate(c->client, request, NULL, NULL, out, &error);
    }
    pg_request_destroy(&request);
    return status == PG_OK ? EXIT_DONE : console_fail(&c->values->client, &error);
}

static int score_class(classified *c, size_t i)
{
    pg_result *scored = NULL;
    int code = ask(c, (int)i, &scored);
    if (code == EXIT_DONE)
        c->scores[i] = ask_score(scored);
    pg_result_destroy(&scored);
    return code;
}

static void judge(classified *c, const task *t)
{
    size_t found;
    if (t->answer.form == TASK_ANSWER_LABELS) {
        c->is_clear = task_answer_labels(t, c->result->text, c->said) == 0;
    } else {
        c->is_clear = task_answer_class(t, c->asked.fields, c->asked.n_fields, c->result->text, &found);
        if (c->is_clear)
            c->said[found] = true;
    }
}

static int classify(classified *c)
{
    const task *t = c->asked.task;
    int code = ask(c, WRITE, &c->result);
    if (code != EXIT_DONE)
        return code;
    judge(c, t);
    if (!c->values->scores)
        return EXIT_DONE;
    c->scores = calloc(c->n_classes, sizeof *c->scores);
    if (c->scores == NULL) {
        command_complain("out of memory");
        return EXIT_FAILED;
    }
    for (size_t i = 0; code == EXIT_DONE && i < c->n_classes; i++)
        code = score_class(c, i);
    return code;
}

/* ---- printing ---- */

static double share_of(const classified *c, size_t i)
{
    double sum = 0.0;
    for (size_t k = 0; k < c->n_classes; k++)
        sum += exp(c->scores[k] - c->scores[i]);
    return 1.0 / sum;
}

static const char *name_of(const classified *c, size_t i)
{
    return task_class_name(c->asked.task, c->asked.fields, c->asked.n_fields, i);
}

static void print_text(const classified *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n_classes; i++)
        if (c->said[i])
            printf("%s%s", n++ == 0 ? "" : ", ", name_of(c, i));
    printf("%s\n", n == 0 ? "(none)" : "");
    printf("answer: %s\n", c->result->text);
    for (size_t i = 0; c->scores != NULL && i < c->n_classes; i++)
        printf("%-30s log-likelihood %10.4f  probability %.4f\n", name_of(c, i), c->scores[i], share_of(c, i));
}

static void print_json(const classified *c)
{
    size_t n = 0;
    printf("{\"classes\":[");
    for (size_t i = 0; i < c->n_classes; i++) {
        if (!c->said[i])
            continue;
        printf("%s", n++ == 0 ? "" : ",");
        console_print_json_string(name_of(c, i));
    }
    printf("],\"answer\":");
    console_print_json_string(c->result->text);
    for (size_t i = 0; c->scores != NULL && i < c->n_classes; i++) {
        printf(i == 0 ? ",\"scores\":[" : ",");
        printf("{\"class\":");
        console_print_json_string(name_of(c, i));
        printf(",\"log_likelihood\":%.9g,\"probability\":%.9g}", c->scores[i], share_of(c, i));
    }
    printf(c->scores != NULL ? "]}\n" : "}\n");
}

static int print(const classified *c)
{
    if (c->values->answer.json)
        print_json(c);
    else
        print_text(c);
    fflush(stdout);
    if (!c->values->answer.json && !c->values->answer.quiet)
        console_print_account(stderr, "", c->result);
    if (!c->is_clear)
        fprintf(stderr, "palmgrove: error: the answer says something else than the %zu classes of task '%s'\n",
                c->n_classes, c->asked.task->name);
    return c->is_clear && !ferror(stdout) ? EXIT_DONE : EXIT_FAILED;
}

/* ---- the command line ---- */

static int check(classified *c)
{
    int code = console_task_read_headers(&c->asked, c->values->images.items, c->values->images.n);
    if (code == EXIT_DONE)
        code = console_task_check(&c->asked, c->values->images.n);
    if (code != EXIT_DONE)
        return code;
    c->n_classes = task_class_count(c->asked.task, c->asked.fields, c->asked.n_fields);
    if (c->n_classes > 0)
        return EXIT_DONE;
    fprintf(stderr,
            "palmgrove: error: task '%s' answers in free text, not with a class; use 'palmgrove report' or 'palmgrove "
            "ask'\n",
            c->asked.task->name);
    return EXIT_USAGE;
}

static int run(void *opaque)
{
    classified c = {.values = opaque};
    int code = console_task_open(&c.values->task, NULL, 0, &c.asked);
    if (code == EXIT_DONE)
        code = check(&c);
    if (code == EXIT_DONE) {
        c.client = console_open(&c.values->client);
        code = c.client != NULL ? classify(&c) : EXIT_FAILED;
    }
    if (code == EXIT_DONE)
        code = print(&c);
    console_close(&c.client);
    pg_result_destroy(&c.result);
    free(c.scores);
    console_task_release(&c.asked);
    return code;
}

const command command_classify = {
    "classify",
    "[IMAGE...] --task NAME [options]",
    "which class an image is, and how sure the model is",
    "Ask a task whose answer is a class, and print the class that the answer says, then the answer:\n\n"
    "    palmgrove classify chest.png --field condition=cardiomegaly --scores\n"
    "    palmgrove classify lesion.png --task pad-ufes-20 --field age=51 --field region=back\n\n"
    "With --scores each class's answer is scored: its log-likelihood after the prompt, and its share among the "
    "classes. An "
    "answer that says no class of the "
    "task is an error (exit code 1).",
    {rows, sizeof rows / sizeof rows[0]},
    sizeof(classify_values),
    run};
