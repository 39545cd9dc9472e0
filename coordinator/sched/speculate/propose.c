/* propose.c - draft tokens for the next slice of a sequence (rule 5): how many, from which source, and what the draft
 * model prefills for them.
 *
 *     draft_room         what the answer, the result and the plan leave for a draft
 *     choose_draft       n-gram match or draft model, by expected throughput (spec_policy.h) or as --speculate N forces
 *     propose_from_*     the tokens: looked up now, or placeholders that stage 0 fills in before the plan runs
 *
 * A sequence with tokens in flight is not drafted: sched_should_wait_for_draft keeps its next slice back when a draft
 * would pay, and prefill_draft_model lets the draft model catch up meanwhile. */
#include "coordinator/sched/sched_int.h"
#include "coordinator/sched/speculate/speculate.h"

/* REMAINING_MAX: longest remaining answer assumed, for it may end at any token.  PREFILL_PER_TOKEN: tokens the draft
 * model may prefill per remaining token just to measure its acceptance rate. */
enum { REMAINING_MAX = 128, PREFILL_PER_TOKEN = 8 };

/* The draft model's cost is known less well than that of rows, so its rate must beat the alternative by this factor. */
#define MODEL_MARGIN 1.1f

/* The longest draft of the next slice: limited by the remaining answer, the result (every running sequence may need a
 * token of it) and the plan, in which `n_others` more sequences decode. */
static uint32_t draft_room(const sched *s, const sched_seq *seq, uint32_t n_others)
{
    uint32_t of_answer = seq->n_prompt + seq->max_tokens - seq->n_known - seq->n_sampling - 1;
    uint32_t of_result = s->options.limits.max_seqs - s->running.n - s->n_drafted;
    uint32_t of_plan = s->options.step_tokens - s->n_reserved_rows - s->plan.n_tokens - 1 - n_others;
    return min_u32(min_u32(of_answer, of_result), min_u32(of_plan, SCHED_DRAFT_MAX));
}

/* Where draft tokens come from, and how many. */
typedef struct draft_choice {
    ngram_match match;
    float acceptance; /* expected rate */
    uint32_t n;
} draft_choice;

static uint32_t n_unread(const sched_seq *seq)
{
    return seq->text.n - seq->text.n_read;
}

/* Draft tokens that the draft model can make for a sequence within its positions. */
static uint32_t model_draft_max(const sched *s, const sched_seq *seq, uint32_t max)
{
    uint32_t positions = s->options.limits.draft_positions;
    if (seq->text.tokens == NULL || seq->text.n == 0 || seq->text.n > positions)
        return 0;
    return min_u32(max, positions - seq->text.n + 1);
}

/* --speculate N: the source with the higher acceptance rate, N tokens. */
static draft_choice forced_choice(const sched *s, draft_choice ngram, draft_choice model)
{
    draft_choice best = model.n > 0 && model.acceptance > ngram.acceptance ? model : ngram;
    best.n = min_u32(best.n, s->options.speculate);
    return best;
}

/* The source with the better expected rate; an empty draft if neither pays. */
static draft_choice best_choice(sched *s, const sched_seq *seq, uint32_t n_decoding, draft_choice ngram,
                                draft_choice model)
{
    const spec_step plan = {
        .n_rows = n_decoding + s->n_drafted, .n_passes = s->n_passes, .n_tokens = (float)n_decoding + s->n_expected};
    uint32_t n_left = min_u32(seq->n_prompt + seq->max_tokens - seq->n_known, REMAINING_MAX);
    bool may_measure = model.n > 0 && n_unread(seq) <= PREFILL_PER_TOKEN * n_left;
    draft_choice probe = may_measure && model.acceptance > ngram.acceptance ? model : ngram;
    float rate = 0.0f, model_rate = 0.0f;
    ngram.n = spec_policy_draft_length(&s->spec_policy, ngram.match.source, ngram.acceptance, &plan, ngram.n, &rate);
    model.n = spec_policy_draft_length(&s->spec_policy, DRAFT_MODEL, model.acceptance, &plan, model.n, &model_rate);
    if (model.n > 0 && model_rate > MODEL_MARGIN * rate &&
        spec_policy_prefill_pays(&s->spec_policy, &plan, model_rate, n_unread(seq), n_left))
        return model;
    if (ngram.n == 0 && !spec_policy_should_skip(&s->spec_policy)) {
        probe.n = min_u32(probe.n, SPEC_PROBE_TOKENS);
        return probe;
    }
    return ngram;
}

