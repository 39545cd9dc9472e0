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
 *  2. No call hangs: while it waits it queries the server's health, and after `timeout_ms` without any message from the
 * server it returns PG_EUNREACHABLE.  A long generation is not an error as long as the server answers.
 *  3. On failure outputs are untouched and `error` (may be NULL) names the problem, its subject and the fix.
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
    PG_ENUMERIC = 12, /* an activation left the fixed-point range, or a logit is not finite */
    PG_EINTERNAL = 13,
    PG_EUNREACHABLE = 100, /* from this library only: the server does not answer, or it restarted */
} pg_status;

typedef struct pg_error {
    pg_status status;
    char text[384]; /* always terminated; the server's own words when it refused */
} pg_error;

/* ---- connection ---- */

typedef struct pg_client pg_client;

/* Connect to a gateway ("tcp://HOST:PORT", "ipc:///PATH").  timeout_ms >= 1: the longest silence of the
 * server that any call tolerates.  Returns before the server has answered: use pg_client_health to wait for it.
 * *out is owned by the caller (pg_client_close).  Errors: PG_EINVAL bad endpoint or timeout; PG_ENOMEM; PG_EIO. */
PG_API pg_status pg_client_open(const char *endpoint, uint32_t timeout_ms, pg_client **out, pg_error *error);

/* Close and set *client to NULL; NULL is fine.  The server cancels requests of a closed connection. */
PG_API void pg_client_close(pg_client **client);

/* ---- request ---- */

typedef struct pg_request pg_request;

/* An empty request: greedy, the server's default of tokens, no deadline.  NULL when memory is out. */
PG_API pg_request *pg_request_create(void);

/* Free and set *request to NULL; NULL is fine. */
PG_API void pg_request_destroy(pg_request **request);

/* Append a part of the prompt; parts are read in order, at most 64.  Everything is copied.  A failure adds nothing; the
 * first one stays with the request and pg_client_generate returns it, so the result of each call may be ignored.
 * Errors: PG_EINVAL NULL or empty argument (an empty text is fine); PG_ENOMEM; PG_ETOOBIG too many parts, or an image
 * beyond 64 MiB; file: PG_ENOTFOUND, PG_EIO. */
PG_API pg_status pg_request_add_text(pg_request *request, const char *text);
PG_API pg_status pg_request_add_image(pg_request *request, const void *bytes, size_t size);
PG_API pg_status pg_request_add_image_file(pg_request *request, const char *path);

/* The same for one frame of a DICOM file, counted from 0; the server refuses a frame that the file does not have. */
PG_API pg_status pg_request_add_image_frame(pg_request *request, const void *bytes, size_t size, uint32_t frame);
PG_API pg_status pg_request_add_image_file_frame(pg_request *request, const char *path, uint32_t frame);

/* Append vectors, one position of the prompt each (PaLM-E's multimodal sentences): values [n][width], finite; not in a
 * request with tasks.  `encoder` names the vector encoder of the model that reads them ("state" ...); NULL: they are
 * embeddings, as the decoder's first layer takes them.  Copied; a failure stays with the request.
 * Errors: PG_EINVAL no vectors; PG_ETOOBIG beyond 65536 vectors or 64 MiB; PG_ENOMEM. */
PG_API pg_status pg_request_add_vectors(pg_request *request, const char *encoder, const float *values, size_t n,
                                        uint32_t width);

/* Append a task, a prompt template that the server fills in (docs/TASKS.md): "report", "vqa" ...  Its images are the
 * image parts after it.  Copied; a failure stays with the request.  Errors: PG_EINVAL no name; PG_ETOOBIG too many
 * parts; PG_ENOMEM. */
PG_API pg_status pg_request_add_task(pg_request *request, const char *name);

/* Add a field to the task added last, at most 32; names may repeat where the task allows it.  Copied; a failure stays
 * with the request.  Errors: PG_EINVAL no task, no name or no value; PG_ETOOBIG; PG_ENOMEM. */
PG_API pg_status pg_request_add_field(pg_request *request, const char *name, const char *value);

/* Add a stop string: the answer ends before the first occurrence of any of them.  Copied; a failure stays with the
 * request.  Errors: PG_EINVAL empty; PG_ETOOBIG more than 8 (one longer than 64 bytes is refused by the server);
 * PG_ENOMEM. */
PG_API pg_status pg_request_add_stop(pg_request *request, const char *stop);

/* How tokens are picked; the server refuses values out of range (docs/PROTOCOL.md).  temperature 0: greedy; top_k 0:
 * off; top_p 0 or 1: off; seed: the same request with the same seed gets the same answer. */
PG_API void pg_request_set_sampling(pg_request *request, float temperature, uint32_t top_k, float top_p, uint64_t seed);

