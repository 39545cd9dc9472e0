/* plan_build.c - builds the next step plan.
 *
 *     1. admission       freed resources go to the queue first (admission.c)
 *     2. policy->split   how many sequences decode, how many prompt tokens
 *     3. decode slices   least recently planned first: 1 token each, or 1 + k with a draft (speculate/); a sequence
 *                        without a block for its next token preempts (preempt.c)
 *     4. prompt chunks   in the policy's order until the budget is used up
 *     5. still empty     decode slices again, without the spreading over stages (rule 7)
 *
 *     tokens  | d | d k k | d | prompt chunk ............ | chunk |     at most step_tokens
 *
 * Decoding comes before prompts because it is short and clients read along. */
#include <stdlib.h>

#include "coordinator/sched/sched_int.h"
#include "coordinator/sched/speculate/speculate.h"

/* ---- slices ---- */

/* Known, or a draft token, or 0 as the placeholder of a feedback token. */
static int32_t token_at(const sched_seq *seq, uint32_t pos)
{
    if (pos < seq->n_known)
        return seq->tokens[pos];
    return pos - seq->n_known < seq->n_draft ? seq->draft[pos - seq->n_known] : 0;
}

/* A vector joins the plan; plans number vectors after the rows of the image store. */
static int32_t add_vector(sched *s, const content_vector *vector)
{
    s->plan.vectors[s->plan.n_vectors] =
        (link_vector){.kind = vector->kind, .width = vector->width, .values = vector->values};
    return link_plan_vector(s->plan.n_vectors++, link_store_rows(&s->options.limits));
}

/* Copy tokens of the sequence into the plan: image rows are renumbered to the slots held, images not yet encoded join
 * it. */
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
            if (!image->is_planned) {
                plan->images[plan->n_images++] = (link_image){.slot = image->slot, .pixels = image->pixels};
                image->is_planned = true;
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
    inflight_plan *inflight = &s->inflight[(s->first_inflight + s->n_inflight) % s->options.max_plans];
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
    inflight->slices[inflight->n_slices++] =
        (inflight_slice){.seq = seq,
                         .pos = pos,
                         .n_tokens = n_tokens,
                         .n_sampled = n_sampled,
                         .n_placeholders = seq->draft_is_placeholder ? seq->n_draft : 0};
    seq->n_planned += n_tokens;
    seq->n_plans++;
    seq->n_sampling += n_sampled > 0;
    seq->last_step = plan->step;
    if (seq->started_us == 0)
        seq->started_us = now_us;
}

/* ---- decoding ---- */

/* The token to feed is known or in flight, one more may be sampled, and SCHED_AHEAD allows it. */
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

/* One slice of a sequence that decodes. */
static void add_decode(sched *s, sched_seq *seq, uint32_t n_decoding, uint32_t n_others, uint64_t now_us)
{
    sched_propose(s, seq, n_decoding, n_others);
    uint32_t feedback = seq->n_planned < seq->n_known ? 0 : LINK_SLICE_FEEDBACK;
    add_slice(s, seq, 1 + seq->n_draft, 1 + seq->n_draft, feedback, now_us);
}

/* Up to n decoding sequences, the least recently planned first; `spread`: none of the n_stages - 1 plans before
 * (rule 7). */
