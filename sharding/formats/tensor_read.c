/* tensor_read.c - elements of a mapped tensor as f32, whatever their type.  The callers' ranges come from a checked
 * shape, so they are broken invariants when wrong, not input: asserted. */
#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sharding/formats/blocks.h"
#include "sharding/formats/synthetic.h"
#include "sharding/pack/half.h"
#include "sharding/source.h"

static const struct type_row {
    const char *name;
    uint16_t n_elements, n_bytes; /* of a block */
} types[] = {
    [SHARD_F64] = {"F64", 1, 8},
    [SHARD_F32] = {"F32", 1, 4},
    [SHARD_F16] = {"F16", 1, 2},
    [SHARD_BF16] = {"BF16", 1, 2},
    [SHARD_F8_E4M3] = {"F8_E4M3", 1, 1},
    [SHARD_F8_E5M2] = {"F8_E5M2", 1, 1},
    [SHARD_Q8_0] = {"Q8_0", 32, 34},
    [SHARD_Q4_0] = {"Q4_0", 32, 18},
    [SHARD_Q4_1] = {"Q4_1", 32, 20},
    [SHARD_Q5_0] = {"Q5_0", 32, 22},
    [SHARD_Q5_1] = {"Q5_1", 32, 24},
    [SHARD_Q2_K] = {"Q2_K", 256, 84},
    [SHARD_Q3_K] = {"Q3_K", 256, 110},
    [SHARD_Q4_K] = {"Q4_K", 256, 144},
    [SHARD_Q5_K] = {"Q5_K", 256, 176},
    [SHARD_Q6_K] = {"Q6_K", 256, 210},
    /* No bytes of their own, or none that are read. */
    [SHARD_SYNTHETIC] = {"synthetic", 1, 0},
    [SHARD_OTHER] = {"other", 1, 0},
};

const char *shard_type_name(shard_type type)
{
    return types[type].name;
}

void shard_type_block(shard_type type, uint32_t *n_elements, uint32_t *n_bytes)
{
    *n_elements = types[type].n_elements;
    *n_bytes = types[type].n_bytes;
}

/* Columns of a row: the last dimension; a scalar is one. */
static uint64_t row_width(const shard_tensor *tensor)
{
    return tensor->n_dims == 0 ? 1 : tensor->shape[tensor->n_dims - 1];
}

/* Rows are whole blocks, so this is exact. */
static uint64_t row_bytes(const shard_tensor *tensor)
{
    const struct type_row *type = &types[tensor->type];
    return row_width(tensor) / type->n_elements * type->n_bytes;
}

static void check_range(const shard_tensor *tensor, uint64_t row, uint64_t column, uint64_t n_columns)
{
    assert(tensor->n_dims == 1 || tensor->n_dims == 2);
    uint64_t n_rows = tensor->n_dims == 2 ? tensor->shape[0] : 1, width = row_width(tensor);
    assert(row < n_rows && column <= width && n_columns <= width - column);
    (void)row, (void)column, (void)n_columns, (void)n_rows, (void)width;
}

/* The block that element (row, column) is in. */
static const uint8_t *block_at(const shard_tensor *tensor, uint64_t row, uint64_t column)
{
    const struct type_row *type = &types[tensor->type];
    return (const uint8_t *)tensor->data + row * row_bytes(tensor) + column / type->n_elements * type->n_bytes;
}

/* --- one element type each: n elements at `at` --- */

static void read_f64(const uint8_t *at, uint64_t n, float *out)
{
    for (uint64_t i = 0; i < n; i++) {
        double value;
        memcpy(&value, at + i * sizeof value, sizeof value);
        out[i] = (float)value;
    }
}

static void read_16_bits(shard_type type, const uint8_t *at, uint64_t n, float *out)
{
    for (uint64_t i = 0; i < n; i++) {
        uint16_t bits;
        memcpy(&bits, at + i * sizeof bits, sizeof bits);
        out[i] = type == SHARD_BF16 ? half_from_bf16(bits) : half_from_f16(bits);
    }
}

