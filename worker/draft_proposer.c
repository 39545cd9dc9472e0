/* draft_proposer.c - a plan's drafts as plans for the draft model.
 *
 *     pass 0     every draft's unread tokens; one token sampled after the last, where tokens are wanted
 *     pass i     token i - 1 of the drafts that want more than i, one row each
 *
 * The root of the tensor group samples; an or-reduction with the others' zeros brings the tokens to all ranks. */
#include "worker/draft_proposer.h"

#include <stdlib.h>

#include "worker/par/collectives.h"
#include "worker/team/team.h"
#include "worker/trace/trace.h"

struct draft_proposer {
    model *m;
    par_grid *grid;
    team *alone; /* of one, for what crosses ranks between passes */
    uint32_t max_seqs, vocab_size, target_vocab_size;
    bool is_root;
    link_slice *slices;  /* [max_seqs] of a pass */
    uint32_t *drafts;    /* [max_seqs] index of each slice's draft in the plan */
    int32_t *tokens;     /* [max_step_tokens] of a pass */
    uint32_t *samples;   /* [max_seqs] */
    link_token *sampled; /* [max_seqs] */
};

base_status draft_proposer_create(model *m, par_grid *grid, uint32_t target_vocab_size, draft_proposer **out,
                                  base_error *error)
{
    const link_limits *own = model_limits(m);
    draft_proposer *d = calloc(1, sizeof *d);
    if (d == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the draft model's passes");
    *d = (draft_proposer){.m = m,
                          .grid = grid,
                          .max_seqs = own->max_seqs,
                          .vocab_size = own->vocab_size,
                          .target_vocab_size = target_vocab_size,
                          .is_root = par_grid_place(grid).tp_rank == 0};
    d->slices = calloc(own->max_seqs, sizeof *d->slices);
    d->drafts = calloc(own->max_seqs, sizeof *d->drafts);
    d->tokens = calloc(own->max_step_tokens, sizeof *d->tokens);
    d->samples = calloc(own->max_seqs, sizeof *d->samples);
    d->sampled = calloc(own->max_seqs, sizeof *d->sampled);
    base_status status = BASE_OK;
    if (d->slices == NULL || d->drafts == NULL || d->tokens == NULL || d->samples == NULL || d->sampled == NULL)
        status = base_fail(error, BASE_ENOMEM, "no memory for the draft model's passes");
    if (status == BASE_OK)
        status = team_create(1, false, &d->alone, error);
    if (status == BASE_OK)
        *out = d;
    else
        draft_proposer_destroy(&d);
    return status;
}

void draft_proposer_destroy(draft_proposer **out)
{
    draft_proposer *d = *out;
    if (d == NULL)
        return;
    team_destroy(&d->alone);
    free(d->slices);
    free(d->drafts);
    free(d->tokens);
    free(d->samples);
    free(d->sampled);
    free(d);
    *out = NULL;
}

/* --- a pass --- */

/* Vocabularies may be padded to different sizes: a token that the draft model has no row for is read as 0. */
static int32_t known_token(const draft_proposer *d, int32_t token)
{
    return (uint32_t)token < d->vocab_size ? token : 0;
}

/* The placeholders of a draft in the plan. */
static int32_t *placeholders_of(const link_plan *plan, const link_draft *draft)
{
    const link_slice *slice = &plan->slices[draft->slice];
    return plan->tokens + slice->first_token + slice->n_tokens - draft->n_drafted;
}

/* Add a draft's row or rows to the pass: from its text's position `pos`, n tokens. */
static void add_rows(draft_proposer *d, link_plan *pass, const link_plan *plan, uint32_t i, uint32_t pos,
                     const int32_t *tokens, uint32_t n)
{
    const link_draft *draft = &plan->drafts[i];
    const link_slice *slice = &plan->slices[draft->slice];
    d->drafts[pass->n_slices] = i;
    pass->slices[pass->n_slices++] = (link_slice){
        .seq = slice->seq,
        .pos = pos,
        .n_tokens = n,
        .first_token = pass->n_tokens,
        .first_block = draft->first_block,
        .n_sampled = draft->n_drafted > 0,
        .sampling = slice->sampling,
        .draw_shift = slice->pos + slice->n_tokens - draft->n_drafted - (draft->pos + draft->n_tokens),
    };
    for (uint32_t it = 0; it < n; it++)
        pass->tokens[pass->n_tokens++] = known_token(d, tokens[it]);
}

static void fill_pass(draft_proposer *d, link_plan *pass, const link_plan *plan, uint32_t number)
{
    for (uint32_t i = 0; i < plan->n_drafts; i++) {
        const link_draft *draft = &plan->drafts[i];
        if (number == 0)
            add_rows(d, pass, plan, i, draft->pos, plan->draft_inputs + draft->first_token, draft->n_tokens);
        else if (number < draft->n_drafted)
            add_rows(d, pass, plan, i, draft->pos + draft->n_tokens + number - 1,
                     placeholders_of(plan, draft) + number - 1, 1);
    }
}

static void or_reduce_sampled(void *context, team_member *me)
{
    draft_proposer *d = context;
    par_allreduce_or_u32(d->grid, me, d->samples, d->max_seqs);
}

/* Bring the root's samples to every rank.  An overflow, or a token that the target does not have, becomes token 0: any
 * draft token is valid. */
static void collect_sampled(draft_proposer *d, const link_plan *pass, const link_result *result)
{
    uint32_t n = 0;
    for (uint32_t is = 0; is < d->max_seqs; is++)
        d->samples[is] = 0;
    for (uint32_t is = 0; d->is_root && is < pass->n_slices; is++) {
        bool has_token = n < result->n_tokens && result->tokens[n].seq == pass->slices[is].seq;
        int32_t token = has_token ? result->tokens[n].token : LINK_TOKEN_OVERFLOW;
        n += has_token;
        d->samples[is] = token >= 0 && (uint32_t)token < d->target_vocab_size ? (uint32_t)token : 0;
    }
    team_run(d->alone, or_reduce_sampled, d);
}

static void run_pass(draft_proposer *d, const link_plan *plan, uint32_t number)
{
    link_plan pass = {.step = plan->step,
                      .slices = d->slices,
                      .tokens = d->tokens,
                      .blocks = plan->draft_blocks,
                      .n_blocks = plan->n_draft_blocks};
    fill_pass(d, &pass, plan, number);
    link_result result = {.tokens = d->sampled};
    model_step(d->m, &pass, &result);
    collect_sampled(d, &pass, &result);
    for (uint32_t is = 0; is < pass.n_slices; is++) {
        const link_draft *draft = &plan->drafts[d->drafts[is]];
        if (draft->n_drafted > 0)
            placeholders_of(plan, draft)[number] = (int32_t)d->samples[is];
    }
}

void draft_proposer_propose(draft_proposer *d, const link_plan *plan)
{
    uint32_t n_passes = plan->n_drafts > 0;
    uint64_t begin_us = trace_begin();
    for (uint32_t i = 0; i < plan->n_drafts; i++)
        n_passes = plan->drafts[i].n_drafted > n_passes ? plan->drafts[i].n_drafted : n_passes;
    for (uint32_t number = 0; number < n_passes; number++)
        run_pass(d, plan, number);
    if (n_passes > 0)
        trace_end(TRACE_DRAFT, begin_us, n_passes);
}

uint32_t draft_proposer_tokens(const link_plan *plan, int32_t *tokens)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < plan->n_drafts; i++)
        for (uint32_t k = 0; k < plan->drafts[i].n_drafted; k++)
            tokens[n++] = placeholders_of(plan, &plan->drafts[i])[k];
    return n;
}
