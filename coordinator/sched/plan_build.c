/* plan_build.c - putting the next step plan together: admission, decoding slices, prompt chunks, and making room by
 * preemption.
 *
 * The order matters: admission first (what became free serves the queue), then decoding (it is short and somebody reads
 * along), then prompts with what is left of the budget. */
#include <assert.h>
#include <stdlib.h>

#include "coordinator/sched/sched.h"
#include "coordinator/sched/sched_int.h"

/* ---- admission ---- */

/* The first (or last) of the sequences that `is_eligible` in the policy's order; NULL when there is none. */
static sched_seq *extreme(const sched *s, const seq_list *list, bool want_last, bool (*is_eligible)(const sched_seq *))
{
    sched_seq *best = NULL;
    for (uint32_t i = 0; i < list->n; i++) {
        sched_seq *seq = list->items[i];
        if (!is_eligible(seq))
            continue;
        if (best == NULL || s->options.policy->before(&seq->rank, &best->rank) != want_last)
            best = seq;
    }
    return best;
}

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

static void take_images(sched *s, sched_seq *seq)
{
    uint32_t first = seq->n_images - n_images_left(seq);
    for (uint32_t i = first; i < seq->n_images && s->options.reuse_prefixes && seq->has_image_keys; i++)
        seq->images[i].planned = encoder_cache_reuse(&s->images, seq->images[i].name, &seq->images[i].slot);
    for (uint32_t i = first; i < seq->n_images; i++)
        if (!seq->images[i].planned)
            encoder_cache_alloc(&s->images, seq->has_image_keys ? seq->images[i].name : NULL, &seq->images[i].slot);
}

/* Count what a sequence need not compute. */
static void count_cached(sched *s, sched_seq *seq, uint32_t n)
{
    s->prefix_requests += seq->reuse.n_cached == 0 && n > 0;
    s->prefix_tokens += n;
    seq->reuse.n_cached += n;
}

/* Rule 1.  Beside running sequences one block for each of them is left free, or a newcomer would soon be thrown out
 * again. */
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
    take_images(s, seq);
    count_cached(s, seq, n_cached);
    draft_text_reuse_prefix(&seq->text, &s->draft_blocks);
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

/* Known, or a guess, or 0 in the place of a feedback token. */
static int32_t token_at(const sched_seq *seq, uint32_t pos)
{
    if (pos < seq->n_known)
        return seq->tokens[pos];
    return pos - seq->n_known < seq->n_draft ? seq->draft[pos - seq->n_known] : 0;
}

/* A vector joins the plan, which it is numbered in behind the rows of the image store. */
static int32_t add_vector(sched *s, const content_vector *vector)
{
    s->plan.vectors[s->plan.n_vectors] =
        (link_vector){.kind = vector->kind, .width = vector->width, .values = vector->values};
    return link_plan_vector(s->plan.n_vectors++, link_store_rows(&s->options.limits));
}

/* Copy tokens of the sequence into the plan: image rows are renumbered to the slots held, images met for the first time
 * join it. */
