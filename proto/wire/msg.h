/* msg.h - the client protocol in plain C types, for gateway and clients.
 *
 * palmgrove.proto defines the bytes, docs/PROTOCOL.md their meaning; no generated type is visible here.  Decoding
 * checks everything that can be checked without a model: structure, UTF-8, counts, sizes, ranges.  What passes is safe
 * to use; a refusal names field and limit in words that go straight into the Error reply.
 *
 * Ownership: a decoded message owns everything that its pointers reach (`owner`); moving it is a struct copy, freeing
 * it is wire_request_release / wire_reply_release.  A message built by hand to be encoded borrows everything and leaves
 * `owner` NULL; it needs no release.  Strings are NUL-terminated UTF-8 without NUL
 * inside; in a message to be encoded a NULL string means "".  Threads: pure functions, no shared state. */
#ifndef PALMGROVE_WIRE_MSG_H
#define PALMGROVE_WIRE_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/status.h"
#include "proto/wire/wire_limits.h"

#define WIRE_VERSION 1u

typedef struct wire_field {
    const char *name, *value;
} wire_field;

typedef enum wire_part_kind { WIRE_PART_TEXT = 1, WIRE_PART_IMAGE, WIRE_PART_TASK, WIRE_PART_VECTORS } wire_part_kind;

/* One part of a prompt; `kind` says which of the groups below is read. */
typedef struct wire_part {
    wire_part_kind kind;
    const char *text; /* TEXT; may be empty */

    const uint8_t *image; /* IMAGE: a file of a kind that docs/PROTOCOL.md lists, [image_bytes], not yet looked into */
    size_t image_bytes;   /* >= 1 */
    uint32_t image_frame; /* which of a DICOM file, from 0 */

    const char *task; /* TASK: its name */
    const wire_field *fields;
    size_t n_fields;

    const char *encoder; /* VECTORS: whose; NULL or "": embeddings of the decoder */
    const float *values; /* [n_values] finite; vectors of `width` one after the other, at least one */
    size_t n_values;
    uint32_t width;
} wire_part;

typedef struct wire_sampling {
    float temperature; /* 0: greedy */
    uint32_t top_k;    /* 0: off */
    float top_p;       /* (0, 1]; decoded 0 becomes 1: off */
    uint64_t seed;
} wire_sampling;

typedef enum wire_priority { WIRE_ROUTINE = 0, WIRE_STAT = 1 } wire_priority;

typedef struct wire_generate {
    const wire_part *parts; /* at least one that is not an empty text */
    size_t n_parts;
    wire_sampling sampling; /* decoded from an absent message: greedy */
    uint32_t max_tokens;    /* 0: the server's default */
    const char *const *stop;
    size_t n_stop;
    bool stream;
    uint32_t deadline_ms; /* 0: none */
    wire_priority priority;
    bool logits_digest, strict_images;
    const uint32_t *resume_ids; /* [n_resume_ids] first tokens of the answer, from an earlier run */
    size_t n_resume_ids;
    const char *answer; /* not "": scored, nothing is generated */
} wire_generate;

typedef enum wire_request_kind {
    WIRE_REQUEST_NONE = 0, /* after a failed decode */
    WIRE_REQUEST_GENERATE,
    WIRE_REQUEST_CANCEL, /* of the Generate with the same id; has no separate reply */
    WIRE_REQUEST_HEALTH,
    WIRE_REQUEST_STATS,
} wire_request_kind;

typedef struct wire_request {
    uint32_t version; /* set WIRE_VERSION to encode */
    char request_id[WIRE_REQUEST_ID_BYTES_MAX + 1];
    wire_request_kind kind;
    wire_generate generate; /* GENERATE only */
    void *owner;            /* private */
} wire_request;

typedef struct wire_token {
    uint32_t index;
    const uint32_t *ids;
    size_t n_ids;
    const char *text;
} wire_token;

typedef enum wire_finish {
    WIRE_FINISH_UNKNOWN = 0, /* also: a reason of a newer server */
    WIRE_FINISH_EOS,
    WIRE_FINISH_STOP,
    WIRE_FINISH_LENGTH,
} wire_finish;

