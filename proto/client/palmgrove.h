/* palmgrove.h - client library of the palmgrove gateway (libpalmgrove; link with `pkg-config --libs palmgrove`).
 *
 *     pg_client *client;
 *     pg_error error;
 *     if (pg_client_open("tcp://127.0.0.1:7401", 5000, &client, &error) != PG_OK)
 *         ... error.text says why
 *     pg_request *request = pg_request_create();
 *     pg_request_add_task(request, "report");
 *     pg_request_add_field(request, "indication", "shortness of breath");
 *     pg_request_add_image_file(request, "chest.png");
 *     pg_result *result;
 *     if (pg_client_generate(client, request, print_delta, NULL, &result, &error) == PG_OK)
 *         ... result->text, result->model_digest, ...
 *     pg_result_destroy(&result);
 *     pg_request_destroy(&request);
 *     pg_client_close(&client);
 *
 * Rules
 *  1. A handle belongs to one thread at a time; only pg_client_cancel may be called from another one or from a signal
 * handler. Different handles are independent.  A handle runs one call at a time; a request may be run again, also on
 * another handle.
 *  2. No call hangs: the server is asked for a sign of life while an answer is awaited, and after `timeout_ms` without
 * any message from it the call returns PG_EUNREACHABLE.  A long generation is not an error as long as the server lives.
 *  3. On failure outputs are untouched and `error` (may be NULL) says what, about what, and what to do.
 *  4. The library writes nothing to stdout or stderr and keeps no copy of prompts or answers. */
#ifndef PALMGROVE_H
#define PALMGROVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define PG_API __attribute__((visibility("default")))
#else
#define PG_API
#endif

/* Values up to 99 are those of the wire (docs/PROTOCOL.md); a newer server may send one that is not listed here. */
typedef enum pg_status {
    PG_OK = 0,
    PG_EINVAL = 1,     /* the request is wrong as it stands */
    PG_ENOMEM = 2,     /* memory or a fixed pool is exhausted */
    PG_EIO = 3,        /* a file or socket failed */
    PG_EFORMAT = 4,    /* bytes do not follow their format */
    PG_ENOTFOUND = 5,  /* a named thing does not exist */
    PG_EBUSY = 6,      /* the server's queue is full: try again later */
    PG_ETOOBIG = 7,    /* a stated limit is exceeded */
    PG_ECANCELED = 8,  /* canceled by pg_client_cancel or the callback, or by the server */
    PG_EDEADLINE = 9,  /* the request's own deadline passed */
    PG_ESHUTDOWN = 10, /* the server drains and admits nothing new */
    PG_EUNSUPPORTED = 11,
    PG_ENUMERIC = 12, /* an activation left the fixed-point range */
    PG_EINTERNAL = 13,
    PG_EUNREACHABLE = 100, /* this side only: no sign of life from the server, or it restarted */
} pg_status;

typedef struct pg_error {
    pg_status status;
    char text[384]; /* always terminated; the server's own words when it refused */
} pg_error;

/* ---- connection ---- */

typedef struct pg_client pg_client;

/* Connect to a gateway ("tcp://HOST:PORT", "ipc:///PATH").  timeout_ms >= 1: the longest silence of the
 * server that any call bears.
 * Returns before the server has answered: use pg_client_health to wait for it.
 * Errors: PG_EINVAL bad endpoint or timeout; PG_ENOMEM; PG_EIO. */
PG_API pg_status pg_client_open(const char *endpoint, uint32_t timeout_ms, pg_client **out, pg_error *error);

/* Close and set *client to NULL; NULL is fine. */
PG_API void pg_client_close(pg_client **client);

/* ---- request ---- */

typedef struct pg_request pg_request;

/* An empty request: greedy, the server's default of tokens, no deadline.  NULL when memory is out. */
PG_API pg_request *pg_request_create(void);
PG_API void pg_request_destroy(pg_request **request);

/* Append a part; parts are read in order.  Everything is copied.  The first failure also stays with the request and is
 * what pg_client_generate returns, so the result of each call need not be looked at. Errors: PG_EINVAL NULL or empty
 * argument, PG_ENOMEM; file: PG_ENOTFOUND, PG_EIO, PG_ETOOBIG (beyond 64 MiB). */
PG_API pg_status pg_request_add_text(pg_request *request, const char *text);
PG_API pg_status pg_request_add_image(pg_request *request, const void *bytes, size_t size);
PG_API pg_status pg_request_add_image_file(pg_request *request, const char *path);

/* The same with a frame of a DICOM file, from 0; the server refuses a frame that the file does not have. */
PG_API pg_status pg_request_add_image_frame(pg_request *request, const void *bytes, size_t size, uint32_t frame);
PG_API pg_status pg_request_add_image_file_frame(pg_request *request, const char *path, uint32_t frame);

/* Vectors, one position of the prompt each (PaLM-E's multimodal sentences): values [n][width], finite; they do not go
 * with tasks.  `encoder` names what reads them ("state" ..., those of the model); NULL: they are embeddings of the
 * decoder, as its first layer takes them. Errors: PG_EINVAL, PG_ETOOBIG (beyond 65536 vectors or 64 MiB), PG_ENOMEM. */
PG_API pg_status pg_request_add_vectors(pg_request *request, const char *encoder, const float *values, size_t n,
                                        uint32_t width);

PG_API pg_status pg_request_add_task(pg_request *request, const char *name);

/* Set a field of the task part added last.  Errors: PG_EINVAL there is none, PG_ENOMEM. */
PG_API pg_status pg_request_add_field(pg_request *request, const char *name, const char *value);

/* Stop before the first occurrence of any of the stop strings. */
PG_API pg_status pg_request_add_stop(pg_request *request, const char *stop);

