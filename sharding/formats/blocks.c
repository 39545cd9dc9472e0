/* blocks.c - see blocks.h.  Layouts, little-endian; d and m are f16, "nibble j" is four bits of a code:
 *
 *   Q8_0   34  d, 32 x i8                                       d * q
 *   Q4_0   18  d, 16 x nibbles                                  d * (q - 8)
 *   Q4_1   20  d, m, 16 x nibbles                               d * q + m
 *   Q5_0   22  d, 32 high bits, 16 x nibbles                    d * (q - 16)
 *   Q5_1   24  d, m, 32 high bits, 16 x nibbles                 d * q + m
 *   Q2_K   84  16 x (scale 4 bits | min 4 bits), 64 x 2 bits, d, m             (d * scale) * q - (m * min)
 *   Q3_K  110  256 high bits, 64 x 2 bits, 12 x 6-bit scales, d                (d * (scale - 32)) * (q - 4)
 *   Q4_K  144  d, m, 12 x 6-bit scales and mins, 128 x nibbles                 (d * scale) * q - (m * min)
 *   Q5_K  176  d, m, 12 as above, 256 high bits, 128 x nibbles                 (d * scale) * q - (m * min)
 *   Q6_K  210  128 x low nibbles, 64 x high 2 bits, 16 x i8 scales, d          (d * scale) * (q - 32)
 *
 * In a block of 32 byte j holds element j low and element j + 16 high.  The K blocks hold 256 elements in runs of 16
 * (Q2_K, Q3_K, Q6_K) or 32 (Q4_K, Q5_K), each with a scale of its own; their codes interleave by runs of 32, as each
 * function says. */
#include "sharding/formats/blocks.h"

#include <assert.h>
#include <string.h>

#include "sharding/pack/half.h"

static uint16_t bits_at(const uint8_t *at)
{
    uint16_t bits;
    memcpy(&bits, at, sizeof bits);
    return bits;
}

static float f16_at(const uint8_t *at)
{
    return half_from_f16(bits_at(at));
}

/* --- blocks of 32 --- */

/* Bit `i` of the 32 at `bits`, in the place of a code's fifth bit. */
static int fifth_bit(const uint8_t *bits, int i)
{
    return (bits[i / 8] >> (i % 8) & 1) << 4;
}

static void read_q8_0(const uint8_t *block, float *out)
{
    float d = f16_at(block);
    for (int i = 0; i < 32; i++) {
        int8_t q;
        memcpy(&q, block + 2 + i, 1);
        out[i] = (float)q * d;
    }
}

static void read_q4_0(const uint8_t *block, float *out)
{
    float d = f16_at(block);
    const uint8_t *q = block + 2;
    for (int j = 0; j < 16; j++) {
        out[j] = (float)((q[j] & 15) - 8) * d;
        out[j + 16] = (float)((q[j] >> 4) - 8) * d;
    }
}

static void read_q4_1(const uint8_t *block, float *out)
{
    float d = f16_at(block), m = f16_at(block + 2);
    const uint8_t *q = block + 4;
    for (int j = 0; j < 16; j++) {
        out[j] = (float)(q[j] & 15) * d + m;
        out[j + 16] = (float)(q[j] >> 4) * d + m;
    }
}

static void read_q5_0(const uint8_t *block, float *out)
{
    float d = f16_at(block);
    const uint8_t *high = block + 2, *q = block + 6;
    for (int j = 0; j < 16; j++) {
        out[j] = (float)(((q[j] & 15) | fifth_bit(high, j)) - 16) * d;
        out[j + 16] = (float)(((q[j] >> 4) | fifth_bit(high, j + 16)) - 16) * d;
    }
}

static void read_q5_1(const uint8_t *block, float *out)
{
    float d = f16_at(block), m = f16_at(block + 2);
    const uint8_t *high = block + 4, *q = block + 8;
    for (int j = 0; j < 16; j++) {
        out[j] = (float)((q[j] & 15) | fifth_bit(high, j)) * d + m;
        out[j + 16] = (float)((q[j] >> 4) | fifth_bit(high, j + 16)) * d + m;
    }
}

/* --- blocks of 256 --- */

/* Element e = 128 * half + 32 * plane + i has bits 2 * plane of byte 32 * half + i; scales go by runs of 16 elements.
 */
static void read_q2_k(const uint8_t *block, float *out)
{
    const uint8_t *scales = block, *q = block + 16;
    float d = f16_at(block + 80), m = f16_at(block + 82);
    for (int run = 0; run < 16; run++) {
        float scale = d * (float)(scales[run] & 15), min = m * (float)(scales[run] >> 4);
        const uint8_t *codes = q + run / 8 * 32 + run % 2 * 16;
        int shift = run % 8 / 2 * 2;
        for (int i = 0; i < 16; i++)
            out[run * 16 + i] = scale * (float)(codes[i] >> shift & 3) - min;
    }
}

/* Scale `run` of 16: the low four bits are nibbles of bytes 0-7, the high two are pairs of bits of bytes 8-11. */
static int q3_k_scale(const uint8_t *scales, int run)
{
    int low = run < 8 ? scales[run] & 15 : scales[run - 8] >> 4;
    int high = scales[8 + run % 4] >> (run / 4 * 2) & 3;
    return (low | high << 4) - 32;
}

/* The two low bits lie as in Q2_K; the high bit of element e is bit e / 32 of byte e % 32, and a clear one means minus
 * four. */
