/* prefix_reuse.c - rule 4: full KV blocks that one sequence computed are reused by others with the same prefix.
 *
 *     block           0           1           2 (being filled)
 *     sequence A    [0 .. 31]   [32 .. 63]  [64 .. ]     blocks 0 and 1 are published: nodes of the prefix cache
 *     sequence B    [0 .. 31]   [32 .. 63]  [64 .. ]     begins with the same 64 tokens: takes the nodes' blocks
 *
 * A block is looked up as the child of the node of the block before it, so equal blocks have equal prefixes. */
#include "coordinator/sched/sched_int.h"

/* What block b of a sequence holds.  False when its images have no digests. */
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

/* An overflow is reported by the step that computes the position, so no other sequence may skip that step. */
void sched_seq_publish_blocks(sched *s, sched_seq *seq)
{
    uint32_t n_final = seq->n_done < seq->n_known ? seq->n_done : seq->n_known;
    prefix_content content;
    if (!s->options.reuse_prefixes || seq->overflowed)
        return;
    while ((seq->table.n_cached + 1) * LINK_KV_BLOCK_TOKENS <= n_final &&
           content_of(s, seq, seq->table.n_cached, &content))
        block_table_publish(&seq->table, &s->blocks, &content);
}

void sched_count_cached(sched *s, sched_seq *seq, uint32_t n)
{
    s->prefix_requests += seq->reuse.n_cached == 0 && n > 0;
    s->prefix_tokens += n;
    seq->reuse.n_cached += n;
}
