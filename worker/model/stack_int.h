/* stack_int.h - between the layer loop (stack.c) and what it exchanges with other ranks (stack_exchange.c). */
#ifndef PALMGROVE_MODEL_STACK_INT_H
#define PALMGROVE_MODEL_STACK_INT_H

#include "worker/model/stack.h"
#include "worker/par/collectives.h"

/* The forms in which rows of y are kept for kern_linear: quantised matrices take int8, bf16 ones bf16, all others f32.
 * A set of bits. */
enum { STACK_FORM_F32 = 1, STACK_FORM_INT8 = 2, STACK_FORM_BF16 = 4 };

/* True if the present batch's rows are divided among the tensor group. */
bool model_stack_is_seq_parallel(const model_stack *s);
/* The rows whose residual stream this rank keeps: its own of a sequence-parallel batch, else all. */
par_rows model_stack_own_rows(const model_stack *s);

/* Collective over team and tensor group.  All-gather y in the forms of `forms`: every rank's own rows to all. */
void model_stack_all_gather_y(team_member *me, model_stack *s, unsigned forms);
/* Reduce acc and its overflow counts: all-reduce, or reduce-scatter to the rows' owners. */
void model_stack_reduce(team_member *me, model_stack *s);

#endif
