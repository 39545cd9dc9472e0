/* sequence.h - a request inside the scheduler: its states, its tokens, and the resources it holds.
 *
 *     WAITING --admit--> PREFILL --last chunk planned--> DECODE --+--> ENDED (from WAITING too), or DRAINING until no
 *        ^                  |                              |      |    plan in flight uses it
 *        |                  |                              |      |
 *        +---- PREEMPTED <--+------------------------------+      +
 *           (until no plan in flight uses it)
 *
 * An ended sequence holds nothing, but its struct lives on (ENDED) while events of it wait to be taken: the owner may
 * cancel it in between.
 *
 * Positions: tokens [0, n_known) are known; [0, n_planned) were fed by plans sent; [0, n_done) by plans completed.
 * While decoding, n_planned runs ahead of n_known by the samples in flight:  n_planned <= n_known + n_sampling;  while
 * n_draft tokens are being verified by as many:  n_planned = n_known + n_draft.  Rejected draft tokens take n_planned
 * and n_done back. */
#ifndef PALMGROVE_SCHED_SEQUENCE_H
#define PALMGROVE_SCHED_SEQUENCE_H

#include "coordinator/sched/block_table.h"
#include "coordinator/sched/sched.h"
#include "coordinator/sched/speculate/draft_text.h"
#include "coordinator/sched/speculate/ngram.h"
#include "coordinator/sched/speculate/spec_policy.h"

typedef enum seq_state { SEQ_WAITING, SEQ_PREFILL, SEQ_DECODE, SEQ_PREEMPTED, SEQ_DRAINING, SEQ_ENDED } seq_state;

#define SEQ_NO_SLOT UINT32_MAX

typedef struct seq_image {
    const uint8_t *pixels; /* borrowed */
    uint32_t end;          /* position after its last row */
    uint32_t slot;         /* SEQ_NO_SLOT: none held */
    bool is_planned;       /* encoded in its slot, or by a plan that was sent */
    unsigned char key[CONTENT_DIGEST_BYTES];
} seq_image;

struct sched_seq {
    seq_state state;
    void *user;
    sched_rank rank;
    int32_t *tokens; /* [n_prompt + max_tokens] owned */
    bool scores;     /* all of `tokens` were given */
    uint32_t n_prompt, max_tokens, n_known, n_planned, n_done;
    uint32_t n_sampling; /* tokens being sampled by plans in flight */
    uint32_t n_plans;    /* plans in flight that hold a slice of it */
    uint32_t n_events;   /* pending in the scheduler's list */
    uint32_t slot;
    block_table table;
    seq_image *images; /* [n_images] owned */
    uint32_t n_images;
    content_vector *vectors; /* owned; their values are borrowed */
    bool has_image_keys;
    const int32_t *stop_ids; /* [n_stop_ids] borrowed */
    uint32_t n_stop_ids;
    link_sampling sampling;
    bool digest;
    bool overflowed;                                      /* what it computes from now on must not be shared */
    unsigned char (*image_digests)[CONTENT_DIGEST_BYTES]; /* [n_images] owned; NULL: not known */
    ngram_match match;
    acceptance_record acceptance;
    uint32_t n_draft;          /* draft tokens being verified */
    bool draft_is_placeholder; /* the draft model's: known when the result brings them */
    int32_t draft[SCHED_DRAFT_MAX];
    draft_text text;
    sched_reuse reuse;
    uint64_t last_step; /* the last plan that held it */
    uint64_t started_us;
};

/* Sequences by pointer, in no order. */
typedef struct seq_list {
    sched_seq **items; /* [capacity] owned */
    uint32_t n, capacity;
} seq_list;

/* Errors: BASE_ENOMEM. */
base_status seq_list_init(seq_list *list, uint32_t capacity, base_error *error);
void seq_list_add(seq_list *list, sched_seq *seq);
/* seq is in the list; the last one takes its place. */
void seq_list_remove(seq_list *list, const sched_seq *seq);
/* Of the sequences that `is_eligible`, the first (want_last: the last) in the policy's order; NULL: none. */
sched_seq *seq_list_pick(const seq_list *list, const sched_policy *policy, bool want_last,
                         bool (*is_eligible)(const sched_seq *));

/* A WAITING sequence with copies of the request's arrays, in no list yet; draft text with `with_draft_text`.  Errors:
 * BASE_ENOMEM. */
base_status sched_seq_create(const sched_request *request, uint32_t rows_per_image, bool with_draft_text,
                             sched_seq **out, base_error *error);
/* Free a sequence that holds no resources and is in no list. */
void sched_seq_destroy(sched_seq *seq);

/* Free the slot, KV blocks (the draft model's too) and image slots of a sequence that no plan in flight uses. */
void sched_seq_release_resources(sched *s, sched_seq *seq);
/* Free the slots of images whose rows were all consumed or reused. */
void sched_seq_release_images(sched *s, sched_seq *seq);

/* Preempted: release everything and back to the queue, to be recomputed. */
void sched_seq_requeue(sched *s, sched_seq *seq);

/* No further events follow.  Resources are released now, or when the last plan in flight that uses them completes
 * (DRAINING; called again then). */
void sched_seq_end(sched *s, sched_seq *seq);

#endif
