/* eval_journal.c - the journal of answers: read back strictly, appended and flushed line by line. */
#include "proto/base/file.h"
#include "tools/ask/ask.h"
#include "tools/eval/eval_journal.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "proto/base/write.h"

enum { SCORE_DIGITS = 17, JOURNAL_BYTES_MAX = INT_MAX };

/* ---- reading ---- */

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static bool keep_text(char **out, const char *text)
{
    char *copy = strdup(text);
    if (copy == NULL)
        return false;
    free(*out);
    *out = copy;
    return true;
}

static uint32_t count_at(const json_t *object, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(object, key));
    return value > 0 && value <= UINT32_MAX ? (uint32_t)value : 0;
}

static double number_at(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static bool take_failure(eval_answer *a, const char *name, const char *message)
{
    char text[512];
    snprintf(text, sizeof text, "%s: %s", name, message);
    return keep_text(&a->error, text);
}

static void forget_failure(eval_answer *a)
{
    free(a->error);
    a->error = NULL;
}

/* A line about a case.  NULL, or what is wrong with it. */
static const char *take_answer(eval_journal *j, const json_t *object)
{
    size_t i;
    if (!eval_cases_find(j->cases, text_at(object, "id"), &i))
        return "there is no case of this id";
    eval_answer *a = &j->answers[i];
    if (json_object_get(object, "error") != NULL)
        return take_failure(a, text_at(object, "error"), text_at(object, "message")) ? NULL : "out of memory";
    forget_failure(a);
    const json_t *which = json_object_get(object, "class"), *score = json_object_get(object, "score");
    if (which != NULL) {
        json_int_t k = json_integer_value(which);
        if (!json_is_integer(which) || k < 0 || (size_t)k >= a->n_scores || !json_is_number(score))
            return "a score needs the number of a class and a number";
        a->scores[k] = json_number_value(score);
        return NULL;
    }
    if (!json_is_string(json_object_get(object, "text")))
        return "it is neither an answer, nor a score, nor a failure";
    snprintf(a->finish, sizeof a->finish, "%s", text_at(object, "finish"));
    a->prompt_tokens = count_at(object, "prompt_tokens");
    a->tokens = count_at(object, "tokens");
    a->queue_ms = number_at(object, "queue_ms");
    a->first_token_ms = number_at(object, "first_token_ms");
    a->total_ms = number_at(object, "total_ms");
    return keep_text(&a->text, text_at(object, "text")) ? NULL : "out of memory";
}

static void take_model(eval_model *model, const char *name, const char *digest, const char *version, const char *layout,
                       const char *isa)
{
    snprintf(model->name, sizeof model->name, "%s", name);
    snprintf(model->digest, sizeof model->digest, "%s", digest);
    snprintf(model->version, sizeof model->version, "%s", version);
    snprintf(model->layout, sizeof model->layout, "%s", layout);
    snprintf(model->isa, sizeof model->isa, "%s", isa);
}

static base_status check_identity(const eval_journal *j, const json_t *first, const eval_identity *identity,
                                  base_error *error)
{
    const struct {
        const char *key, *what, *wanted;
    } parts[] = {{"task", "task", identity->task},
                 {"task_digest", "wording of the task", identity->task_digest},
                 {"data_digest", "data", identity->data_digest},
                 {"settings", "settings", identity->settings}};
    if (json_integer_value(json_object_get(first, "palmgrove_eval")) != 1)
        return base_fail(error, BASE_EFORMAT, "'%.200s' is no journal of palmgrove eval", j->path);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strcmp(text_at(first, parts[i].key), parts[i].wanted) != 0)
            return base_fail(error, BASE_EINVAL,
                             "'%.120s' holds answers for another %s ('%.40s', now '%.40s'); choose another --output",
                             j->path, parts[i].what, text_at(first, parts[i].key), parts[i].wanted);
    return BASE_OK;
}

static base_status read_line(eval_journal *j, size_t number, const char *bytes, size_t size,
                             const eval_identity *identity, base_error *error)
{
    json_error_t cause;
    json_t *object = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &cause);
    const char *wrong = json_is_object(object) ? NULL : "it is no JSON object";
    base_status status = BASE_OK;
    if (wrong == NULL && number == 1)
        status = check_identity(j, object, identity, error);
    else if (wrong == NULL && json_object_get(object, "model_digest") != NULL)
        take_model(&j->model, text_at(object, "model"), text_at(object, "model_digest"), text_at(object, "version"),
                   text_at(object, "layout"), text_at(object, "isa"));
    else if (wrong == NULL)
        wrong = take_answer(j, object);
    json_decref(object);
    if (wrong != NULL)
        return base_fail(error, BASE_EFORMAT, "%.200s:%zu: %s", j->path, number, wrong);
    return status;
}

