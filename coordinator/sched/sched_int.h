/* sched_int.h - the scheduler's state, shared by sched.c (requests), plan_build.c and propose.c (plans), prefix_reuse.c
 * (shared blocks), results.c and the unit test's invariant checker.  Nobody else includes it.
 *
 * Life of a sequence:
 *
 *     WAITING --admit--> PREFILL --last chunk planned--> DECODE --+--> ended: freed at once, or DRAINING until no plan
 * uses it ^                  |                              |      |
 *        +---- PREEMPTED <--+------------------------------+      +--> (WAITING too: freed)
 *           (until no plan in flight uses it)
 *
 * An ended sequence holds nothing, but its struct lives on (ENDED) while events of it wait to be taken: the owner may
 * cancel it in between.
 *
 * Positions of a sequence: tokens [0, n_known) are known; [0, n_planned) were fed by plans sent; [0, n_done) by plans
 * completed. While decoding, n_planned runs ahead of n_known by the samples in flight:  n_planned <= n_known +
 * n_sampling;  while n_draft tokens are being verified by as many:  n_planned = n_known + n_draft.  What was wrongly
 * guessed takes n_planned and n_done back. */
#ifndef PALMGROVE_SCHED_INT_H
#define PALMGROVE_SCHED_INT_H

#include "coordinator/sched/speculate/ngram.h"
#include "coordinator/sched/speculate/draft_text.h"
#include "coordinator/sched/speculate/spec_policy.h"
#include "coordinator/sched/encoder_cache.h"
#include "coordinator/sched/block_table.h"
#include "coordinator/sched/sched.h"
#include "proto/link/position.h"

typedef enum seq_state { SEQ_WAITING, SEQ_PREFILL, SEQ_DECODE, SEQ_PREEMPTED, SEQ_DRAINING, SEQ_ENDED } seq_state;

#define SEQ_NO_SLOT UINT32_MAX

typedef struct seq_image {
    const uint8_t *pixels; /* borrowed */
    uint32_t end;          /* position after its last row */
    uint32_t slot;         /* SEQ_NO_SLOT: none held */
    bool planned;          /* a plan that encodes it was sent */
    unsigned char name[CONTENT_DIGEST_BYTES];
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
    uint32_t n_events;   /* in the scheduler's list, not taken yet */
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
    bool overflowed;                                      /* what it computes from now on is worth nothing to others */
    unsigned char (*image_digests)[CONTENT_DIGEST_BYTES]; /* [n_images] owned; NULL: not known */
    ngram_match lead;
    acceptance_record guesses;
    uint32_t n_draft;          /* guesses being verified */
    bool draft_is_placeholder; /* they are the draft model's: known when the result tells them */
    int32_t draft[SCHED_DRAFT_MAX];
    draft_text text;
    sched_reuse reuse;
    uint64_t last_step; /* the last plan that held it */
    uint64_t started_us;
};

/* A plan in flight: whose slices it holds. */
typedef struct inflight_slice {
    sched_seq *seq;
    uint32_t pos, n_tokens, n_sampled;
    uint32_t n_drafted; /* by the draft model */
} inflight_slice;

typedef struct inflight_plan {
    uint64_t step, sent_us;
    uint32_t n_decode_rows;    /* 0: it has other rows too */
    uint32_t n_passes, n_read; /* of the draft model */
    uint32_t n_entries;
    inflight_slice *entries; /* [max_seqs] */
} inflight_plan;

/* Sequences by pointer, in no order. */
typedef struct seq_list {
    sched_seq **items;
    uint32_t n, capacity;
} seq_list;

struct sched {
    sched_options options;
    uint64_t step, arrivals;
    uint32_t n_reserved;
    seq_list waiting, running;
    id_pool slots;
    encoder_cache images;
    prefix_cache blocks, draft_blocks; /* of the model's cache, of the draft model's */
    ngram_history history;
    spec_policy spec_policy;
    uint64_t last_result_us;
    uint64_t prefix_requests, prefix_tokens, drafted_tokens, accepted_tokens;
    inflight_plan *flights; /* ring of max_plans, oldest at first_flight */
    uint32_t first_flight, n_flights;
    link_plan plan;         /* the one being put together; arrays sized for the largest */
    uint32_t n_drafted;     /* in the plan */
    float n_expected;       /* tokens that its drafts are expected to give */
    uint32_t n_passes;      /* of the draft model before the plan */
    bool has_prompts;       /* some prompt is not computed yet */
    uint32_t n_kept;        /* tokens of the plan that only prompts may have: rows of an image that go together */
    sched_seq **scratch;    /* [max_seqs] */
    sched_event *events;    /* [event_capacity] */
    sched_seq **event_seqs; /* [event_capacity] whose events they are; NULL: canceled since */
    uint32_t n_events, next_event, event_capacity;
};

static inline uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Would a draft pay once the tokens under way are known?  Then nothing more of the sequence is sent before that; with
 * n_decoding sequences in the plan. */
bool sched_should_wait_for_draft(sched *s, const sched_seq *seq, uint32_t n_decoding);
/* Before the slice of a sequence that decodes is added to the plan: its guesses (seq->n_draft), and what the draft
 * model reads.  `n_others` sequences still want into the plan. */
void sched_propose(sched *s, sched_seq *seq, uint32_t n_decoding, uint32_t n_others);

/* Free a stripped sequence that is in no list. */
void sched_seq_destroy(sched_seq *seq);
/* Take a waiting or unused sequence off the slots, blocks and images it holds. */
void sched_seq_release_resources(sched *s, sched_seq *seq);
/* Give back the slots of images whose rows were all consumed, or need not be. */
void sched_seq_release_images(sched *s, sched_seq *seq);

/* Take the blocks that others computed for what the sequence needs next; how many positions that spares.  Nothing while
 * plans in flight hold it, or when it has begun to compute a block. */
uint32_t sched_seq_reuse_prefix(sched *s, sched_seq *seq);
/* Let others have the full blocks that it has computed. */
void sched_seq_publish_blocks(sched *s, sched_seq *seq);

/* Move a stripped sequence back to the queue, to be computed anew. */
void sched_seq_requeue(sched *s, sched_seq *seq);

void seq_list_add(seq_list *list, sched_seq *seq);
void seq_list_remove(seq_list *list, const sched_seq *seq);

#endif
