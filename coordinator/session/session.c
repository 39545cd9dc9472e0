/* session.c - states, preparation, the answer's text, and replies.
 *
 *     token -> text_stream (whole characters) -> text_stop (holds back what may begin a stop string) -> answer.text
 *                                                                    |
 *     streamed so far: [0, text_sent)   next TokenEvent: [text_sent, size)      held back: not in answer.text yet
 *
 * Tokens that were resumed take the same path, so a stop string may begin in them. */
#include "coordinator/session/session.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* FNV-1a, 64 bits. */
#define DIGEST_START 0xcbf29ce484222325u
#define DIGEST_PRIME 0x100000001b3u

/* ---- states ---- */

#define TO(state) (1u << (state))

static const unsigned allowed[] = {
    [SESSION_RECEIVED] = TO(SESSION_PREPARING) | TO(SESSION_FAILED) | TO(SESSION_CANCELED),
    [SESSION_PREPARING] = TO(SESSION_SCHEDULED) | TO(SESSION_FAILED) | TO(SESSION_CANCELED),
    [SESSION_SCHEDULED] = TO(SESSION_DECODING) | TO(SESSION_FAILED) | TO(SESSION_CANCELED),
    [SESSION_DECODING] = TO(SESSION_FINISHED) | TO(SESSION_FAILED) | TO(SESSION_CANCELED),
    [SESSION_FINISHED] = 0,
    [SESSION_FAILED] = 0,
    [SESSION_CANCELED] = 0,
};

void session_move(session *s, session_state to)
{
    assert(allowed[s->control.state] & TO(to));
    s->control.state = to;
}

bool session_is_over(const session *s)
{
    return allowed[s->control.state] == 0;
}

session *session_create(wire_request *request, size_t payload_bytes, uint64_t number, uint64_t now_us)
{
    session *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->message = (thread_message){.kind = MESSAGE_REQUEST, .is_embedded = true, .number = number, .session = s};
    s->number = number;
    s->request = *request;
    *request = (wire_request){0};
    s->payload_bytes = payload_bytes;
    s->arrived_us = now_us;
    if (s->request.generate.deadline_ms > 0)
        s->deadline_us = now_us + (uint64_t)s->request.generate.deadline_ms * 1000u;
    s->answer.logits_digest = DIGEST_START;
    return s;
}

void session_destroy(session **out)
{
    session *s = *out;
    if (s == NULL)
        return;
    wire_request_release(&s->request);
    prompt_release(&s->prepared.prompt);
    text_stop_release(&s->answer.stop);
    base_buf_release(&s->answer.text);
    free(s->answer.ids);
    free(s->answer.logprobs);
    free(s);
    *out = NULL;
}

/* ---- preparation ---- */

/* The default is clipped to what is left of context and cache; a number that was asked for to the context only, and a
 * cache that cannot hold it is the scheduler's refusal. */
static uint32_t tokens_to_make(const session *s, const link_limits *limits)
{
    uint32_t n_prompt = (uint32_t)s->prepared.prompt.tokens.n;
    uint32_t asked = s->request.generate.max_tokens;
    uint64_t room = limits->max_positions, cache = (uint64_t)limits->n_kv_blocks * LINK_KV_BLOCK_TOKENS;
    if (asked == 0 && cache < room && cache > n_prompt)
        room = cache;
    uint64_t wanted = asked == 0 ? SESSION_MAX_TOKENS_DEFAULT : asked;
    return (uint32_t)(wanted < room - n_prompt ? wanted : room - n_prompt);
}

/* Free the message, which may be tens of megabytes of images, and keep what the rest of the session's life reads. */
static void free_message(session *s)
{
    wire_request kept = s->request;
    for (size_t i = 0; i < kept.generate.n_stop; i++) {
        snprintf(s->prepared.stops[i], sizeof s->prepared.stops[i], "%s", kept.generate.stop[i]);
        s->prepared.stop_list[i] = s->prepared.stops[i];
    }
    kept.generate.stop = s->prepared.stop_list;
    kept.generate.parts = NULL;
    kept.generate.n_parts = 0;
    kept.generate.answer = NULL;
    kept.generate.resume_ids = NULL;
    kept.generate.n_resume_ids = 0;
    kept.owner = NULL;
    wire_request_release(&s->request);
    s->request = kept;
}

/* Append the tokens of the answer that were made before.  They belong to the message, so this comes before
 * free_message. */
