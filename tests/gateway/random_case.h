/* random_case.h - random requests with known answers, for the simulated engine (test_random_requests.c).
 *
 * The answer is computed by fake_model.h alone: no scheduler, no speculation, one token after the other, cut at the
 * first stop string that is complete. */
#ifndef PALMGROVE_TESTS_RANDOM_CASE_H
#define PALMGROVE_TESTS_RANDOM_CASE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/wire/msg.h"
#include "tests/gateway/fake_model.h"

enum { CASE_PROMPT_MAX = 96, CASE_TOKENS_MAX = 128, CASE_STOPS = 3, CASE_STOP_BYTES = 8, CASE_SIDE = 8, CASE_ROWS = 4 };

/* xorshift64*; never 0. */
typedef struct random_state {
    uint64_t value;
} random_state;

/* 0 .. n - 1. */
uint32_t random_below(random_state *r, uint32_t n);
static inline bool random_one_in(random_state *r, uint32_t n)
{
    return random_below(r, n) == 0;
}

typedef struct random_case {
    /* the request */
    char prompt[CASE_PROMPT_MAX + 1];
    bool has_image, stream, digest, scores;
    uint8_t grey; /* of the image */
    link_sampling sampling;
    uint32_t max_tokens, n_stops, n_resumed, deadline_ms, priority;
    char stops[CASE_STOPS][CASE_STOP_BYTES];

    /* the answer */
    base_status refusal; /* BASE_OK: it has one */
    uint32_t ids[CASE_TOKENS_MAX];
    float logprobs[CASE_TOKENS_MAX];
    char text[CASE_TOKENS_MAX + 1];
    uint32_t n_prompt, n_ids;
    uint32_t n_streamed_before; /* bytes of the text that the run that is resumed has streamed */
    wire_finish finish;
    uint64_t logits_digest;

    /* what came so far, and what else may end it */
    bool is_open, is_canceled, may_be_busy;
    char streamed[CASE_TOKENS_MAX + 1];
    uint32_t n_streamed, n_events;
} random_case;

/* Draw a request for a replica of these limits, of at most max_tokens, and compute its answer. */
void random_case_draw(random_case *c, random_state *r, const link_limits *limits, uint32_t eos_every,
                      uint32_t max_tokens);

/* The request as it comes decoded from the wire; release it, or give it to a session.  `number` names it. */
wire_request random_case_request(const random_case *c, uint64_t number);

/* Is this TOKEN or RESULT what must come?  NULL: yes; else what is wrong (static). */
const char *random_case_check(random_case *c, const wire_reply *reply);

/* The request and its answer in one line, to stderr. */
void random_case_print(const random_case *c);

#endif