static void add_decodes(sched *s, uint32_t n, bool spread, uint64_t now_us)
{
    uint32_t n_candidates = 0;
    for (uint32_t i = 0; i < s->running.n; i++) {
        sched_seq *seq = s->running.items[i];
        if (can_decode(seq) && (!spread || s->plan.step - seq->last_step >= s->options.n_stages) &&
            !sched_should_wait_for_draft(s, seq, n))
            s->scratch[n_candidates++] = seq;
    }
    uint32_t n_decoding = min_u32(n, n_candidates);
    qsort(s->scratch, n_candidates, sizeof(sched_seq *), by_last_step);
    for (uint32_t i = 0; i < n_candidates && n > 0; i++) {
        sched_seq *seq = s->scratch[i];
        if (!can_decode(seq) || !sched_reserve_block(s, seq)) /* it may have been preempted for one before it */
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

/* Blocks that others have computed since the sequence was admitted. */
static void reuse_late_prefix(sched *s, sched_seq *seq)
{
    sched_count_cached(s, seq, sched_seq_reuse_prefix(s, seq));
    sched_seq_release_images(s, seq);
}

static bool is_image_row(int32_t token)
{
    return link_position_in_request(token).kind == LINK_POSITION_IMAGE_ROW;
}

/* Rule 6: the image that the rows at `pos` and `pos` + 1 both belong to; NULL: a chunk may end between them. */
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
    uint32_t n = min_u32(seq->n_known - seq->n_planned, budget), leading = leading_image_rows(s, seq);
    if (n < leading)
        return leading <= s->options.step_tokens - s->plan.n_tokens ? leading : 0;
    const seq_image *image = n > 0 ? image_spanning(s, seq, seq->n_planned + n - 1) : NULL;
    return image != NULL ? image->end - s->options.limits.rows_per_image - seq->n_planned : n;
}

/* A chunk of each prompt in the policy's order until the budget is used up.  A prompt's chunk ends in one plan at most
 * once: the sequence either used the rest of the budget, or what an image leaves of it, or is past its prompt. */
static void add_prompts(sched *s, uint32_t budget, uint64_t now_us)
{
    while (budget > 0) {
        sched_seq *seq = seq_list_pick(&s->running, s->options.policy, false, has_prompt_left);
        if (seq == NULL)
            return;
        reuse_late_prefix(s, seq);
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
    s->inflight[(s->first_inflight + s->n_inflight) % s->options.max_plans].n_slices = 0;
    s->plan.step = s->step + 1;
    s->plan.image_size = s->options.limits.image_size;
    s->plan.n_slices = s->plan.n_tokens = s->plan.n_blocks = s->plan.n_images = s->plan.n_vectors = 0;
    s->plan.n_drafts = s->plan.n_draft_inputs = s->plan.n_draft_blocks = 0;
    s->n_drafted = s->n_passes = 0;
    s->n_expected = 0.0f;
}

const link_plan *sched_next_plan(sched *s, uint64_t now_us)
{
    if (s->n_inflight == s->options.max_plans)
        return NULL;
    sched_admit_waiting(s);
    begin_plan(s);
    sched_load load = load_of(s);
    s->has_prefill = load.prefill_tokens > 0;
    sched_split split = s->options.policy->split(&load);
    const sched_seq *next = seq_list_pick(&s->running, s->options.policy, false, has_prompt_left);
    s->n_reserved_rows = next != NULL ? leading_image_rows(s, next) : 0;
    uint32_t budget = s->options.step_tokens;
    uint32_t n_decode = min_u32(split.n_decode, budget - s->n_reserved_rows);
    add_decodes(s, n_decode, true, now_us);
    uint32_t n_decode_rows = s->plan.n_tokens;
    uint32_t n_prefill = min_u32(split.prefill_tokens, budget - s->plan.n_tokens);
    add_prompts(s, n_prefill == 0 && s->n_reserved_rows > 0 ? s->n_reserved_rows : n_prefill, now_us);
    if (s->plan.n_slices == 0) {
        add_decodes(s, n_decode, false, now_us);
        n_decode_rows = s->plan.n_tokens;
    }
    if (s->plan.n_slices == 0)
        return NULL;
    inflight_plan *inflight = &s->inflight[(s->first_inflight + s->n_inflight) % s->options.max_plans];
    inflight->step = ++s->step;
    inflight->sent_us = now_us;
    inflight->n_passes = s->n_passes;
    inflight->n_prefilled = s->plan.n_draft_inputs;
    inflight->n_decode_rows = n_decode_rows == s->plan.n_tokens ? n_decode_rows : 0;
    s->n_inflight++;
    return &s->plan;
}
