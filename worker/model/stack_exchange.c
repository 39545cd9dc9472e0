/* stack_exchange.c - what a stack's rows need from other ranks: reductions, sequence parallelism, and the way to the
 * next stage.
 *
 * A batch of few rows is replicated: every rank of the tensor group has all rows of x.  From MODEL_ROWS_DIVIDED rows a
 * rank on the batch is sequence-parallel (Megatron, Korthikanti et al., arXiv 2205.05198): x of a row is valid on its
 * owner alone.
 *
 *                        replicated                          sequence-parallel (rows 0-3 of rank 0, 4-7 of rank 1)
 *     partial sums acc   all-reduce: 8 bytes a value         reduce-scatter: 8 bytes a value, to the row's owner
 *     residual + norm    every rank, all rows                the owner, its rows
 *     inputs of the next projections (y)
 *                        nothing to send                     all-gather: int8 1.25, bf16 2 or f32 4 bytes a value
 *     next stage         all rows, from each rank            the owner's rows, if all stages divide rows alike
 *
 * Both give the same bits: sums are exact, and everything else in the layer loop is row by row. */
#include "worker/model/stack_int.h"

#include <string.h>

#include "worker/par/channels.h"
#include "worker/par/collectives.h"

void model_stack_enable_seq_parallel(model_stack *s, uint32_t tp)
{
    s->seq_parallel_from = tp > 1 ? tp * MODEL_ROWS_DIVIDED : UINT32_MAX;
}

bool model_stack_is_seq_parallel(const model_stack *s)
{
    return s->batch.n_rows >= s->seq_parallel_from;
}

par_rows model_stack_own_rows(const model_stack *s)
{
    return model_stack_is_seq_parallel(s) ? par_rows_owned(s->grid, s->batch.n_rows) : (par_rows){0, s->batch.n_rows};
}

void model_stack_all_gather_y(team_member *me, model_stack *s, unsigned forms)
{
    const kern_activations *quantised = &s->y_quantised;
    par_matrix matrices[PAR_MATRICES_MAX];
    size_t n = 0;
    if (forms & STACK_FORM_F32)
        matrices[n++] = (par_matrix){s->y, s->arch->d * sizeof *s->y};
    if (forms & STACK_FORM_BF16)
        matrices[n++] = (par_matrix){quantised->bf16, quantised->n_bf16 * sizeof *quantised->bf16};
    if (forms & STACK_FORM_INT8) {
        matrices[n++] = (par_matrix){quantised->q, quantised->n_groups * PACK_GROUP};
        matrices[n++] = (par_matrix){quantised->scales, quantised->n_groups * sizeof *quantised->scales};
        matrices[n++] = (par_matrix){quantised->corrections, quantised->n_groups * sizeof *quantised->corrections};
    }
    par_all_gather_rows(s->grid, me, matrices, n, s->batch.n_rows);
}

static par_matrix overflow_matrix(model_stack *s)
{
    return (par_matrix){model_stack_overflow_flags(s), sizeof(float)};
}

void model_stack_or_reduce(team_member *me, model_stack *s)
{
    size_t n = s->batch.n_rows, d = s->arch->d;
    const par_matrix rows = {s->x, d * sizeof *s->x};
    if (model_stack_is_seq_parallel(s))
        par_reduce_scatter_or_u32(s->grid, me, &rows, 1, n);
    else
        par_allreduce_or_u32(s->grid, me, (uint32_t *)(void *)s->x, n * d);
}

void model_stack_all_gather(team_member *me, model_stack *s)
{
    const par_matrix matrices[] = {{s->x, s->arch->d * sizeof *s->x}, overflow_matrix(s)};
    if (model_stack_is_seq_parallel(s))
        par_all_gather_rows(s->grid, me, matrices, 2, s->batch.n_rows);
}

/* A few rows: packed into y, zero where another rank owns the row, so that an or-reduction moves them. */
static void or_reduce_rows(team_member *me, model_stack *s, const uint32_t *rows, size_t n)
{
    size_t d = s->arch->d;
    par_rows own = model_stack_own_rows(s);
    for (size_t i; team_take(me, n, &i);) {
        if (rows[i] >= own.begin && rows[i] < own.end)
            memcpy(s->y + i * d, s->x + rows[i] * d, d * sizeof *s->x);
        else
            memset(s->y + i * d, 0, d * sizeof *s->y);
    }
    par_allreduce_or_u32(s->grid, me, (uint32_t *)(void *)s->y, n * d);
    for (size_t i; team_take(me, n, &i);)
        memcpy(s->x + rows[i] * d, s->y + i * d, d * sizeof *s->x);
    team_barrier(me);
}

void model_stack_all_gather_rows(team_member *me, model_stack *s, const uint32_t *rows, size_t n)
{
    const par_matrix flags = overflow_matrix(s);
    if (2 * n >= s->batch.n_rows) {
        model_stack_all_gather(me, s);
    } else if (model_stack_is_seq_parallel(s)) {
        or_reduce_rows(me, s, rows, n);
        par_all_gather_rows(s->grid, me, &flags, 1, s->batch.n_rows);
    }
}

/* A message between stages is a part of x: rows, followed by their overflow flags.  The flags of a rank's own rows are
 * moved to the end of those rows, over another rank's row or flags, which are not read. */
static bool sends_own_rows(const model_stack *s)
{
    return model_stack_is_seq_parallel(s) && par_rows_same_on_all_stages(s->grid);
}

static par_rows rows_between_stages(const model_stack *s)
{
    return sends_own_rows(s) ? model_stack_own_rows(s) : (par_rows){0, s->batch.n_rows};
}

void model_stack_send(team_member *me, model_stack *s)
{
    size_t d = s->arch->d;
    if (!sends_own_rows(s))
        model_stack_all_gather(me, s);
    if (me->index != 0)
        return;
    par_rows rows = rows_between_stages(s);
    size_t n = rows.end - rows.begin;
    memmove(s->x + rows.end * d, model_stack_overflow_flags(s) + rows.begin, n * sizeof *s->x);
    par_stage_send(s->grid, s->x + rows.begin * d, n * (d + 1));
}

void model_stack_receive(team_member *me, model_stack *s)
{
    if (me->index == 0) {
        size_t d = s->arch->d;
        par_rows rows = rows_between_stages(s);
        size_t n = rows.end - rows.begin;
        par_stage_receive(s->grid, s->x + rows.begin * d, n * (d + 1));
        memmove(model_stack_overflow_flags(s) + rows.begin, s->x + rows.end * d, n * sizeof *s->x);
    }
    team_barrier(me);
}

void model_stack_reduce(team_member *me, model_stack *s)
{
    size_t d = s->arch->d, n = s->batch.n_rows;
    const par_matrix sums[] = {{s->acc, d * sizeof *s->acc}, {s->acc + n * d, sizeof *s->acc}};
    if (model_stack_is_seq_parallel(s))
        par_reduce_scatter_sum_i64(s->grid, me, sums, 2, n);
    else
        par_allreduce_sum_i64(s->grid, me, s->acc, n * (d + 1));
}
