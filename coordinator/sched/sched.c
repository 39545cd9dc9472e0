/* sched.c - requests into the queue.  plan_build.c puts the plans together, results.c takes their results and ends
 * requests. */
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

/* Of replies that drafts are looked up in: some dozen reports, and a look-up stays far below a millisecond. */
enum { HISTORY_TOKENS = 16384 };

/* ---- lists ---- */

void seq_list_add(seq_list *list, sched_seq *seq)
{
    assert(list->n < list->capacity);
    list->items[list->n++] = seq;
}

void seq_list_remove(seq_list *list, const sched_seq *seq)
{
    uint32_t i = 0;
    while (i < list->n && list->items[i] != seq)
        i++;
    assert(i < list->n);
    list->items[i] = list->items[--list->n];
}

static base_status seq_list_init(seq_list *list, uint32_t capacity, base_error *error)
{
    list->items = calloc(capacity, sizeof(sched_seq *));
    if (list->items == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a list of %u requests", capacity);
    list->capacity = capacity;
    return BASE_OK;
}

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
    s->flights = calloc(s->options.max_plans, sizeof *s->flights);
    if (s->flights == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for %u plans in flight", s->options.max_plans);
    for (uint32_t i = 0; i < s->options.max_plans; i++) {
        s->flights[i].entries = calloc(s->options.limits.max_seqs, sizeof(inflight_slice));
        if (s->flights[i].entries == NULL)
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

void sched_seq_destroy(sched_seq *seq)
{
    block_table_release(&seq->table);
    draft_text_release(&seq->text);
    free(seq->images);
    free(seq->image_digests);
    free(seq->vectors);
    free(seq->tokens);
    free(seq);
}

/* Ended sequences of which events were not taken; each goes with its last event. */
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
    for (uint32_t i = 0; s->flights != NULL && i < s->options.max_plans; i++)
        free(s->flights[i].entries);
    free(s->flights);
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

/* ---- requests ---- */

base_status sched_reserve(sched *s, base_error *error)
{
    uint32_t length = s->n_reserved + s->waiting.n;
    if (length >= s->options.max_queue)
        return base_fail(error, BASE_EBUSY, "the queue is full: %u requests wait, the limit is %u; try again later",
                         length, s->options.max_queue);
    s->n_reserved++;
    return BASE_OK;
}

void sched_unreserve(sched *s)
{
    assert(s->n_reserved > 0);
    s->n_reserved--;
}

static base_status check_fits(const sched *s, const sched_request *r, base_error *error)
{
    const link_limits *limits = &s->options.limits;
    if (r->score && r->n_resumed > 0)
        return base_fail(error, BASE_EINVAL, "an answer that is given cannot be gone on with");
    if (r->n_tokens <= r->n_resumed || r->max_tokens <= r->n_resumed)
        return base_fail(error, BASE_EINVAL, "a request needs at least one prompt token and one token to make");
    uint32_t n_prompt = r->n_tokens - r->n_resumed;
    uint64_t positions = (uint64_t)n_prompt + r->max_tokens;
    if (positions > limits->max_positions)
        return base_fail(
            error, BASE_ETOOBIG,
            "%u prompt tokens and max_tokens %u exceed the context of %u; shorten the prompt or lower max_tokens",
            n_prompt, r->max_tokens, limits->max_positions);
    if (kv_blocks_for((uint32_t)positions) > limits->n_kv_blocks)
        return base_fail(
            error, BASE_ETOOBIG,
            "%u prompt tokens and max_tokens %u exceed the cache of %llu tokens; lower max_tokens, or start the server "
            "with a larger cache",
            n_prompt, r->max_tokens, (unsigned long long)limits->n_kv_blocks * LINK_KV_BLOCK_TOKENS);
    if (r->n_images > limits->n_image_slots)
        return base_fail(error, BASE_ETOOBIG, "%u images in one request; this server holds %u at a time", r->n_images,
                         limits->n_image_slots);
    return BASE_OK;
}

base_status sched_check_resumed(const sched_request *r, base_error *error)
{
    for (uint32_t i = r->n_tokens - r->n_resumed; i < r->n_tokens; i++) {
        bool ends = r->tokens[i] < 0;
        for (uint32_t k = 0; k < r->n_stop_ids; k++)
            ends = ends || r->tokens[i] == r->stop_ids[k];
        if (ends)
            return base_fail(error, BASE_EINVAL,
                             "token %d, %u of the answer to go on with, ends an answer or is none; leave it out",
                             r->tokens[i], i - (r->n_tokens - r->n_resumed));
    }
    return BASE_OK;
}

/* The tokens that a request brings. */
static uint32_t n_given(const sched_request *r)
{
    return r->n_tokens + (r->score ? r->max_tokens : 0);
}

static base_status check_vectors(const sched *s, const sched_request *r, base_error *error)
{
    for (uint32_t v = 0; v < r->n_vectors; v++) {
        const content_vector *vector = &r->vectors[v];
        if (vector->kind >= LINK_VECTOR_KINDS || vector->width == 0 ||
            vector->width != s->options.limits.vector_widths[vector->kind])
            return base_fail(error, BASE_EINVAL,
                             "vector %u of the prompt has %u numbers and kind %u; this model has no such vectors", v,
                             vector->width, vector->kind);
    }
    return BASE_OK;
}

/* Ids inside the vocabulary; vectors in order; image rows complete, in order, each image's together. */
static base_status check_tokens(const sched *s, const sched_request *r, base_error *error)
{
    uint64_t next_row = 0;
    uint32_t next_vector = 0;
    for (uint32_t i = 0; i < n_given(r); i++) {
        link_position position = link_position_in_request(r->tokens[i]);
        if (position.kind == LINK_POSITION_TOKEN && position.index >= s->options.limits.vocab_size)
            return base_fail(error, BASE_EINVAL, "token %u is outside the vocabulary of %u", position.index,
                             s->options.limits.vocab_size);
        if (position.kind == LINK_POSITION_VECTOR && (i >= r->n_tokens || position.index != next_vector++))
            return base_fail(error, BASE_EINVAL, "the vectors of the prompt are not in order at position %u", i);
        if (position.kind == LINK_POSITION_IMAGE_ROW && (i >= r->n_tokens || position.index != next_row++))
            return base_fail(error, BASE_EINVAL, "the image rows of the prompt are not in order at position %u", i);
    }
    if (next_row != (uint64_t)r->n_images * s->options.limits.rows_per_image)
        return base_fail(error, BASE_EINVAL, "%llu image rows in the prompt do not belong to %u images",
                         (unsigned long long)next_row, r->n_images);
    if (next_vector != r->n_vectors)
        return base_fail(error, BASE_EINVAL, "the prompt has places for %u vectors, but %u came", next_vector,
                         r->n_vectors);
    return check_vectors(s, r, error);
}

static base_status alloc_seq(const sched_request *r, sched_seq **out, base_error *error)
{
    uint32_t positions = r->n_tokens - r->n_resumed + r->max_tokens;
    sched_seq *seq = calloc(1, sizeof *seq);
    if (seq == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a sequence");
    seq->tokens = calloc(positions, sizeof *seq->tokens);
    seq->images = calloc(r->n_images + 1u, sizeof *seq->images);
    seq->vectors = calloc(r->n_vectors + 1u, sizeof *seq->vectors);
    if (r->image_digests != NULL)
        seq->image_digests = calloc(r->n_images + 1u, sizeof *seq->image_digests);
    if (seq->tokens == NULL || seq->images == NULL || seq->vectors == NULL ||
        (r->image_digests != NULL && seq->image_digests == NULL) ||
        block_table_init(&seq->table, positions, NULL) != BASE_OK) {
        sched_seq_destroy(seq);
        return base_fail(error, BASE_ENOMEM, "no memory for a sequence of %u tokens", positions);
    }
    *out = seq;
    return BASE_OK;
}

static void fill_images(sched_seq *seq, const sched_request *r, uint32_t rows_per_image)
{
    uint32_t rows = 0;
    for (uint32_t i = 0; i < r->n_tokens; i++)
        if (link_position_in_request(r->tokens[i]).kind == LINK_POSITION_IMAGE_ROW)
            seq->images[rows++ / rows_per_image].end = i + 1;
    for (uint32_t i = 0; i < r->n_images; i++) {
        seq->images[i].pixels = r->images[i];
        seq->images[i].slot = SEQ_NO_SLOT;
    }
    seq->n_images = r->n_images;
    if (r->n_vectors > 0)
        memcpy(seq->vectors, r->vectors, r->n_vectors * sizeof *seq->vectors);
    seq->has_image_keys = r->image_keys != NULL;
    for (uint32_t i = 0; i < r->n_images && seq->has_image_keys; i++)
        memcpy(seq->images[i].name, r->image_keys[i], sizeof seq->images[i].name);
    if (r->image_digests != NULL && r->n_images > 0)
        memcpy(seq->image_digests, r->image_digests, r->n_images * sizeof *seq->image_digests);
}

base_status sched_submit(sched *s, const sched_request *r, uint64_t now_us, sched_seq **out, base_error *error)
{
    sched_unreserve(s);
    base_status status = check_fits(s, r, error);
    if (status == BASE_OK)
        status = check_tokens(s, r, error);
    if (status == BASE_OK)
        status = sched_check_resumed(r, error);
    if (status == BASE_OK && r->deadline_us != 0 && r->deadline_us <= now_us)
        status = base_fail(error, BASE_EDEADLINE, "the deadline passed while the request was prepared");
    sched_seq *seq = NULL;
    if (status == BASE_OK)
        status = alloc_seq(r, &seq, error);
    if (status == BASE_OK && s->options.limits.n_draft_blocks > 0 && s->options.speculate != 0 && !r->score) {
        status = draft_text_init(&seq->text, r->tokens, r->n_tokens, r->max_tokens - r->n_resumed, error);
        if (status != BASE_OK)
            sched_seq_destroy(seq);
    }
    if (status != BASE_OK)
        return status;
    memcpy(seq->tokens, r->tokens, n_given(r) * sizeof *r->tokens);
    seq->scores = r->score;
    seq->state = SEQ_WAITING;
    seq->user = r->user;
    seq->n_known = r->n_tokens;
    seq->n_prompt = r->n_tokens - r->n_resumed;
    seq->max_tokens = r->max_tokens;
    seq->slot = SEQ_NO_SLOT;
    seq->stop_ids = r->stop_ids;
    seq->n_stop_ids = r->n_stop_ids;
    seq->sampling = r->sampling;
    seq->digest = r->digest;
    seq->rank = (sched_rank){
        .priority = r->priority, .arrival = ++s->arrivals, .deadline_us = r->deadline_us, .n_tokens = r->n_tokens};
    fill_images(seq, r, s->options.limits.rows_per_image);
    seq_list_add(&s->waiting, seq);
    *out = seq;
    return BASE_OK;
}

sched_stats sched_stats_of(const sched *s)
{
    return (sched_stats){.n_waiting = s->n_reserved + s->waiting.n,
                         .n_running = s->running.n,
                         .n_plans = s->n_flights,
                         .kv_blocks_total = s->blocks.pool.n_total,
                         .kv_blocks_free = prefix_cache_available(&s->blocks),
                         .kv_blocks_kept = s->blocks.n_evictable,
                         .steps = s->step,
                         .prefix_requests = s->prefix_requests,
                         .prefix_tokens = s->prefix_tokens,
                         .drafted_tokens = s->drafted_tokens,
                         .accepted_tokens = s->accepted_tokens,
                         .images_reused = s->images.n_reused};
}
