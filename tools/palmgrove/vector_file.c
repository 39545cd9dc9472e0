#include "tools/palmgrove/vector_file.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/file.h"

#define FILE_BYTES_MAX (64u << 20)
#define NAME_BYTES     64

typedef struct table {
    base_buf values; /* f32 */
    size_t n_rows, width;
} table;

/* The numbers of line `number`, which ends in NUL. */
static base_status read_line(char *line, size_t number, const char *path, table *t, base_error *error)
{
    size_t n = 0;
    line[strcspn(line, "#")] = '\0';
    for (char *at = line + strspn(line, " \t\r,"), *end; *at != '\0'; at = end + strspn(end, " \t\r,"), n++) {
        float value = strtof(at, &end);
        if (end == at || (*end != '\0' && strchr(" \t\r,", *end) == NULL))
            return base_fail(error, BASE_EFORMAT, "'%.200s', line %zu: '%.20s' is not a number", path, number, at);
        base_buf_put(&t->values, &value, sizeof value);
    }
    if (n == 0)
        return BASE_OK;
    if (t->n_rows > 0 && n != t->width)
        return base_fail(error, BASE_EFORMAT,
                         "'%.200s', line %zu has %zu numbers, the lines before %zu; a line is a vector", path, number,
                         n, t->width);
    t->width = n;
    t->n_rows++;
    return BASE_OK;
}

static base_status read_table(base_buf *text, const char *path, table *t, base_error *error)
{
    base_status status = BASE_OK;
    base_buf_put_u8(text, '\0');
    if (text->failed)
        return base_fail(error, BASE_ENOMEM, "no memory for '%.200s'", path);
    char *line = (char *)text->data;
    for (size_t number = 1; line != NULL && status == BASE_OK; number++) {
        char *end = strchr(line, '\n');
        if (end != NULL)
            *end++ = '\0';
        status = read_line(line, number, path, t, error);
        line = end;
    }
    if (status == BASE_OK && t->n_rows == 0)
        status = base_fail(error, BASE_EFORMAT, "'%.200s' has no numbers; a line is a vector", path);
    if (status == BASE_OK && t->values.failed)
        status = base_fail(error, BASE_ENOMEM, "no memory for the vectors of '%.200s'", path);
    return status;
}

base_status vector_file_add(pg_request *request, const char *what, base_error *error)
{
    const char *equals = strchr(what, '='), *slash = strchr(what, '/');
    bool is_named = equals != NULL && equals - what < NAME_BYTES && (slash == NULL || slash > equals);
    const char *path = is_named ? equals + 1 : what;
    char name[NAME_BYTES + 1] = "";
    base_buf text = {0};
    table t = {0};
    if (is_named)
        memcpy(name, what, (size_t)(equals - what));
    base_status status = base_file_read(path, FILE_BYTES_MAX, &text, error);
    if (status == BASE_OK)
        status = read_table(&text, path, &t, error);
    if (status == BASE_OK)
        pg_request_add_vectors(request, name, (const float *)(const void *)t.values.data, t.n_rows,
                               (uint32_t)t.width); /* a failure stays with the request */
    base_buf_release(&text);
    base_buf_release(&t.values);
    return status;
}
