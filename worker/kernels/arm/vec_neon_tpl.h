/* vec_neon_tpl.h - the vector vocabulary with 4 lanes: Armv8-A, with the dot product of Armv8.2-A where the compiler is
 * told of it.  See ref/vec_ref_tpl.h for the meaning of each word. */
#ifndef PALMGROVE_VEC_NEON_TPL_H
#define PALMGROVE_VEC_NEON_TPL_H

#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

#define VEC_LANES      4
#define VEC_REGISTERS  32
#define VEC_TILE_ROWS  2 /* x 8 vectors of a panel: 16 accumulators of 32 registers */
#define VEC_SUMS       16
#define VEC_BLOCK_ROWS 2
#define VEC_PIECE      SIZE_MAX
#define VEC_Q8_ROWS    2 /* x 8 vectors: 16 integer accumulators */
#define VEC_STEP_int8  8
#define VEC_STEP_int4  8

typedef float32x4_t vec;

static inline vec vec_load(const float *p)
{
    return vld1q_f32(p);
}

static inline vec vec_load_bf16(const uint16_t *p)
{
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
}

static inline vec vec_load_f16(const uint16_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}

static inline vec vec_column_int8(const uint8_t *quads, int j)
{
    uint32x4_t column = vshlq_u32(vreinterpretq_u32_u8(vld1q_u8(quads)), vdupq_n_s32(-8 * j));
    return vsubq_f32(vcvtq_f32_u32(vandq_u32(column, vdupq_n_u32(0xff))), vdupq_n_f32(128.0f));
}

static inline vec vec_column_int4(const uint8_t *quads, int j, int high)
{
    uint32x4_t column = vshlq_u32(vreinterpretq_u32_u8(vld1q_u8(quads)), vdupq_n_s32(-8 * j - (high ? 4 : 0)));
    return vsubq_f32(vcvtq_f32_u32(vandq_u32(column, vdupq_n_u32(0x0f))), vdupq_n_f32(8.0f));
}

static inline void vec_store(float *p, vec a)
{
    vst1q_f32(p, a);
}

static inline vec vec_set(float a)
{
    return vdupq_n_f32(a);
}

static inline vec vec_set_bf16(const uint16_t *pair, int second)
{
    return vreinterpretq_f32_u32(vshlq_n_u32(vdupq_n_u32(pair[second ? 0 : 1]), 16));
}

static inline vec vec_add(vec a, vec b)
{
    return vaddq_f32(a, b);
}

static inline vec vec_sub(vec a, vec b)
{
    return vsubq_f32(a, b);
}

static inline vec vec_mul(vec a, vec b)
{
    return vmulq_f32(a, b);
}

static inline vec vec_div(vec a, vec b)
{
    return vdivq_f32(a, b);
}

static inline vec vec_fma(vec a, vec b, vec c)
{
    return vfmaq_f32(c, a, b);
}

/* Not vminq and vmaxq: those return the NaN where the other variants return b. */
static inline vec vec_min(vec a, vec b)
{
    return vbslq_f32(vcltq_f32(a, b), a, b);
}

static inline vec vec_max(vec a, vec b)
{
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}

static inline float vec_max_across(vec a)
{
    return vmaxvq_f32(a);
}

static inline float vec_sum_across(vec a)
{
    return vaddvq_f32(a);
}

static inline vec vec_scale_exp2(vec p, vec t)
{
    uint32x4_t shifted = vshlq_n_u32(vreinterpretq_u32_f32(t), 23);
    return vreinterpretq_f32_u32(vaddq_u32(vreinterpretq_u32_f32(p), shifted));
}

/* Denormals as zeros, in operands and results (FPCR bit FZ).  Arm judges a result before it is rounded (kern.h). */
typedef uint64_t vec_mode;

static inline vec_mode vec_flush_on(void)
{
    vec_mode mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    __asm__ volatile("msr fpcr, %0" : : "r"(mode | UINT64_C(1) << 24) : "memory");
    return mode;
}

static inline void vec_flush_off(vec_mode mode)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(mode) : "memory");
}