static void copy_tokens(sched *s, sched_seq *seq, uint32_t pos, uint32_t n_tokens)
{
    uint32_t rows = s->options.limits.rows_per_image;
    link_plan *plan = &s->plan;
    for (uint32_t i = 0; i < n_tokens; i++) {
        int32_t token = token_at(seq, pos + i);
        link_position position = link_position_in_request(token);
        if (position.kind == LINK_POSITION_VECTOR) {
            token = add_vector(s, &seq->vectors[position.index]);
        } else if (position.kind == LINK_POSITION_IMAGE_ROW) {
            seq_image *image = &seq->images[position.index / rows];
            token = link_image_row(image->slot * rows + position.index % rows);
            if (!image->planned) {
                plan->images[plan->n_images++] = (link_image){.slot = image->slot, .pixels = image->pixels};
                image->planned = true;
                if (seq->has_image_keys)
                    encoder_cache_mark_encoded(&s->images, image->slot);
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
    inflight_plan *flight = &s->flights[(s->first_flight + s->n_flights) % s->options.max_plans];
    uint32_t pos = seq->n_planned, n_blocks = kv_blocks_for(pos + n_tokens);
    if (n_sampled > 0 && seq->digest)
        flags |= LINK_SLICE_DIGEST;
    bool is_given = n_sampled > 0 && seq->scores;
    if (is_given)
        flags |= LINK_SLICE_GIVEN;
    plan->slices[plan->n_slices++] = (link_slice){.seq = seq->slot,
                                                  .pos = pos,
                                                  .n_tokens = n_tokens,
                                                  .first_token = plan->n_tokens,
                                                  .first_block = plan->n_blocks,
                                                  .n_sampled = n_sampled,
                                                  .flags = flags,
                                                  .sampling = seq->sampling,
                                                  .given = is_given ? seq->tokens[pos + n_tokens] : 0};
    copy_tokens(s, seq, pos, n_tokens);
    for (uint32_t i = 0; i < n_blocks; i++)
        plan->blocks[plan->n_blocks++] = seq->table.blocks[i];
    flight->entries[flight->n_entries++] = (inflight_slice){.seq = seq,
                                                            .pos = pos,
                                                            .n_tokens = n_tokens,
                                                            .n_sampled = n_sampled,
                                                            .n_drafted = seq->draft_is_placeholder ? seq->n_draft : 0};
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
    return seq->state == SEQ_DECODE && seq->n_draft == 0 && seq->n_sampling < SCHED_AHEAD &&
           seq->n_planned < seq->n_known + seq->n_sampling &&
           seq->n_known + seq->n_sampling < seq->n_prompt + seq->max_tokens;
}

static int by_last_step(const void *a, const void *b)
{
    const sched_seq *x = *(sched_seq *const *)a, *y = *(sched_seq *const *)b;
    if (x->last_step != y->last_step)
        return x->last_step < y->last_step ? -1 : 1;
    return x->rank.arrival < y->rank.arrival ? -1 : 1;
}

static bool holds_blocks(const sched_seq *seq)
{
    return seq->state == SEQ_PREFILL || seq->state == SEQ_DECODE;
}

static bool is_releasing(const sched_seq *seq)
{
    return seq->state == SEQ_PREEMPTED || seq->state == SEQ_DRAINING;
}

/* Rule 2: throw out the last of the running.  False when `seq` cannot go on in this plan: it was the one, or blocks
 * will only come free when plans in flight complete. */
static bool preempt(sched *s, const sched_seq *seq)
{
    if (extreme(s, &s->running, false, is_releasing) != NULL)
        return false;
    sched_seq *victim = extreme(s, &s->running, true, holds_blocks);
    if (victim->n_plans > 0) {
        victim->state = SEQ_PREEMPTED;
        return false;
    }
    sched_seq_requeue(s, victim);
    return victim != seq;
}

static bool cover(sched *s, sched_seq *seq)
{
    while (!block_table_reserve(&seq->table, &s->blocks, seq->n_planned + 1))
        if (!preempt(s, seq))
            return false;
    return true;
}

/* One slice of a sequence that decodes. */
static void add_decode(sched *s, sched_seq *seq, uint32_t n_decoding, uint32_t n_others, uint64_t now_us)
{
    sched_propose(s, seq, n_decoding, n_others);
    uint32_t feedback = seq->n_planned < seq->n_known ? 0 : LINK_SLICE_FEEDBACK;
    add_slice(s, seq, 1 + seq->n_draft, 1 + seq->n_draft, feedback, now_us);
}

/* Up to n decoding sequences, the longest unplanned first; `ripe` only: not those of the n_stages - 1 plans before
 * (rule 7). */
static void add_decodes(sched *s, uint32_t n, bool ripe, uint64_t now_us)
{
    uint32_t n_candidates = 0;
    for (uint32_t i = 0; i < s->running.n; i++) {
        sched_seq *seq = s->running.items[i];
        if (can_decode(seq) && (!ripe || s->plan.step - seq->last_step >= s->options.n_stages) &&
            !sched_should_wait_for_draft(s, seq, n))
            s->scratch[n_candidates++] = seq;
    }
    uint32_t n_decoding = min_u32(n, n_candidates);
    qsort(s->scratch, n_candidates, sizeof(sched_seq *), by_last_step);
    for (uint32_t i = 0; i < n_candidates && n > 0; i++) {
        sched_seq *seq = s->scratch[i];
        if (!can_decode(seq) || !cover(s, seq)) /* it may have been thrown out for one before it */
            continue;
        n--;
        add_decode(s, seq, n_decoding, min_u32(n, n_candidates - i - 1), now_us);
    }
}

/* ---- prompts ---- */

static bool has_prompt_left(const sched_seq *seq)
{
    return seq->state == SEQ_PREFILL && seq->n_planned < seq->n_known;
}

/* What somebody else has computed since the sequence was admitted. */
static void reuse_prefix(sched *s, sched_seq *seq)
{
    count_cached(s, seq, sched_seq_reuse_prefix(s, seq));
    sched_seq_release_images(s, seq);
}

static bool is_image_row(int32_t token)
{
    return link_position_in_request(token).kind == LINK_POSITION_IMAGE_ROW;
}

/* The image that a row at `pos` and the one behind it are of, when its rows go together; NULL: a chunk may end between
 * them. */
static const seq_image *image_spanning(const sched *s, const sched_seq *seq, uint32_t pos)
{
    uint32_t rows = s->options.limits.rows_per_image;
    if (s->options.limits.whole_images == 0 || pos + 1 >= seq->n_known || !is_image_row(seq->tokens[pos]) ||
        !is_image_row(seq->tokens[pos + 1]))
        return NULL;
    uint32_t row = link_position_in_request(seq->tokens[pos]).index;
    return row % rows + 1 < rows ? &seq->images[row / rows] : NULL;
}

/* Rows of an image with which the rest of a prompt begins, and which go together. */
static uint32_t leading_image_rows(const sched *s, const sched_seq *seq)
{
    const seq_image *image = image_spanning(s, seq, seq->n_planned);
    return image != NULL ? image->end - seq->n_planned : 0;
}

/* Rule 6: how many tokens the next chunk has, `budget` at most unless it begins with an image that fits into the plan.
 */
static uint32_t chunk_length(const sched *s, const sched_seq *seq, uint32_t budget)
{
    uint32_t n = min_u32(seq->n_known - seq->n_planned, budget), front = leading_image_rows(s, seq);
    if (n < front)
        return front <= s->options.step_tokens - s->plan.n_tokens ? front : 0;
    const seq_image *image = n > 0 ? image_spanning(s, seq, seq->n_planned + n - 1) : NULL;
    return image != NULL ? image->end - s->options.limits.rows_per_image - seq->n_planned : n;
}

/* A chunk of each prompt in the policy's order until the budget is used up.  A prompt's chunk ends in one plan at most
 * once: the sequence either used the rest of the budget, or what an image leaves of it, or is past its prompt. */
static void add_prompts(sched *s, uint32_t budget, uint64_t now_us)
{
    while (budget > 0) {
        sched_seq *seq = extreme(s, &s->running, false, has_prompt_left);
        if (seq == NULL)
            return;
        reuse_prefix(s, seq);
        uint32_t left = seq->n_known - seq->n_planned;
        uint32_t n = chunk_length(s, seq, budget);
        if (n == 0)
            return;
        if (n == left)
            seq->state = SEQ_DECODE;
        add_slice(s, seq, n, n == left, 0, now_us);
        budget = n < left || n >= budget ? 0 : budget - n;
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
    s->plan.n_slices = s->plan.n_tokens = s->plan.n_blocks = s->plan.n_images = s->plan.n_vectors = 0;
    s->plan.n_drafts = s->plan.n_draft_inputs = s->plan.n_draft_blocks = 0;
    s->n_drafted = s->n_passes = 0;
    s->n_expected = 0.0f;
}

const link_plan *sched_next_plan(sched *s, uint64_t now_us)
{
    if (s->n_flights == s->options.max_plans)
        return NULL;
    admit_waiting(s);
    begin_plan(s);
    sched_load load = load_of(s);
    s->has_prompts = load.prefill_tokens > 0;
    sched_split split = s->options.policy->split(&load);
    const sched_seq *next = extreme(s, &s->running, false, has_prompt_left);
    s->n_kept = next != NULL ? leading_image_rows(s, next) : 0;
    uint32_t budget = s->options.step_tokens;
    uint32_t n_decode = min_u32(split.n_decode, budget - s->n_kept);
    add_decodes(s, n_decode, true, now_us);
    uint32_t n_decode_rows = s->plan.n_tokens;
    uint32_t n_prefill = min_u32(split.prefill_tokens, budget - s->plan.n_tokens);
    add_prompts(s, n_prefill == 0 && s->n_kept > 0 ? s->n_kept : n_prefill, now_us);
    if (s->plan.n_slices == 0) {
        add_decodes(s, n_decode, false, now_us);
        n_decode_rows = s->plan.n_tokens;
    }
    if (s->plan.n_slices == 0)
        return NULL;
    inflight_plan *flight = &s->flights[(s->first_flight + s->n_flights) % s->options.max_plans];
    flight->step = ++s->step;
    flight->sent_us = now_us;
    flight->n_passes = s->n_passes;
    flight->n_read = s->plan.n_draft_inputs;
    flight->n_decode_rows = n_decode_rows == s->plan.n_tokens ? n_decode_rows : 0;
    s->n_flights++;
    return &s->plan;
}
