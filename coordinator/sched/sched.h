/* sched.h - the scheduler of one replica: requests go in, step plans come out; results go in, tokens come out.
 *
 * Pure: no sockets, threads or clock.  Time is an argument, so tests run it on a simulated clock.
 *
 * Continuous batching: a plan (micro-batch) mixes decoding sequences, one token each, with chunks of prompts under a
 * token budget.  Plans are dispatched ahead: up to max_plans are in flight, and a sequence may have SCHED_AHEAD tokens
 * being sampled, the later of which takes the earlier as LINK_SLICE_FEEDBACK on the ranks without passing through here.
 * So the scheduler is off the per-token path.  The price: when a sequence ends, tokens already in flight for it are
 * discarded, and its resources (cache blocks, slots) are freed only when no plan in flight uses them.
 *
 * Rules
 *  1. Admission: a request waits until a sequence slot, image slots for all its images, and cache blocks for its prompt
 *     and first token are free.  No request overtakes the first of the queue.
 *  2. Preemption: when a decoding sequence needs a block and none is free, the lowest-priority running sequence is
 *     preempted: its blocks are freed and it is recomputed when re-admitted, prompt and tokens made so far.  The same
 *     bits come out (DESIGN section 6).
 *  3. Encoder cache: an image is encoded by the plan that first needs a row of it, and its slot is held until a
 *     completed plan has consumed its last row.  A free slot is remembered by its image's key (encoder_cache.h): a
 *     request with that image reuses the slot without encoding.
 *  4. Prefix reuse: blocks computed for one sequence are shared with others that begin with the same tokens
 *     (prefix_cache.h).  At least the last token of a prompt is computed, because its logits are needed.  An image
 * whose rows all lie in such blocks is not encoded.
 *  5. Speculative decoding: a slice may feed a sequence's last token and k draft tokens; the ranks sample after each,
 *     and the longest prefix of the draft that agrees with what was sampled is accepted, with the token after it.  The
 *     sampler depends on seed and position only, so these are the tokens that would have come one by one.  Keys and
 *     values of rejected tokens are overwritten by what follows.  While a draft is verified no other slice of the
 *     sequence is in flight.  Draft tokens come from n-gram lookup (speculate/ngram.h) or from the ranks' draft model
 *     (link_draft), whichever has the higher expected throughput.  The draft model prefills what it has not read of a
 *     sequence (speculate/draft_text.h) in the plan that uses it, at most one plan's tokens at a time; it does not
 * draft for a sequence for which its cache has no room.
 *  6. Where the rows of an image attend to each other (link_limits.whole_images), a chunk of a prompt ends before an
 *     image or with its last row.  When the next prompt begins with an image, the plan keeps that many tokens for it.
 *  7. Decoding sequences are spread over as many micro-batches as there are stages: a sequence enters a plan only if it
 *     was in none of the n_stages - 1 plans before, unless the plan would be empty otherwise.
 *  8. Scoring: a request may bring its answer.  Its tokens replace what would be sampled, and drafts of them, which
 *     are always accepted, are fed at once; everything else is as with other requests.
 *
 * Where: queue limit and submission in request_queue.c, rule 1 in admission.c, rule 2 in preempt.c, rule 3 in
 * encoder_cache.c, rule 4 in prefix_reuse.c, rule 5 in speculate/, rules 6 and 7 in plan_build.c; results.c takes
 * results, cancel.c and deadline.c end requests early, sequence.c frees what a sequence holds.
 *
 * Threads: one owner. */
#ifndef PALMGROVE_SCHED_H
#define PALMGROVE_SCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "coordinator/sched/policy.h"
#include "coordinator/sched/prefix_cache.h"
#include "proto/base/status.h"
#include "proto/link/plan.h"

/* Draft tokens of one slice, at most. */
#define SCHED_DRAFT_MAX 15u
/* sched_options.speculate: as many as the policy expects to pay (speculate/spec_policy.h). */
#define SCHED_SPECULATE_AUTO UINT32_MAX

/* Tokens of one sequence that may be in flight at the same time. */
#define SCHED_AHEAD 2u

typedef struct sched sched;
typedef struct sched_seq sched_seq; /* one submitted request */

typedef struct sched_options {
    link_limits limits; /* of the replica */
    uint32_t n_stages;
    uint32_t max_plans;   /* in flight; 0: n_stages + 1 */
    uint32_t step_tokens; /* budget of a plan; 0 or more than the replica's: the replica's */
    uint32_t max_queue;   /* waiting requests; at least 1 */
    const sched_policy *policy;
    bool reuse_prefixes; /* rule 4 */
    uint32_t speculate;  /* rule 5: 0 never, N up to N tokens whenever there is a proposal, SCHED_SPECULATE_AUTO */
} sched_options;

/* Errors: BASE_EINVAL a limit is zero or absurd (named); BASE_ENOMEM. */
base_status sched_create(const sched_options *options, sched **out, base_error *error);
/* Frees everything, unfinished requests included; their `user` is not told. */
void sched_destroy(sched **s);

/* Reserve a place in the queue for a request that is still being prepared.  BASE_EBUSY when the queue is full; the text
 * has its length. */
