/* eval_cases.c - reading and checking cases.jsonl: one pass over the lines, each a JSON object whose strings are
 * borrowed. */
#include "tools/eval/eval_cases.h"

#include <jansson.h>
#include <limits.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/base/file.h"
#include "proto/base/nearest.h"
#include "proto/base/size.h"

enum { FILE_BYTES_MAX = INT_MAX };

typedef struct reading {
    const char *file;
    size_t line;
    const task *task;
    eval_case *c;
    base_error *error;
    base_status status;
} reading;

static void fail(reading *r, base_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The first failure stays. */
static void fail(reading *r, base_status status, const char *format, ...)
{
    if (r->status != BASE_OK)
        return;
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    r->status = base_fail(r->error, status, "%.120s:%zu: %s", r->file, r->line, text);
}

static void *room(reading *r, size_t n, size_t each)
{
    void *memory = n < SIZE_MAX ? calloc(n + 1, each) : NULL;
    if (memory == NULL)
        fail(r, BASE_ENOMEM, "out of memory");
    return memory;
}

/* ---- values ---- */

static const char *text_of(reading *r, const json_t *value, const char *what)
{
    const char *text = json_string_value(value);
    if (text == NULL)
        fail(r, BASE_EFORMAT, "%s must be a string", what);
    return text != NULL ? text : "";
}

static const char *name_of(reading *r, const json_t *value, const char *what)
{
    const char *text = text_of(r, value, what);
    if (text[0] == '\0' || strlen(text) > EVAL_ID_BYTES_MAX)
        fail(r, BASE_EFORMAT, "%s must be a string of 1 to %d bytes", what, EVAL_ID_BYTES_MAX);
    for (const char *at = text; *at != '\0'; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            fail(r, BASE_EFORMAT, "%s holds a control character", what);
    return text;
}

/* A string, or a list of strings. */
static const char **texts_of(reading *r, const json_t *value, const char *what, size_t *n)
{
    bool is_list = json_is_array(value);
    size_t count = is_list ? json_array_size(value) : 1;
    const char **texts = room(r, count, sizeof *texts);
    for (size_t i = 0; texts != NULL && i < count; i++)
        texts[i] = text_of(r, is_list ? json_array_get(value, i) : value, what);
    *n = texts != NULL ? count : 0;
    return texts;
}

static void known_keys(reading *r, json_t *object, const char *what, const char *const *keys, size_t n_keys)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        (void)value;
        bool known = false;
        for (size_t i = 0; i < n_keys; i++)
            known |= strcmp(key, keys[i]) == 0;
        const char *near = known ? NULL : base_nearest(key, keys, n_keys);
        if (!known)
            fail(r, BASE_EFORMAT, "unknown key '%.60s' %s%s%s%s", key, what, near != NULL ? "; did you mean '" : "",
                 near != NULL ? near : "", near != NULL ? "'?" : "");
    }
}

static bool is_object(reading *r, const json_t *value, const char *what)
{
    if (!json_is_object(value))
        fail(r, BASE_EFORMAT, "\"%s\" must be an object", what);
    return json_is_object(value);
}

/* ---- parts of a case ---- */

static void read_fields(reading *r, json_t *object)
{
    if (!is_object(r, object, "fields"))
        return;
    const char *name;
    json_t *value;
    size_t n = 0;
    json_object_foreach(object, name, value) n += json_is_array(value) ? json_array_size(value) : 1;
    r->c->fields = room(r, n, sizeof *r->c->fields);
    if (r->c->fields == NULL)
        return;
    json_object_foreach(object, name, value)
    {
        size_t count = json_is_array(value) ? json_array_size(value) : 1;
        for (size_t i = 0; i < count; i++) {
            const json_t *one = json_is_array(value) ? json_array_get(value, i) : value;
            r->c->fields[r->c->n_fields++] = (task_field){name, text_of(r, one, "a field's value")};
        }
    }
}

/* Inside the task's directory: relative, without "..". */
static bool is_inside(const char *path)
{
    if (path[0] == '\0' || path[0] == '/' || strlen(path) > 1024)
        return false;
    for (const char *at = path; at != NULL; at = strchr(at, '/')) {
        at += *at == '/';
        if (strncmp(at, "..", 2) == 0 && (at[2] == '/' || at[2] == '\0'))
            return false;
    }
    return true;
}

