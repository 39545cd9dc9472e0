/* sched.c - the scheduler object: checked options, memory for the largest plan, statistics.  Nothing is allocated after
 * sched_create but sequences. */
#include "coordinator/sched/sched.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/sched/sched_int.h"
#include "proto/base/size.h"

/* Bounds on what a replica may announce: far above any real one, low enough that sums of them cannot wrap. */
enum {
    SEQS_MAX = 1 << 16,
    QUEUE_MAX = 1 << 20,
    STEP_TOKENS_MAX = 1 << 20,
    BLOCKS_MAX = 1 << 28,
    PLANS_MAX = 64,
    SLOTS_MAX = 1 << 16
};
#define POSITIONS_MAX (1u << 26)

/* Tokens of finished answers that n-grams are looked up in: some dozen reports; a lookup stays far below a
 * millisecond. */
enum { HISTORY_TOKENS = 16384 };

/* ---- create and destroy ---- */

static base_status check_options(const sched_options *o, base_error *error)
{
    const struct {
        const char *name;
        uint64_t value, least, most;
    } rows[] = {
        {"max_seqs", o->limits.max_seqs, 1, SEQS_MAX},
        {"max_positions", o->limits.max_positions, 2, POSITIONS_MAX},
        {"max_step_tokens", o->limits.max_step_tokens, 1, STEP_TOKENS_MAX},
        {"n_kv_blocks", o->limits.n_kv_blocks, 1, BLOCKS_MAX},
        {"n_draft_blocks", o->limits.n_draft_blocks, 0, BLOCKS_MAX},
        {"draft_positions", o->limits.draft_positions, 0, o->limits.max_positions},
        {"n_image_slots", o->limits.n_image_slots, 0, SLOTS_MAX},
        {"rows_per_image", o->limits.rows_per_image, 0, POSITIONS_MAX / SLOTS_MAX},
        {"vocab_size", o->limits.vocab_size, 1, INT32_MAX},
        {"number of stages", o->n_stages, 1, PLANS_MAX - 1},
        {"max_queue", o->max_queue, 1, QUEUE_MAX},
        {"max_plans", o->max_plans, 0, PLANS_MAX},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].value < rows[i].least || rows[i].value > rows[i].most)
            return base_fail(error, BASE_EINVAL, "%s is %llu; it must be %llu to %llu", rows[i].name,
                             (unsigned long long)rows[i].value, (unsigned long long)rows[i].least,
                             (unsigned long long)rows[i].most);
    uint32_t step_tokens =
        o->step_tokens != 0 && o->step_tokens < o->limits.max_step_tokens ? o->step_tokens : o->limits.max_step_tokens;
    if (o->limits.whole_images != 0 && o->limits.n_image_slots > 0 && step_tokens < o->limits.rows_per_image)
        return base_fail(error, BASE_EINVAL,
                         "a step has %u tokens, but the %u rows of an image go together; raise --step-tokens",
                         step_tokens, o->limits.rows_per_image);
    return BASE_OK;
}

static base_status init_plan(sched *s, base_error *error)
{
    const link_limits *limits = &s->options.limits;
    s->plan.slices = calloc(limits->max_seqs, sizeof *s->plan.slices);
    s->plan.tokens = calloc(s->options.step_tokens, sizeof *s->plan.tokens);
    s->plan.blocks =
        calloc(limits->max_seqs, kv_blocks_for(limits->max_positions) * sizeof *s->plan.blocks); /* they may share */
    s->plan.images = calloc(limits->n_image_slots + 1u, sizeof *s->plan.images);
    s->plan.vectors = calloc(s->options.step_tokens, sizeof *s->plan.vectors);
    s->plan.drafts = calloc(limits->max_seqs, sizeof *s->plan.drafts);
    s->plan.draft_inputs = calloc(s->options.step_tokens, sizeof *s->plan.draft_inputs);
    s->plan.draft_blocks =
        calloc(limits->max_seqs, (kv_blocks_for(limits->draft_positions) + 1) * sizeof *s->plan.draft_blocks);
    s->scratch = calloc(limits->max_seqs, sizeof(sched_seq *));
    if (!s->plan.drafts || !s->plan.draft_inputs || !s->plan.draft_blocks || !s->plan.slices || !s->plan.tokens ||
        !s->plan.blocks || !s->plan.images || !s->plan.vectors || !s->scratch)
        return base_fail(error, BASE_ENOMEM, "no memory for a step plan of %u tokens", s->options.step_tokens);
    return BASE_OK;
}