typedef struct wire_warning {
    uint32_t code;
    const char *name, *message;
    uint32_t image; /* from 0 */
} wire_warning;

typedef struct wire_result {
    const char *text; /* the whole answer */
    wire_finish finish;
    const uint32_t *ids;
    size_t n_ids;
    const float *logprobs; /* [n_logprobs] of `ids`; none unless an answer was scored */
    size_t n_logprobs;
    uint32_t prompt_tokens, image_tokens, completion_tokens;
    double prepare_ms, queue_ms, first_token_ms, total_ms;
    uint32_t reused_tokens, drafted_tokens, accepted_tokens;
    const char *model, *model_digest, *build /* provenance.version */, *layout, *isa;
    uint64_t seed;
    const char *logits_digest; /* 16 hex digits, or "" */
    const wire_warning *warnings;
    size_t n_warnings;
} wire_result;

typedef struct wire_error {
    uint32_t code;       /* a base_status, or one of a newer server */
    const char *name;    /* encoding ignores it and writes base_status_text(code) */
    const char *message; /* problem, subject, fix */
} wire_error;

typedef struct wire_health {
    const char *state; /* "starting", "ready", "draining", "failed" */
    const char *build; /* health.version: palmgrove's */
    const char *model, *layout;
    double uptime_s;
} wire_health;

/* Fields as in palmgrove.proto. */
typedef struct wire_stats {
    uint64_t requests_admitted, requests_finished, requests_failed, requests_refused, requests_canceled;
    uint32_t queued, running;
    uint64_t prompt_tokens, completion_tokens, steps;
    uint32_t kv_blocks_total, kv_blocks_free;
    uint64_t malformed_messages, resident_bytes;
    uint64_t prefix_requests, prefix_tokens, drafted_tokens, accepted_tokens, images_reused;
    uint32_t kv_blocks_kept;
} wire_stats;

typedef enum wire_reply_kind {
    WIRE_REPLY_NONE = 0,
    WIRE_REPLY_TOKEN,
    WIRE_REPLY_RESULT, /* final reply of a Generate that succeeded */
    WIRE_REPLY_ERROR,  /* final reply of a request that failed */
    WIRE_REPLY_HEALTH,
    WIRE_REPLY_STATS,
} wire_reply_kind;

typedef struct wire_reply {
    uint32_t version;
    char request_id[WIRE_REQUEST_ID_BYTES_MAX + 1]; /* "" when the request's could not be read */
    wire_reply_kind kind;
    union { /* by kind */
        wire_token token;
        wire_result result;
        wire_error error;
        wire_health health;
        wire_stats stats;
    };
    void *owner; /* private */
} wire_reply;

/* Append the encoded message to *out.  The caller's values are not checked against the limits (the peer will).
 * Errors: BASE_ENOMEM (also sticks in the buffer); BASE_EINVAL unknown kind. */
base_status wire_request_encode(const wire_request *request, base_buf *out, base_error *error);
base_status wire_reply_encode(const wire_reply *reply, base_buf *out, base_error *error);

/* Decode and check a request.  On failure *out holds only the version and the request_id as far as they could be read
 * (else 0, ""), so that the refusal can carry them, and needs no release. Errors: BASE_EFORMAT not a
 * protobuf Request, or a string that is not UTF-8 or has a NUL; BASE_EUNSUPPORTED other version, or a body of an
 * unknown kind; BASE_ETOOBIG a limit above is exceeded; BASE_EINVAL a value out of range; BASE_ENOMEM. The text
 * names the field ("generate.parts[3].task.name ..."). */
base_status wire_request_decode(const void *bytes, size_t size, wire_request *out, base_error *error);

/* Decode and check a reply (structure, UTF-8, version).  Fields that a newer server added are ignored.
 * Errors and *out as above. */
base_status wire_reply_decode(const void *bytes, size_t size, wire_reply *out, base_error *error);

/* Free what a decoded message owns; the message is all zero afterwards.  No effect on one that owns nothing. */
void wire_request_release(wire_request *request);
void wire_reply_release(wire_reply *reply);

#endif