static void read_image(reading *r, json_t *value, eval_image *out)
{
    static const char *const keys[] = {"file", "frame"};
    const json_t *file = value;
    if (json_is_object(value)) {
        known_keys(r, value, "of an image", keys, 2);
        file = json_object_get(value, "file");
        const json_t *frame = json_object_get(value, "frame");
        if (frame != NULL &&
            (!json_is_integer(frame) || json_integer_value(frame) < 0 || json_integer_value(frame) > 1 << 20))
            fail(r, BASE_EFORMAT, "an image's \"frame\" must be a number from 0");
        else
            out->frame = (uint32_t)json_integer_value(frame);
    }
    out->file = text_of(r, file, "an image");
    if (!is_inside(out->file))
        fail(r, BASE_EFORMAT, "image '%.80s' must be a path inside the task's directory", out->file);
}

static void read_images(reading *r, json_t *list)
{
    if (!json_is_array(list) || json_array_size(list) > TASK_IMAGES_MAX) {
        fail(r, BASE_EFORMAT, "\"images\" must be a list of at most %d", TASK_IMAGES_MAX);
        return;
    }
    r->c->images = room(r, json_array_size(list), sizeof *r->c->images);
    for (size_t i = 0; r->c->images != NULL && i < json_array_size(list); i++)
        read_image(r, json_array_get(list, i), &r->c->images[r->c->n_images++]);
}

static void read_slices(reading *r, json_t *object)
{
    if (!is_object(r, object, "slices"))
        return;
    const char *name;
    json_t *value;
    r->c->slices = room(r, json_object_size(object), sizeof *r->c->slices);
    if (r->c->slices == NULL)
        return;
    json_object_foreach(object, name, value) r->c->slices[r->c->n_slices++] =
        (eval_slice){name, name_of(r, value, "a slice's value")};
}

static void read_variant(reading *r, json_t *object)
{
    static const char *const keys[] = {"contig", "position", "ref", "alts", "kind"};
    if (!is_object(r, object, "variant"))
        return;
    known_keys(r, object, "of a variant", keys, sizeof keys / sizeof keys[0]);
    eval_variant *v = &r->c->variant;
    v->contig = name_of(r, json_object_get(object, "contig"), "a variant's \"contig\"");
    v->ref = name_of(r, json_object_get(object, "ref"), "a variant's \"ref\"");
    v->kind = name_of(r, json_object_get(object, "kind"), "a variant's \"kind\"");
    if (strcmp(v->kind, "snp") != 0 && strcmp(v->kind, "indel") != 0)
        fail(r, BASE_EFORMAT, "a variant's \"kind\" must be snp or indel");
    v->alts = texts_of(r, json_object_get(object, "alts"), "a variant's alternative", &v->n_alts);
    const json_t *position = json_object_get(object, "position");
    if (!json_is_integer(position) || json_integer_value(position) < 1)
        fail(r, BASE_EFORMAT, "a variant's \"position\" must be a number from 1");
    v->position = json_integer_value(position);
}

/* ---- a line ---- */

static void read_answer(reading *r, json_t *object)
{
    const json_t *answer = json_object_get(object, "answer"), *labels = json_object_get(object, "labels");
    if ((answer == NULL) == (labels == NULL))
        fail(r, BASE_EFORMAT, "a case needs either \"answer\" or \"labels\"");
    if (labels != NULL && !json_is_array(labels))
        fail(r, BASE_EFORMAT, "\"labels\" must be a list");
    const char *what = labels != NULL ? "a label" : "an answer";
    r->c->answers = texts_of(r, labels != NULL ? labels : answer, what, &r->c->n_answers);
    if (labels == NULL && r->c->n_answers == 0)
        fail(r, BASE_EFORMAT, "\"answer\" is an empty list");
}

/* What the case says against what the task takes. */
static void check_task(reading *r)
{
    const task *t = r->task;
    const eval_case *c = r->c;
    base_error cause = {0};
    size_t found;
    if (task_check(t, c->fields, c->n_fields, (uint32_t)c->n_images, &cause) != BASE_OK) {
        fail(r, BASE_EINVAL, "%.200s", cause.text);
        return;
    }
    size_t n_classes = task_class_count(t, c->fields, c->n_fields);
    for (size_t i = 0; n_classes > 0 && i < c->n_answers; i++)
        if (!task_answer_class(t, c->fields, c->n_fields, c->answers[i], &found))
            fail(r, BASE_EINVAL, "answer '%.80s' is none of the %zu classes of task '%s'", c->answers[i], n_classes,
                 t->name);
}

