#include "worker/model/head.h"

#include "worker/trace/trace.h"

void model_head_layout(model_head *h, uint32_t tp, model_arena *arena)
{
    size_t n = h->max_seqs, vocab = h->arch->vocab_size;
    h->widths = model_arena_take(arena, tp, sizeof *h->widths);
    h->rows = model_arena_take(arena, n, sizeof *h->rows);
    h->local_logits = model_arena_take(arena, n, shard_range_width(h->vocab) * sizeof *h->local_logits);
    if (!h->is_root)
        return;
    h->logits = model_arena_take(arena, n, vocab * sizeof *h->logits);
    h->candidates = model_arena_take(arena, vocab, sizeof *h->candidates);
}

/* The rows that sample: the last of each slice that asks.  All members write the same. */
static uint32_t list_rows(team_member *me, model_head *h, const link_plan *plan)
{
    uint32_t n = 0, end = 0;
    for (uint32_t is = 0; is < plan->n_slices; is++) {
        end += plan->slices[is].n_tokens;
        if (!(plan->slices[is].flags & LINK_SLICE_SAMPLE))
            continue;
        if (me->index == 0)
            h->rows[n] = end - 1;
        n++;
    }
    team_barrier(me);
    return n;
}

/* Logits of n rows, whole on the root. */
static void compute_logits(team_member *me, model_head *h, uint32_t n)
{
    model_stack *s = h->decoder;
    size_t d = s->arch->d, local = shard_range_width(h->vocab);
    for (size_t i; team_take(me, n, &i);)
        model_stack_norm_rounded(s, s->x + h->rows[i] * d, h->norm, i);
    team_barrier(me);
    kern_rows rows = model_stack_rows(s, n);
    kern_linear(me, &rows, &(kern_product){h->output, h->local_logits, local}, 1);
    team_barrier(me);
    if (me->index != 0)
        return;
    for (size_t i = 0; i < n * local && h->arch->logit_scale != 1.0f; i++)
        h->local_logits[i] *= h->arch->logit_scale;
    uint64_t begin_us = trace_begin();
    par_gather_columns(s->grid, h->local_logits, h->widths, n, h->logits);
    trace_end(TRACE_GATHER, begin_us, n * local * sizeof *h->local_logits);
}

static link_token sample_slice(model_head *h, const link_slice *slice, const float *logits)
{
    uint32_t last = slice->pos + slice->n_tokens - 1;
    size_t vocab = h->arch->vocab_size;
    link_token token = {.seq = slice->seq, .pos = last};
    token.token = model_sample(logits, vocab, &slice->sampling, last + 1, h->candidates, &token.logprob);
    if (slice->flags & LINK_SLICE_DIGEST)
        token.logits_digest = model_logits_digest(logits, vocab);
    return token;
}

/* Rows [row, row + n) of x hold a mark of overflow. */
static bool rows_overflowed(model_head *h, uint32_t row, uint32_t n)
{
    const float *marks = model_stack_overflow(h->decoder);
    for (uint32_t r = row; r < row + n; r++)
        if (marks[r] != 0.0f)
            return true;
    return false;
}

static void collect_tokens(model_head *h, const link_plan *plan, link_result *result)
{
    uint32_t row = 0, next_logits = 0;
    for (uint32_t is = 0; is < plan->n_slices; is++) {
        const link_slice *slice = &plan->slices[is];
        const float *logits = h->logits + (size_t)next_logits * h->arch->vocab_size;
        bool samples = (slice->flags & LINK_SLICE_SAMPLE) != 0;
        if (rows_overflowed(h, row, slice->n_tokens))
            result->tokens[result->n_tokens++] = (link_token){
                .seq = slice->seq, .pos = slice->pos + slice->n_tokens - 1, .token = LINK_TOKEN_OVERFLOW};
        else if (samples)
            result->tokens[result->n_tokens++] = sample_slice(h, slice, logits);
        next_logits += samples;
        row += slice->n_tokens;
    }
}

void model_head_run(team_member *me, model_head *h, const link_plan *plan, link_result *result)
{
    uint64_t begin_us = me->index == 0 ? trace_begin() : 0;
    uint32_t n = list_rows(me, h, plan);
    if (n > 0)
        compute_logits(me, h, n);
    if (me->index != 0)
        return;
    if (h->is_root && n > 0 && h->probe != NULL)
        h->probe(h->probe_context, "logits", 0, h->logits, n, h->arch->vocab_size);
    if (h->is_root)
        collect_tokens(h, plan, result);
    trace_end(TRACE_HEAD, begin_us, n);
}