/* temperature 0: greedy; top_k 0: off; top_p 0 or 1: off. */
PG_API void pg_request_set_sampling(pg_request *request, float temperature, uint32_t top_k, float top_p, uint64_t seed);
PG_API void pg_request_set_max_tokens(pg_request *request, uint32_t max_tokens);   /* 0: the server's default */
PG_API void pg_request_set_deadline_ms(pg_request *request, uint32_t deadline_ms); /* from arrival; 0: none */
PG_API void pg_request_set_stat(pg_request *request, bool stat);            /* true: urgent, before routine work */
PG_API void pg_request_set_logits_digest(pg_request *request, bool wanted); /* fill pg_result.logits_digest */

/* Go on after the first n_ids tokens of the answer, as an earlier run of the same request made them (pg_result.ids, or
 * those of its stream).  The result is that of a run without interruption; what these tokens say is not streamed again.
 * The logits digest covers what is sampled now.  Copied; replaces what was set before; n_ids 0: from the beginning.
 * Errors: PG_EINVAL NULL, PG_ENOMEM; stays with the request. */
PG_API pg_status pg_request_set_resume(pg_request *request, const uint32_t *ids, size_t n_ids);

/* Write nothing, but score `answer` (copied; NULL: no longer): pg_result.logprobs says how likely the model finds each
 * of its tokens after the prompt.  It is tokenised by itself, as it is given.  Leave tokens, stop texts and resuming
 * alone.  Errors: PG_ENOMEM; stays with the request. */
PG_API pg_status pg_request_set_answer(pg_request *request, const char *answer);

/* ---- generation ---- */

typedef enum pg_finish {
    PG_FINISH_UNKNOWN = 0,
    PG_FINISH_EOS = 1,    /* the model ended its answer */
    PG_FINISH_STOP = 2,   /* a stop string appeared */
    PG_FINISH_LENGTH = 3, /* max_tokens or the context is used up */
} pg_finish;

/* Made by the library and freed whole by pg_result_destroy; strings are UTF-8 and never NULL. */
typedef struct pg_result {
    const char *request_id;
    const char *text; /* the whole answer, also after streaming */
    pg_finish finish;
    const uint32_t *ids; /* [n_ids] token ids of the answer */
    size_t n_ids;
    const float
        *logprobs; /* [n_logprobs] natural logs of the probabilities of `ids`; none unless an answer was scored */
    size_t n_logprobs;
    uint32_t prompt_tokens, image_tokens, completion_tokens;   /* prompt_tokens includes image_tokens */
    double prepare_ms, queue_ms, first_token_ms, total_ms;     /* measured by the server */
    const char *model, *model_digest, *version, *layout, *isa; /* provenance: what made this answer */
    uint64_t seed;
    const char *logits_digest; /* 16 hex digits, "" unless asked for */
    /* What was spared; may differ from run to run. */
    uint32_t reused_tokens;                   /* of the prompt: an earlier request began alike */
    uint32_t drafted_tokens, accepted_tokens; /* guessed ahead; guessed right */
} pg_result;

PG_API void pg_result_destroy(pg_result **result);

/* Called with each piece of text (whole UTF-8 characters, NUL-terminated, valid during the call).  Return true to go
 * on, false to cancel.  It must not call into its own handle, except pg_client_cancel. */
typedef bool (*pg_text_fn)(void *context, const char *delta);

/* Run a request to its end.  on_text NULL: not streamed.  *out is owned by the caller (pg_result_destroy).
 * Errors: what the server refused with (PG_EINVAL, PG_EBUSY, PG_EDEADLINE ...), in its words; PG_ECANCELED;
 * PG_EUNREACHABLE; PG_EFORMAT the peer does not speak this protocol; PG_ENOMEM; PG_EIO. */
PG_API pg_status pg_client_generate(pg_client *client, const pg_request *request, pg_text_fn on_text, void *context,
                                    pg_result **out, pg_error *error);

/* Ask the pg_client_generate that runs on this handle to end with PG_ECANCELED (within about 100 ms and a round trip).
 * No effect when none runs.  Any thread; async-signal-safe. */
PG_API void pg_client_cancel(pg_client *client);

/* ---- server ---- */

/* Freed whole by pg_health_destroy; strings never NULL. */
typedef struct pg_health {
    const char *state; /* "starting", "ready", "draining", "failed" */
    const char *version, *model, *layout;
    double uptime_s;
} pg_health;

PG_API pg_status pg_client_health(pg_client *client, pg_health **out, pg_error *error);
PG_API void pg_health_destroy(pg_health **health);

typedef struct pg_stats {
    uint64_t requests_admitted, requests_finished, requests_failed, requests_refused, requests_canceled;
    uint32_t queued, running;
    uint64_t prompt_tokens, completion_tokens, steps;
    uint32_t kv_blocks_total, kv_blocks_free;
    uint64_t malformed_messages;
    uint64_t resident_bytes; /* of the process that holds the coordinator */
    uint64_t prefix_requests,
        prefix_tokens; /* requests that began like earlier ones; positions that were not computed for it */
    uint64_t drafted_tokens, accepted_tokens;
    uint32_t kv_blocks_kept; /* of the free ones: hold what a later prompt may begin with */
    uint64_t images_reused;  /* not encoded: their vectors were still there */
} pg_stats;

PG_API pg_status pg_client_stats(pg_client *client, pg_stats *out, pg_error *error);

/* "invalid_argument", "busy" ...; "unknown" for a value outside the list. */
PG_API const char *pg_status_text(pg_status status);

/* The library's version, "0.1.0". */
PG_API const char *pg_version(void);

#ifdef __cplusplus
}
#endif

#endif