/* What to draft for a sequence, at most `max` tokens.  Plans with prompt chunks carry no drafts under AUTO: rows are
 * not free there, and the plans take long. */
static draft_choice choose_draft(sched *s, const sched_seq *seq, uint32_t n_decoding, uint32_t max)
{
    ngram_match model_source = spec_policy_model_match(seq->text.n == seq->n_known);
    draft_choice ngram = {.match = seq->match,
                          .acceptance = spec_policy_acceptance_rate(&s->spec_policy, &seq->acceptance, &seq->match)};
    draft_choice model = {.match = model_source,
                          .acceptance = spec_policy_acceptance_rate(&s->spec_policy, &seq->acceptance, &model_source),
                          .n = model_draft_max(s, seq, max)};
    ngram.n = seq->match.source != DRAFT_NONE ? max : 0;
    if (s->options.speculate == 0 || (ngram.n == 0 && model.n == 0))
        return (draft_choice){0};
    if (s->options.speculate != SCHED_SPECULATE_AUTO)
        return forced_choice(s, ngram, model);
    if (s->has_prefill || n_decoding + s->n_drafted >= SPEC_ROWS_MAX)
        return (draft_choice){0};
    return best_choice(s, seq, n_decoding, ngram, model);
}

/* Has the draft model more to prefill of a sequence than one plan takes?  Then it prefills while the sequence continues
 * without it. */
static bool needs_several_prefills(const sched *s, const sched_seq *seq)
{
    return n_unread(seq) > s->options.step_tokens;
}

bool sched_should_wait_for_draft(sched *s, const sched_seq *seq, uint32_t n_decoding)
{
    if (seq->scores)
        return seq->n_sampling > 0;
    if (seq->n_sampling == 0)
        return false;
    draft_choice choice = choose_draft(s, seq, n_decoding, draft_room(s, seq, 0));
    return choice.n > 0 && !(choice.match.source == DRAFT_MODEL && needs_several_prefills(s, seq));
}

/* The next tokens of an answer that is given (rule 8). */
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

/* Before the next slice of the plan the draft model prefills n tokens and then drafts n_drafted.  Its blocks are
 * reserved already. */
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

/* Prefill as much as the plan has room for, without drafting. */
static void prefill_some(sched *s, sched_seq *seq)
{
    uint32_t n = min_u32(s->options.step_tokens - s->plan.n_draft_inputs, n_unread(seq));
    if (n > 0 && block_table_reserve(&seq->text.table, &s->draft_blocks, seq->text.n_read + n))
        add_draft_slice(s, seq, n, 0);
}

/* Placeholders for the draft model; returns how many. */
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

/* Look up what followed the n-gram match; returns how many tokens that gives. */
static uint32_t propose_from_ngrams(sched *s, sched_seq *seq, uint32_t n)
{
    uint32_t n_found = 0;
    while (n > 0 && !block_table_reserve(&seq->table, &s->blocks, seq->n_known + n))
        n--;
    for (; n_found < n; n_found++) {
        int32_t token = ngram_predict(&s->history, &seq->match, seq->tokens, seq->n_known, n_found);
        if (token == NGRAM_NONE)
            break;
        seq->draft[n_found] = token;
    }
    return n_found;
}

/* Draft for a sequence whose last token is known; `n_others` more sequences are to decode in the plan. */
static void propose(sched *s, sched_seq *seq, uint32_t n_decoding, uint32_t n_others)
{
    draft_choice choice = choose_draft(s, seq, n_decoding, draft_room(s, seq, n_others));
    if (choice.n == 0)
        return;
    seq->n_draft = choice.match.source == DRAFT_MODEL ? propose_from_model(s, seq, choice.n)
                                                      : propose_from_ngrams(s, seq, choice.n);
    if (seq->n_draft > 0)
        spec_policy_draft_made(&s->spec_policy);
    s->n_drafted += seq->n_draft;
    s->n_expected += (float)seq->n_draft * choice.acceptance;
    seq->reuse.n_drafted += seq->n_draft;
    s->drafted_tokens += seq->n_draft;
}

/* While tokens are in flight the draft model can only catch up. */
static void prefill_draft_model(sched *s, sched_seq *seq, uint32_t n_decoding)
{
    if (!needs_several_prefills(s, seq))
        return;
    draft_choice choice = choose_draft(s, seq, n_decoding, draft_room(s, seq, 0));
    if (choice.n > 0 && choice.match.source == DRAFT_MODEL)
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
