/* builder.c - a request under construction.  Arrays have the size of the protocol's limits; only the copies of added
 * texts and bytes are allocated. */
#include "proto/client/builder_int.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/base/quote.h"
#include "proto/base/utf8.h"

struct pg_request {
    pg_error failure;                /* the first one; PG_OK: none */
    wire_generate generate;          /* parts and stop are set by pg_request_view */
    wire_part parts[WIRE_PARTS_MAX]; /* strings, bytes and field arrays [WIRE_FIELDS_MAX] owned */
    char *stop[WIRE_STOP_MAX];       /* owned */
    uint32_t *resume_ids;            /* owned */
    char *answer;                    /* owned */
};

void pg_error_set(pg_error *error, pg_status status, const char *format, ...)
{
    if (error == NULL)
        return;
    int code = errno; /* pg_fail looks at it again */
    va_list args;
    va_start(args, format);
    char raw[sizeof error->text];
    error->status = status;
    int n = vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    size_t length = n < 0 ? 0 : (size_t)n < sizeof raw ? (size_t)n : base_utf8_cut(raw, sizeof raw - 1);
    base_text_escape(error->text, sizeof error->text, raw, length);
    errno = code;
}

pg_status pg_adopt(pg_error *error, const base_error *cause)
{
    return pg_fail(error, (pg_status)cause->status, "%s", cause->text);
}

/* ---- life ---- */

pg_request *pg_request_create(void)
{
    pg_request *request = calloc(1, sizeof *request);
    if (request != NULL)
        request->generate.sampling.top_p = 1.0f;
    return request;
}

/* The arrays are const for readers of a message; the builder allocated them and frees them. */
static void drop(const void *memory)
{
    free((void *)memory);
}

static void drop_part(const wire_part *part)
{
    for (size_t i = 0; i < part->n_fields; i++) {
        drop(part->fields[i].name);
        drop(part->fields[i].value);
    }
    drop(part->fields);
    drop(part->task);
    drop(part->text);
    drop(part->image);
    drop(part->encoder);
    drop(part->values);
}

void pg_request_destroy(pg_request **request)
{
    if (request == NULL || *request == NULL)
        return;
    for (size_t i = 0; i < (*request)->generate.n_parts; i++)
        drop_part(&(*request)->parts[i]);
    for (size_t i = 0; i < (*request)->generate.n_stop; i++)
        free((*request)->stop[i]);
    free((*request)->resume_ids);
    free((*request)->answer);
    free(*request);
    *request = NULL;
}

/* ---- parts ---- */

/* Keep the first failure for pg_request_view. */
#define stick(request, ...) pg_fail(first_failure(request), __VA_ARGS__)

static pg_error *first_failure(pg_request *request)
{
    return request->failure.status == PG_OK ? &request->failure : NULL;
}

/* The place of the next part, NULL when there is none left. */
static wire_part *next_part(pg_request *request)
{
    if (request->generate.n_parts < WIRE_PARTS_MAX)
        return &request->parts[request->generate.n_parts];
    pg_error_set(first_failure(request), PG_ETOOBIG, "a request has at most %d parts", WIRE_PARTS_MAX);
    return NULL;
}

pg_status pg_request_add_text(pg_request *request, const char *text)
{
    if (text == NULL)
        return stick(request, PG_EINVAL, "text is NULL");
    wire_part *part = next_part(request);
    if (part == NULL)
        return PG_ETOOBIG;
    char *copy = strdup(text);
    if (copy == NULL)
        return stick(request, PG_ENOMEM, "out of memory for a text part");
    *part = (wire_part){.kind = WIRE_PART_TEXT, .text = copy};
    request->generate.n_parts++;
    return PG_OK;
}

/* Append an image; takes ownership of `bytes`, also on failure. */
static pg_status adopt_image(pg_request *request, uint8_t *bytes, size_t size, uint32_t frame)
{
    wire_part *part = next_part(request);
    if (part == NULL) {
        free(bytes);
        return PG_ETOOBIG;
    }
    *part = (wire_part){.kind = WIRE_PART_IMAGE, .image = bytes, .image_bytes = size, .image_frame = frame};
    request->generate.n_parts++;
    return PG_OK;
}

