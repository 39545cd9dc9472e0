/* policy.h - what a scheduling policy decides.  The core (sched.h) owns all state and all rules of correctness; a
 * policy only judges small summaries, so a new one is a new row, not a new scheduler. */
#ifndef PALMGROVE_SCHED_POLICY_H
#define PALMGROVE_SCHED_POLICY_H

#include <stdbool.h>
#include <stdint.h>

/* Priority key: what a policy may know of a request. */
typedef struct sched_rank {
    uint32_t priority;    /* larger is more urgent (wire: ROUTINE 0, STAT 1) */
    uint64_t arrival;     /* counts up with every request submitted; unique */
    uint64_t deadline_us; /* 0: none */
    uint32_t n_tokens;    /* prompt and what was generated so far */
} sched_rank;

/* What it may know of the state in which a plan is built. */
typedef struct sched_load {
    uint32_t step_tokens; /* the plan's token budget */
    uint32_t n_stages;
    uint32_t n_decoding;     /* sequences past their prompt */
    uint64_t prefill_tokens; /* prompt tokens of running sequences not yet planned */
} sched_load;

/* How to use the budget.  The core clips what exceeds it: decoding comes first. */
typedef struct sched_split {
    uint32_t n_decode;       /* decoding sequences in this plan at most, one token each */
    uint32_t prefill_tokens; /* prompt tokens at most */
} sched_split;

typedef struct sched_policy {
    const char *name;
    /* A strict total order.  The first of the waiting is admitted next and no request overtakes it; running prompts are
     * prefilled in this order; when cache blocks run out the last of the running is preempted. */
    bool (*before)(const sched_rank *a, const sched_rank *b);
    sched_split (*split)(const sched_load *load);
} sched_policy;

/* STAT before ROUTINE, first come first served inside each.  Every stage gets an equal share of the decoding sequences,
 * the rest of the budget goes to prompts. */
extern const sched_policy sched_policy_fcfs;

#endif
