/* fcfs.c - first come, first served, urgent requests first.  A running ROUTINE request is not interrupted for a STAT
 * one: it runs until it ends or the cache runs out of blocks, when ROUTINE ones are preempted first. */
#include "coordinator/sched/policy.h"

static bool fcfs_before(const sched_rank *a, const sched_rank *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority;
    return a->arrival < b->arrival;
}

/* Prompt tokens of a plan when there are several stages: a prompt in one piece would leave all stages but one idle.
 * Matrix products reach their full speed with fewer rows. */
#define PIPELINE_CHUNK 128u

static sched_split fcfs_split(const sched_load *load)
{
    /* One share of the decoding sequences per stage: while one share is in the last stage, the next enters the first.
     */
    uint32_t n_decode = (load->n_decoding + load->n_stages - 1) / load->n_stages;
    if (n_decode > load->step_tokens)
        n_decode = load->step_tokens;
    uint32_t prefill = load->step_tokens - n_decode;
    if (load->n_stages > 1 && prefill > PIPELINE_CHUNK)
        prefill = PIPELINE_CHUNK;
    return (sched_split){.n_decode = n_decode, .prefill_tokens = prefill};
}

const sched_policy sched_policy_fcfs = {.name = "fcfs", .before = fcfs_before, .split = fcfs_split};
