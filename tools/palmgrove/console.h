/* console.h - what the commands that ask a server share: endpoint options, the connection, Ctrl-C, how an answer is
 * printed. */
#ifndef PALMGROVE_CONSOLE_H
#define PALMGROVE_CONSOLE_H

#include <stdio.h>

#include "proto/client/palmgrove.h"
#include "tools/palmgrove/command.h"

/* First member of the values of every command that asks. */
typedef struct console_values {
    const char *endpoint;
    uint32_t timeout_ms;
} console_values;

#define CONSOLE_ROWS(type)                                                         \
    {"endpoint",                                                                   \
     "ADDRESS",                                                                    \
     OPTION_TEXT,                                                                  \
     offsetof(type, client.endpoint),                                              \
     COMMAND_ENDPOINT,                                                             \
     "the server: tcp://ADDRESS:PORT or ipc:///PATH",                              \
     0},                                                                           \
    {                                                                              \
        "timeout-ms", "N", OPTION_U32, offsetof(type, client.timeout_ms), "10000", \
            "longest silence of the server before it counts as unreachable", 0     \
    }

/* How a generation is asked for and shown. */
typedef struct console_answer_values {
    uint32_t max_tokens, deadline_ms;
    float temperature, top_p;
    uint32_t top_k;
    uint64_t seed;
    bool json, quiet, whole, urgent, logits_digest, strict;
} console_answer_values;

#define CONSOLE_ANSWER_ROWS(type)                                                                                        \
    {"max-tokens",                                                                                                       \
     "N",                                                                                                                \
     OPTION_U32,                                                                                                         \
     offsetof(type, answer.max_tokens),                                                                                  \
     "0",                                                                                                                \
     "tokens of the answer; 0: the server's default",                                                                    \
     0},                                                                                                                 \
        {"temperature",                                                                                                  \
         "X",                                                                                                            \
         OPTION_REAL,                                                                                                    \
         offsetof(type, answer.temperature),                                                                             \
         "0",                                                                                                            \
         "0: the likeliest token each time",                                                                             \
         0},                                                                                                             \
        {"top-k", "N", OPTION_U32, offsetof(type, answer.top_k), "0", "draw from the N likeliest tokens; 0: from all",   \
         0},                                                                                                             \
        {"top-p",                                                                                                        \
         "X",                                                                                                            \
         OPTION_REAL,                                                                                                    \
         offsetof(type, answer.top_p),                                                                                   \
         "1",                                                                                                            \
         "draw from the likeliest tokens that hold this probability",                                                    \
         0},                                                                                                             \
        {"seed", "N", OPTION_U64, offsetof(type, answer.seed), "0", "same request, same seed: same answer", 0},          \
        {"deadline-ms",                                                                                                  \
         "N",                                                                                                            \
         OPTION_U32,                                                                                                     \
         offsetof(type, answer.deadline_ms),                                                                             \
         "0",                                                                                                            \
         "give up after this time; 0: never",                                                                            \
         0},                                                                                                             \
        {"urgent", NULL, OPTION_FLAG, offsetof(type, answer.urgent), NULL, "before routine requests", 0},                \
        {"logits-digest",                                                                                                \
         NULL,                                                                                                           \
         OPTION_FLAG,                                                                                                    \
         offsetof(type, answer.logits_digest),                                                                           \
         NULL,                                                                                                           \
         "ask for a digest of all logits that were sampled from",                                                        \
         0},                                                                                                             \
        {"strict", NULL, OPTION_FLAG, offsetof(type, answer.strict), NULL, "refuse images that would give warnings", 0}, \
        {"whole",                                                                                                        \
         NULL,                                                                                                           \
         OPTION_FLAG,                                                                                                    \
         offsetof(type, answer.whole),                                                                                   \
         NULL,                                                                                                           \
         "print the answer when it is complete, not as it comes",                                                        \
         0},                                                                                                             \
        {"json",                                                                                                         \
         NULL,                                                                                                           \
         OPTION_FLAG,                                                                                                    \
         offsetof(type, answer.json),                                                                                    \
         NULL,                                                                                                           \
         "print the answer and all about it as one JSON object",                                                         \
         0},                                                                                                             \
    {                                                                                                                    \
        "quiet", NULL, OPTION_FLAG, offsetof(type, answer.quiet), NULL,                                                  \
            "print the answer only, no timings and provenance", 0                                                        \
    }

/* Connect; from then on Ctrl-C cancels the running call of this client instead of ending the program.  NULL and a
 * complaint on stderr when it cannot. */
pg_client *console_open(const console_values *values);
void console_close(pg_client **client);

/* Was Ctrl-C pressed (or SIGTERM received) since console_open? */
bool console_is_interrupted(void);

/* Complain about a failed call; returns the exit code that goes with it. */
int console_fail(const console_values *values, const pg_error *error);

/* Put the values into a request. */
void console_apply(const console_answer_values *answer, pg_request *request);

/* Put the values into a request, run it, print the answer on stdout and, unless quiet, timings and provenance on
 * stderr. Returns the exit code. */
int console_answer(pg_client *client, const console_values *values, const console_answer_values *answer,
                   pg_request *request);

/* A JSON string on stdout; the text is UTF-8 already. */
void console_print_json_string(const char *text);

/* "3 ms to the first token ..." and the provenance, one line each with `indent` in front. */
void console_print_account(FILE *out, const char *indent, const pg_result *result);

#endif