base_status sched_reserve(sched *s, base_error *error);
/* Give the place back: the preparation failed. */
void sched_unreserve(sched *s);

typedef struct sched_request {
    void *user;            /* comes back in events */
    const int32_t *tokens; /* [n_tokens] copied; ids, image rows and vectors as position.h numbers them in requests */
    uint32_t n_tokens;     /* >= 1 */
    uint32_t n_resumed;    /* the last n_resumed tokens are the answer's first, made by an earlier run */
    bool score;            /* rule 8: the answer is given, max_tokens more in `tokens`; n_resumed is 0 then */
    const uint8_t *const
        *images; /* [n_images] of [image_size][image_size][3] u8; the pointers are copied, the pixels borrowed
                    until the request has ended.  Each image's rows are contiguous, images in rising order */
    uint32_t n_images;
    const unsigned char (
        *image_digests)[CONTENT_DIGEST_BYTES]; /* [n_images] copied; digest of the pixels of images 0 .. k and of the
                                                  vectors before.  NULL: blocks with image rows are not shared */
    const unsigned char (*image_keys)[CONTENT_DIGEST_BYTES]; /* [n_images] copied; digest of the pixels of image k.
                                                                NULL: every image is encoded */
    const content_vector *vectors;                           /* [n_vectors] copied; in order in `tokens`, each once */
    uint32_t n_vectors;
    uint32_t max_tokens;     /* > n_resumed, which it includes */
    const int32_t *stop_ids; /* [n_stop_ids] tokens that end it; borrowed until the request has ended */
    uint32_t n_stop_ids;
    uint32_t priority;    /* larger first */
    uint64_t deadline_us; /* 0: none */
    link_sampling sampling;
    bool digest;
} sched_request;

/* Can the answer be resumed after these tokens?  BASE_EINVAL: one is no vocabulary id, or would have ended it.
 * sched_submit checks it too. */
base_status sched_check_resumed(const sched_request *request, base_error *error);

/* Put a prepared request into the queue; uses up one sched_reserve, also on failure.  *out is valid until the event
 * that ends the request is taken (even where the sequence ended before that), or until sched_cancel.  Errors:
 * BASE_ETOOBIG it could never run (positions, cache blocks, image slots: named with both numbers); BASE_EINVAL tokens
 * or image rows that do not fit; BASE_EDEADLINE too late already; BASE_ENOMEM. */
base_status sched_submit(sched *s, const sched_request *request, uint64_t now_us, sched_seq **out, base_error *error);

/* Cancel: the owner has no further use for the request (client gone, canceled, stop string found).  Allowed between
 * two events of it; no further event of it follows, pending ones included.  Its KV blocks, slot and image slots are
 * freed at once, or when the last plan in flight that uses them completes. */
void sched_cancel(sched *s, sched_seq *seq);

/* The next plan to send, or NULL when nothing can be dispatched now.  Borrowed until the next call; its step number
 * counts up from 1. */
const link_plan *sched_next_plan(sched *s, uint64_t now_us);

/* Process the result of the oldest plan in flight.  BASE_EFORMAT if the result does not match that plan; state is
 * unchanged then. */
base_status sched_process_result(sched *s, const link_result *result, uint64_t now_us, base_error *error);

/* End every request whose deadline has passed. */
void sched_expire(sched *s, uint64_t now_us);
/* The earliest deadline of all; 0 when there is none. */
uint64_t sched_next_deadline(const sched *s);

typedef enum sched_finish { SCHED_CONTINUE, SCHED_EOS, SCHED_LENGTH, SCHED_FAILED } sched_finish;

/* Work this request skipped so far. */
typedef struct sched_reuse {
    uint32_t n_cached;              /* positions not computed: another sequence's blocks were reused */
    uint32_t n_drafted, n_accepted; /* draft tokens */
} sched_reuse;

typedef struct sched_event {
    void *user;
    sched_finish finish; /* anything but SCHED_CONTINUE ends the request */
    base_status status;  /* SCHED_FAILED: why (BASE_EDEADLINE, BASE_ENUMERIC); no token then */
    link_token token;    /* the token sampled; the end-of-text id too */
    uint64_t started_us; /* when its first plan was dispatched; 0: it never was */
    sched_reuse reuse;
} sched_event;

/* The next event of sched_process_result or sched_expire; false: no more.  Take all of them before the next call of
 * either. */
bool sched_next_event(sched *s, sched_event *out);

typedef struct sched_stats {
    uint32_t n_waiting; /* reserved places included */
    uint32_t n_running;
    uint32_t n_plans;                         /* in flight */
    uint32_t kv_blocks_total, kv_blocks_free; /* free: evictable cached blocks included */
    uint32_t kv_blocks_cached;                /* evictable */
    uint64_t steps;                           /* dispatched since the start, as all that follow */
    uint64_t prefix_requests, prefix_tokens;  /* admitted with reused blocks; positions not computed */
    uint64_t drafted_tokens, accepted_tokens;
    uint64_t images_reused; /* not encoded: a slot held them */
} sched_stats;

sched_stats sched_stats_of(const sched *s);

#endif
