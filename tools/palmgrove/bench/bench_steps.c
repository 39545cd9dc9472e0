#include "tools/palmgrove/bench/bench_steps.h"

#include <stdlib.h>
#include <string.h>

#include "worker/trace/trace.h"
#include "worker/par/channels.h"

struct bench_steps {
    par_grid *grid;
    par_place place;
    model *m;
    link_limits limits;
    uint32_t blocks_per_seq;
    link_plan plan; /* the one being built; its arrays are sized by the limits */
    link_slice *slices;
    int32_t *tokens;
    uint32_t *blocks;

    uint64_t n_run, n_results;
    uint64_t *sampled_by; /* [max_seqs] number of the latest plan that sampled for the sequence */
    uint64_t needs;       /* results that the plan being built waits for on stage 0 */
    link_token *sampled;  /* [max_seqs] */
    base_buf message;     /* the sampled tokens of a plan, behind a byte (an empty message is none) */
    bool overflowed;
};

/* --- life --- */

static base_status take_memory(bench_steps *s, base_error *error)
{
    const link_limits *limits = &s->limits;
    s->blocks_per_seq = (limits->max_positions + LINK_KV_BLOCK_TOKENS - 1) / LINK_KV_BLOCK_TOKENS;
    s->slices = calloc(limits->max_seqs, sizeof *s->slices);
    s->tokens = calloc(limits->max_step_tokens, sizeof *s->tokens);
    s->blocks = calloc(limits->n_kv_blocks, sizeof *s->blocks);
    s->sampled_by = calloc(limits->max_seqs, sizeof *s->sampled_by);
    s->sampled = calloc(limits->max_seqs, sizeof *s->sampled);
    bool ok = s->slices != NULL && s->tokens != NULL && s->blocks != NULL && s->sampled_by != NULL &&
              s->sampled != NULL && base_buf_reserve(&s->message, 1 + limits->max_seqs * sizeof(link_token));
    return ok ? BASE_OK : base_fail(error, BASE_ENOMEM, "no memory for plans of %u sequences", limits->max_seqs);
}

base_status bench_steps_create(par_world *world, par_grid *grid, model *m, size_t d, bench_steps **out,
                               base_error *error)
{
    bench_steps *s = calloc(1, sizeof *s);
    base_status status = s != NULL ? BASE_OK : base_fail(error, BASE_ENOMEM, "no memory for plans");
    if (status == BASE_OK) {
        *s = (bench_steps){.grid = grid, .place = par_grid_place(grid), .m = m, .limits = *model_limits(m)};
        status = take_memory(s, error);
    }
    status = par_world_agree(world, status, error);
    if (status == BASE_OK) /* a row of activations and its overflow flag */
        status = par_grid_reserve(grid, s->limits.max_step_tokens * (d + 1), 1, s->message.capacity, error);
    if (status != BASE_OK)
        bench_steps_destroy(&s);
    else
        *out = s;
    return status;
}

void bench_steps_destroy(bench_steps **steps)
{
    bench_steps *s = *steps;
    if (s == NULL)
        return;
    free(s->slices);
    free(s->tokens);
    free(s->blocks);
    free(s->sampled_by);
    free(s->sampled);
    base_buf_release(&s->message);
    free(s);
    *steps = NULL;
}

/* --- a plan --- */

static void begin_plan(bench_steps *s)
{
    s->plan = (link_plan){.step = s->n_run + 1, .slices = s->slices, .tokens = s->tokens, .blocks = s->blocks};
    s->needs = 0;
}

/* Any tokens will do; these differ from place to place. */
static int32_t token_at(const bench_steps *s, uint32_t seq, uint32_t pos)
{
    return (int32_t)((seq * UINT64_C(7919) + pos * UINT64_C(104729) + 17) % s->limits.vocab_size);
}

