/* task_set.c - the built-in tasks and a site's own, sorted by name. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/task/task_builtin_int.h"
#include "coordinator/task/task_int.h"
#include "proto/base/grow.h"
#include "proto/base/quote.h"

enum { PATH_BYTES_MAX = 4096 };

struct task_set {
    task **tasks; /* [n] owned, in the order of names */
    size_t n, capacity;
};

void task_set_close(task_set **set)
{
    if (*set == NULL)
        return;
    for (size_t i = 0; i < (*set)->n; i++)
        task_destroy(&(*set)->tasks[i]);
    free((*set)->tasks);
    free(*set);
    *set = NULL;
}

size_t task_set_count(const task_set *set)
{
    return set->n;
}

const task *task_set_at(const task_set *set, size_t i)
{
    return set->tasks[i];
}

/* The index of `name`, or where to insert it. */
static size_t place_of(const task_set *set, const char *name)
{
    size_t at = 0;
    while (at < set->n && strcmp(set->tasks[at]->name, name) < 0)
        at++;
    return at;
}

static base_status fail_unknown(const task_set *set, const char *name, base_error *error)
{
    base_buf known = {0};
    for (size_t i = 0; i < set->n; i++) {
        base_buf_put(&known, set->tasks[i]->name, strlen(set->tasks[i]->name));
        base_buf_put(&known, ", ", 2);
    }
    base_status status =
        base_fail(error, BASE_ENOTFOUND, "unknown task %s; known: %.*schat", base_quote(name).text,
                  (int)(known.size < 300 ? known.size : 300), known.failed ? "" : (const char *)known.data);
    base_buf_release(&known);
    return status;
}

base_status task_set_find(const task_set *set, const char *name, const task **out, base_error *error)
{
    size_t at = place_of(set, name);
    if (at == set->n || strcmp(set->tasks[at]->name, name) != 0)
        return fail_unknown(set, name, error);
    *out = set->tasks[at];
    return BASE_OK;
}

/* Insert a task, or replace the built-in one of its name.  Moves *added unless it fails. */
static base_status add(task_set *set, task **added, base_error *error)
{
    size_t at = place_of(set, (*added)->name);
    if (at < set->n && strcmp(set->tasks[at]->name, (*added)->name) == 0) {
        if (!set->tasks[at]->builtin)
            return base_fail(error, BASE_EINVAL, "'%.120s' and '%.120s' both hold the task '%s'",
                             set->tasks[at]->source, (*added)->source, (*added)->name);
        task_destroy(&set->tasks[at]);
        set->tasks[at] = *added;
        *added = NULL;
        return BASE_OK;
    }
    if (!base_grow(&set->tasks, &set->capacity, set->n + 1, sizeof(task *)))
        return base_fail(error, BASE_ENOMEM, "no memory for %zu tasks", set->n + 1);
    memmove(set->tasks + at + 1, set->tasks + at, (set->n - at) * sizeof(task *));
    set->tasks[at] = *added;
    set->n++;
    *added = NULL;
    return BASE_OK;
}

static base_status add_builtin(task_set *set, base_error *error)
{
    base_status status = BASE_OK;
    for (const task_builtin_file *file = task_builtin_files(); status == BASE_OK && file->name != NULL; file++) {
        task *t = NULL;
        status = task_parse(file->name, file->bytes, file->size, &t, error);
        if (status != BASE_OK)
            break;
        t->builtin = true;
        t->source = "built in";
        status = add(set, &t, error);
        task_destroy(&t);
    }
    return status;
}

/* ---- a site's directory ---- */

static int is_task_file(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return length > 5 && entry->d_name[0] != '.' && strcmp(entry->d_name + length - 5, ".json") == 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static base_status add_file(task_set *set, const char *dir, const char *name, base_error *error)
{
    char path[PATH_BYTES_MAX];
    task *t = NULL;
    if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) >= sizeof path)
        return base_fail(error, BASE_ETOOBIG, "the path of '%.100s' is too long", name);
    base_status status = task_load(path, &t, error);
    if (status == BASE_OK)
        status = add(set, &t, error);
    task_destroy(&t);
    return status;
}

static base_status add_dir(task_set *set, const char *dir, base_error *error)
{
    struct dirent **entries;
    int n = scandir(dir, &entries, is_task_file, by_name);
    if (n < 0)
        return base_fail(error, BASE_EIO, "cannot read the task directory '%.200s': %s", dir, strerror(errno));
    base_status status = BASE_OK;
    for (int i = 0; i < n; i++) {
        if (status == BASE_OK)
            status = add_file(set, dir, entries[i]->d_name, error);
        free(entries[i]);
    }
    free(entries);
    return status;
}

base_status task_set_open(const char *dir, task_set **out, base_error *error)
{
    task_set *set = calloc(1, sizeof *set);
    if (set == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a set of tasks");
    base_status status = add_builtin(set, error);
    if (status == BASE_OK && dir != NULL)
        status = add_dir(set, dir, error);
    if (status == BASE_OK)
        *out = set;
    else
        task_set_close(&set);
    return status;
}