static base_status append_resumed(session *s, const prompt_env *env, base_error *error)
{
    const wire_generate *g = &s->request.generate;
    if (g->n_resume_ids > s->prepared.max_tokens)
        return base_fail(error, BASE_ETOOBIG, "generate.resume_ids has %zu tokens; this answer has at most %u",
                         g->n_resume_ids, s->prepared.max_tokens);
    for (size_t i = 0; i < g->n_resume_ids; i++) {
        if (g->resume_ids[i] >= env->limits.vocab_size)
            return base_fail(error, BASE_EINVAL, "generate.resume_ids[%zu] is %u; the model has %u tokens", i,
                             g->resume_ids[i], env->limits.vocab_size);
        if (!text_ids_push(&s->prepared.prompt.tokens, (int32_t)g->resume_ids[i]))
            return base_fail(error, BASE_ENOMEM, "no memory for the tokens of a prompt");
    }
    s->prepared.n_resumed = (uint32_t)g->n_resume_ids;
    return BASE_OK;
}

/* Append the tokens of the answer to score; as append_resumed, before free_message. */
static base_status append_answer(session *s, const prompt_env *env, base_error *error)
{
    const char *answer = s->request.generate.answer;
    text_part part = {.text = answer, .size = strlen(answer)};
    size_t n_prompt = s->prepared.prompt.tokens.n;
    base_status status =
        text_encode_parts(env->tokenizer, &part, 1, env->limits.max_positions, &s->prepared.prompt.tokens, error);
    if (status == BASE_ETOOBIG)
        return base_fail(error, status,
                         "generate.answer has more than %zu tokens, which is what the context of %u leaves",
                         env->limits.max_positions - n_prompt, env->limits.max_positions);
    if (status != BASE_OK)
        return status;
    if (s->prepared.prompt.tokens.n == n_prompt)
        return base_fail(error, BASE_EINVAL, "generate.answer gives no token");
    s->prepared.max_tokens = (uint32_t)(s->prepared.prompt.tokens.n - n_prompt);
    s->prepared.scores = true;
    return prompt_check_ids(env, &s->prepared.prompt.tokens, error);
}

void session_prepare(session *s, const prompt_env *env)
{
    s->prepared.error = (base_error){0};
    base_status status = prompt_build(env, &s->request.generate, &s->prepared.prompt, &s->prepared.error);
    if (status == BASE_OK) {
        s->prepared.n_prompt_tokens = (uint32_t)s->prepared.prompt.tokens.n;
        s->prepared.n_image_tokens = s->prepared.prompt.n_images * env->limits.rows_per_image;
        s->prepared.max_tokens = tokens_to_make(s, &env->limits);
        if (s->request.generate.answer != NULL && s->request.generate.answer[0] != '\0')
            append_answer(s, env, &s->prepared.error);
        else
            append_resumed(s, env, &s->prepared.error);
    }
    free_message(s);
}

sched_request session_request_of(const session *s, const int32_t *stop_ids, uint32_t n_stop_ids)
{
    const wire_generate *g = &s->request.generate;
    return (sched_request){
        .user = (void *)(uintptr_t)s,
        .tokens = s->prepared.prompt.tokens.ids,
        .n_tokens = s->prepared.n_prompt_tokens + s->prepared.n_resumed,
        .n_resumed = s->prepared.n_resumed,
        .score = s->prepared.scores,
        .images = (const uint8_t *const *)s->prepared.prompt.images,
        .n_images = s->prepared.prompt.n_images,
        .image_digests = (const unsigned char(*)[CONTENT_DIGEST_BYTES])s->prepared.prompt.image_digests,
        .image_keys = (const unsigned char(*)[CONTENT_DIGEST_BYTES])s->prepared.prompt.image_keys,
        .vectors = s->prepared.prompt.vectors,
        .n_vectors = s->prepared.prompt.n_vectors,
        .max_tokens = s->prepared.max_tokens,
        .stop_ids = stop_ids,
        .n_stop_ids = s->prepared.scores ? 0 : n_stop_ids,
        .priority = (uint32_t)g->priority,
        .deadline_us = s->deadline_us,
        .sampling = {.temperature = g->sampling.temperature,
                     .top_k = g->sampling.top_k,
                     .top_p = g->sampling.top_p,
                     .seed = g->sampling.seed},
        .digest = g->logits_digest,
    };
}

