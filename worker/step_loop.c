/* step_loop.c - a rank executes plans.
 *
 * Rank 0 takes plans off the link, checks each, and passes its bytes on along the tree; every rank (rank 0 too) queues
 * what it receives and runs it in order.  Plans are numbered as they come: 1, 2, ...
 *
 *     link ---> rank 0: check ---> tree ---> every rank: queue [window] ---> model_step
 *      ^                                       stage 0 waits here for the results that the plan needs      |
 *      |                                                                                                   v
 *      +--- rank 0: report <--- every rank of stage 0: feedback tokens <--- result <--- last stage, tensor rank 0
 *
 * Speculative decoding: before stage 0 runs a plan, its draft model fills the plan's placeholder tokens
 * (draft_proposer.h); rank 0 adds them to the result, because the coordinator does not know them.
 *
 * Feedback: a slice marked LINK_SLICE_FEEDBACK needs the token of the latest earlier plan that sampled for its sequence
 * slot.  When a plan is queued, that plan's number goes into `needs`; stage 0 runs the plan once that many results have
 * arrived.
 *
 * Window: at most par_grid_plans_max plans are in flight (par/rank_queue_int.h says why); further ones stay in the
 * link's queue.
 *
 * Ending, so that no rank is left alone in a collective: rank 0 stops taking plans (on STOP, or on a failure of its
 * own: link lost, bad plan), all queued plans run and all results are delivered, then STOP or FAILED follows them down
 * the tree.  A bad plan never reaches the tree.  A plan that rank 0 accepted and another rank cannot read would be a
 * defect or broken memory; it cannot be agreed on in time and ends the job.
 *
 * Memory: everything is allocated before "ready"; from then on the loop neither allocates nor, while there is work,
 * makes system calls (tests/mpi/test_no_alloc.c counts).  Plans and results are decoded into buffers of the largest
 * size. */
#include "worker/step_loop.h"

#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/size.h"
#include "worker/par/channels.h"
#include "worker/trace/trace.h"

/* Bytes of the fixed fields of messages, generously (a failure's text counts as header): they bound the buffers, and
 * what arrives is checked against the buffers. */
enum { HEADER_BYTES = 512, SLICE_BYTES = 64, DRAFT_BYTES = 32, IMAGE_BYTES = 16, SAMPLED_BYTES = 32 };

/* Alignment of decoded plans; a multiple of malloc's. */
#define PLAN_ALIGN 64u

/* Rank 0 with nothing in flight waits on the link; a message wakes it at once, so this only bounds how often it polls.
 */
enum { LINK_WAIT_MS = 50 };

typedef struct queued_plan {
    base_buf bytes; /* [plan_bytes] reserved; the pixels of plan.images point in here */
    void *memory;   /* what `plan` points into; a part of loop->plans */
    link_plan plan;
    uint64_t needs; /* results that must have arrived (stage 0) */
} queued_plan;

struct step_loop {
    par_world *world;
    par_grid *grid;
    par_place place;
    model *m;
    draft_proposer *proposer; /* stage 0, with a draft model; else NULL */
    link_end *link;
    size_t plan_bytes;

    uint32_t window;
    queued_plan *queue; /* [window] ring; plan number n at (n - 1) % window */
    uint8_t *plans;     /* [window][bytes of a decoded plan] */
    uint64_t n_queued, n_run, n_results;
    uint64_t *sampled_by; /* [max_seqs] number of the latest plan that sampled for the slot; 0: none */

    link_token *tokens;     /* [max_seqs] of the result being made */
    link_token *arrived;    /* [max_seqs] of the result being read */
    int32_t *draft_tokens;  /* [max_seqs] draft tokens in that result */
    base_buf message;       /* a result, or rank 0's STOP or FAILED */
    uint64_t idle_since_us; /* the end of the last step, for the trace */
    bool stopping;          /* nothing further will be queued */
    bool closed;            /* STOP or FAILED was sent down the tree, or has arrived */
    base_error failure;     /* set unless stopped by STOP */
};

/* --- memory --- */

