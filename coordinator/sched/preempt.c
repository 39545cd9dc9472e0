/* preempt.c - rule 2: when the cache has no free block for a decoding sequence, the lowest-priority running sequence is
 * preempted.
 *
 *     a block is free -> done
 *     a sequence is draining or preempted already -> wait: its blocks come free when its plans complete
 *     the victim has no plan in flight -> free its blocks, requeue it, try again
 *     the victim has plans in flight   -> PREEMPTED; complete_slice (results.c) requeues it after the last of them
 *
 * Preemption is by recomputation: prompt and answer so far are prefilled again when the sequence is re-admitted. */
#include "coordinator/sched/sched_int.h"

static bool holds_blocks(const sched_seq *seq)
{
    return seq->state == SEQ_PREFILL || seq->state == SEQ_DECODE;
}

static bool is_releasing(const sched_seq *seq)
{
    return seq->state == SEQ_PREEMPTED || seq->state == SEQ_DRAINING;
}

/* False when `seq` cannot continue in this plan: it was the victim, or blocks only come free when plans in flight
 * complete. */
static bool preempt(sched *s, const sched_seq *seq)
{
    if (seq_list_pick(&s->running, s->options.policy, false, is_releasing) != NULL)
        return false;
    sched_seq *victim = seq_list_pick(&s->running, s->options.policy, true, holds_blocks);
    if (victim->n_plans > 0) {
        victim->state = SEQ_PREEMPTED;
        return false;
    }
    sched_seq_requeue(s, victim);
    return victim != seq;
}

bool sched_reserve_block(sched *s, sched_seq *seq)
{
    while (!block_table_reserve(&seq->table, &s->blocks, seq->n_planned + 1))
        if (!preempt(s, seq))
            return false;
    return true;
}
