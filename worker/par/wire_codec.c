/* wire_codec.c - encoding sums for the wire in the fewest bytes a block, and adding them up from there;
 * wire_codec_int.h has the format. */
#include "worker/par/wire_codec_int.h"

#include <stdint.h>
#include <string.h>

#include "proto/base/size.h"

#define BLOCK 256u
#define PLANE 8u /* planes begin at multiples of this */

/* 2^63, the first float beyond int64. */
#define BEYOND 9223372036854775808.0f

static size_t padded(size_t bytes)
{
    return base_size_round_up(bytes, PLANE);
}

static size_t header_bytes(size_t n)
{
    return padded((n + BLOCK - 1) / BLOCK);
}

static size_t block_bytes(unsigned width, size_t n)
{
    return width > 4 && width < 8 ? padded(4 * n) + padded((width - 4) * n) : padded(width * n);
}

size_t par_wire_bytes_max(par_reduce_op op, size_t n)
{
    return header_bytes(n) + padded(n * par_reduce_op_bytes(op));
}

/* --- writing --- */

/* A value and its complement need the same bits besides the sign, so or-ing the non-negative one of the two shows the
 * widest. */
static unsigned sum_width(const int64_t *values, size_t n)
{
    uint64_t any = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t v = (uint64_t)values[i];
        any |= v;
        size |= v ^ (0 - (v >> 63));
    }
    unsigned width = any == 0 ? 0 : size >> 31 == 0 ? 4 : size >> 39 == 0 ? 5 : size >> 47 == 0 ? 6 : 8;
    return block_bytes(width, n) < block_bytes(8, n) ? width
                                                     : 8; /* the planes' padding may eat up what the last block saves */
}

static unsigned bits_width(const uint32_t *values, size_t n)
{
    uint32_t any = 0;
    for (size_t i = 0; i < n; i++)
        any |= values[i];
    return any == 0 ? 0 : 4;
}

static uint16_t round_bf16(int64_t value)
{
    float f = (float)value; /* finite */
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static void put_sums(unsigned width, const int64_t *values, size_t n, unsigned char *out)
{
    uint32_t *low = (uint32_t *)(void *)out;
    void *high = out + padded(4 * n);
    switch (width) {
    case 0:
        return;
    case 2:
        for (size_t i = 0; i < n; i++)
            ((uint16_t *)(void *)out)[i] = round_bf16(values[i]);
        return;
    case 8:
        memcpy(out, values, n * sizeof *values);
        return;
    default:
        break;
    }
    for (size_t i = 0; i < n; i++)
        low[i] = (uint32_t)values[i];
    if (width == 5)
        for (size_t i = 0; i < n; i++)
            ((uint8_t *)high)[i] = (uint8_t)((uint64_t)values[i] >> 32);
    if (width == 6)
        for (size_t i = 0; i < n; i++)
            ((uint16_t *)high)[i] = (uint16_t)((uint64_t)values[i] >> 32);
}

size_t par_wire_encode(par_wire wire, par_reduce_op op, const void *values, size_t n, unsigned char *out)
{
    size_t used = header_bytes(n);
    for (size_t at = 0, block = 0; at < n; at += BLOCK, block++) {
        size_t count = n - at < BLOCK ? n - at : BLOCK;
        unsigned width;
        if (op == PAR_OR_U32) {
            const uint32_t *bits = (const uint32_t *)values + at;
            width = bits_width(bits, count);
            if (width != 0)
                memcpy(out + used, bits, count * sizeof *bits);
        } else {
            const int64_t *sums = (const int64_t *)values + at;
            width = wire == PAR_WIRE_BF16 ? 2 : sum_width(sums, count);
            put_sums(width, sums, count, out + used);
        }
        out[block] = (unsigned char)width;
        used += block_bytes(width, count);
    }
    return used;
}

/* --- reading --- */

static int64_t widen_bf16(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    if (f >= BEYOND) /* rounded up from below */
        return INT64_MAX;
    return f <= -BEYOND ? INT64_MIN : (int64_t)f;
}

static void add_sums(unsigned width, const unsigned char *in, size_t n, uint64_t *sums)
{
    const uint32_t *low = (const uint32_t *)(const void *)in;
    const void *high = in + padded(4 * n);
    switch (width) {
    case 2:
        for (size_t i = 0; i < n; i++)
            sums[i] += (uint64_t)widen_bf16(((const uint16_t *)(const void *)in)[i]);
        return;
    case 4:
        for (size_t i = 0; i < n; i++)
            sums[i] += (uint64_t)(int64_t)(int32_t)low[i];
        return;
    case 5:
        for (size_t i = 0; i < n; i++)
            sums[i] += low[i] + ((uint64_t)(int64_t)((const int8_t *)high)[i] << 32);
        return;
    case 6:
        for (size_t i = 0; i < n; i++)
            sums[i] += low[i] + ((uint64_t)(int64_t)((const int16_t *)high)[i] << 32);
        return;
    default:
        par_reduce_into(PAR_SUM_I64, sums, in, n * sizeof *sums);
        return;
    }
}

/* One message into `values`, which are cleared block by block first when it shall replace them. */
static void read_message(par_reduce_op op, bool replace, const unsigned char *message, size_t n, unsigned char *values)
{
    size_t element = par_reduce_op_bytes(op);
    const unsigned char *in = message + header_bytes(n);
    for (size_t at = 0, block = 0; at < n; at += BLOCK, block++) {
        size_t count = n - at < BLOCK ? n - at : BLOCK;
        unsigned width = message[block];
        unsigned char *into = values + at * element;
        if (replace)
            memset(into, 0, count * element);
        if (width != 0 && op == PAR_OR_U32)
            par_reduce_into(op, into, in, count * element);
        else if (width != 0)
            add_sums(width, in, count, (uint64_t *)(void *)into);
        in += block_bytes(width, count);
    }
}

void par_wire_accumulate(par_reduce_op op, const unsigned char *message, size_t n, void *values)
{
    read_message(op, false, message, n, values);
}

void par_wire_decode(par_reduce_op op, const unsigned char *message, size_t n, void *values)
{
    read_message(op, true, message, n, values);
}