static bool plan_bytes_of(const link_limits *limits, size_t *out)
{
    bool drafts = limits->n_draft_blocks > 0;
    size_t blocks = link_kv_blocks(limits->max_positions) + (drafts ? link_kv_blocks(limits->draft_positions) : 0);
    size_t image = (size_t)limits->image_size * limits->image_size * 3 + IMAGE_BYTES;
    size_t slices, images, total, token = 0;
    for (int kind = 0; kind < LINK_VECTOR_KINDS; kind++)
        token = limits->vector_widths[kind] > token ? limits->vector_widths[kind] : token;
    token =
        (token + (drafts ? 3 : 2)) * sizeof(float); /* a vector's kind, the token, and one that the draft model reads */
    if (!base_size_mul(blocks, sizeof(uint32_t), &blocks) ||
        !base_size_add(blocks, SLICE_BYTES + (drafts ? DRAFT_BYTES : 0), &slices) ||
        !base_size_mul(slices, limits->max_seqs, &slices) || !base_size_mul(image, limits->n_image_slots, &images) ||
        !base_size_add(slices, images, &total))
        return false;
    return base_size_mul(token, limits->max_step_tokens, &token) && base_size_add(total, token, &total) &&
           base_size_add(total, HEADER_BYTES, out);
}

/* Memory for a window of plans, encoded and decoded.  Pages that no plan ever reaches cost nothing. */
static base_status allocate_plans(step_loop *loop, const link_limits *limits, base_error *error)
{
    size_t bytes, all;
    if (!link_plan_memory_bytes(limits, &bytes) ||
        !base_size_mul(base_size_round_up(bytes, PLAN_ALIGN), loop->window, &all))
        return base_fail(error, BASE_ETOOBIG,
                         "plans of %u sequences of %u positions are too large; lower --max-seqs or --context",
                         limits->max_seqs, limits->max_positions);
    loop->plans = calloc(1, all);
    if (loop->plans == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for %u plans of %zu bytes", loop->window, bytes);
    for (uint32_t i = 0; i < loop->window; i++) {
        loop->queue[i].memory = loop->plans + i * (all / loop->window);
        if (!base_buf_reserve(&loop->queue[i].bytes, loop->plan_bytes))
            return base_fail(error, BASE_ENOMEM, "no memory for %u plans of %zu bytes", loop->window, loop->plan_bytes);
    }
    return BASE_OK;
}

static base_status allocate_memory(step_loop *loop, base_error *error)
{
    const link_limits *limits = model_limits(loop->m);
    loop->queue = calloc(loop->window, sizeof *loop->queue);
    loop->sampled_by = calloc(limits->max_seqs, sizeof *loop->sampled_by);
    loop->tokens = calloc(limits->max_seqs, sizeof *loop->tokens);
    loop->arrived = calloc(limits->max_seqs, sizeof *loop->arrived);
    loop->draft_tokens = calloc(limits->max_seqs, sizeof *loop->draft_tokens);
    if (loop->queue == NULL || loop->sampled_by == NULL || loop->tokens == NULL || loop->arrived == NULL ||
        loop->draft_tokens == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for the step loop");
    if (!base_buf_reserve(&loop->message, HEADER_BYTES + limits->max_seqs * ((size_t)SAMPLED_BYTES + sizeof(int32_t))))
        return base_fail(error, BASE_ENOMEM, "no memory for the step loop's messages");
    if (!plan_bytes_of(limits, &loop->plan_bytes))
        return base_fail(error, BASE_ETOOBIG, "a plan of %u images is too large; lower --image-slots",
                         limits->n_image_slots);
    return allocate_plans(loop, limits, error);
}

base_status step_loop_create(par_world *world, par_grid *grid, model *m, draft_proposer *d, size_t stage_floats,
                             step_loop **out, base_error *error)
{
    step_loop *loop = calloc(1, sizeof *loop);
    base_status status = BASE_OK;
    if (loop == NULL) {
        status = base_fail(error, BASE_ENOMEM, "no memory for the step loop");
    } else {
        *loop = (step_loop){.world = world,
                            .grid = grid,
                            .m = m,
                            .proposer = d,
                            .place = par_grid_place(grid),
                            .window = par_grid_plans_max(grid)};
        status = allocate_memory(loop, error);
    }
    status = par_world_agree(world, status, error);
    if (status == BASE_OK)
        status = par_grid_reserve(grid, stage_floats, loop->plan_bytes, loop->message.capacity, error);
    if (status != BASE_OK) {
        step_loop_destroy(&loop);
        return status;
    }
    *out = loop;
    return BASE_OK;
}

void step_loop_destroy(step_loop **loop)
{
    step_loop *l = *loop;
    if (l == NULL)
        return;
    for (uint32_t i = 0; l->queue != NULL && i < l->window; i++)
        base_buf_release(&l->queue[i].bytes);
    free(l->queue);
    free(l->plans);
    free(l->sampled_by);
    free(l->tokens);
    free(l->arrived);
    free(l->draft_tokens);
    base_buf_release(&l->message);
    free(l);
    *loop = NULL;
}

/* --- failing --- */

/* The first failure counts.  Rank 0 shuts the replica down in order; any other rank can only abort the job. */
static void fail(step_loop *loop, const base_error *error)
{
    if (loop->place.rank != 0) {
        base_log_error("rank %u cannot continue: %s", loop->place.rank, error->text);
        par_world_abort(loop->world, 1);
    }
    if (loop->failure.status == BASE_OK)
        loop->failure = *error;
    loop->stopping = true;
}

/* --- queueing --- */

static queued_plan *queue_end(step_loop *loop)
{
    return &loop->queue[loop->n_queued % loop->window];
}

static bool has_room(const step_loop *loop)
{
    uint64_t done = loop->place.stage == 0 ? loop->n_results : loop->n_run;
    return loop->n_queued - done < loop->window;
}

/* Which results must the plan wait for, and which slots will it sample for? */
static base_status note_samples(step_loop *loop, queued_plan *entry, base_error *error)
{
    entry->needs = 0;
    for (uint32_t i = 0; i < entry->plan.n_slices; i++) {
        const link_slice *slice = &entry->plan.slices[i];
        uint64_t by = loop->sampled_by[slice->seq];
        if ((slice->flags & LINK_SLICE_FEEDBACK) == 0)
            continue;
        if (by == 0)
            return base_fail(error, BASE_EFORMAT,
                             "plan: slices[%u] wants the last token of slot %u, which has sampled none", i, slice->seq);
        entry->needs = by > entry->needs ? by : entry->needs;
    }
    for (uint32_t i = 0; i < entry->plan.n_slices; i++) {
        if (entry->plan.slices[i].n_sampled > 0)
            loop->sampled_by[entry->plan.slices[i].seq] = loop->n_queued + 1;
    }
    return BASE_OK;
}

/* The bytes at the queue's end are a plan: decode and queue it.  False after a failure. */
static bool queue_plan(step_loop *loop)
{
    queued_plan *entry = queue_end(loop);
    base_error error = {0};
    base_status status = BASE_OK;
    if (entry->bytes.size > loop->plan_bytes)
        status =
            base_fail(&error, BASE_EFORMAT, "plan: %zu bytes; the limit is %zu", entry->bytes.size, loop->plan_bytes);
    if (status == BASE_OK)
        status = link_plan_decode_into(entry->bytes.data, entry->bytes.size, model_limits(loop->m), entry->memory,
                                       &entry->plan, &error);
    if (status == BASE_OK)
        status = note_samples(loop, entry, &error);
    if (status != BASE_OK) {
        fail(loop, &error);
        return false;
    }
    loop->n_queued++;
    return true;
}

/* Rank 0: receive a message from the link, waiting at most timeout_ms.  True if one came. */
static bool take_from_link(step_loop *loop, int timeout_ms)
{
    if (loop->stopping || !has_room(loop))
        return false;
    queued_plan *entry = queue_end(loop);
    base_error error = {0};
    base_status status = link_receive(loop->link, &entry->bytes, timeout_ms, &error);
    if (status == BASE_EDEADLINE)
        return false;
    if (status != BASE_OK) {
        fail(loop, &error);
        return true;
    }
    switch (link_message_type(entry->bytes.data, entry->bytes.size)) {
    case LINK_PLAN:
        if (queue_plan(loop))
            par_plan_send(loop->grid, entry->bytes.data, entry->bytes.size);
        break;
    case LINK_STOP:
        loop->stopping = true;
        break;
    default:
        base_error_set(&error, BASE_EFORMAT, "the coordinator sent something that is neither plan nor stop");
        fail(loop, &error);
    }
    return true;
}

/* Other ranks: receive a message from the tree. */
static bool take_from_tree(step_loop *loop)
{
    queued_plan *entry = queue_end(loop);
    base_error error = {0};
    if (loop->stopping || !has_room(loop) || !par_plan_poll(loop->grid, &entry->bytes))
        return false;
    switch (link_message_type(entry->bytes.data, entry->bytes.size)) {
    case LINK_PLAN:
        queue_plan(loop);
        break;
    case LINK_FAILED:
        if (link_failed_decode(entry->bytes.data, entry->bytes.size, &loop->failure, &error) != BASE_OK)
            loop->failure = error;
        loop->stopping = loop->closed = true;
        break;
    default:
        loop->stopping = loop->closed = true;
    }
    return true;
}

/* --- running --- */

/* Rank 0: send the result to the coordinator, with the tokens that the draft model proposed. */
static void report(step_loop *loop, link_result *result)
{
    base_error error = {0};
    const link_plan *plan =
        &loop->queue[(loop->n_results - 1) % loop->window].plan; /* kept until its result has come */
    result->n_draft_tokens = draft_proposer_tokens(plan, loop->draft_tokens);
    result->draft_tokens = loop->draft_tokens;
    if (result->n_draft_tokens > 0) {
        base_buf_clear(&loop->message);
        link_result_encode(result, &loop->message);
    }
    if (link_send(loop->link, &loop->message, &error) != BASE_OK)
        fail(loop, &error);
}

/* Stage 0: take the results that have arrived. */
static bool take_results(step_loop *loop)
{
    bool any = false;
    while (loop->place.stage == 0 && par_result_poll(loop->grid, &loop->message)) {
        any = true;
        loop->n_results++;
        base_error error = {0};
        link_result result;
        if (link_result_decode_into(loop->message.data, loop->message.size, loop->arrived, loop->draft_tokens,
                                    model_limits(loop->m)->max_seqs, &result, &error) != BASE_OK) {
            fail(loop, &error);
            continue;
        }
        for (uint32_t i = 0; i < result.n_tokens; i++) {
            /* a sequence that overflowed has ended; if a plan sent ahead still asks for its token, any valid one
             * serves */
            int32_t token = result.tokens[i].token;
            model_set_feedback(loop->m, result.tokens[i].seq, token == LINK_TOKEN_OVERFLOW ? 0 : token);
        }
        if (loop->place.rank == 0)
            report(loop, &result);
    }
    return any;
}

static void send_result(step_loop *loop, const link_result *result)
{
    base_buf_clear(&loop->message);
    link_result_encode(result, &loop->message);
    par_result_send(loop->grid, loop->message.data, loop->message.size);
}

static bool run_next(step_loop *loop)
{
    if (loop->n_run == loop->n_queued)
        return false;
    queued_plan *entry = &loop->queue[loop->n_run % loop->window];
    if (loop->place.stage == 0 && (loop->n_results < entry->needs || loop->n_run - loop->n_results >= loop->window))
        return false;
    link_result result = {.step = entry->plan.step, .tokens = loop->tokens};
    trace_end(TRACE_IDLE, loop->idle_since_us, 0);
    if (loop->proposer != NULL)
        draft_proposer_propose(loop->proposer, &entry->plan);
    model_step(loop->m, &entry->plan, &result);
    loop->idle_since_us = trace_begin();
    loop->n_run++;
    if (loop->place.stage + 1 == loop->place.pp && loop->place.tp_rank == 0)
        send_result(loop, &result);
    return true;
}

/* --- ending --- */

static bool is_drained(const step_loop *loop)
{
    return loop->n_run == loop->n_queued && (loop->place.stage > 0 || loop->n_results == loop->n_queued);
}

/* Rank 0, drained: STOP or FAILED down the tree, and a failure to the coordinator. */
static void close_tree(step_loop *loop)
{
    base_buf_clear(&loop->message);
    if (loop->failure.status == BASE_OK) {
        link_stop_encode(&loop->message);
    } else {
        link_failed_encode(loop->failure.status, loop->failure.text, &loop->message);
        base_error ignored = {0}; /* the link may be what failed */
        link_send(loop->link, &loop->message, &ignored);
    }
    par_plan_send(loop->grid, loop->message.data, loop->message.size);
    loop->closed = true;
}

/* Nothing to do: rest as par/wait_int.h says, rank 0 waiting on the link.  True if a message came. */
static bool rest_idle(step_loop *loop)
{
    uint32_t rest_us = par_idle_poll(loop->grid);
    if (rest_us == 0)
        return false;
    if (loop->place.rank == 0 && !loop->stopping && is_drained(loop))
        return take_from_link(loop, LINK_WAIT_MS);
    base_clock_nap(rest_us);
    return false;
}

base_status step_loop_run(step_loop *loop, link_end *link, base_error *error)
{
    loop->link = link;
    loop->idle_since_us = trace_begin();
    bool is_rank_0 = loop->place.rank == 0;
    while (!loop->closed || !is_drained(loop)) {
        bool busy = is_rank_0 ? take_from_link(loop, 0) : take_from_tree(loop);
        busy |= take_results(loop);
        busy |= run_next(loop);
        if (is_rank_0 && loop->stopping && !loop->closed && is_drained(loop))
            close_tree(loop);
        else if (busy || rest_idle(loop))
            par_idle_reset(loop->grid);
    }
    return loop->failure.status == BASE_OK ? BASE_OK : base_fail(error, loop->failure.status, "%s", loop->failure.text);
}