static inline vec vec_fma_flush(vec a, vec b, vec c)
{
    return vec_fma(a, b, c);
}

typedef int32x4_t vec_sums;
typedef int8x16_t vec_weights; /* int8: signed; int4: 0 to 15 */
typedef int8x16_t vec_activations;

static inline vec_activations vec_activations_set(const int8_t *x)
{
    int32_t quad;
    memcpy(&quad, x, sizeof quad);
    return vreinterpretq_s8_s32(vdupq_n_s32(quad));
}

static inline vec_weights vec_load_quads_int8(const uint8_t *quads)
{
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(quads), vdupq_n_u8(0x80)));
}

static inline vec_weights vec_load_quads_int4(const uint8_t *quads, int high)
{
    uint8x16_t bytes = vld1q_u8(quads);
    return vreinterpretq_s8_u8(high ? vshrq_n_u8(bytes, 4) : vandq_u8(bytes, vdupq_n_u8(0x0f)));
}

static inline void vec_store_quads(uint8_t *to, vec_weights w)
{
    vst1q_u8(to, vreinterpretq_u8_s8(w));
}

static inline vec_weights vec_load_unpacked4(const uint8_t *quads)
{
    return vreinterpretq_s8_u8(vld1q_u8(quads));
}

static inline vec_sums vec_sums_int8(int32_t correction)
{
    (void)correction;
    return vdupq_n_s32(0);
}

static inline vec_sums vec_sums_int4(int32_t correction)
{
    return vdupq_n_s32(correction);
}

/* Both types of weights are signed bytes here.  Without the instruction: products of 16 bits (at most 128 * 127), added
 * in pairs twice. */
static inline vec_sums vec_dot_int8(vec_sums s, vec_weights w, vec_activations x)
{
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(s, w, x);
#else
    int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(x)));
    int32x4_t high = vpaddlq_s16(vmull_high_s8(w, x));
    return vaddq_s32(s, vpaddq_s32(low, high));
#endif
}

static inline vec_sums vec_dot_int4(vec_sums s, vec_weights w, vec_activations x)
{
    return vec_dot_int8(s, w, x);
}

static inline vec vec_from_sums_int8(vec_sums s, int32_t correction)
{
    (void)correction;
    return vcvtq_f32_s32(s);
}

static inline vec vec_from_sums_int4(vec_sums s, int32_t correction)
{
    (void)correction;
    return vcvtq_f32_s32(s);
}

static inline void vec_store_bytes(int8_t *to, vec a)
{
    uint16x4_t halves = vmovn_u32(vreinterpretq_u32_f32(a));
    uint8x8_t bytes = vmovn_u16(vcombine_u16(halves, halves));
    uint32_t four = vget_lane_u32(vreinterpret_u32_u8(bytes), 0);
    memcpy(to, &four, sizeof four);
}

#define VEC_FIXED_BIAS 0u

static inline void vec_add_fixed(int64_t *acc, const vec *a)
{
    int64x2_t low = vcvtnq_s64_f64(vcvt_f64_f32(vget_low_f32(*a)));
    int64x2_t high = vcvtnq_s64_f64(vcvt_high_f64_f32(*a));
    vst1q_s64(acc, vaddq_s64(vld1q_s64(acc), low));
    vst1q_s64(acc + 2, vaddq_s64(vld1q_s64(acc + 2), high));
}

typedef uint32x4_t vec_absmax;

static inline vec_absmax vec_absmax_zero(void)
{
    return vdupq_n_u32(0);
}

static inline vec_absmax vec_absmax_update(vec_absmax absmax, vec a)
{
    return vmaxq_u32(absmax, vandq_u32(vreinterpretq_u32_f32(a), vdupq_n_u32(0x7fffffff)));
}

static inline int vec_absmax_is_small(vec_absmax absmax)
{
    (void)absmax;
    return 0;
}

static inline void vec_add_small_fixed(int64_t *acc, const vec *a)
{
    vec_add_fixed(acc, a);
}

static inline uint32_t vec_absmax_across(vec_absmax absmax)
{
    return vmaxvq_u32(absmax);
}

#endif