/* All lines that are whole; what stands behind the last of them was torn. */
static base_status read_lines(eval_journal *j, const base_buf *bytes, const eval_identity *identity, size_t *whole,
                              base_error *error)
{
    base_status status = BASE_OK;
    size_t number = 0;
    for (*whole = 0; status == BASE_OK && *whole < bytes->size;) {
        const uint8_t *at = bytes->data + *whole, *stop = memchr(at, '\n', bytes->size - *whole);
        if (stop == NULL)
            break;
        status = read_line(j, ++number, (const char *)at, (size_t)(stop - at), identity, error);
        *whole += (size_t)(stop - at) + 1;
    }
    return status;
}

/* ---- writing ---- */

static base_status write_line(eval_journal *j, json_t *object, base_error *error)
{
    char *text = object != NULL ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(SCORE_DIGITS)) : NULL;
    json_decref(object);
    if (text == NULL)
        return base_fail(error, BASE_ENOMEM, "out of memory for '%.200s'", j->path);
    size_t size = strlen(text);
    text[size] = '\n'; /* in place of its end */
    off_t end = lseek(j->fd, 0, SEEK_END);
    bool good = end >= 0 && base_write_at(j->fd, (uint64_t)end, text, size + 1) && fdatasync(j->fd) == 0;
    free(text);
    return good ? BASE_OK : base_fail(error, BASE_EIO, "cannot write '%.200s': %s", j->path, strerror(errno));
}

static base_status begin(eval_journal *j, const eval_identity *identity, base_error *error)
{
    return write_line(j,
                      json_pack("{s:i,s:s,s:s,s:s,s:s}", "palmgrove_eval", 1, "task", identity->task, "task_digest",
                                identity->task_digest, "data_digest", identity->data_digest, "settings",
                                identity->settings),
                      error);
}

static base_status check_model(eval_journal *j, const pg_result *r, base_error *error)
{
    if (j->model.digest[0] != '\0')
        return strcmp(j->model.digest, r->model_digest) == 0
                   ? BASE_OK
                   : base_fail(error, BASE_EINVAL,
                               "'%.120s' holds answers of another model (%.16s.., the server's is %.16s..); choose "
                               "another --output",
                               j->path, j->model.digest, r->model_digest);
    take_model(&j->model, r->model, r->model_digest, r->version, r->layout, r->isa);
    return write_line(j,
                      json_pack("{s:s,s:s,s:s,s:s,s:s}", "model", j->model.name, "model_digest", j->model.digest,
                                "version", j->model.version, "layout", j->model.layout, "isa", j->model.isa),
                      error);
}

static base_status put_answer(eval_journal *j, size_t i, const pg_result *r, base_error *error)
{
    static const char *const finishes[] = {"", "eos", "stop", "length"};
    eval_answer *a = &j->answers[i];
    snprintf(a->finish, sizeof a->finish, "%s", (size_t)r->finish < 4 ? finishes[r->finish] : "");
    a->prompt_tokens = r->prompt_tokens;
    a->tokens = r->completion_tokens;
    a->queue_ms = r->queue_ms;
    a->first_token_ms = r->first_token_ms;
    a->total_ms = r->total_ms;
    base_status status = write_line(
        j,
        json_pack("{s:s,s:s,s:s,s:I,s:I,s:f,s:f,s:f}", "id", j->cases->cases[i].id, "text", r->text, "finish",
                  a->finish, "prompt_tokens", (json_int_t)a->prompt_tokens, "tokens", (json_int_t)a->tokens, "queue_ms",
                  a->queue_ms, "first_token_ms", a->first_token_ms, "total_ms", a->total_ms),
        error);
    if (status == BASE_OK && !keep_text(&a->text, r->text))
        status = base_fail(error, BASE_ENOMEM, "out of memory for an answer");
    return status;
}

