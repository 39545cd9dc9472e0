/* sched_int.h - the scheduler's state, and what its files call of each other. */
#ifndef PALMGROVE_SCHED_INT_H
#define PALMGROVE_SCHED_INT_H

#include "coordinator/sched/encoder_cache.h"
#include "coordinator/sched/sequence.h"
#include "proto/link/position.h"

/* A slice of a plan in flight. */
typedef struct inflight_slice {
    sched_seq *seq;
    uint32_t pos, n_tokens, n_sampled;
    uint32_t n_placeholders; /* tokens that the draft model fills in */
} inflight_slice;

typedef struct inflight_plan {
    uint64_t step, sent_us;
    uint32_t n_decode_rows;         /* 0: it has other rows too */
    uint32_t n_passes, n_prefilled; /* of the draft model */
    uint32_t n_slices;
    inflight_slice *slices; /* [max_seqs] */
} inflight_plan;

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
    inflight_plan *inflight; /* ring of max_plans, oldest at first_inflight */
    uint32_t first_inflight, n_inflight;
    link_plan plan;           /* being built; arrays sized for the largest */
    uint32_t n_drafted;       /* in the plan */
    float n_expected;         /* tokens that its drafts are expected to add */
    uint32_t n_passes;        /* of the draft model before the plan */
    bool has_prefill;         /* some prompt is not computed yet */
    uint32_t n_reserved_rows; /* tokens of the plan that only prompts may use: rows of an image that go together */
    sched_seq **scratch;      /* [max_seqs] */
    sched_event *events;      /* [event_capacity] */
    sched_seq **event_seqs;   /* [event_capacity] whose events they are; NULL: canceled since */
    uint32_t n_events, next_event, event_capacity;
};

static inline uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* ---- admission.c ---- */

/* Rule 1: admit waiting requests in the policy's order. */
void sched_admit_waiting(sched *s);

/* ---- preempt.c ---- */

/* A block for the next position of a decoding sequence, if need be by rule 2.  False: it cannot continue in this plan,
 * because it was preempted itself or blocks only come free when plans in flight complete. */
bool sched_reserve_block(sched *s, sched_seq *seq);

/* ---- prefix_reuse.c ---- */

/* Reuse blocks that others computed for what the sequence needs next; returns the positions saved.  None while plans in
 * flight hold it, or when it has begun to compute a block. */
uint32_t sched_seq_reuse_prefix(sched *s, sched_seq *seq);
/* Share the full blocks that it has computed. */
void sched_seq_publish_blocks(sched *s, sched_seq *seq);
/* Count n positions that a sequence need not compute. */
void sched_count_cached(sched *s, sched_seq *seq, uint32_t n);

/* ---- sched_events.c ---- */

void sched_put_event(sched *s, sched_seq *seq, sched_event event);
void sched_put_failure(sched *s, sched_seq *seq, base_status status);
/* Discard the pending events of a sequence. */
void sched_drop_events(sched *s, sched_seq *seq);

#endif
