/* deadline.c - requests that are past their deadline end with BASE_EDEADLINE, waiting or running. */
#include "coordinator/sched/sched_int.h"

static void expire_list(sched *s, seq_list *list, uint64_t now_us)
{
    for (uint32_t i = list->n; i-- > 0;) { /* downwards: removal moves the last one here, which was visited already */
        sched_seq *seq = list->items[i];
        uint64_t deadline = seq->rank.deadline_us;
        if (seq->state != SEQ_DRAINING && deadline != 0 && deadline <= now_us) {
            sched_put_failure(s, seq, BASE_EDEADLINE);
            sched_seq_end(s, seq);
        }
    }
}

void sched_expire(sched *s, uint64_t now_us)
{
    expire_list(s, &s->waiting, now_us);
    expire_list(s, &s->running, now_us);
}

static uint64_t earliest(const seq_list *list, uint64_t earliest_us)
{
    for (uint32_t i = 0; i < list->n; i++) {
        uint64_t deadline = list->items[i]->rank.deadline_us;
        if (deadline != 0 && list->items[i]->state != SEQ_DRAINING && (earliest_us == 0 || deadline < earliest_us))
            earliest_us = deadline;
    }
    return earliest_us;
}

uint64_t sched_next_deadline(const sched *s)
{
    return earliest(&s->running, earliest(&s->waiting, 0));
}
