#include "tests/gateway/random_case.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGEST_START 0xcbf29ce484222325u
#define DIGEST_PRIME 0x100000001b3u

uint32_t random_below(random_state *r, uint32_t n)
{
    r->value ^= r->value >> 12;
    r->value ^= r->value << 25;
    r->value ^= r->value >> 27;
    return (uint32_t)((r->value * 0x2545f4914f6cdd1du) >> 32) % n;
}

/* ---- the answer ---- */

static uint32_t make_tokens(const random_case *c, int32_t *tokens)
{
    uint32_t n = 0;
    tokens[n++] = FAKE_BOS;
    for (uint32_t row = 0; c->has_image && row < CASE_ROWS; row++)
        tokens[n++] = -1 - (int32_t)row;
    for (const char *at = c->prompt; *at != '\0'; at++)
        tokens[n++] = FAKE_FIRST_CHAR + (uint8_t)*at;
    return n;
}

/* Does whole [end] end with a stop string?  Its length, of several the longest; 0: no. */
static uint32_t stop_at(const random_case *c, const char *whole, uint32_t end)
{
    uint32_t longest = 0;
    for (uint32_t i = 0; i < c->n_stops; i++) {
        uint32_t n = (uint32_t)strlen(c->stops[i]);
        if (n <= end && n > longest && memcmp(whole + end - n, c->stops[i], n) == 0)
            longest = n;
    }
    return longest;
}

/* Bytes at the end of whole [end] that may begin a stop string: they are not streamed yet. */
static uint32_t held_back(const random_case *c, const char *whole, uint32_t end)
{
    uint32_t longest = 0;
    for (uint32_t i = 0; i < c->n_stops; i++)
        for (uint32_t n = 1; n < strlen(c->stops[i]) && n <= end; n++)
            if (n > longest && memcmp(whole + end - n, c->stops[i], n) == 0)
                longest = n;
    return longest;
}

static void cut_at_stop(random_case *c, const char *whole)
{
    for (uint32_t end = 1; end <= c->n_ids; end++) {
        uint32_t n = stop_at(c, whole, end);
        if (n == 0)
            continue;
        c->text[end - n] = '\0';
        c->n_ids = end;
        c->finish = WIRE_FINISH_STOP;
        return;
    }
}

/* Stop strings: mostly pieces of the answer, which may end where it ends; some that do not occur. */
static void draw_stops(random_case *c, random_state *r)
{
    c->n_stops = random_one_in(r, 3) ? 0 : 1 + random_below(r, CASE_STOPS);
    for (uint32_t i = 0; i < c->n_stops; i++) {
        uint32_t n = 1 + random_below(r, CASE_STOP_BYTES - 1);
        bool is_piece = c->n_ids > 0 && !random_one_in(r, 4);
        uint32_t from = is_piece ? random_below(r, c->n_ids) : 0;
        if (is_piece && from + n > c->n_ids)
            n = c->n_ids - from;
        for (uint32_t k = 0; k < n; k++)
            c->stops[i][k] = is_piece ? c->text[from + k] : (char)('a' + random_below(r, 26));
        c->stops[i][n] = '\0';
    }
}

/* What the model answers, uncut. */
static void make_answer(random_case *c, random_state *r, const link_limits *limits, uint32_t eos_every,
                        const int32_t *tokens, const uint8_t *const *images)
{
    int32_t made[CASE_TOKENS_MAX];
    c->finish = WIRE_FINISH_LENGTH;
    c->n_ids = c->max_tokens;
    if (c->scores) {
        for (uint32_t i = 0; i < c->max_tokens; i++)
            made[i] = FAKE_FIRST_CHAR + 'a' + (int32_t)random_below(r, 26);
    } else {
        c->n_ids = fake_expect(limits, eos_every, tokens, c->n_prompt, images, &c->sampling, c->max_tokens, made);
        if (made[c->n_ids - 1] == FAKE_EOS) {
            c->finish = WIRE_FINISH_EOS;
            c->n_ids--;
        }
    }
    for (uint32_t i = 0; i < c->n_ids; i++) {
        c->ids[i] = (uint32_t)made[i];
        c->text[i] = (char)(made[i] - FAKE_FIRST_CHAR);
    }
    c->text[c->n_ids] = '\0';
}