static void read_case(reading *r, json_t *object)
{
    static const char *const keys[] = {"id", "fields", "images", "answer", "labels", "group", "slices", "variant"};
    json_t *value;
    known_keys(r, object, "of a case", keys, sizeof keys / sizeof keys[0]);
    r->c->line = r->line;
    r->c->id = name_of(r, json_object_get(object, "id"), "\"id\"");
    r->c->group = (value = json_object_get(object, "group")) != NULL ? name_of(r, value, "\"group\"") : r->c->id;
    if ((value = json_object_get(object, "fields")) != NULL)
        read_fields(r, value);
    if ((value = json_object_get(object, "images")) != NULL)
        read_images(r, value);
    if ((value = json_object_get(object, "slices")) != NULL)
        read_slices(r, value);
    if ((value = json_object_get(object, "variant")) != NULL)
        read_variant(r, value);
    read_answer(r, object);
    if (r->status == BASE_OK && r->task != NULL)
        check_task(r);
}

static base_status read_line(reading *r, const char *bytes, size_t size, void **owner)
{
    if (size > EVAL_LINE_BYTES_MAX) {
        fail(r, BASE_ETOOBIG, "a case is larger than %d bytes", EVAL_LINE_BYTES_MAX);
        return r->status;
    }
    json_error_t cause;
    json_t *object = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &cause);
    *owner = object;
    if (!json_is_object(object))
        fail(r, BASE_EFORMAT, "column %d: %s", object == NULL ? cause.column : 1,
             object == NULL ? cause.text : "a case is one JSON object");
    else
        read_case(r, object);
    return r->status;
}

/* ---- the file ---- */

static int compare_ids(const void *a, const void *b, void *context)
{
    const eval_case *cases = context;
    return strcmp(cases[*(const size_t *)a].id, cases[*(const size_t *)b].id);
}

static base_status order_ids(const char *file, eval_cases *out, base_error *error)
{
    for (size_t i = 0; i < out->n; i++)
        out->order[i] = i;
    qsort_r(out->order, out->n, sizeof *out->order, compare_ids, out->cases);
    for (size_t i = 1; i < out->n; i++) {
        const eval_case *a = &out->cases[out->order[i - 1]], *b = &out->cases[out->order[i]];
        if (strcmp(a->id, b->id) == 0)
            return base_fail(error, BASE_EFORMAT, "%.120s:%zu: id '%.100s' is that of line %zu too", file,
                             a->line > b->line ? a->line : b->line, a->id, a->line > b->line ? b->line : a->line);
    }
    return BASE_OK;
}

static size_t count_lines(const char *bytes, size_t size)
{
    size_t n = size > 0 && bytes[size - 1] != '\n';
    for (size_t i = 0; i < size; i++)
        n += bytes[i] == '\n';
    return n;
}

static base_status parse_lines(const char *file, const char *bytes, size_t size, const task *t, eval_cases *out,
                               base_error *error)
{
    size_t number = 0;
    for (const char *at = bytes, *end = bytes + size; at < end; number++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((stop != NULL ? stop : end) - at);
        if (length > 0 && !(length == 1 && *at == '\r')) {
            reading r = {.file = file, .line = number + 1, .task = t, .c = &out->cases[out->n], .error = error};
            base_status status = read_line(&r, at, length, &out->lines[out->n++]);
            if (status != BASE_OK)
                return status;
        }
        at += length + 1;
    }
    return out->n > 0 ? order_ids(file, out, error)
                      : base_fail(error, BASE_EFORMAT, "%.200s: there is no case in it", file);
}