static void add_slice(bench_steps *s, uint32_t seq, uint32_t pos, uint32_t n, uint32_t n_sampled, uint32_t flags)
{
    link_plan *plan = &s->plan;
    plan->slices[plan->n_slices++] = (link_slice){.seq = seq,
                                                  .pos = pos,
                                                  .n_tokens = n,
                                                  .first_token = plan->n_tokens,
                                                  .first_block = plan->n_blocks,
                                                  .n_sampled = n_sampled,
                                                  .flags = flags,
                                                  .sampling = {.top_p = 1.0f}};
    for (uint32_t i = 0; i < n; i++)
        plan->tokens[plan->n_tokens++] = token_at(s, seq, pos + i);
    for (uint32_t b = 0; b * LINK_KV_BLOCK_TOKENS < pos + n; b++)
        plan->blocks[plan->n_blocks++] = seq * s->blocks_per_seq + b;
    if ((flags & LINK_SLICE_FEEDBACK) != 0 && s->sampled_by[seq] > s->needs)
        s->needs = s->sampled_by[seq];
    if (n_sampled > 0)
        s->sampled_by[seq] = plan->step;
}

/* --- running --- */

/* Stage 0: wait for the next result and feed it back. */
static void take_result(bench_steps *s)
{
    uint64_t begin_us = trace_begin();
    while (!par_result_poll(s->grid, &s->message))
        par_idle(s->grid);
    par_idle_reset(s->grid);
    trace_end(TRACE_IDLE, begin_us, 0);
    s->n_results++;
    for (size_t at = 1; at + sizeof(link_token) <= s->message.size; at += sizeof(link_token)) {
        link_token token;
        memcpy(&token, s->message.data + at, sizeof token);
        s->overflowed |= token.token == LINK_TOKEN_OVERFLOW;
        model_set_feedback(s->m, token.seq, token.token == LINK_TOKEN_OVERFLOW ? 0 : token.token);
    }
}

static void run_plan(bench_steps *s)
{
    uint32_t window = par_grid_plans_max(s->grid);
    while (s->place.stage == 0 && (s->n_results < s->needs || s->n_run - s->n_results >= window))
        take_result(s);
    link_result result = {.step = s->plan.step, .tokens = s->sampled};
    model_step(s->m, &s->plan, &result);
    s->n_run++;
    if (s->place.stage + 1 == s->place.pp && s->place.tp_rank == 0) {
        base_buf_clear(&s->message);
        base_buf_put_u8(&s->message, 0);
        base_buf_put(&s->message, result.tokens, result.n_tokens * sizeof *result.tokens);
        par_result_send(s->grid, s->message.data, s->message.size);
    }
}

static void drain(bench_steps *s)
{
    while (s->place.stage == 0 && s->n_results < s->n_run)
        take_result(s);
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

void bench_steps_prefill(bench_steps *s, uint32_t batch, uint32_t depth, uint32_t n, uint32_t step_tokens, bool sample)
{
    begin_plan(s);
    for (uint32_t seq = 0; seq < batch; seq++)
        for (uint32_t done = 0; done < n;) {
            uint32_t rows = least(n - done, step_tokens - s->plan.n_tokens);
            bool ends = done + rows == n;
            add_slice(s, seq, depth + done, rows, sample && ends ? 1 : 0, 0);
            done += rows;
            if (s->plan.n_tokens == step_tokens || (ends && seq + 1 == batch)) {
                run_plan(s);
                begin_plan(s);
            }
        }
    drain(s);
}

uint32_t bench_steps_prefill_plans(uint32_t batch, uint32_t n, uint32_t step_tokens)
{
    return (uint32_t)(((uint64_t)batch * n + step_tokens - 1) / step_tokens);
}

/* Sequences of one plan: neighbours, so that every stage has a plan to work on. */
static uint32_t n_groups(const bench_steps *s, uint32_t batch)
{
    return least(batch, s->place.pp);
}

void bench_steps_decode(bench_steps *s, uint32_t batch, uint32_t depth, uint32_t n)
{
    uint32_t groups = n_groups(s, batch);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t g = 0; g < groups; g++) {
            begin_plan(s);
            for (uint32_t seq = batch * g / groups; seq < batch * (g + 1) / groups; seq++)
                add_slice(s, seq, depth + i, 1, 1, i > 0 ? LINK_SLICE_FEEDBACK : 0u);
            run_plan(s);
        }
    drain(s);
}

uint32_t bench_steps_decode_plans(const bench_steps *s, uint32_t batch, uint32_t n)
{
    return n * n_groups(s, batch);
}

bool bench_steps_overflowed(const bench_steps *s)
{
    return s->overflowed;
}
