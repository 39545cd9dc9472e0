/* metric_labels.c - an outside labeller (CheXbert, RadGraph) as a filter of JSON Lines.
 *
 * The cases go to its standard input from a temporary file and its answers come to another: no pipe can fill up, and a
 * labeller that reads everything before it writes does no harm.  It is started without a shell, in a process group of
 * its own, and killed with it when time is up. */
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "tools/metrics/metrics.h"

extern char **environ;

enum { LINE_BYTES_MAX = 4 << 20, ENTITIES_MAX = 4096 };

typedef struct labelled {
    bool has_findings, has_entities;
    metric_finding said[METRIC_CHEXBERT_LABELS], held[METRIC_CHEXBERT_LABELS];
    const char **said_entities, **held_entities; /* owned lists of strings that `line` owns */
    size_t n_said, n_held;
    json_t *line;
} labelled;

struct metric_labels {
    labelled *cases;
    size_t n;
};

void metric_labels_destroy(metric_labels **labels)
{
    if (*labels == NULL)
        return;
    for (size_t i = 0; i < (*labels)->n; i++) {
        free((*labels)->cases[i].said_entities);
        free((*labels)->cases[i].held_entities);
        json_decref((*labels)->cases[i].line);
    }
    free((*labels)->cases);
    free(*labels);
    *labels = NULL;
}

/* ---- what it reads ---- */

static bool write_case(FILE *to, size_t i, const metric_case *c)
{
    char id[24];
    snprintf(id, sizeof id, "%zu", i);
    json_t *line = json_pack("{s:s, s:s, s:s}", "id", id, "prediction", c->prediction == NULL ? "" : c->prediction,
                             "reference", c->n_references == 0 ? "" : c->references[0]);
    bool ok = line != NULL && json_dumpf(line, to, JSON_COMPACT) == 0 && fputc('\n', to) != EOF;
    json_decref(line);
    return ok;
}

static base_status write_cases(const metric_input *input, FILE *to, base_error *error)
{
    for (size_t i = 0; i < input->n_cases; i++)
        if (!write_case(to, i, &input->cases[i]))
            return base_fail(error, BASE_EFORMAT,
                             "case %zu cannot be handed to the labeller: its text is not UTF-8, or the disk is full",
                             i);
    return fflush(to) == 0 && fseek(to, 0, SEEK_SET) == 0
               ? BASE_OK
               : base_fail(error, BASE_EIO, "the cases for the labeller cannot be written: %s", strerror(errno));
}

/* ---- the run ---- */

static int start(const char *const *command, int in, int out, pid_t *child)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    char **arguments = (char **)(uintptr_t)command; /* posix_spawnp does not write to them */
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&how);
    posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setpgroup(&how, 0);
    int failed = posix_spawnp(child, command[0], &files, &how, arguments, environ);
    posix_spawnattr_destroy(&how);
    posix_spawn_file_actions_destroy(&files);
    return failed;
}

/* False: time is up, and it was killed. */
static bool wait_for(pid_t child, uint32_t timeout_s, int *how)
{
    const struct timespec nap = {.tv_nsec = 20000000};
    uint64_t end = base_clock_us() + (uint64_t)timeout_s * 1000000;
    while (waitpid(child, how, WNOHANG) == 0) {
        if (base_clock_us() >= end) {
            kill(-child, SIGKILL);
            waitpid(child, how, 0);
            return false;
        }
        nanosleep(&nap, NULL);
    }
    return true;
}

static base_status run(const char *const *command, int in, int out, uint32_t timeout_s, base_error *error)
{
    pid_t child = 0;
    int how = 0, failed = start(command, in, out, &child);
    if (failed != 0)
        return base_fail(error, BASE_EIO, "labeller \"%s\" cannot be started: %s", command[0], strerror(failed));
    if (!wait_for(child, timeout_s, &how))
        return base_fail(error, BASE_EDEADLINE, "labeller \"%s\" was stopped after %u s; give it more time", command[0],
                         timeout_s);
    if (WIFSIGNALED(how))
        return base_fail(error, BASE_EIO, "labeller \"%s\" ended by signal %d", command[0], WTERMSIG(how));
    if (WEXITSTATUS(how) != 0)
        return base_fail(error, BASE_EIO, "labeller \"%s\" ended with exit code %d", command[0], WEXITSTATUS(how));
    return BASE_OK;
}

/* ---- what it wrote ---- */

static bool read_findings(const json_t *list, metric_finding out[METRIC_CHEXBERT_LABELS])
{
    for (size_t i = 0; i < METRIC_CHEXBERT_LABELS; i++) {
        const json_t *value = json_array_get(list, i);
        if (!json_is_integer(value) || json_integer_value(value) < 0 ||
            json_integer_value(value) > METRIC_FINDING_UNCERTAIN)
            return false;
        out[i] = (metric_finding)json_integer_value(value);
    }
    return json_array_size(list) == METRIC_CHEXBERT_LABELS;
}

static bool read_entities(const json_t *list, const char ***out, size_t *n)
{
    if (!json_is_array(list) || json_array_size(list) > ENTITIES_MAX)
        return false;
    const char **entities = calloc(json_array_size(list) + 1, sizeof *entities);
    if (entities == NULL)
        return false;
    for (size_t i = 0; i < json_array_size(list); i++)
        if ((entities[i] = json_string_value(json_array_get(list, i))) == NULL) {
            free(entities);
            return false;
        }
    *out = entities;
    *n = json_array_size(list);
    return true;
}

