/* half.h - 16-bit floating point: IEEE binary16 and bfloat16 to and from f32, round to nearest even.  Bit-exact on
 * every machine. */
#ifndef PALMGROVE_PACK_HALF_H
#define PALMGROVE_PACK_HALF_H

#include <stdint.h>
#include <string.h>

static inline float half_f32_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t half_bits_of_f32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float half_from_bf16(uint16_t bits)
{
    return half_f32_from_bits((uint32_t)bits << 16);
}

static inline uint16_t half_to_bf16(float value)
{
    uint32_t bits = half_bits_of_f32(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) /* NaN: keep it one */
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/* Subnormals (exponent 0) are fraction * 2^-24, exactly representable in f32. */
static inline float half_from_f16(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000u) << 16;
    uint32_t exponent = (bits >> 10) & 0x1fu, fraction = bits & 0x3ffu;
    if (exponent == 0x1fu)
        return half_f32_from_bits(sign | 0x7f800000u | fraction << 13);
    if (exponent != 0)
        return half_f32_from_bits(sign | (exponent + 112u) << 23 | fraction << 13);
    float value = (float)fraction * 0x1p-24f;
    return sign != 0 ? -value : value;
}

static inline uint16_t half_to_f16(float value)
{
    uint32_t bits = half_bits_of_f32(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) { /* below 2^-14: adding 0.5 leaves the rounded multiple of 2^-24 in the low bits */
        uint32_t rounded = half_bits_of_f32(half_f32_from_bits(magnitude) + 0.5f) - 0x3f000000u;
        return (uint16_t)(sign | rounded);
    }
    uint32_t odd = magnitude >> 13 & 1u;
    return (uint16_t)(sign | (magnitude - 0x38000000u + 0xfffu + odd) >> 13);
}

#endif