static base_status init_flights(sched *s, base_error *error)
{
    s->inflight = calloc(s->options.max_plans, sizeof *s->inflight);
    if (s->inflight == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for %u plans in flight", s->options.max_plans);
    for (uint32_t i = 0; i < s->options.max_plans; i++) {
        s->inflight[i].slices = calloc(s->options.limits.max_seqs, sizeof(inflight_slice));
        if (s->inflight[i].slices == NULL)
            return base_fail(error, BASE_ENOMEM, "no memory for %u plans in flight", s->options.max_plans);
    }
    return BASE_OK;
}

static base_status init_events(sched *s, base_error *error)
{
    s->event_capacity = s->options.max_queue + s->options.limits.max_seqs;
    s->events = calloc(s->event_capacity, sizeof *s->events);
    s->event_seqs = calloc(s->event_capacity, sizeof(sched_seq *));
    if (s->events == NULL || s->event_seqs == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for %u events", s->event_capacity);
    return BASE_OK;
}

static base_status init_parts(sched *s, base_error *error)
{
    const link_limits *limits = &s->options.limits;
    base_status status = seq_list_init(&s->waiting, s->options.max_queue + limits->max_seqs, error);
    if (status == BASE_OK)
        status = seq_list_init(&s->running, limits->max_seqs, error);
    if (status == BASE_OK)
        status = id_pool_init(&s->slots, limits->max_seqs, "sequence slots", error);
    if (status == BASE_OK)
        status = prefix_cache_init(&s->blocks, limits->n_kv_blocks, s->options.reuse_prefixes, error);
    if (status == BASE_OK)
        status = prefix_cache_init(&s->draft_blocks, limits->n_draft_blocks,
                                   s->options.reuse_prefixes && limits->n_draft_blocks > 0, error);
    if (status == BASE_OK)
        status = ngram_history_init(&s->history, s->options.speculate != 0 ? HISTORY_TOKENS : 0, error);
    if (status == BASE_OK)
        status = encoder_cache_init(&s->images, limits->n_image_slots, error);
    if (status == BASE_OK)
        status = init_plan(s, error);
    if (status == BASE_OK)
        status = init_flights(s, error);
    if (status == BASE_OK)
        status = init_events(s, error);
    return status;
}

base_status sched_create(const sched_options *options, sched **out, base_error *error)
{
    base_status status = check_options(options, error);
    if (status != BASE_OK)
        return status;
    sched *s = calloc(1, sizeof *s);
    if (s == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a scheduler");
    s->options = *options;
    if (s->options.max_plans == 0)
        s->options.max_plans = options->n_stages + 1;
    if (options->step_tokens == 0 || options->step_tokens > options->limits.max_step_tokens)
        s->options.step_tokens = options->limits.max_step_tokens;
    if (options->speculate != SCHED_SPECULATE_AUTO && options->speculate > SCHED_DRAFT_MAX)
        s->options.speculate = SCHED_DRAFT_MAX;
    status = init_parts(s, error);
    if (status != BASE_OK) {
        sched_destroy(&s);
        return status;
    }
    *out = s;
    return BASE_OK;
}

/* Ended sequences with pending events; each is freed with its last event. */
static void destroy_ended(sched *s)
{
    sched_event event;
    while (sched_next_event(s, &event))
        ;
}

static void destroy_list(sched *s, seq_list *list)
{
    for (uint32_t i = 0; i < list->n; i++) {
        sched_seq_release_resources(s, list->items[i]);
        sched_seq_destroy(list->items[i]);
    }
    free(list->items);
}

void sched_destroy(sched **out)
{
    sched *s = *out;
    if (s == NULL)
        return;
    destroy_ended(s);
    destroy_list(s, &s->waiting);
    destroy_list(s, &s->running);
    for (uint32_t i = 0; s->inflight != NULL && i < s->options.max_plans; i++)
        free(s->inflight[i].slices);
    free(s->inflight);
    free(s->events);
    free(s->event_seqs);
    free(s->scratch);
    free(s->plan.slices);
    free(s->plan.tokens);
    free(s->plan.blocks);
    free(s->plan.images);
    free(s->plan.vectors);
    free(s->plan.drafts);
    free(s->plan.draft_inputs);
    free(s->plan.draft_blocks);
    id_pool_release(&s->slots);
    prefix_cache_release(&s->blocks);
    prefix_cache_release(&s->draft_blocks);
    ngram_history_release(&s->history);
    encoder_cache_release(&s->images);
    free(s);
    *out = NULL;
}

sched_stats sched_stats_of(const sched *s)
{
    return (sched_stats){.n_waiting = s->n_reserved + s->waiting.n,
                         .n_running = s->running.n,
                         .n_plans = s->n_inflight,
                         .kv_blocks_total = s->blocks.pool.n_total,
                         .kv_blocks_free = prefix_cache_available(&s->blocks),
                         .kv_blocks_cached = s->blocks.n_evictable,
                         .steps = s->step,
                         .prefix_requests = s->prefix_requests,
                         .prefix_tokens = s->prefix_tokens,
                         .drafted_tokens = s->drafted_tokens,
                         .accepted_tokens = s->accepted_tokens,
                         .images_reused = s->images.n_hits};
}
