/* prefix_reuse.c - blocks that one sequence computed, lent to another that begins alike. */
#include "coordinator/sched/sched_int.h"

/* What block b of a sequence holds.  False when its images have no names. */
static bool content_of(const sched *s, const sched_seq *seq, uint32_t b, prefix_content *out)
{
    *out = (prefix_content){.tokens = seq->tokens + (size_t)b * LINK_KV_BLOCK_TOKENS};
    for (uint32_t i = LINK_KV_BLOCK_TOKENS; i-- > 0;) {
        link_position position = link_position_in_request(out->tokens[i]);
        if (position.kind == LINK_POSITION_TOKEN)
            continue;
        if (position.kind == LINK_POSITION_IMAGE_ROW && seq->image_digests == NULL)
            return false;
        out->images = position.kind == LINK_POSITION_VECTOR
                          ? seq->vectors[position.index].digest
                          : seq->image_digests[position.index / s->options.limits.rows_per_image];
        break;
    }
    return true;
}

void sched_seq_release_images(sched *s, sched_seq *seq)
{
    for (uint32_t i = 0; i < seq->n_images; i++) {
        seq_image *image = &seq->images[i];
        if (image->slot != SEQ_NO_SLOT && image->end <= seq->n_done) {
            encoder_cache_free(&s->images, image->slot);
            image->slot = SEQ_NO_SLOT;
        }
    }
}

uint32_t sched_seq_reuse_prefix(sched *s, sched_seq *seq)
{
    uint32_t n_before = seq->table.n_cached;
    prefix_content content;
    if (seq->n_plans > 0 || seq->n_planned != n_before * LINK_KV_BLOCK_TOKENS)
        return 0;
    while ((seq->table.n_cached + 1) * LINK_KV_BLOCK_TOKENS < seq->n_known &&
           content_of(s, seq, seq->table.n_cached, &content) && block_table_reuse(&seq->table, &s->blocks, &content))
        ;
    seq->n_planned = seq->n_done = seq->table.n_cached * LINK_KV_BLOCK_TOKENS;
    return seq->n_done - n_before * LINK_KV_BLOCK_TOKENS;
}

/* An overflow is told with the step that computes the position, so no other sequence may be spared that step. */
void sched_seq_publish_blocks(sched *s, sched_seq *seq)
{
    uint32_t n_sure = seq->n_done < seq->n_known ? seq->n_done : seq->n_known;
    prefix_content content;
    if (!s->options.reuse_prefixes || seq->overflowed)
        return;
    while ((seq->table.n_cached + 1) * LINK_KV_BLOCK_TOKENS <= n_sure &&
           content_of(s, seq, seq->table.n_cached, &content))
        block_table_publish(&seq->table, &s->blocks, &content);
}
