/* vector_encoders.c - two matrices and a GELU for each vector. */
#include "worker/model/vector_encoders.h"

#include <string.h>

#include "worker/kernels/linear.h"
#include "worker/model/stack.h"

void model_encoders_layout(model_encoders *e, model_arena *arena)
{
    uint32_t width, hidden;
    arch_widest_encoder(e->arch, &width, &hidden);
    if (e->arch->n_encoders == 0)
        return;
    e->vector = model_arena_alloc(arena, 1, width * sizeof *e->vector);
    e->hidden = model_arena_alloc(arena, 1, hidden * sizeof *e->hidden);
}

/* y = x W^T */
static void multiply(team_member *me, const pack_matrix *w, const float *x, float *y)
{
    const kern_rows row = {.x = x, .ldx = w->k, .m = 1};
    kern_linear(me, &row, &(kern_product){w, y, w->n}, 1);
    team_barrier(me);
}

void model_encoders_run(team_member *me, const model_encoders *e, uint32_t number, const void *values, float *x)
{
    const model_encoder *encoder = &e->weights->encoders[number];
    if (me->index == 0)
        memcpy(e->vector, values, encoder->in.k * sizeof *e->vector);
    team_barrier(me);
    multiply(me, &encoder->in, e->vector, e->hidden);
    if (me->index == 0)
        kern_active()->gelu_tanh(e->hidden, encoder->in_bias, encoder->in.n);
    team_barrier(me);
    multiply(me, &encoder->out, e->hidden, x);
    if (me->index == 0)
        model_stack_add(x, encoder->out_bias, encoder->out.n);
    team_barrier(me);
}