/* Log-probabilities, and the digest over what is sampled: FNV-1a over the states, the end-of-text's included. */
static void make_digest(random_case *c, uint64_t state)
{
    c->logits_digest = DIGEST_START;
    uint32_t n_sampled = c->n_ids + (c->finish == WIRE_FINISH_EOS);
    for (uint32_t i = 0; i < n_sampled; i++) {
        for (int byte = 0; byte < 8 && i >= c->n_resumed; byte++)
            c->logits_digest = (c->logits_digest ^ (state >> (8 * byte) & 0xff)) * DIGEST_PRIME;
        if (i == c->n_ids)
            return;
        c->logprobs[i] = fake_logprob(state, (int32_t)c->ids[i]);
        state = fake_mix(state, c->ids[i]);
    }
}

/* ---- the request ---- */

static void draw_prompt(random_case *c, random_state *r)
{
    uint32_t n = 1 + random_below(r, CASE_PROMPT_MAX), n_common = random_below(r, n + 1);
    for (uint32_t i = 0; i < n; i++) /* beginnings that are shared, and words that repeat */
        c->prompt[i] = (char)(i < n_common ? 'A' + (i * 7 + i / 9) % 26 : 'A' + random_below(r, 4));
    c->prompt[n] = '\0';
    c->has_image = random_one_in(r, 4);
    c->grey = (uint8_t)random_below(r, 5);
}

static void draw_options(random_case *c, random_state *r, uint32_t max_tokens)
{
    c->sampling = (link_sampling){.top_p = 1.0f};
    if (random_one_in(r, 3)) {
        c->sampling.temperature = 0.7f;
        c->sampling.seed = random_below(r, 1000);
    }
    c->max_tokens = 1 + random_below(r, random_one_in(r, 3) ? max_tokens : max_tokens / 2);
    c->stream = random_one_in(r, 2);
    c->digest = random_one_in(r, 3);
    c->scores = random_one_in(r, 10);
    c->priority = random_one_in(r, 8);
    c->deadline_ms = random_one_in(r, 12) ? 1 + random_below(r, 40) : 0;
}

void random_case_draw(random_case *c, random_state *r, const link_limits *limits, uint32_t eos_every,
                      uint32_t max_tokens)
{
    int32_t tokens[1 + CASE_ROWS + CASE_PROMPT_MAX];
    uint8_t pixels[CASE_SIDE * CASE_SIDE * 3];
    const uint8_t *images[] = {pixels};
    char whole[sizeof c->text];
    *c = (random_case){0};
    draw_prompt(c, r);
    draw_options(c, r, max_tokens);
    memset(pixels, c->grey, sizeof pixels);
    c->n_prompt = make_tokens(c, tokens);
    make_answer(c, r, limits, eos_every, tokens, images);
    if (!c->scores)
        draw_stops(c, r);
    memcpy(whole, c->text, sizeof whole);
    cut_at_stop(c, whole);
    if (!c->scores && c->n_ids > 0 && random_one_in(r, 5))
        c->n_resumed = random_below(r, c->n_ids + 1);
    /* Nothing is streamed of an answer that is complete with what is resumed at a stop string. */
    if (c->n_resumed > 0)
        c->n_streamed_before = c->finish == WIRE_FINISH_STOP && c->n_resumed == c->n_ids
                                   ? (uint32_t)strlen(c->text)
                                   : c->n_resumed - held_back(c, whole, c->n_resumed);
    make_digest(c, fake_state(limits, tokens, c->n_prompt, images));
    if ((c->n_prompt + c->max_tokens + LINK_KV_BLOCK_TOKENS - 1) / LINK_KV_BLOCK_TOKENS > limits->n_kv_blocks &&
        !(c->n_resumed > 0 && c->n_resumed == c->n_ids && c->finish != WIRE_FINISH_EOS))
        c->refusal = BASE_ETOOBIG;
    if (c->n_resumed > 0 && random_one_in(r, 20)) { /* the end-of-text id ends an answer */
        c->ids[c->n_resumed - 1] = FAKE_EOS;
        c->refusal = BASE_EINVAL;
    }
    c->is_open = true;
}

