/* exemplars.c - a JSON object of strings, kept as jansson read it. */
#include "coordinator/session/exemplars.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FILE_BYTES_MAX = 1 << 20 };

struct exemplars {
    json_t *root; /* an object of strings */
};

static base_status check_root(const char *path, json_t *root, base_error *error)
{
    const char *task;
    json_t *value;
    if (!json_is_object(root))
        return base_fail(error, BASE_EFORMAT, "'%s' is not a JSON object", path);
    json_object_foreach(root, task, value)
    {
        if (!json_is_string(value))
            return base_fail(error, BASE_EFORMAT, "'%s': the value of \"%s\" is not a string", path, task);
    }
    return BASE_OK;
}

static base_status load_root(const char *path, json_t **out, base_error *error)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        if (errno != ENOENT && errno != ENOTDIR) /* a model that is one file has none */
            return base_fail(error, BASE_EIO, "cannot read '%s': %s", path, strerror(errno));
        *out = json_object();
        return *out != NULL ? BASE_OK : base_fail(error, BASE_ENOMEM, "no memory for '%s'", path);
    }
    if (info.st_size > FILE_BYTES_MAX)
        return base_fail(error, BASE_ETOOBIG, "'%s' has %lld bytes; at most %d are read", path, (long long)info.st_size,
                         FILE_BYTES_MAX);
    json_error_t where;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &where);
    if (root == NULL)
        return base_fail(error, BASE_EFORMAT, "'%s', line %d: %s", path, where.line, where.text);
    base_status status = check_root(path, root, error);
    if (status == BASE_OK)
        *out = root;
    else
        json_decref(root);
    return status;
}

base_status exemplars_open(const char *dir, exemplars **out, base_error *error)
{
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/exemplars.json", dir) >= sizeof path)
        return base_fail(error, BASE_ETOOBIG, "the path of the model directory is too long");
    exemplars *e = calloc(1, sizeof *e);
    if (e == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for '%s'", path);
    base_status status = load_root(path, &e->root, error);
    if (status != BASE_OK) {
        free(e);
        return status;
    }
    *out = e;
    return BASE_OK;
}

void exemplars_close(exemplars **e)
{
    if (*e == NULL)
        return;
    json_decref((*e)->root);
    free(*e);
    *e = NULL;
}

const char *exemplars_find(const exemplars *e, const char *task)
{
    return json_string_value(json_object_get(e->root, task));
}