/* The "fn" variant (arXiv 2209.05433): exponent bias 7, no infinity, NaN only where all bits but the sign are set. */
static float from_f8_e4m3(uint8_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x80u) << 24, exponent = bits >> 3 & 15u, fraction = bits & 7u;
    if ((bits & 0x7fu) == 0x7fu)
        return half_f32_from_bits(sign | 0x7fc00000u);
    if (exponent != 0)
        return half_f32_from_bits(sign | (exponent + 120u) << 23 | fraction << 20);
    float value = (float)fraction * 0x1p-9f;
    return sign != 0 ? -value : value;
}

/* E5M2 is binary16 without its last eight bits. */
static void read_8_bits(shard_type type, const uint8_t *at, uint64_t n, float *out)
{
    for (uint64_t i = 0; i < n; i++)
        out[i] = type == SHARD_F8_E4M3 ? from_f8_e4m3(at[i]) : half_from_f16((uint16_t)(at[i] << 8));
}

/* Whole blocks go straight to `out`; a part of one at either end goes through `block`. */
static void read_blocks(const shard_tensor *tensor, uint64_t row, uint64_t column, uint64_t n_columns, float *out)
{
    float block[BLOCKS_MAX_ELEMENTS];
    const uint64_t n_elements = types[tensor->type].n_elements;
    while (n_columns > 0) {
        const uint8_t *at = block_at(tensor, row, column);
        uint64_t skip = column % n_elements, n = n_columns / n_elements * n_elements;
        if (skip == 0 && n > 0) {
            blocks_read(tensor->type, at, n / n_elements, out);
        } else {
            n = n_elements - skip < n_columns ? n_elements - skip : n_columns;
            blocks_read(tensor->type, at, 1, block);
            memcpy(out, block + skip, n * sizeof *out);
        }
        column += n;
        n_columns -= n;
        out += n;
    }
}

/* A row is a column of what is stored. */
static void read_transposed(const shard_tensor *tensor, uint64_t row, uint64_t column, uint64_t n_columns, float *out)
{
    shard_tensor stored = *tensor;
    stored.transposed = false;
    stored.shape[0] = tensor->shape[1];
    stored.shape[1] = tensor->shape[0];
    for (uint64_t i = 0; i < n_columns; i++)
        shard_tensor_read(&stored, column + i, row, 1, out + i);
}

void shard_tensor_read(const shard_tensor *tensor, uint64_t row, uint64_t column, uint64_t n_columns, float *out)
{
    if (tensor->transposed) {
        read_transposed(tensor, row, column, n_columns, out);
        return;
    }
    check_range(tensor, row, column, n_columns);
    switch (tensor->type) {
    case SHARD_F64:
        read_f64(block_at(tensor, row, column), n_columns, out);
        break;
    case SHARD_F32:
        memcpy(out, block_at(tensor, row, column), n_columns * sizeof *out);
        break;
    case SHARD_F16:
    case SHARD_BF16:
        read_16_bits(tensor->type, block_at(tensor, row, column), n_columns, out);
        break;
    case SHARD_F8_E4M3:
    case SHARD_F8_E5M2:
        read_8_bits(tensor->type, block_at(tensor, row, column), n_columns, out);
        break;
    case SHARD_SYNTHETIC:
        synthetic_read(tensor, row, column, n_columns, out);
        break;
    default:
        read_blocks(tensor, row, column, n_columns, out); /* asserts that the type is quantised */
    }
}

void shard_tensor_read_groups(const shard_tensor *tensor, uint64_t row, uint64_t column, uint64_t n_columns,
                              uint16_t *scales, int8_t *q)
{
    check_range(tensor, row, column, n_columns);
    assert(column % 32 == 0 && n_columns % 32 == 0);
    const uint8_t *at = block_at(tensor, row, column);
    for (uint64_t i = 0; i < n_columns / 32; i++)
        blocks_read_group(tensor->type, at + i * types[tensor->type].n_bytes, scales + i, q + i * 32);
}

void shard_tensor_forget(const shard_tensor *tensor, uint64_t first_row, uint64_t n_rows)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), bytes = row_bytes(tensor);
    if (tensor->data == NULL || bytes == 0 || tensor->transposed)
        return;
    uintptr_t start = (uintptr_t)tensor->data + first_row * bytes;
    uintptr_t begin = (start + page - 1) / page * page, end = (start + n_rows * bytes) / page * page;
    /* A hint: when the kernel does not take it, the pages merely stay. */
    if (begin < end)
        (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}
