/* admission.c - rule 1: waiting requests become running sequences.
 *
 * First the blocks that the prefix cache has for the prompt are reused; what is then missing of blocks, image slots and
 * the sequence slot must be free, or nothing is held and the queue waits.  With n sequences running, n blocks stay free
 * (one each): otherwise a newcomer would soon be preempted again. */
#include <assert.h>

#include "coordinator/sched/sched_int.h"

static bool is_any(const sched_seq *seq)
{
    (void)seq;
    return true;
}

/* Images with rows that are still to be fed. */
static uint32_t n_images_left(const sched_seq *seq)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < seq->n_images; i++)
        n += seq->images[i].end > seq->n_planned;
    return n;
}

static void reserve_image_slots(sched *s, sched_seq *seq)
{
    uint32_t first = seq->n_images - n_images_left(seq);
    for (uint32_t i = first; i < seq->n_images && s->options.reuse_prefixes && seq->has_image_keys; i++)
        seq->images[i].is_planned = encoder_cache_reuse(&s->images, seq->images[i].key, &seq->images[i].slot);
    for (uint32_t i = first; i < seq->n_images; i++)
        if (!seq->images[i].is_planned)
            encoder_cache_alloc(&s->images, seq->has_image_keys ? seq->images[i].key : NULL, &seq->images[i].slot);
}

static bool admit(sched *s, sched_seq *seq)
{
    uint32_t positions = seq->n_known + 1;
    if (s->slots.n_free == 0)
        return false;
    uint32_t n_cached = sched_seq_reuse_prefix(s, seq);
    uint32_t n_new = kv_blocks_for(positions) - seq->table.n_blocks;
    if (s->images.pool.n_free < n_images_left(seq) || prefix_cache_available(&s->blocks) < n_new + s->running.n) {
        block_table_clear(&seq->table, &s->blocks);
        seq->n_planned = seq->n_done = 0;
        return false;
    }
    bool taken = block_table_reserve(&seq->table, &s->blocks, positions) && id_pool_alloc(&s->slots, 1, &seq->slot);
    assert(taken);
    (void)taken;
    reserve_image_slots(s, seq);
    sched_count_cached(s, seq, n_cached);
    draft_text_reuse_prefix(&seq->text, &s->draft_blocks);
    seq_list_remove(&s->waiting, seq);
    seq_list_add(&s->running, seq);
    seq->state = SEQ_PREFILL;
    return true;
}

void sched_admit_waiting(sched *s)
{
    sched_seq *seq;
    do {
        seq = seq_list_pick(&s->waiting, s->options.policy, false, is_any);
    } while (seq != NULL && admit(s, seq));
}