static void read_q3_k(const uint8_t *block, float *out)
{
    const uint8_t *high = block, *q = block + 32, *scales = block + 96;
    float d = f16_at(block + 108);
    for (int run = 0; run < 16; run++) {
        float scale = d * (float)q3_k_scale(scales, run);
        const uint8_t *codes = q + run / 8 * 32 + run % 2 * 16, *marks = high + run % 2 * 16;
        int shift = run % 8 / 2 * 2;
        for (int i = 0; i < 16; i++) {
            int code = (codes[i] >> shift & 3) - (marks[i] >> (run / 2) & 1 ? 0 : 4);
            out[run * 16 + i] = scale * (float)code;
        }
    }
}

/* Scale and min `run` of 8: runs 0-3 are the low six bits of bytes 0-3 and 4-7; runs 4-7 are nibbles of bytes 8-11 with
 * those bytes' top two bits above. */
static void k_scale_min(const uint8_t *scales, int run, int *scale, int *min)
{
    if (run < 4) {
        *scale = scales[run] & 63;
        *min = scales[run + 4] & 63;
    } else {
        *scale = (scales[run + 4] & 15) | (scales[run - 4] >> 6) << 4;
        *min = (scales[run + 4] >> 4) | (scales[run] >> 6) << 4;
    }
}

/* Run `run` of 32 elements: low or high nibbles of the 32 bytes at 32 * (run / 2).  `high` NULL, or bit `run` of byte i
 * is the fifth bit of the run's element i. */
static void read_nibble_runs(const uint8_t *block, const uint8_t *high, const uint8_t *q, float *out)
{
    float d = f16_at(block), m = f16_at(block + 2);
    for (int run = 0; run < 8; run++) {
        int s, n;
        k_scale_min(block + 4, run, &s, &n);
        float scale = d * (float)s, min = m * (float)n;
        const uint8_t *codes = q + run / 2 * 32;
        for (int i = 0; i < 32; i++) {
            int code = (codes[i] >> (run % 2 * 4) & 15) | (high != NULL ? (high[i] >> run & 1) << 4 : 0);
            out[run * 32 + i] = scale * (float)code - min;
        }
    }
}

static void read_q4_k(const uint8_t *block, float *out)
{
    read_nibble_runs(block, NULL, block + 16, out);
}

static void read_q5_k(const uint8_t *block, float *out)
{
    read_nibble_runs(block, block + 16, block + 48, out);
}

/* Run `run` of 16 elements lies in half h = run / 8 (128 elements: 64 bytes of nibbles, 32 of high bits), plane p = run
 * % 8 / 2 (32 elements): planes 0 and 2 are the low and high nibbles of the first 32 bytes, 1 and 3 of the second; the
 * high bits of plane p are bits 2p of the half's 32 bytes. */
static void read_q6_k(const uint8_t *block, float *out)
{
    const uint8_t *low = block, *high = block + 128, *scales = block + 192;
    float d = f16_at(block + 208);
    for (int run = 0; run < 16; run++) {
        int8_t s;
        memcpy(&s, scales + run, 1);
        float scale = d * (float)s;
        int plane = run % 8 / 2;
        const uint8_t *nibbles = low + run / 8 * 64 + plane % 2 * 32 + run % 2 * 16;
        const uint8_t *tops = high + run / 8 * 32 + run % 2 * 16;
        for (int i = 0; i < 16; i++) {
            int code = (nibbles[i] >> (plane / 2 * 4) & 15) | (tops[i] >> (2 * plane) & 3) << 4;
            out[run * 16 + i] = scale * (float)(code - 32);
        }
    }
}

/* --- by type --- */

typedef void block_reader(const uint8_t *block, float *out);

static block_reader *reader_of(shard_type type)
{
    switch (type) {
    case SHARD_Q8_0:
        return read_q8_0;
    case SHARD_Q4_0:
        return read_q4_0;
    case SHARD_Q4_1:
        return read_q4_1;
    case SHARD_Q5_0:
        return read_q5_0;
    case SHARD_Q5_1:
        return read_q5_1;
    case SHARD_Q2_K:
        return read_q2_k;
    case SHARD_Q3_K:
        return read_q3_k;
    case SHARD_Q4_K:
        return read_q4_k;
    case SHARD_Q5_K:
        return read_q5_k;
    case SHARD_Q6_K:
        return read_q6_k;
    default:
        return NULL;
    }
}

bool blocks_is_quantised(shard_type type)
{
    return reader_of(type) != NULL;
}

void blocks_read(shard_type type, const uint8_t *bytes, uint64_t n, float *out)
{
    block_reader *reader = reader_of(type);
    assert(reader != NULL);
    uint32_t n_elements, n_bytes;
    shard_type_block(type, &n_elements, &n_bytes);
    for (uint64_t i = 0; i < n; i++)
        reader(bytes + i * n_bytes, out + i * n_elements);
}

void blocks_read_group(shard_type type, const uint8_t *block, uint16_t *scale, int8_t *q)
{
    assert(type == SHARD_Q8_0 || type == SHARD_Q4_0);
    *scale = bits_at(block);
    if (type == SHARD_Q8_0) {
        memcpy(q, block + 2, 32);
        return;
    }
    for (int j = 0; j < 16; j++) {
        q[j] = (int8_t)((block[2 + j] & 15) - 8);
        q[j + 16] = (int8_t)((block[2 + j] >> 4) - 8);
    }
}
