/* cancel.c - ending a request because its owner has no further use for it: pending events are discarded, KV blocks,
 * sequence slot and image slots are freed (sched_seq_end) as soon as no plan in flight uses them. */
#include "coordinator/sched/sched_int.h"

void sched_cancel(sched *s, sched_seq *seq)
{
    sched_drop_events(s, seq);
    if (seq->state == SEQ_ENDED)
        sched_seq_destroy(seq);
    else if (seq->state != SEQ_DRAINING)
        sched_seq_end(s, seq);
}
