/* propose.c - guesses for the next slice of a sequence (rule 5): how many, from where, and what the draft model
 * is to read for them. */
#include "coordinator/sched/sched_int.h"

/* Of an answer that may end any time, so many more tokens are counted on at most; for each of them the draft model may
 * read so many only to be measured. */
enum { REMAINING_MAX = 128, PREFILL_PER_TOKEN = 8 };

/* What the draft model costs is known less well than what rows cost, so it must promise so much more than doing
 * without. */
#define MODEL_MARGIN 1.1f

/* What the draft of the next slice may have: tokens of the answer, of the result (every running sequence may need one)
 * and of the plan, beside `n_others` sequences that decode too. */
static uint32_t draft_room(const sched *s, const sched_seq *seq, uint32_t n_others)
{
    uint32_t of_answer = seq->n_prompt + seq->max_tokens - seq->n_known - seq->n_sampling - 1;
    uint32_t of_result = s->options.limits.max_seqs - s->running.n - s->n_drafted;
    uint32_t of_plan = s->options.step_tokens - s->n_kept - s->plan.n_tokens - 1 - n_others;
    return min_u32(min_u32(of_answer, of_result), min_u32(of_plan, SCHED_DRAFT_MAX));
}

/* Guesses from where, and how many. */
typedef struct draft_choice {
    ngram_match lead;
    float chance;
    uint32_t n;
} draft_choice;

static uint32_t n_unread(const sched_seq *seq)
{
    return seq->text.n - seq->text.n_read;
}

/* Guesses that the draft model can make for a sequence, by its positions. */
static uint32_t model_draft_max(const sched *s, const sched_seq *seq, uint32_t most)
{
    uint32_t positions = s->options.limits.draft_positions;
    if (seq->text.tokens == NULL || seq->text.n == 0 || seq->text.n > positions)
        return 0;
    return min_u32(most, positions - seq->text.n + 1);
}

/* Whoever was right more often, as many as were asked for. */
static draft_choice forced_choice(const sched *s, draft_choice looked_up, draft_choice model)
{
    draft_choice best = model.n > 0 && model.chance > looked_up.chance ? model : looked_up;
    best.n = min_u32(best.n, s->options.speculate);
    return best;
}

/* Whoever promises more; nobody when none is better. */
static draft_choice best_choice(sched *s, const sched_seq *seq, uint32_t n_decoding, draft_choice looked_up,
                                draft_choice model)
{
    const spec_step plan = {
        .n_rows = n_decoding + s->n_drafted, .n_passes = s->n_passes, .n_tokens = (float)n_decoding + s->n_expected};
    uint32_t n_left = min_u32(seq->n_prompt + seq->max_tokens - seq->n_known, REMAINING_MAX);
    bool may_measure = model.n > 0 && n_unread(seq) <= PREFILL_PER_TOKEN * n_left;
    draft_choice probe = may_measure && model.chance > looked_up.chance ? model : looked_up;
    float rate = 0.0f, model_rate = 0.0f;
    looked_up.n =
        spec_policy_draft_length(&s->spec_policy, looked_up.lead.source, looked_up.chance, &plan, looked_up.n, &rate);
    model.n = spec_policy_draft_length(&s->spec_policy, DRAFT_MODEL, model.chance, &plan, model.n, &model_rate);
    if (model.n > 0 && model_rate > MODEL_MARGIN * rate &&
        spec_policy_prefill_pays(&s->spec_policy, &plan, model_rate, n_unread(seq), n_left))
        return model;
    if (looked_up.n == 0 && !spec_policy_should_skip(&s->spec_policy)) {
        probe.n = min_u32(probe.n, SPEC_PROBE_TOKENS);
        return probe;
    }
    return looked_up;
}

/* What to draft for a sequence, at most `most` tokens.  Beside prompts rows are not free, and their plans take long. */
static draft_choice choose_draft(sched *s, const sched_seq *seq, uint32_t n_decoding, uint32_t most)
{
    ngram_match model_lead = spec_policy_model_match(seq->text.n == seq->n_known);
    draft_choice looked_up = {.lead = seq->lead,
                              .chance = spec_policy_acceptance_rate(&s->spec_policy, &seq->guesses, &seq->lead)};
    draft_choice model = {.lead = model_lead,
                          .chance = spec_policy_acceptance_rate(&s->spec_policy, &seq->guesses, &model_lead),
                          .n = model_draft_max(s, seq, most)};
    looked_up.n = seq->lead.source != DRAFT_NONE ? most : 0;
    if (s->options.speculate == 0 || (looked_up.n == 0 && model.n == 0))
        return (draft_choice){0};
    if (s->options.speculate != SCHED_SPECULATE_AUTO)
        return forced_choice(s, looked_up, model);
    if (s->has_prompts || n_decoding + s->n_drafted >= SPEC_ROWS_MAX)
        return (draft_choice){0};
    return best_choice(s, seq, n_decoding, looked_up, model);
}

/* Does the draft model have more to read of a sequence than goes into one plan?  Then it reads while the sequence goes
 * on without it. */
static bool is_far_behind(const sched *s, const sched_seq *seq)
{
    return n_unread(seq) > s->options.step_tokens;
}

bool sched_should_wait_for_draft(sched *s, const sched_seq *seq, uint32_t n_decoding)
{
    if (seq->scores)
        return seq->n_sampling > 0;
    if (seq->n_sampling == 0)
        return false;
    draft_choice wish = choose_draft(s, seq, n_decoding, draft_room(s, seq, 0));
    return wish.n > 0 && !(wish.lead.source == DRAFT_MODEL && is_far_behind(s, seq));
}