/* Options, each replacing what was set before; values are checked by the server. */
PG_API void pg_request_set_max_tokens(pg_request *request, uint32_t max_tokens);   /* 0: the server's default */
PG_API void pg_request_set_deadline_ms(pg_request *request, uint32_t deadline_ms); /* from arrival; 0: none */
PG_API void pg_request_set_stat(pg_request *request, bool stat);            /* true: urgent, before routine work */
PG_API void pg_request_set_logits_digest(pg_request *request, bool wanted); /* fill pg_result.logits_digest */
PG_API void pg_request_set_strict_images(pg_request *request,
                                         bool strict); /* refuse what pg_result.warnings would name */

/* Continue after the first n_ids tokens of the answer, from an earlier run of the same request (pg_result.ids, or the
 * ids of its stream).  The result equals that of an uninterrupted run; the text of these tokens is not streamed again.
 * The logits digest covers only tokens sampled now.  Copied; replaces what was set before; n_ids 0: from the beginning.
 * Errors, which stay with the request: PG_EINVAL NULL; PG_ETOOBIG beyond 1048576; PG_ENOMEM. */
PG_API pg_status pg_request_set_resume(pg_request *request, const uint32_t *ids, size_t n_ids);

/* Generate nothing and score `answer` instead (copied; NULL or "": generate again): pg_result.logprobs holds the log
 * probability of each of its tokens after the prompt.  It is tokenised on its own, as given.  Not together with
 * max_tokens, stop strings or resuming.  Errors: PG_ENOMEM, which stays with the request. */
PG_API pg_status pg_request_set_answer(pg_request *request, const char *answer);

/* ---- generation ---- */

typedef enum pg_finish {
    PG_FINISH_UNKNOWN = 0, /* a reason of a newer server */
    PG_FINISH_EOS = 1,     /* the model ended its answer */
    PG_FINISH_STOP = 2,    /* a stop string appeared */
    PG_FINISH_LENGTH = 3,  /* max_tokens or the context is used up */
} pg_finish;

/* About an image that was read all the same.  Codes and names are those of docs/PROTOCOL.md. */
typedef struct pg_warning {
    uint32_t code;
    const char *name, *message;
    uint32_t image; /* which of the request's, from 0 */
} pg_warning;

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
    /* Work that this request skipped; may differ from run to run. */
    uint32_t reused_tokens; /* of the prompt: in the cache, from an earlier request with that prefix */
    uint32_t drafted_tokens, accepted_tokens; /* by speculative decoding */
    const pg_warning *warnings;               /* [n_warnings] */
    size_t n_warnings;
} pg_result;

/* Free and set *result to NULL; NULL is fine. */
PG_API void pg_result_destroy(pg_result **result);

/* Called with each piece of text (whole UTF-8 characters, NUL-terminated, valid during the call).  Return true to
 * continue, false to cancel.  It must not call into its own handle, except pg_client_cancel. */
typedef bool (*pg_text_fn)(void *context, const char *delta);

/* Run a request to its end.  on_text NULL: not streamed.  *out is owned by the caller (pg_result_destroy).
 * Errors: the server's (PG_EINVAL, PG_EBUSY, PG_EDEADLINE ...), in its words; PG_ECANCELED;
 * PG_EUNREACHABLE; PG_EFORMAT the peer does not speak this protocol; PG_ENOMEM; PG_EIO; the first failure of a
 * pg_request_* call.  The handle can be used again after any of them. */
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

/* The server's state; answered while weights load and under any load.  *out is owned by the caller (pg_health_destroy).
 * Errors: PG_EUNREACHABLE, PG_EFORMAT, PG_ENOMEM, PG_EIO. */
PG_API pg_status pg_client_health(pg_client *client, pg_health **out, pg_error *error);

/* Free and set *health to NULL; NULL is fine. */
PG_API void pg_health_destroy(pg_health **health);

/* Counters since the server started, and present values (docs/PROTOCOL.md). */
typedef struct pg_stats {
    uint64_t requests_admitted, requests_finished, requests_failed, requests_refused, requests_canceled;
    uint32_t queued, running;
    uint64_t prompt_tokens, completion_tokens, steps;
    uint32_t kv_blocks_total, kv_blocks_free;
    uint64_t malformed_messages;
    uint64_t resident_bytes; /* of the process that holds the coordinator */
    uint64_t prefix_requests,
        prefix_tokens; /* requests whose prompt began with a cached prefix; positions taken from the cache */
    uint64_t drafted_tokens, accepted_tokens;
    uint32_t kv_blocks_kept; /* of the free ones: hold a cached prefix */
    uint64_t images_reused;  /* found in the encoder cache */
} pg_stats;

/* Errors as pg_client_health. */
PG_API pg_status pg_client_stats(pg_client *client, pg_stats *out, pg_error *error);

/* "invalid_argument", "busy" ...; "unknown" for a value outside the list. */
PG_API const char *pg_status_text(pg_status status);

/* The library's version, "0.1.0". */
PG_API const char *pg_version(void);

#ifdef __cplusplus
}
#endif

#endif
