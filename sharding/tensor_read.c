/* tensor_read.c - elements of a mapped tensor as f32 or bf16 bits.  The callers' ranges come from split.h and a checked
 * shape, so they are broken invariants when wrong, not input: asserted. */
#include <assert.h>
#include <string.h>

#include "sharding/source.h"

static float f32_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float f32_from_bf16(uint16_t bits)
{
    return f32_from_bits((uint32_t)bits << 16);
}

/* IEEE binary16.  Subnormals (exponent 0) are fraction * 2^-24, exactly representable in f32. */
static float f32_from_f16(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000u) << 16;
    uint32_t exponent = (bits >> 10) & 0x1fu;
    uint32_t fraction = bits & 0x3ffu;
    if (exponent == 0x1fu)
        return f32_from_bits(sign | 0x7f800000u | fraction << 13);
    if (exponent != 0)
        return f32_from_bits(sign | (exponent + 112u) << 23 | fraction << 13);
    float value = (float)fraction * 0x1p-24f;
    return sign != 0 ? -value : value;
}

static size_t element_bytes(shard_type type)
{
    return type == SHARD_F32 ? 4 : 2;
}

/* The address of element (row, column). */
static const uint8_t *element_at(const shard_tensor *tensor, uint64_t row, uint64_t column, uint64_t n_columns)
{
    assert(tensor->n_dims == 1 || tensor->n_dims == 2);
    uint64_t n_rows = tensor->n_dims == 2 ? tensor->shape[0] : 1;
    uint64_t width = tensor->n_dims == 2 ? tensor->shape[1] : tensor->shape[0];
    assert(row < n_rows && column <= width && n_columns <= width - column);
    (void)n_rows;
    (void)n_columns;
    return (const uint8_t *)tensor->data + (row * width + column) * element_bytes(tensor->type);
}

void shard_tensor_read(const shard_tensor *tensor, uint64_t row, uint64_t column, uint64_t n_columns, float *out)
{
    assert(tensor->type != SHARD_OTHER);
    const uint8_t *at = element_at(tensor, row, column, n_columns);
    if (tensor->type == SHARD_F32) {
        memcpy(out, at, n_columns * sizeof *out);
        return;
    }
    for (uint64_t i = 0; i < n_columns; i++) {
        uint16_t bits;
        memcpy(&bits, at + i * sizeof bits, sizeof bits);
        out[i] = tensor->type == SHARD_BF16 ? f32_from_bf16(bits) : f32_from_f16(bits);
    }
}

void shard_tensor_read_bf16(const shard_tensor *tensor, uint64_t row, uint64_t column, uint64_t n_columns,
                            uint16_t *out)
{
    assert(tensor->type == SHARD_BF16);
    memcpy(out, element_at(tensor, row, column, n_columns), n_columns * sizeof *out);
}