pg_status pg_request_add_image_frame(pg_request *request, const void *bytes, size_t size, uint32_t frame)
{
    if (bytes == NULL || size == 0)
        return stick(request, PG_EINVAL, "the image is empty");
    if (size > WIRE_MESSAGE_BYTES_MAX)
        return stick(request, PG_ETOOBIG, "the image has %zu bytes; the limit is %d", size, WIRE_MESSAGE_BYTES_MAX);
    uint8_t *copy = malloc(size);
    if (copy == NULL)
        return stick(request, PG_ENOMEM, "out of memory for an image of %zu bytes", size);
    memcpy(copy, bytes, size);
    return adopt_image(request, copy, size, frame);
}

pg_status pg_request_add_image(pg_request *request, const void *bytes, size_t size)
{
    return pg_request_add_image_frame(request, bytes, size, 0);
}

static pg_status read_image(pg_request *request, FILE *file, const char *path, uint32_t frame)
{
    struct stat info;
    if (fstat(fileno(file), &info) != 0 || !S_ISREG(info.st_mode))
        return stick(request, PG_EIO, "cannot read '%s': not a regular file", path);
    if (info.st_size == 0)
        return stick(request, PG_EINVAL, "'%s' is empty", path);
    if (info.st_size > WIRE_MESSAGE_BYTES_MAX)
        return stick(request, PG_ETOOBIG, "'%s' has %lld bytes; the limit is %d", path, (long long)info.st_size,
                     WIRE_MESSAGE_BYTES_MAX);
    size_t size = (size_t)info.st_size;
    uint8_t *bytes = malloc(size);
    if (bytes == NULL)
        return stick(request, PG_ENOMEM, "out of memory for '%s' of %zu bytes", path, size);
    if (fread(bytes, 1, size, file) != size) {
        free(bytes);
        return stick(request, PG_EIO, "cannot read '%s': it ended early", path);
    }
    return adopt_image(request, bytes, size, frame);
}

pg_status pg_request_add_image_file_frame(pg_request *request, const char *path, uint32_t frame)
{
    if (path == NULL)
        return stick(request, PG_EINVAL, "the image's path is NULL");
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return stick(request, errno == ENOENT ? PG_ENOTFOUND : PG_EIO, "cannot open '%s': %s", path, strerror(errno));
    pg_status status = read_image(request, file, path, frame);
    fclose(file);
    return status;
}

pg_status pg_request_add_image_file(pg_request *request, const char *path)
{
    return pg_request_add_image_file_frame(request, path, 0);
}

pg_status pg_request_add_vectors(pg_request *request, const char *encoder, const float *values, size_t n,
                                 uint32_t width)
{
    if (values == NULL || n == 0 || width == 0)
        return stick(request, PG_EINVAL, "a part of vectors has none");
    if (n > WIRE_VECTORS_MAX || width > WIRE_MESSAGE_BYTES_MAX / sizeof *values / n)
        return stick(request, PG_ETOOBIG, "%zu vectors of %u numbers; the limits are %d vectors and %d bytes", n, width,
                     WIRE_VECTORS_MAX, WIRE_MESSAGE_BYTES_MAX);
    wire_part *part = next_part(request);
    if (part == NULL)
        return PG_ETOOBIG;
    char *name = strdup(encoder != NULL ? encoder : "");
    float *copy = malloc(n * width * sizeof *copy);
    if (name == NULL || copy == NULL) {
        free(name);
        free(copy);
        return stick(request, PG_ENOMEM, "out of memory for %zu vectors", n);
    }
    memcpy(copy, values, n * width * sizeof *copy);
    *part =
        (wire_part){.kind = WIRE_PART_VECTORS, .encoder = name, .values = copy, .n_values = n * width, .width = width};
    request->generate.n_parts++;
    return PG_OK;
}

pg_status pg_request_add_task(pg_request *request, const char *name)
{
    if (name == NULL || name[0] == '\0')
        return stick(request, PG_EINVAL, "the task's name is empty");
    wire_part *part = next_part(request);
    if (part == NULL)
        return PG_ETOOBIG;
    char *copy = strdup(name);
    wire_field *fields = calloc(WIRE_FIELDS_MAX, sizeof *fields);
    if (copy == NULL || fields == NULL) {
        free(copy);
        free(fields);
        return stick(request, PG_ENOMEM, "out of memory for a task part");
    }
    *part = (wire_part){.kind = WIRE_PART_TASK, .task = copy, .fields = fields};
    request->generate.n_parts++;
    return PG_OK;
}

