/* eval_journal.h - what a server answered, a line each, so that a killed run goes on where it ended.
 *
 *     OUT/TASK/answers.jsonl
 *     {"palmgrove_eval":1,"task":"vqa","task_digest":"..","data_digest":"..","settings":".."}    first line
 *     {"model":"phantom","model_digest":"..","version":"..","layout":"tp1 x pp1","isa":".."}
 *                                                          before the first answer
 *     {"id":"a1","text":"Yes.","finish":"eos","prompt_tokens":90,"tokens":3,"queue_ms":..,"first_token_ms":..,
 *      "total_ms":..}
 *     {"id":"a1","class":0,"score":-3.25}                                                       log-likelihood of
 *                                                          a class's answer
 *     {"id":"a2","error":"invalid_argument","message":"..."}                                      asked again by
 *                                                          the next run
 *
 * A line is flushed to the disk before the next request is counted as finished.  A last line without its end was torn
 * by a kill and is cut off; any other line that is wrong is refused. */
#ifndef PALMGROVE_EVAL_JOURNAL_H
#define PALMGROVE_EVAL_JOURNAL_H

#include <pthread.h>

#include "proto/client/palmgrove.h"
#include "tools/eval/eval_cases.h"

/* What a server said to one case. */
typedef struct eval_answer {
    char *text;     /* owned; NULL: not answered */
    char *error;    /* owned, "name: message"; NULL: no failure since */
    char finish[8]; /* "eos", "stop", "length" */
    uint32_t prompt_tokens, tokens;
    double queue_ms, first_token_ms, total_ms;
    double *scores; /* [n_scores] owned, NAN: not known */
    size_t n_scores;
} eval_answer;

typedef struct eval_model {
    char name[128], digest[EVAL_DIGEST_CHARS], version[32], layout[64], isa[64];
} eval_model;

/* What a journal belongs to: any difference is a different experiment. */
typedef struct eval_identity {
    const char *task;
    char task_digest[EVAL_DIGEST_CHARS], data_digest[EVAL_DIGEST_CHARS];
    char settings[160]; /* whatever else the requests depend on */
} eval_identity;

typedef struct eval_journal {
    int fd;
    char *path; /* owned */
    const eval_cases *cases;
    eval_answer *answers; /* [cases->n] owned */
    eval_model model;     /* digest "": nothing was answered yet */
    pthread_mutex_t lock;
} eval_journal;

/* Open or begin OUT/TASK/answers.jsonl; n_classes[i]: how many scores case i may have.  `cases` and it are borrowed
 * while open.  Only one process at a time may hold a journal. Errors: BASE_EINVAL it belongs to another task, data or
 * settings (named); BASE_EBUSY another process has it; BASE_EFORMAT with file and line; BASE_EIO; BASE_ENOMEM. */
base_status eval_journal_open(const char *path, const eval_identity *identity, const eval_cases *cases,
                              const size_t *n_classes, eval_journal *out, base_error *error);
void eval_journal_close(eval_journal *journal);

/* Record a result: the answer of case i, or (which >= 0) the score of its class.  Any thread.
 * Errors: BASE_EINVAL the result is of another model than the journal's; BASE_EIO; BASE_ENOMEM. */
base_status eval_journal_put(eval_journal *journal, size_t i, int which, const pg_result *result, base_error *error);

/* Record that a request of case i failed.  Any thread.  Errors: BASE_EIO; BASE_ENOMEM. */
base_status eval_journal_put_failure(eval_journal *journal, size_t i, const pg_error *failure, base_error *error);

#endif