static base_status put_score(eval_journal *j, size_t i, int which, const pg_result *r, base_error *error)
{
    double score = ask_score(r);
    if (!isfinite(score))
        return base_fail(error, BASE_EFORMAT, "the server's score of class %d of case '%.100s' is no number", which,
                         j->cases->cases[i].id);
    j->answers[i].scores[which] = score;
    return write_line(j, json_pack("{s:s,s:i,s:f}", "id", j->cases->cases[i].id, "class", which, "score", score),
                      error);
}

base_status eval_journal_put(eval_journal *j, size_t i, int which, const pg_result *result, base_error *error)
{
    pthread_mutex_lock(&j->lock);
    base_status status = check_model(j, result, error);
    if (status == BASE_OK)
        status = which < 0 ? put_answer(j, i, result, error) : put_score(j, i, which, result, error);
    if (status == BASE_OK)
        forget_failure(&j->answers[i]);
    pthread_mutex_unlock(&j->lock);
    return status;
}

base_status eval_journal_put_failure(eval_journal *j, size_t i, const pg_error *failure, base_error *error)
{
    const char *name = pg_status_text(failure->status);
    pthread_mutex_lock(&j->lock);
    base_status status = write_line(
        j, json_pack("{s:s,s:s,s:s}", "id", j->cases->cases[i].id, "error", name, "message", failure->text), error);
    if (status == BASE_OK && !take_failure(&j->answers[i], name, failure->text))
        status = base_fail(error, BASE_ENOMEM, "out of memory for a failure");
    pthread_mutex_unlock(&j->lock);
    return status;
}

/* ---- life ---- */

static bool make_answers(eval_journal *j, const size_t *n_classes)
{
    j->answers = calloc(j->cases->n + 1, sizeof *j->answers);
    for (size_t i = 0; j->answers != NULL && i < j->cases->n; i++) {
        eval_answer *a = &j->answers[i];
        a->scores = malloc((n_classes[i] + 1) * sizeof *a->scores);
        if (a->scores == NULL)
            return false;
        a->n_scores = n_classes[i];
        for (size_t k = 0; k < a->n_scores; k++)
            a->scores[k] = NAN;
    }
    return j->answers != NULL && j->path != NULL;
}

static base_status load(eval_journal *j, const eval_identity *identity, base_error *error)
{
    base_buf bytes = {0};
    size_t whole = 0;
    base_status status = base_file_read(j->path, JOURNAL_BYTES_MAX, &bytes, error);
    if (status == BASE_OK)
        status = read_lines(j, &bytes, identity, &whole, error);
    if (status == BASE_OK && whole < bytes.size && ftruncate(j->fd, (off_t)whole) != 0)
        status = base_fail(error, BASE_EIO, "cannot cut the torn line off '%.200s': %s", j->path, strerror(errno));
    if (status == BASE_OK && whole == 0)
        status = begin(j, identity, error);
    base_buf_release(&bytes);
    return status;
}

base_status eval_journal_open(const char *path, const eval_identity *identity, const eval_cases *cases,
                              const size_t *n_classes, eval_journal *out, base_error *error)
{
    eval_journal j = {.fd = -1, .path = strdup(path), .cases = cases};
    base_status status =
        make_answers(&j, n_classes) ? BASE_OK : base_fail(error, BASE_ENOMEM, "out of memory for '%.200s'", path);
    if (status == BASE_OK && (j.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666)) < 0)
        status = base_fail(error, BASE_EIO, "cannot open '%.200s': %s", path, strerror(errno));
    if (status == BASE_OK && flock(j.fd, LOCK_EX | LOCK_NB) != 0)
        status = base_fail(error, BASE_EBUSY, "'%.200s' is being written by another palmgrove eval", path);
    if (status == BASE_OK)
        status = load(&j, identity, error);
    pthread_mutex_init(&j.lock, NULL);
    if (status != BASE_OK)
        eval_journal_close(&j);
    else
        *out = j;
    return status;
}

void eval_journal_close(eval_journal *j)
{
    for (size_t i = 0; j->answers != NULL && i < j->cases->n; i++) {
        free(j->answers[i].text);
        free(j->answers[i].error);
        free(j->answers[i].scores);
    }
    free(j->answers);
    free(j->path);
    if (j->fd >= 0)
        close(j->fd);
    pthread_mutex_destroy(&j->lock);
    *j = (eval_journal){.fd = -1};
}
