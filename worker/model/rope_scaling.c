/* rope_scaling.c - RoPE frequencies stretched beyond the context that a model was trained on: linear interpolation,
 * Llama 3.1, YaRN (arXiv 2309.00071), or a checkpoint's own divisors. */
#include "worker/model/rope_scaling_int.h"

#include "worker/kernels/fmath.h"

#define TWO_PI 6.283185307179586

static double clamp_01(double x)
{
    return x < 0.0 ? 0.0 : x > 1.0 ? 1.0 : x;
}

/* Llama 3.1 (meta-llama/llama-models, apply_scaling): by wavelength; `keep` is the share of the original frequency. */
static double scale_llama3(const arch_rope *a, double frequency)
{
    double turns = a->original_positions * frequency / TWO_PI; /* of the pair, within the original context */
    double keep = clamp_01((turns - a->low_factor) / (a->high_factor - a->low_factor));
    return (1.0 - keep) * frequency / a->factor + keep * frequency;
}

/* The dimension whose pair makes `turns` turns within the original context (YaRN, arXiv 2309.00071, section 3.2). */
static double dimension_of(const arch_rope *a, uint32_t dh, double turns)
{
    return dh * kern_log(a->original_positions / (turns * TWO_PI)) / (2.0 * kern_log(a->theta));
}

/* YaRN: keep fast pairs, divide slow ones by the factor, and ramp linearly between (section 3.2). */
static double scale_yarn(const arch_rope *a, uint32_t dh, uint32_t i, double frequency)
{
    double low = (double)(int64_t)dimension_of(a, dh, a->beta_fast);
    double high = dimension_of(a, dh, a->beta_slow);
    high = (double)(int64_t)high < high ? (double)((int64_t)high + 1) : high;
    low = low < 0.0 ? 0.0 : low;
    high = high > dh - 1.0 ? dh - 1.0 : high;
    if (high <= low)
        high = low + 0.001;
    double keep = 1.0 - clamp_01((i - low) / (high - low));
    return (1.0 - keep) * frequency / a->factor + keep * frequency;
}

double model_rope_frequency(const arch_rope *a, uint32_t dh, uint32_t i, const float *divisors)
{
    double frequency = kern_exp(-2.0 * i / dh * kern_log(a->theta));
    switch (a->scaling) {
    case ARCH_ROPE_PLAIN:
        break;
    case ARCH_ROPE_LINEAR:
        return frequency / a->factor;
    case ARCH_ROPE_LLAMA3:
        return scale_llama3(a, frequency);
    case ARCH_ROPE_YARN:
        return scale_yarn(a, dh, i, frequency);
    case ARCH_ROPE_DIVISORS:
        return frequency / (double)divisors[i];
    }
    return frequency;
}