/* What follows of an answer that is given (rule 8). */
static void propose_given_answer(sched *s, sched_seq *seq, uint32_t n_others)
{
    uint32_t n = draft_room(s, seq, n_others);
    while (n > 0 && !block_table_reserve(&seq->table, &s->blocks, seq->n_known + n))
        n--;
    for (uint32_t i = 0; i < n; i++)
        seq->draft[i] = seq->tokens[seq->n_known + i];
    seq->n_draft = n;
    s->n_drafted += n;
}

/* Before the next slice of the plan the draft model reads n tokens and then guesses so many.  The blocks for it are
 * owned already. */
static void add_draft_slice(sched *s, sched_seq *seq, uint32_t n, uint32_t n_drafted)
{
    link_plan *plan = &s->plan;
    draft_text *text = &seq->text;
    link_draft draft = {.slice = plan->n_slices,
                        .pos = text->n_read,
                        .n_tokens = n,
                        .first_token = plan->n_draft_inputs,
                        .first_block = plan->n_draft_blocks,
                        .n_drafted = n_drafted};
    plan->drafts[plan->n_drafts++] = draft;
    for (uint32_t i = 0; i < n; i++)
        plan->draft_inputs[plan->n_draft_inputs++] = text->tokens[text->n_read + i];
    text->n_read = (uint32_t)link_draft_end(&draft);
    for (uint32_t i = 0; i < kv_blocks_for(text->n_read); i++)
        plan->draft_blocks[plan->n_draft_blocks++] = text->table.blocks[i];
    uint32_t n_passes = n_drafted > 1 ? n_drafted : 1;
    s->n_passes = n_passes > s->n_passes ? n_passes : s->n_passes;
}

/* As much as the plan has room for, without a guess. */
static void prefill_some(sched *s, sched_seq *seq)
{
    uint32_t n = min_u32(s->options.step_tokens - s->plan.n_draft_inputs, n_unread(seq));
    if (n > 0 && block_table_reserve(&seq->text.table, &s->draft_blocks, seq->text.n_read + n))
        add_draft_slice(s, seq, n, 0);
}

/* The draft model's turn; returns how many guesses are left open. */
static uint32_t propose_from_model(sched *s, sched_seq *seq, uint32_t n)
{
    if (n_unread(seq) > s->options.step_tokens - s->plan.n_draft_inputs) {
        prefill_some(s, seq);
        return 0;
    }
    if (s->options.speculate == SCHED_SPECULATE_AUTO && spec_policy_should_measure_baseline(&s->spec_policy))
        return 0;
    while (n > 0 && !(block_table_reserve(&seq->text.table, &s->draft_blocks, seq->text.n + n - 1) &&
                      block_table_reserve(&seq->table, &s->blocks, seq->n_known + n)))
        n--;
    if (n == 0)
        return 0;
    add_draft_slice(s, seq, n_unread(seq), n);
    for (uint32_t i = 0; i < n; i++)
        seq->draft[i] = 0;
    seq->draft_is_placeholder = true;
    return n;
}

/* Look up what the lead says; returns how many guesses it has. */
static uint32_t propose_from_ngrams(sched *s, sched_seq *seq, uint32_t n)
{
    uint32_t n_found = 0;
    while (n > 0 && !block_table_reserve(&seq->table, &s->blocks, seq->n_known + n))
        n--;
    for (; n_found < n; n_found++) {
        int32_t guess = ngram_predict(&s->history, &seq->lead, seq->tokens, seq->n_known, n_found);
        if (guess == NGRAM_NONE)
            break;
        seq->draft[n_found] = guess;
    }
    return n_found;
}

/* Guess for a sequence whose last token is known; `n_others` sequences still want into the plan. */
static void propose(sched *s, sched_seq *seq, uint32_t n_decoding, uint32_t n_others)
{
    draft_choice wish = choose_draft(s, seq, n_decoding, draft_room(s, seq, n_others));
    if (wish.n == 0)
        return;
    seq->n_draft =
        wish.lead.source == DRAFT_MODEL ? propose_from_model(s, seq, wish.n) : propose_from_ngrams(s, seq, wish.n);
    if (seq->n_draft > 0)
        spec_policy_draft_made(&s->spec_policy);
    s->n_drafted += seq->n_draft;
    s->n_expected += (float)seq->n_draft * wish.chance;
    seq->reuse.n_drafted += seq->n_draft;
    s->drafted_tokens += seq->n_draft;
}

/* While tokens are under way the draft model can only catch up. */
static void prefill_draft_model(sched *s, sched_seq *seq, uint32_t n_decoding)
{
    if (!is_far_behind(s, seq))
        return;
    draft_choice wish = choose_draft(s, seq, n_decoding, draft_room(s, seq, 0));
    if (wish.n > 0 && wish.lead.source == DRAFT_MODEL)
        prefill_some(s, seq);
}

void sched_propose(sched *s, sched_seq *seq, uint32_t n_decoding, uint32_t n_others)
{
    if (seq->n_sampling == 0 && seq->scores)
        propose_given_answer(s, seq, n_others);
    else if (seq->n_sampling == 0)
        propose(s, seq, n_decoding, n_others);
    else if (!seq->scores)
        prefill_draft_model(s, seq, n_decoding);
}
