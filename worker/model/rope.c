#include "worker/model/rope.h"

#include "worker/kernels/fmath.h"

void model_rope_layout(model_rope *rope, uint32_t dh, uint32_t n_positions, model_arena *arena)
{
    rope->dh = dh;
    rope->n_positions = n_positions;
    rope->cosines = model_arena_take(arena, (size_t)n_positions * (dh / 2), sizeof(float));
    rope->sines = model_arena_take(arena, (size_t)n_positions * (dh / 2), sizeof(float));
}

void model_rope_fill(model_rope *rope, double theta)
{
    uint32_t half = rope->dh / 2;
    double log_theta = kern_log(theta);
    for (uint32_t i = 0; i < half; i++) {
        double frequency = kern_exp(-2.0 * i / rope->dh * log_theta);
        for (uint32_t pos = 0; pos < rope->n_positions; pos++) {
            double sine, cosine;
            kern_sincos(pos * frequency, &sine, &cosine);
            rope->sines[(size_t)pos * half + i] = (float)sine;
            rope->cosines[(size_t)pos * half + i] = (float)cosine;
        }
    }
}

void model_rope_apply(const model_rope *rope, float *x, uint32_t n_heads, uint32_t pos)
{
    uint32_t half = rope->dh / 2;
    const float *c = rope->cosines + (size_t)pos * half, *s = rope->sines + (size_t)pos * half;
    for (uint32_t ih = 0; ih < n_heads; ih++, x += rope->dh)
        for (uint32_t i = 0; i < half; i++) {
            float a = x[i], b = x[i + half];
            x[i] = a * c[i] - b * s[i];
            x[i + half] = b * c[i] + a * s[i];
        }
}
