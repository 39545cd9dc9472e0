/* rope.c - RoPE tables and their application to heads; rope_scaling.c has the frequencies. */
#include "worker/model/rope.h"

#include "worker/kernels/fmath.h"
#include "worker/model/rope_scaling_int.h"

void model_rope_layout(model_rope *rope, const arch_stack *stack, uint32_t n_positions, model_arena *arena)
{
    size_t half = stack->dh / 2;
    rope->dh = stack->dh;
    rope->n_positions = n_positions;
    rope->interleaved = stack->rope_interleaved;
    rope->cosines = model_arena_alloc(arena, n_positions, half * sizeof(float));
    rope->sines = model_arena_alloc(arena, n_positions, half * sizeof(float));
    rope->stretch = stack->xpos_base > 0.0 ? model_arena_alloc(arena, n_positions, half * sizeof(float)) : NULL;
}

/* s_i^((pos - centre) / base) */
static float stretch_of(const model_rope *rope, double xpos_base, uint32_t i, uint32_t pos)
{
    double s = (2.0 * i + 0.4 * rope->dh) / (1.4 * rope->dh);
    double power = ((double)pos - (double)(rope->n_positions / 2)) / xpos_base;
    return (float)kern_exp(power * kern_log(s));
}

void model_rope_fill(model_rope *rope, const arch_rope *a, double xpos_base, const float *divisors)
{
    uint32_t half = rope->dh / 2;
    double magnitude = a->scaling == ARCH_ROPE_YARN ? a->attention_factor : 1.0;
    for (uint32_t i = 0; i < half; i++) {
        double frequency = model_rope_frequency(a, rope->dh, i, divisors);
        for (uint32_t pos = 0; pos < rope->n_positions; pos++) {
            size_t at = (size_t)pos * half + i;
            double sine, cosine;
            kern_sincos(pos * frequency, &sine, &cosine);
            rope->sines[at] = (float)(sine * magnitude);
            rope->cosines[at] = (float)(cosine * magnitude);
            if (rope->stretch != NULL)
                rope->stretch[at] = stretch_of(rope, xpos_base, i, pos);
        }
    }
}

static void stretch_heads(const model_rope *rope, model_rope_side side, float *x, uint32_t n_heads, uint32_t pos)
{
    uint32_t half = rope->dh / 2;
    const float *s = rope->stretch + (size_t)pos * half;
    for (uint32_t ih = 0; ih < n_heads; ih++, x += rope->dh)
        for (uint32_t i = 0; i < rope->dh; i++)
            x[i] = side == MODEL_ROPE_QUERY ? x[i] * s[i % half] : x[i] / s[i % half];
}

void model_rope_apply(const model_rope *rope, model_rope_side side, float *x, uint32_t n_heads, uint32_t pos)
{
    uint32_t half = rope->dh / 2, step = rope->interleaved ? 2 : 1, apart = rope->interleaved ? 1 : half;
    const float *c = rope->cosines + (size_t)pos * half, *s = rope->sines + (size_t)pos * half;
    float *head = x;
    for (uint32_t ih = 0; ih < n_heads; ih++, head += rope->dh)
        for (uint32_t i = 0; i < half; i++) {
            float *first = head + (size_t)i * step, *second = first + apart;
            float a = *first, b = *second;
            *first = a * c[i] - b * s[i];
            *second = b * c[i] + a * s[i];
        }
    if (rope->stretch != NULL)
        stretch_heads(rope, side, x, n_heads, pos);
}
