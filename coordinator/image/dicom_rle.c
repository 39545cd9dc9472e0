/* dicom_rle.c - RLE Lossless frames: PS3.5 annex G.
 *
 * A frame: u32 number of segments, 15 u32 offsets, then a segment for each byte of a sample, the highest byte first,
 * sample after sample.  A segment is PackBits: a count byte c, then c + 1 bytes as they are (c 0 to 127), or one byte
 * 1 - c times (c -127 to -1); -128 does nothing. */
#include <string.h>

#include "coordinator/image/dicom_int.h"

static uint32_t little_u32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* PackBits until `n` bytes are there, each to every `step`-th byte of `out`. */
static bool unpack_bits(const uint8_t *at, const uint8_t *end, uint8_t *out, size_t n, size_t step)
{
    for (size_t done = 0; done < n;) {
        if (end - at < 2)
            return false;
        int head = (int8_t)*at++;
        if (head == -128)
            continue;
        size_t run = head >= 0 ? (size_t)head + 1 : (size_t)-head + 1;
        if (head >= 0 && (size_t)(end - at) < run)
            return false;
        for (size_t i = 0; i < run && done < n; i++, done++)
            out[done * step] = head >= 0 ? at[i] : *at;
        at += head >= 0 ? run : 1;
    }
    return true;
}

/* A segment for each byte of a sample, the highest first, sample after sample. */
base_status dicom_decode_rle(dicom_bytes stream, uint32_t bytes_per_sample, dicom_raster *raster, base_error *error)
{
    uint32_t n_segments = raster->samples * bytes_per_sample;
    if (stream.size < 64 || little_u32(stream.at) != n_segments)
        return base_fail(error, BASE_EFORMAT, "damaged DICOM: an RLE frame does not have the %u segments it should",
                         n_segments);
    size_t n = (size_t)raster->rows * raster->columns;
    memset(raster->out, 0, n * raster->samples * sizeof *raster->out);
    for (uint32_t i = 0; i < n_segments; i++) {
        size_t begin = little_u32(stream.at + 4 + 4 * (size_t)i);
        size_t end = i + 1 < n_segments ? little_u32(stream.at + 8 + 4 * (size_t)i) : stream.size;
        if (begin < 64 || begin > end || end > stream.size)
            return base_fail(error, BASE_EFORMAT, "damaged DICOM: an RLE segment lies outside its frame");
        uint32_t sample = i / bytes_per_sample, byte = bytes_per_sample - 1 - i % bytes_per_sample;
        /* Samples are little-endian in memory: base/buf.c refuses to build elsewhere. */
        uint8_t *out = (uint8_t *)(raster->out + sample) + byte;
        if (!unpack_bits(stream.at + begin, stream.at + end, out, n, sizeof *raster->out * raster->samples))
            return base_fail(error, BASE_EFORMAT, "truncated DICOM: an RLE segment ends early; was it sent whole?");
    }
    raster->bits = bytes_per_sample * 8;
    return BASE_OK;
}
