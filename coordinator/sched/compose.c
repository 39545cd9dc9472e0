/* compose.c - putting the next step plan together: admission, decoding slices, prompt chunks, and making room by preemption.
 *
 * The order matters: admission first (what became free serves the queue), then decoding (it is short and somebody reads along), then
 * prompts with what is left of the budget. */
#include <assert.h>
#include <stdlib.h>

#include "coordinator/sched/sched.h"
#include "coordinator/sched/sched_impl.h"

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* ---- admission ---- */

/* The first (or last) of the sequences that `is_eligible` in the policy's order; NULL when there is none. */
static sched_seq *extreme(const sched *s, const seq_list *list, bool want_last, bool (*is_eligible)(const sched_seq *))
{
    sched_seq *best = NULL;
    for (uint32_t i = 0; i < list->n; i++) {
        sched_seq *seq = list->items[i];
        if (!is_eligible(seq))
            continue;
        if (best == NULL || s->options.policy->before(&seq->standing, &best->standing) != want_last)
            best = seq;
    }
    return best;
}

static bool is_any(const sched_seq *seq)
{
    (void)seq;
    return true;
}

static void take_images(sched *s, sched_seq *seq)
{
    for (uint32_t i = 0; i < seq->n_images; i++) {
        bool taken = sched_pool_take(&s->images, 1, &seq->images[i].slot);
        assert(taken);
        (void)taken;
    }
}

/* Rule 1.  Beside running sequences one block for each of them is left free, or a newcomer would soon be thrown out again. */
static bool admit(sched *s, sched_seq *seq)
{
    uint32_t positions = seq->n_known + 1;
    if (s->slots.n_free == 0 || s->images.n_free < seq->n_images ||
        s->blocks.n_free < kv_blocks_for(positions) + s->running.n)
        return false;
    bool taken = kv_table_cover(&seq->table, &s->blocks, positions) && sched_pool_take(&s->slots, 1, &seq->slot);
    assert(taken);
    (void)taken;
    take_images(s, seq);
    seq_list_remove(&s->waiting, seq);
    seq_list_add(&s->running, seq);
    seq->state = SEQ_PREFILL;
    return true;
}

static void admit_waiting(sched *s)
{
    sched_seq *seq;
    do {
        seq = extreme(s, &s->waiting, false, is_any);
    } while (seq != NULL && admit(s, seq));
}

/* ---- slices ---- */

/* Copy tokens of the sequence into the plan: image rows are renumbered to the slots held, images met for the first time join it. */
static void copy_tokens(sched *s, sched_seq *seq, uint32_t pos, uint32_t n_tokens)
{
    int32_t rows = (int32_t)s->options.limits.rows_per_image;
    link_plan *plan = &s->plan;
    for (uint32_t i = 0; i < n_tokens; i++) {
        int32_t token = pos + i < seq->n_known ? seq->tokens[pos + i] : 0; /* 0: the place of a feedback token */
        if (token < 0) {
            int32_t row = -1 - token;
            seq_image *image = &seq->images[row / rows];
            token = -1 - ((int32_t)image->slot * rows + row % rows);
            if (!image->planned) {
                plan->images[plan->n_images++] = (link_image){.slot = image->slot, .pixels = image->pixels};
                image->planned = true;
            }
        }
        plan->tokens[plan->n_tokens + i] = token;
    }
    plan->n_tokens += n_tokens;
}

/* The blocks for these positions are owned already. */
static void add_slice(sched *s, sched_seq *seq, uint32_t n_tokens, uint32_t n_sampled, uint32_t flags, uint64_t now_us)
{
    link_plan *plan = &s->plan;
    sched_flight *flight = &s->flights[(s->first_flight + s->n_flights) % s->options.max_plans];
    uint32_t pos = seq->n_planned, n_blocks = kv_blocks_for(pos + n_tokens);
    if (n_sampled > 0 && seq->digest)
        flags |= LINK_SLICE_DIGEST;
    plan->slices[plan->n_slices++] = (link_slice){.seq = seq->slot, .pos = pos, .n_tokens = n_tokens,
                                                  .first_token = plan->n_tokens, .first_block = plan->n_blocks,
                                                  .n_sampled = n_sampled, .flags = flags, .sampling = seq->sampling};
    copy_tokens(s, seq, pos, n_tokens);
    for (uint32_t i = 0; i < n_blocks; i++)
        plan->blocks[plan->n_blocks++] = seq->table.blocks[i];
    flight->entries[flight->n_entries++] = (sched_entry){.seq = seq, .pos = pos, .n_tokens = n_tokens, .n_sampled = n_sampled};
    seq->n_planned += n_tokens;
    seq->n_plans++;
    seq->n_sampling += n_sampled > 0;
    seq->last_step = plan->step;
    if (seq->started_us == 0)
        seq->started_us = now_us;
}

/* ---- decoding ---- */

/* The token to feed is known or under way, one more may be sampled, and depth allows it. */
static bool can_decode(const sched_seq *seq)
{
    return seq->state == SEQ_DECODE && seq->n_sampling < SCHED_AHEAD && seq->n_planned < seq->n_known + seq->n_sampling &&
           seq->n_known + seq->n_sampling < seq->n_prompt + seq->max_tokens;
}

