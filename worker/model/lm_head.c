/* lm_head.c - logits and sampled tokens of a plan. */
#include "worker/model/lm_head.h"

#include "worker/par/collectives.h"
#include "worker/trace/trace.h"

void model_head_layout(model_head *h, uint32_t tp, model_arena *arena)
{
    size_t n = h->max_seqs, vocab = h->arch->vocab_size;
    h->widths = model_arena_alloc(arena, tp, sizeof *h->widths);
    h->rows = model_arena_alloc(arena, n, sizeof *h->rows);
    h->local_logits = model_arena_alloc(arena, n, shard_range_width(h->vocab) * sizeof *h->local_logits);
    if (!h->is_root)
        return;
    h->logits = model_arena_alloc(arena, n, vocab * sizeof *h->logits);
    h->candidates = model_arena_alloc(arena, vocab, sizeof *h->candidates);
}

/* The rows to sample after: the last n_sampled of each slice. */
static uint32_t list_rows(team_member *me, model_head *h, const link_plan *plan)
{
    uint32_t n = 0, end = 0;
    for (uint32_t is = 0; is < plan->n_slices; is++) {
        end += plan->slices[is].n_tokens;
        for (uint32_t back = plan->slices[is].n_sampled; back > 0; back--, n++)
            if (me->index == 0)
                h->rows[n] = end - back;
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
        model_stack_norm_quantised(s, s->x + h->rows[i] * d, &h->norm, h->output, i);
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

/* Sample after row `i` of the slice, whose tokens are `tokens`; *out stays an overflow when a logit is not finite. */
static void sample_at(model_head *h, const link_slice *slice, const int32_t *tokens, uint32_t i, const float *logits,
                      link_token *out)
{
    size_t vocab = h->arch->vocab_size;
    if (slice->flags & LINK_SLICE_GIVEN) {
        int32_t given = i + 1 < slice->n_tokens ? tokens[i + 1] : slice->given;
        if (model_token_logprob(logits, vocab, given, &out->logprob))
            out->token = given;
    } else {
        out->token = model_sample(logits, vocab, &slice->sampling, out->pos + 1 + slice->draw_shift, h->candidates,
                                  &out->logprob);
    }
    if ((slice->flags & LINK_SLICE_DIGEST) && out->token != LINK_TOKEN_OVERFLOW)
        out->logits_digest = model_logits_digest(logits, vocab);
}

/* Is the overflow flag of any of the rows [row, row + n) set? */
static bool rows_overflowed(model_head *h, uint32_t row, uint32_t n)
{
    const float *flags = model_stack_overflow_flags(h->decoder);
    for (uint32_t r = row; r < row + n; r++)
        if (flags[r] != 0.0f)
            return true;
    return false;
}

/* The tokens of one slice, whose first row is `row` and whose logits begin at `logits`.  An overflow in a row, or
 * logits of it that are not finite, invalidates the rows after it, which attend to it, but not those before: a drafted
 * token must not affect what precedes it. */
static void collect_slice(model_head *h, const link_slice *slice, const int32_t *tokens, uint32_t row,
                          const float *logits, link_result *result)
{
    uint32_t first = slice->n_tokens - link_slice_results(slice);
    bool overflowed = rows_overflowed(h, row, first);
    for (uint32_t i = first; i < slice->n_tokens; i++) {
        overflowed = overflowed || rows_overflowed(h, row + i, 1);
        link_token token = {.seq = slice->seq, .pos = slice->pos + i, .token = LINK_TOKEN_OVERFLOW};
        if (!overflowed && slice->n_sampled > 0)
            sample_at(h, slice, tokens, i, logits + (i - first) * (size_t)h->arch->vocab_size, &token);
        else if (!overflowed)
            continue;
        overflowed = token.token == LINK_TOKEN_OVERFLOW;
        result->tokens[result->n_tokens++] = token;
    }
}

static void collect_tokens(model_head *h, const link_plan *plan, link_result *result)
{
    uint32_t row = 0;
    const float *logits = h->logits;
    for (uint32_t is = 0; is < plan->n_slices; is++) {
        const link_slice *slice = &plan->slices[is];
        collect_slice(h, slice, plan->tokens + slice->first_token, row, logits, result);
        logits += (size_t)slice->n_sampled * h->arch->vocab_size;
        row += slice->n_tokens;
    }
}

void model_head_run(team_member *me, model_head *h, const link_plan *plan, link_result *result)
{
    uint64_t begin_us = me->index == 0 ? trace_begin() : 0;
    uint32_t n = list_rows(me, h, plan);
    model_stack_all_gather_rows(me, h->decoder, h->rows, n);
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
