/* session.h - one request's life, from the decoded message to the final reply.
 *
 *     RECEIVED --> PREPARING --> SCHEDULED --> DECODING --> FINISHED
 *         |            |             |             |
 *         +------------+-------------+-------------+------> FAILED, CANCELED
 *
 * SCHEDULED is everything between the queue and the first token: whether the request waits, is prefilled, or was
 * preempted is the scheduler's to know (sequence.h) and is not kept twice.
 *
 * Threads: a session belongs to one thread at a time and moves with its message: gateway (create), engine, an intake
 * thread (PREPARING), engine.  While an intake thread has it, the engine touches only `control`. */
#ifndef PALMGROVE_SESSION_H
#define PALMGROVE_SESSION_H

#include "coordinator/thread_queue.h"
#include "coordinator/sched/sched.h"
#include "coordinator/session/prompt.h"

#define SESSION_MAX_TOKENS_DEFAULT 256u

typedef enum session_state {
    SESSION_RECEIVED,
    SESSION_PREPARING,
    SESSION_SCHEDULED,
    SESSION_DECODING,
    SESSION_FINISHED,
    SESSION_FAILED,
    SESSION_CANCELED
} session_state;

/* The engine's, at all times. */
typedef struct session_control {
    session_state state;
    session *previous, *next;   /* all sessions */
    base_status pending_status; /* canceled or failed while PREPARING: with what; BASE_OK: neither */
    const char *pending_text;
} session_control;

/* What an intake thread makes of the message; then the engine's. */
typedef struct session_prepared {
    base_error error; /* how the preparation went */
    prompt prompt;
    char stops[WIRE_STOP_MAX][WIRE_STOP_BYTES_MAX + 1]; /* copies, so that the message with its images can be freed */
    const char *stop_list[WIRE_STOP_MAX];
    uint32_t n_prompt_tokens, n_image_tokens, max_tokens;
    uint32_t n_resumed; /* tokens of the answer that came with the request; they follow the prompt's */
    bool scores;        /* all of the answer came with it: max_tokens after the prompt's */
} session_prepared;

/* The engine's, from SCHEDULED on. */
typedef struct session_answer {
    sched_seq *seq;
    text_stream stream;
    text_stop stop;
    base_buf text;    /* the answer so far, without what a stop string may still cut off */
    size_t text_sent; /* bytes of it that were streamed */
    uint32_t *ids;    /* [max_tokens] the answer's tokens without the end-of-text one */
    float *logprobs;  /* [max_tokens] of these tokens; NULL unless the request scores */
    uint32_t n_ids, n_ids_sent, n_events;
    uint64_t logits_digest;
    uint64_t queued_us, started_us, first_token_us;
    sched_reuse reuse;
} session_answer;

struct session {
    thread_message message; /* carries the session between threads */
    uint64_t number;        /* of the request at the gateway */
    wire_request request;
    size_t payload_bytes; /* counted against the gateway's budget until prepared */
    uint64_t arrived_us, deadline_us;
    session_control control;
    session_prepared prepared;
    session_answer answer;
};

/* What replies say of the server; strings borrowed for the call. */
typedef struct session_provenance {
    const char *model, *model_digest, *version, *layout, *isa;
} session_provenance;

/* Moves a decoded Generate (*request is empty afterwards).  NULL when memory is out (*request untouched). */
session *session_create(wire_request *request, size_t payload_bytes, uint64_t number, uint64_t now_us);
void session_destroy(session **s);

/* Change the state; the diagram above is asserted. */
void session_move(session *s, session_state to);
bool session_is_over(const session *s);

/* PREPARING, on an intake thread: tokens, images, and the number of tokens to make (what was asked for or the default,
 * clipped to the context); the tokens to resume after, or those of the answer to score, are appended to the prompt's.
 * The outcome is left in prepared.error; the message is freed but for its scalars and stop strings. */
void session_prepare(session *s, const prompt_env *env);

/* The scheduler's view of a prepared session; borrows from it. */
sched_request session_request_of(const session *s, const int32_t *stop_ids, uint32_t n_stop_ids);

/* PREPARING -> SCHEDULED: ready for tokens.  Those to resume after are added, and their text counts as streamed.
 * *finish: why the answer is complete with them already (the state is DECODING then); WIRE_FINISH_UNKNOWN when it is
 * not.  Errors: BASE_ENOMEM. */
base_status session_begin(session *s, const text_tokenizer *tokenizer, uint64_t now_us, wire_finish *finish,
                          base_error *error);

/* The scheduler has its copy of the prompt's tokens. */
void session_free_prompt(session *s);

/* Add a sampled token.  True when a stop string ends the answer here.  Memory failures stick in answer.text. */
bool session_add_token(session *s, const sched_event *event, uint64_t now_us);

/* No more tokens: append the text that was held back. */
void session_flush_text(session *s);

/* Append to `out` an encoded TokenEvent with what was not streamed yet; false when there is none.
 * Errors stick in `out`. */
bool session_encode_delta(session *s, base_buf *out);
/* Append the encoded Result. */
void session_encode_result(const session *s, wire_finish finish, const session_provenance *from, uint64_t now_us,
                           base_buf *out);

/* Append an encoded Error for any request. */
void session_encode_error(const char *request_id, base_status status, const char *text, base_buf *out);

#endif