/* NULL, or what is wrong with the line, which `out` then owns all the same. */
static const char *read_line(json_t *line, labelled *out)
{
    const json_t *said = json_object_get(line, "findings_prediction"),
                 *held = json_object_get(line, "findings_reference");
    const json_t *said_entities = json_object_get(line, "entities_prediction"),
                 *held_entities = json_object_get(line, "entities_reference");
    out->line = line;
    out->has_findings = said != NULL || held != NULL;
    out->has_entities = said_entities != NULL || held_entities != NULL;
    if (out->has_findings && (!read_findings(said, out->said) || !read_findings(held, out->held)))
        return "findings are two lists of 14 numbers from 0 to 3";
    if (out->has_entities && (!read_entities(said_entities, &out->said_entities, &out->n_said) ||
                              !read_entities(held_entities, &out->held_entities, &out->n_held)))
        return "entities are two lists of strings";
    return out->has_findings || out->has_entities ? NULL : "it has neither findings nor entities";
}

/* The case that the line is of; false when its id is none of them. */
static bool read_id(const json_t *line, size_t n, size_t *out)
{
    const char *id = json_string_value(json_object_get(line, "id"));
    char *end = NULL;
    unsigned long long value = id == NULL || *id < '0' || *id > '9' ? n : strtoull(id, &end, 10);
    if (value >= n || end == NULL || *end != '\0')
        return false;
    *out = (size_t)value;
    return true;
}

static base_status take_line(metric_labels *labels, const char *text, size_t size, size_t number, base_error *error)
{
    size_t i = 0;
    json_error_t fault;
    json_t *line = json_loadb(text, size, JSON_REJECT_DUPLICATES, &fault);
    if (line == NULL)
        return base_fail(error, BASE_EFORMAT, "line %zu of the labeller's output: %s", number, fault.text);
    if (!read_id(line, labels->n, &i) || labels->cases[i].line != NULL) {
        json_decref(line);
        return base_fail(error, BASE_EFORMAT,
                         "line %zu of the labeller's output: \"id\" is no case's, or was there before", number);
    }
    const char *fault_text = read_line(line, &labels->cases[i]);
    return fault_text == NULL
               ? BASE_OK
               : base_fail(error, BASE_EFORMAT, "line %zu of the labeller's output: %s", number, fault_text);
}

static base_status read_lines(metric_labels *labels, FILE *from, base_error *error)
{
    char *line = NULL;
    size_t room = 0, number = 0;
    ssize_t size;
    base_status status = BASE_OK;
    rewind(from);
    while (status == BASE_OK && (size = getline(&line, &room, from)) > 0) {
        number++;
        if (size > LINE_BYTES_MAX)
            status = base_fail(error, BASE_ETOOBIG, "line %zu of the labeller's output has %zd bytes; the most is %d",
                               number, size, LINE_BYTES_MAX);
        else
            status = take_line(labels, line, (size_t)size, number, error);
    }
    free(line);
    if (status == BASE_OK && number < labels->n)
        status = base_fail(error, BASE_EFORMAT, "the labeller wrote %zu lines for %zu cases", number, labels->n);
    return status;
}

static base_status label(metric_labels *labels, const char *const *command, const metric_input *input,
                         uint32_t timeout_s, FILE *in, FILE *out, base_error *error)
{
    base_status status = write_cases(input, in, error);
    if (status == BASE_OK)
        status = run(command, fileno(in), fileno(out), timeout_s, error);
    if (status == BASE_OK)
        status = read_lines(labels, out, error);
    return status;
}

base_status metric_labels_run(const char *const *command, const metric_input *input, uint32_t timeout_s,
                              metric_labels **out, base_error *error)
{
    metric_labels *labels = calloc(1, sizeof *labels);
    labelled *cases = calloc(input->n_cases + 1, sizeof *cases);
    FILE *from = tmpfile(), *to = tmpfile();
    base_status status;
    if (labels == NULL || cases == NULL || from == NULL || to == NULL)
        status = base_fail(error, BASE_ENOMEM, "no memory or no temporary file for the labeller: %s", strerror(errno));
    else {
        *labels = (metric_labels){cases, input->n_cases};
        cases = NULL;
        status = label(labels, command, input, timeout_s, from, to, error);
    }
    if (from != NULL)
        fclose(from);
    if (to != NULL)
        fclose(to);
    free(cases);
    if (status != BASE_OK)
        metric_labels_destroy(&labels);
    else
        *out = labels;
    return status;
}

void metric_labels_lend(const metric_labels *labels, metric_case *cases, size_t n_cases)
{
    for (size_t i = 0; i < n_cases && i < labels->n; i++) {
        const labelled *l = &labels->cases[i];
        cases[i].predicted_findings = l->has_findings ? l->said : NULL;
        cases[i].true_findings = l->has_findings ? l->held : NULL;
        cases[i].predicted_entities = l->has_entities ? l->said_entities : NULL;
        cases[i].true_entities = l->has_entities ? l->held_entities : NULL;
        cases[i].n_predicted_entities = l->n_said;
        cases[i].n_true_entities = l->n_held;
    }
}