wire_request random_case_request(const random_case *c, uint64_t number)
{
    uint8_t pgm[32 + CASE_SIDE * CASE_SIDE];
    int n_header = snprintf((char *)pgm, 32, "P5 %d %d 255\n", CASE_SIDE, CASE_SIDE);
    memset(pgm + n_header, c->grey, CASE_SIDE * CASE_SIDE);
    const wire_part parts[] = {
        {.kind = WIRE_PART_IMAGE, .image = pgm, .image_bytes = (size_t)n_header + CASE_SIDE * CASE_SIDE},
        {.kind = WIRE_PART_TEXT, .text = c->prompt}};
    const char *stops[CASE_STOPS];
    for (uint32_t i = 0; i < c->n_stops; i++)
        stops[i] = c->stops[i];
    wire_request request = {
        .version = WIRE_VERSION,
        .kind = WIRE_REQUEST_GENERATE,
        .generate = {.parts = c->has_image ? parts : parts + 1,
                     .n_parts = c->has_image ? 2 : 1,
                     .sampling = {.temperature = c->sampling.temperature, .top_p = 1.0f, .seed = c->sampling.seed},
                     .max_tokens = c->scores ? 0 : c->max_tokens,
                     .stop = stops,
                     .n_stop = c->n_stops,
                     .stream = c->stream,
                     .deadline_ms = c->deadline_ms,
                     .priority = (wire_priority)c->priority,
                     .logits_digest = c->digest,
                     .resume_ids = c->ids,
                     .n_resume_ids = c->n_resumed,
                     .answer = c->scores ? c->text : NULL}};
    snprintf(request.request_id, sizeof request.request_id, "%" PRIu64, number);
    base_buf bytes = {0};
    wire_request decoded;
    base_error error = {0};
    if (wire_request_encode(&request, &bytes, NULL) != BASE_OK ||
        wire_request_decode(bytes.data, bytes.size, &decoded, &error) != BASE_OK) {
        fprintf(stderr, "a request that cannot be sent: %s\n", error.text);
        abort();
    }
    base_buf_release(&bytes);
    return decoded;
}

/* ---- checks ---- */

static const char *check_token(random_case *c, const wire_token *token)
{
    size_t n = strlen(token->text);
    if (!c->stream)
        return "a token of a request that does not stream";
    if (token->index != c->n_events++)
        return "a token event out of order";
    if (c->n_streamed + n > CASE_TOKENS_MAX)
        return "more text than tokens";
    memcpy(c->streamed + c->n_streamed, token->text, n + 1);
    c->n_streamed += (uint32_t)n;
    return NULL;
}

static const char *check_result(const random_case *c, const wire_result *result)
{
    char digest[17] = "";
    if (c->digest)
        snprintf(digest, sizeof digest, "%016" PRIx64, c->logits_digest);
    if (c->refusal != BASE_OK)
        return "an answer to a request that should be refused";
    if (strcmp(result->text, c->text) != 0)
        return "another text";
    if (result->finish != c->finish)
        return "another finish";
    if (result->n_ids != c->n_ids || (c->n_ids > 0 && memcmp(result->ids, c->ids, c->n_ids * sizeof *c->ids) != 0))
        return "other ids";
    if (c->stream && strcmp(c->streamed, c->text + c->n_streamed_before) != 0)
        return "another text was streamed";
    if (strcmp(result->logits_digest, digest) != 0)
        return "another digest of the logits";
    if (result->prompt_tokens != c->n_prompt || result->completion_tokens != c->n_ids)
        return "other counts of tokens";
    if (c->scores ? result->n_logprobs != c->n_ids ||
                        memcmp(result->logprobs, c->logprobs, c->n_ids * sizeof *c->logprobs) != 0
                  : result->n_logprobs != 0)
        return "other log-probabilities";
    return NULL;
}

const char *random_case_check(random_case *c, const wire_reply *reply)
{
    return reply->kind == WIRE_REPLY_TOKEN    ? check_token(c, &reply->token)
           : reply->kind == WIRE_REPLY_RESULT ? check_result(c, &reply->result)
                                              : "a reply of another kind";
}

void random_case_print(const random_case *c)
{
    fprintf(stderr, "prompt '%s'%s, max_tokens %u, resumed %u, stops", c->prompt, c->has_image ? " and an image" : "",
            c->max_tokens, c->n_resumed);
    for (uint32_t i = 0; i < c->n_stops; i++)
        fprintf(stderr, " '%s'", c->stops[i]);
    fprintf(stderr, "%s%s: '%s', %u ids, finish %d; streamed '%s'\n", c->stream ? ", stream" : "",
            c->scores ? ", scored" : "", c->text, c->n_ids, (int)c->finish, c->streamed);
}