/* ---- the answer ---- */

/* A reply's text cannot hold a NUL (a byte-level vocabulary can spell one): it is left out. */
static void drop_nuls(base_buf *buf)
{
    size_t kept = 0;
    for (size_t i = 0; i < buf->size; i++)
        if (buf->data[i] != 0)
            buf->data[kept++] = buf->data[i];
    buf->size = kept;
}

/* Pass text through the stop strings into the answer; true when one of them matched. */
static bool append_text(session *s, base_buf *delta)
{
    drop_nuls(delta);
    s->answer.text.failed |= delta->failed;
    return text_stop_push(&s->answer.stop, delta->data, delta->size, &s->answer.text);
}

static void fold_digest(session *s, uint64_t value)
{
    for (int i = 0; i < 8; i++) {
        s->answer.logits_digest ^= (value >> (8 * i)) & 0xffu;
        s->answer.logits_digest *= DIGEST_PRIME;
    }
}

/* A token of the answer, made now or before.  True when a stop string ends the answer here. */
static bool append_token(session *s, int32_t token)
{
    s->answer.ids[s->answer.n_ids++] = (uint32_t)token;
    base_buf delta = {0};
    text_stream_push(&s->answer.stream, token, &delta);
    bool stopped = append_text(s, &delta);
    base_buf_release(&delta);
    return stopped;
}

bool session_add_token(session *s, const sched_event *event, uint64_t now_us)
{
    if (s->control.state == SESSION_SCHEDULED) {
        session_move(s, SESSION_DECODING);
        s->answer.started_us = event->started_us;
        s->answer.first_token_us = now_us;
    }
    s->answer.reuse = event->reuse;
    fold_digest(s, event->token.logits_digest);
    if (event->finish == SCHED_EOS)
        return false;
    if (s->answer.logprobs != NULL)
        s->answer.logprobs[s->answer.n_ids] = event->token.logprob;
    return append_token(s, event->token.token);
}

/* The answer so far is as it was when its run ended; the client that resumes has what was streamed then. */
static wire_finish add_resumed(session *s)
{
    bool stopped = false;
    for (uint32_t i = 0; i < s->prepared.n_resumed && !stopped; i++)
        stopped = append_token(s, s->prepared.prompt.tokens.ids[s->prepared.n_prompt_tokens + i]);
    s->answer.text_sent = s->answer.text.size;
    s->answer.n_ids_sent = s->answer.n_ids;
    return stopped                                     ? WIRE_FINISH_STOP
           : s->answer.n_ids == s->prepared.max_tokens ? WIRE_FINISH_LENGTH
                                                       : WIRE_FINISH_UNKNOWN;
}

base_status session_begin(session *s, const text_tokenizer *tokenizer, uint64_t now_us, wire_finish *finish,
                          base_error *error)
{
    s->answer.ids = calloc(s->prepared.max_tokens, sizeof *s->answer.ids);
    if (s->prepared.scores)
        s->answer.logprobs = calloc(s->prepared.max_tokens, sizeof *s->answer.logprobs);
    if (s->answer.ids == NULL || (s->prepared.scores && s->answer.logprobs == NULL))
        return base_fail(error, BASE_ENOMEM, "no memory for an answer of %u tokens", s->prepared.max_tokens);
    text_stream_init(&s->answer.stream, tokenizer);
    text_stop_init(&s->answer.stop, s->request.generate.stop, s->request.generate.n_stop);
    s->answer.queued_us = now_us;
    session_move(s, SESSION_SCHEDULED);
    *finish = add_resumed(s);
    if (*finish != WIRE_FINISH_UNKNOWN)
        session_move(s, SESSION_DECODING);
    return s->answer.text.failed ? base_fail(error, BASE_ENOMEM, "no memory for the answer's text") : BASE_OK;
}

void session_free_prompt(session *s)
{
    text_ids_release(&s->prepared.prompt.tokens);
}

void session_flush_text(session *s)
{
    base_buf delta = {0};
    text_stream_finish(&s->answer.stream, &delta);
    append_text(s, &delta);
    text_stop_finish(&s->answer.stop, &s->answer.text);
    base_buf_release(&delta);
}

/* ---- replies ---- */

static void put_reply(wire_reply *reply, const char *request_id, base_buf *out)
{
    reply->version = WIRE_VERSION;
    snprintf(reply->request_id, sizeof reply->request_id, "%s", request_id);
    if (wire_reply_encode(reply, out, NULL) != BASE_OK)
        out->failed = true;
}