static void finish(crypto_hash_sha256_state *hash, char out[EVAL_DIGEST_CHARS])
{
    unsigned char bytes[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_final(hash, bytes);
    sodium_bin2hex(out, EVAL_DIGEST_CHARS, bytes, sizeof bytes);
}

void eval_digest(const void *bytes, size_t size, char out[EVAL_DIGEST_CHARS])
{
    crypto_hash_sha256_state hash;
    crypto_hash_sha256_init(&hash);
    crypto_hash_sha256_update(&hash, bytes, size);
    finish(&hash, out);
}

base_status eval_cases_parse(const char *file, const void *bytes, size_t size, const task *t, eval_cases *out,
                             base_error *error)
{
    eval_cases cases = {0};
    size_t n = count_lines(bytes, size);
    if (n > EVAL_CASES_MAX)
        return base_fail(error, BASE_ETOOBIG, "%.200s: more than %d lines", file, EVAL_CASES_MAX);
    cases.cases = calloc(n + 1, sizeof *cases.cases);
    cases.order = calloc(n + 1, sizeof *cases.order);
    cases.lines = calloc(n + 1, sizeof *cases.lines);
    cases.dir = strdup("");
    base_status status = base_fail(error, BASE_ENOMEM, "out of memory for '%.200s'", file);
    if (cases.cases != NULL && cases.order != NULL && cases.lines != NULL && cases.dir != NULL)
        status = parse_lines(file, bytes, size, t, &cases, error);
    if (status != BASE_OK) {
        eval_cases_release(&cases);
        return status;
    }
    eval_digest(bytes, size, cases.digest);
    *out = cases;
    return BASE_OK;
}

/* Are the images there?  Their names stand in the lines; their sizes go into the digest. */
static base_status look_at_images(eval_cases *cases, const char *file, base_error *error)
{
    crypto_hash_sha256_state hash;
    crypto_hash_sha256_init(&hash);
    crypto_hash_sha256_update(&hash, (const unsigned char *)cases->digest, EVAL_DIGEST_CHARS - 1);
    for (size_t i = 0; i < cases->n; i++)
        for (size_t k = 0; k < cases->cases[i].n_images; k++) {
            const eval_case *c = &cases->cases[i];
            char path[PATH_MAX], size[32];
            struct stat seen;
            if ((size_t)snprintf(path, sizeof path, "%s/%s", cases->dir, c->images[k].file) >= sizeof path ||
                stat(path, &seen) != 0 || !S_ISREG(seen.st_mode))
                return base_fail(error, BASE_ENOTFOUND, "%.120s:%zu: there is no image '%.160s'", file, c->line,
                                 c->images[k].file);
            int n = snprintf(size, sizeof size, "%lld\n", (long long)seen.st_size);
            crypto_hash_sha256_update(&hash, (const unsigned char *)size, (unsigned long long)n);
        }
    finish(&hash, cases->digest);
    return BASE_OK;
}

/* The bytes of the first `limit` lines that hold a case. */
static size_t first_lines(const base_buf *bytes, size_t limit)
{
    size_t n = 0, at = 0;
    while (limit > 0 && at < bytes->size && n < limit) {
        const uint8_t *stop = memchr(bytes->data + at, '\n', bytes->size - at);
        size_t length = stop != NULL ? (size_t)(stop - bytes->data) - at : bytes->size - at;
        n += length > 1;
        at += length + (stop != NULL);
    }
    return limit > 0 ? at : bytes->size;
}

base_status eval_cases_open(const char *data, const task *t, size_t limit, eval_cases *out, base_error *error)
{
    char dir[PATH_MAX - 32], file[PATH_MAX];
    if ((size_t)snprintf(dir, sizeof dir, "%s/%s", data, t->name) >= sizeof dir)
        return base_fail(error, BASE_ETOOBIG, "'%.200s' is too long a name", data);
    snprintf(file, sizeof file, "%s/cases.jsonl", dir);
    base_buf bytes = {0};
    eval_cases cases = {0};
    base_status status = base_file_read(file, FILE_BYTES_MAX, &bytes, error);
    if (status == BASE_OK)
        status = eval_cases_parse(file, bytes.data, first_lines(&bytes, limit), t, &cases, error);
    base_buf_release(&bytes);
    if (status != BASE_OK)
        return status;
    free(cases.dir);
    cases.dir = strdup(dir);
    status = cases.dir == NULL ? base_fail(error, BASE_ENOMEM, "out of memory for '%.200s'", file)
                               : look_at_images(&cases, file, error);
    if (status != BASE_OK)
        eval_cases_release(&cases);
    else
        *out = cases;
    return status;
}

void eval_cases_release(eval_cases *cases)
{
    for (size_t i = 0; cases->cases != NULL && i < cases->n; i++) {
        eval_case *c = &cases->cases[i];
        free(c->fields);
        free(c->images);
        free(c->answers);
        free(c->slices);
        free(c->variant.alts);
        json_decref(cases->lines[i]);
    }
    free(cases->cases);
    free(cases->order);
    free(cases->lines);
    free(cases->dir);
    *cases = (eval_cases){0};
}

bool eval_cases_find(const eval_cases *cases, const char *id, size_t *out)
{
    size_t low = 0, high = cases->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(cases->cases[cases->order[middle]].id, id);
        if (order == 0) {
            *out = cases->order[middle];
            return true;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

base_status eval_image_read(const eval_cases *cases, const eval_image *image_of, base_buf *out, base_error *error)
{
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", cases->dir, image_of->file) >= sizeof path)
        return base_fail(error, BASE_ETOOBIG, "'%.200s' is too long a name", image_of->file);
    return base_file_read(path, EVAL_IMAGE_BYTES_MAX, out, error);
}
