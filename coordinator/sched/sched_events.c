/* sched_events.c - events on their way to the requests' owners.  The list is filled by one result or one expiry and
 * emptied before the next. */
#include <assert.h>

#include "coordinator/sched/sched_int.h"

void sched_put_event(sched *s, sched_seq *seq, sched_event event)
{
    assert(s->n_events < s->event_capacity);
    seq->n_events++;
    s->event_seqs[s->n_events] = seq;
    s->events[s->n_events++] = event;
}

void sched_put_failure(sched *s, sched_seq *seq, base_status status)
{
    sched_put_event(
        s, seq,
        (sched_event){.user = seq->user, .finish = SCHED_FAILED, .status = status, .started_us = seq->started_us});
}

void sched_drop_events(sched *s, sched_seq *seq)
{
    for (uint32_t i = s->next_event; i < s->n_events; i++)
        if (s->event_seqs[i] == seq)
            s->event_seqs[i] = NULL;
    seq->n_events = 0;
}

bool sched_next_event(sched *s, sched_event *out)
{
    while (s->next_event < s->n_events && s->event_seqs[s->next_event] == NULL)
        s->next_event++;
    if (s->next_event == s->n_events) {
        s->next_event = s->n_events = 0;
        return false;
    }
    sched_seq *seq = s->event_seqs[s->next_event];
    *out = s->events[s->next_event++];
    if (--seq->n_events == 0 && seq->state == SEQ_ENDED)
        sched_seq_destroy(seq);
    return true;
}