static int by_last_step(const void *a, const void *b)
{
    const sched_seq *x = *(sched_seq *const *)a, *y = *(sched_seq *const *)b;
    if (x->last_step != y->last_step)
        return x->last_step < y->last_step ? -1 : 1;
    return x->standing.arrival < y->standing.arrival ? -1 : 1;
}

static bool is_holder(const sched_seq *seq)
{
    return seq->state == SEQ_PREFILL || seq->state == SEQ_DECODE;
}

static bool is_leaving(const sched_seq *seq)
{
    return seq->state == SEQ_PREEMPTED || seq->state == SEQ_DRAINING;
}

/* Rule 2: throw out the last of the running.  False when `seq` cannot go on in this plan: it was the one, or blocks will only
 * come free when plans in flight complete. */
static bool make_room(sched *s, const sched_seq *seq)
{
    if (extreme(s, &s->running, false, is_leaving) != NULL)
        return false;
    sched_seq *victim = extreme(s, &s->running, true, is_holder);
    if (victim->n_plans > 0) {
        victim->state = SEQ_PREEMPTED;
        return false;
    }
    sched_seq_requeue(s, victim);
    return victim != seq;
}

static bool cover(sched *s, sched_seq *seq)
{
    while (!kv_table_cover(&seq->table, &s->blocks, seq->n_planned + 1))
        if (!make_room(s, seq))
            return false;
    return true;
}

/* Up to n decoding sequences, the longest unplanned first; `ripe` only: not those of the n_stages - 1 plans before (rule 4). */
static void add_decodes(sched *s, uint32_t n, bool ripe, uint64_t now_us)
{
    uint32_t n_candidates = 0;
    for (uint32_t i = 0; i < s->running.n; i++) {
        sched_seq *seq = s->running.items[i];
        if (can_decode(seq) && (!ripe || s->plan.step - seq->last_step >= s->options.n_stages))
            s->scratch[n_candidates++] = seq;
    }
    qsort(s->scratch, n_candidates, sizeof(sched_seq *), by_last_step);
    for (uint32_t i = 0; i < n_candidates && n > 0; i++) {
        sched_seq *seq = s->scratch[i];
        if (!can_decode(seq) || !cover(s, seq)) /* it may have been thrown out for one before it */
            continue;
        uint32_t feedback = seq->n_planned < seq->n_known ? 0 : LINK_SLICE_FEEDBACK;
        add_slice(s, seq, 1, 1, feedback, now_us);
        n--;
    }
}

/* ---- prompts ---- */

static bool has_prompt_left(const sched_seq *seq)
{
    return seq->state == SEQ_PREFILL && seq->n_planned < seq->n_known;
}

/* A chunk of each prompt in the policy's order until the budget is used up.  A prompt's chunk ends in one plan at most once: the
 * sequence either used the rest of the budget or is past its prompt. */
static void add_prompts(sched *s, uint32_t budget, uint64_t now_us)
{
    while (budget > 0) {
        sched_seq *seq = extreme(s, &s->running, false, has_prompt_left);
        if (seq == NULL)
            return;
        uint32_t left = seq->n_known - seq->n_planned;
        uint32_t n = min_u32(left, budget);
        if (n == left)
            seq->state = SEQ_DECODE;
        add_slice(s, seq, n, n == left, 0, now_us);
        budget -= n;
    }
}

/* ---- the plan ---- */

static sched_load load_of(const sched *s)
{
    sched_load load = {.step_tokens = s->options.step_tokens, .n_stages = s->options.n_stages};
    for (uint32_t i = 0; i < s->running.n; i++) {
        const sched_seq *seq = s->running.items[i];
        load.n_decoding += seq->state == SEQ_DECODE;
        if (seq->state == SEQ_PREFILL)
            load.prefill_tokens += seq->n_known - seq->n_planned;
    }
    return load;
}

static void begin_plan(sched *s)
{
    s->flights[(s->first_flight + s->n_flights) % s->options.max_plans].n_entries = 0;
    s->plan.step = s->step + 1;
    s->plan.image_size = s->options.limits.image_size;
    s->plan.n_slices = s->plan.n_tokens = s->plan.n_blocks = s->plan.n_images = 0;
}

const link_plan *sched_next_plan(sched *s, uint64_t now_us)
{
    if (s->n_flights == s->options.max_plans)
        return NULL;
    admit_waiting(s);
    begin_plan(s);
    sched_load load = load_of(s);
    sched_split split = s->options.policy->split(&load);
    uint32_t budget = s->options.step_tokens;
    uint32_t n_decode = min_u32(split.n_decode, budget);
    add_decodes(s, n_decode, true, now_us);
    add_prompts(s, min_u32(split.prefill_tokens, budget - s->plan.n_tokens), now_us);
    if (s->plan.n_slices == 0)
        add_decodes(s, n_decode, false, now_us);
    if (s->plan.n_slices == 0)
        return NULL;
    s->flights[(s->first_flight + s->n_flights) % s->options.max_plans].step = ++s->step;
    s->n_flights++;
    return &s->plan;
}