/* The answer from byte `from` on as a string; "" when memory is out (then the buffer has failed). */
static const char *text_from(base_buf *text, size_t from)
{
    if (!base_buf_reserve(text, 1))
        return "";
    text->data[text->size] = '\0';
    return (const char *)text->data + from;
}

bool session_encode_delta(session *s, base_buf *out)
{
    if (s->answer.text.size == s->answer.text_sent)
        return false;
    wire_reply reply = {.kind = WIRE_REPLY_TOKEN,
                        .token = {.index = s->answer.n_events++,
                                  .ids = s->answer.ids + s->answer.n_ids_sent,
                                  .n_ids = s->answer.n_ids - s->answer.n_ids_sent,
                                  .text = text_from(&s->answer.text, s->answer.text_sent)}};
    put_reply(&reply, s->request.request_id, out);
    s->answer.text_sent = s->answer.text.size;
    s->answer.n_ids_sent = s->answer.n_ids;
    return true;
}

static double ms_between(uint64_t from_us, uint64_t to_us)
{
    return to_us > from_us ? (double)(to_us - from_us) / 1000.0 : 0.0;
}

/* [s->prepared.prompt.n_warnings], which the caller frees; their strings are the session's. */
static wire_warning *warnings_of(const session *s)
{
    wire_warning *all = calloc(s->prepared.prompt.n_warnings + 1, sizeof *all);
    for (size_t i = 0; all != NULL && i < s->prepared.prompt.n_warnings; i++) {
        const prompt_warning *from = &s->prepared.prompt.warnings[i];
        all[i] = (wire_warning){.code = (uint32_t)from->warning.kind,
                                .name = image_warning_name(from->warning.kind),
                                .message = from->warning.text,
                                .image = from->image};
    }
    return all;
}

void session_encode_result(const session *s, wire_finish finish, const session_provenance *from, uint64_t now_us,
                           base_buf *out)
{
    char digest[17] = "";
    if (s->request.generate.logits_digest)
        snprintf(digest, sizeof digest, "%016" PRIx64, s->answer.logits_digest);
    base_buf text = {0};
    base_buf_put(&text, s->answer.text.data, s->answer.text.size);
    base_buf_put_u8(&text, 0);
    wire_warning *warnings = warnings_of(s);
    wire_reply reply = {.kind = WIRE_REPLY_RESULT,
                        .result = {.text = text.failed ? "" : (const char *)text.data,
                                   .finish = finish,
                                   .ids = s->answer.ids,
                                   .n_ids = s->answer.n_ids,
                                   .logprobs = s->answer.logprobs,
                                   .n_logprobs = s->answer.logprobs != NULL ? s->answer.n_ids : 0,
                                   .prompt_tokens = s->prepared.n_prompt_tokens,
                                   .image_tokens = s->prepared.n_image_tokens,
                                   .completion_tokens = s->answer.n_ids,
                                   .prepare_ms = ms_between(s->arrived_us, s->answer.queued_us),
                                   .queue_ms = ms_between(s->answer.queued_us, s->answer.started_us),
                                   .first_token_ms = ms_between(s->arrived_us, s->answer.first_token_us),
                                   .total_ms = ms_between(s->arrived_us, now_us),
                                   .reused_tokens = s->answer.reuse.n_cached,
                                   .drafted_tokens = s->answer.reuse.n_drafted,
                                   .accepted_tokens = s->answer.reuse.n_accepted,
                                   .model = from->model,
                                   .model_digest = from->model_digest,
                                   .build = from->version,
                                   .layout = from->layout,
                                   .isa = from->isa,
                                   .seed = s->request.generate.sampling.seed,
                                   .logits_digest = digest,
                                   .warnings = warnings,
                                   .n_warnings = warnings != NULL ? s->prepared.prompt.n_warnings : 0}};
    put_reply(&reply, s->request.request_id, out);
    out->failed |= text.failed || s->answer.text.failed || warnings == NULL;
    free(warnings);
    base_buf_release(&text);
}

void session_encode_error(const char *request_id, base_status status, const char *text, base_buf *out)
{
    wire_reply reply = {.kind = WIRE_REPLY_ERROR, .error = {.code = (uint32_t)status, .message = text}};
    put_reply(&reply, request_id, out);
}