/* The task part added last, NULL when there is none. */
static wire_part *last_task(pg_request *request)
{
    for (size_t i = request->generate.n_parts; i > 0; i--)
        if (request->parts[i - 1].kind == WIRE_PART_TASK)
            return &request->parts[i - 1];
    return NULL;
}

pg_status pg_request_add_field(pg_request *request, const char *name, const char *value)
{
    wire_part *task = last_task(request);
    if (name == NULL || name[0] == '\0' || value == NULL)
        return stick(request, PG_EINVAL, "a field needs a name and a value");
    if (task == NULL)
        return stick(request, PG_EINVAL, "field '%s' has no task; call pg_request_add_task first", name);
    if (task->n_fields == WIRE_FIELDS_MAX)
        return stick(request, PG_ETOOBIG, "a task has at most %d fields", WIRE_FIELDS_MAX);
    char *name_copy = strdup(name), *value_copy = strdup(value);
    if (name_copy == NULL || value_copy == NULL) {
        free(name_copy);
        free(value_copy);
        return stick(request, PG_ENOMEM, "out of memory for field '%s'", name);
    }
    wire_field *fields = (wire_field *)task->fields;
    fields[task->n_fields++] = (wire_field){.name = name_copy, .value = value_copy};
    return PG_OK;
}

pg_status pg_request_add_stop(pg_request *request, const char *stop)
{
    if (stop == NULL || stop[0] == '\0')
        return stick(request, PG_EINVAL, "a stop string is empty; it would stop at once");
    if (request->generate.n_stop == WIRE_STOP_MAX)
        return stick(request, PG_ETOOBIG, "a request has at most %d stop strings", WIRE_STOP_MAX);
    char *copy = strdup(stop);
    if (copy == NULL)
        return stick(request, PG_ENOMEM, "out of memory for a stop string");
    request->stop[request->generate.n_stop++] = copy;
    return PG_OK;
}

/* ---- options ---- */

void pg_request_set_sampling(pg_request *request, float temperature, uint32_t top_k, float top_p, uint64_t seed)
{
    request->generate.sampling =
        (wire_sampling){.temperature = temperature, .top_k = top_k, .top_p = top_p, .seed = seed};
}

void pg_request_set_max_tokens(pg_request *request, uint32_t max_tokens)
{
    request->generate.max_tokens = max_tokens;
}

void pg_request_set_deadline_ms(pg_request *request, uint32_t deadline_ms)
{
    request->generate.deadline_ms = deadline_ms;
}

void pg_request_set_stat(pg_request *request, bool stat)
{
    request->generate.priority = stat ? WIRE_STAT : WIRE_ROUTINE;
}

void pg_request_set_logits_digest(pg_request *request, bool wanted)
{
    request->generate.logits_digest = wanted;
}

void pg_request_set_strict_images(pg_request *request, bool strict)
{
    request->generate.strict_images = strict;
}

pg_status pg_request_set_resume(pg_request *request, const uint32_t *ids, size_t n_ids)
{
    if (ids == NULL && n_ids > 0)
        return stick(request, PG_EINVAL, "the tokens to resume after are NULL");
    if (n_ids > WIRE_MAX_TOKENS_MAX)
        return stick(request, PG_ETOOBIG, "%zu tokens to resume after; the limit is %d", n_ids, WIRE_MAX_TOKENS_MAX);
    uint32_t *copy = calloc(n_ids + 1, sizeof *copy);
    if (copy == NULL)
        return stick(request, PG_ENOMEM, "out of memory for %zu tokens", n_ids);
    if (n_ids > 0)
        memcpy(copy, ids, n_ids * sizeof *ids);
    free(request->resume_ids);
    request->resume_ids = copy;
    request->generate.n_resume_ids = n_ids;
    return PG_OK;
}

pg_status pg_request_set_answer(pg_request *request, const char *answer)
{
    char *copy = answer != NULL ? strdup(answer) : NULL;
    if (answer != NULL && copy == NULL)
        return stick(request, PG_ENOMEM, "out of memory for an answer");
    free(request->answer);
    request->answer = copy;
    return PG_OK;
}

pg_status pg_request_view(const pg_request *request, wire_generate *out, pg_error *error)
{
    if (request->failure.status != PG_OK)
        return pg_fail(error, request->failure.status, "%s", request->failure.text);
    *out = request->generate;
    out->parts = request->parts;
    out->stop = (const char *const *)request->stop;
    out->resume_ids = request->resume_ids;
    out->answer = request->answer;
    return PG_OK;
}
