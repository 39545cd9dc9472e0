/* dicom_frame.c - one frame of the pixel data: its bytes, and its samples.
 *
 *     native:      frame 0 | frame 1 | ...                     one after the other, without headers
 *     compressed:  table | fragment | fragment | ... | end     items; the table of offsets is often empty
 *
 * A fragment is a frame, with two exceptions: a file's only frame may be cut into several, and a file whose table says
 * where each frame begins may cut each (PS3.5 annex A.4).  The extended offset table is not needed: with it a frame is
 * one fragment. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/image/dicom_int.h"
#include "proto/base/size.h"

static base_status too_short(const dicom_geometry *geometry, uint32_t frame, base_error *error)
{
    return base_fail(error, BASE_EFORMAT,
                     "truncated DICOM: the pixel data end before frame %u of %u x %u pixels does; was it sent whole?",
                     frame, geometry->columns, geometry->rows);
}

/* --- native --- */

/* Frame `frame` of `frame_bytes` a frame. */
static bool native_frame(dicom_bytes pixels, uint32_t frame, size_t frame_bytes, dicom_bytes *out)
{
    size_t begin, end;
    if (!base_size_mul(frame, frame_bytes, &begin) || !base_size_add(begin, frame_bytes, &end) || end > pixels.size)
        return false;
    *out = (dicom_bytes){pixels.at + begin, frame_bytes};
    return true;
}

/* Y Y Cb Cr for two pixels, each of 8 bits; the colours hold for both. */
static void unpack_422(const uint8_t *from, size_t n_pairs, uint16_t *to)
{
    for (size_t i = 0; i < n_pairs; i++, from += 4)
        for (size_t k = 0; k < 2; k++) {
            *to++ = from[k];
            *to++ = from[2];
            *to++ = from[3];
        }
}

static void unpack(const dicom_file *file, const dicom_geometry *geometry, dicom_bytes bytes, dicom_raster *raster)
{
    bool is_wide = geometry->bits_allocated == 16;
    uint32_t shift = geometry->high_bit + 1 - geometry->bits_stored;
    size_t n = (size_t)geometry->rows * geometry->columns;
    uint16_t *to = raster->out;
    for (size_t i = 0; i < n; i++)
        for (uint32_t c = 0; c < geometry->samples; c++) {
            size_t k = geometry->is_planar ? c * n + i : i * geometry->samples + c;
            const uint8_t *at = bytes.at + (is_wide ? 2 * k : k);
            uint32_t raw = !is_wide              ? at[0]
                           : file->is_big_endian ? (uint32_t)at[0] << 8 | at[1]
                                                 : (uint32_t)at[1] << 8 | at[0];
            *to++ = (uint16_t)(raw >> shift);
        }
}

/* Bytes in big-endian words: swapped in pairs, over the whole element, as a frame may begin in the middle of a word. */
static base_status swap_words(dicom_bytes pixels, size_t begin, size_t n, uint8_t *out, base_error *error)
{
    for (size_t i = 0; i < n; i++) {
        if (((begin + i) ^ 1) >= pixels.size)
            return base_fail(error, BASE_EFORMAT,
                             "truncated DICOM: the pixel data end within a word; was it sent whole?");
        out[i] = pixels.at[(begin + i) ^ 1];
    }
    return BASE_OK;
}

/* All frames, padded to an even number; false for more than there can be. */
static bool all_bytes(size_t frame_bytes, uint32_t frames, size_t *out)
{
    return base_size_mul(frame_bytes, frames, out) && base_size_add(*out, *out % 2, out);
}

/* How many bytes a frame has, by the header and by the length of the data.  Some writers say YBR_FULL_422 of pixels
 * that are not subsampled: *is_422 becomes false then. */
static base_status frame_size(const dicom_file *file, const dicom_geometry *geometry, size_t *out, bool *is_422,
                              base_error *error)
{
    size_t n = (size_t)geometry->rows * geometry->columns, given = file->values[DICOM_PIXELS].size,
           expected; /* below 2^32 */
    *is_422 = geometry->colours == DICOM_YBR_422;
    *out = *is_422 ? n * 2 : n * geometry->samples * (geometry->bits_allocated / 8);
    bool is_known = all_bytes(*out, geometry->frames, &expected);
    if (*is_422 && is_known && given > expected) {
        size_t unsampled;
        if (!all_bytes(n * 3, geometry->frames, &unsampled) || given != unsampled)
            return base_fail(error, BASE_EFORMAT,
                             "damaged DICOM: its pixel data have %zu bytes; YBR_FULL_422 of %u x %u pixels has %zu",
                             given, geometry->columns, geometry->rows, expected);
        image_warn(file->warnings, IMAGE_WARN_PIXEL_DATA,
                   "the header says YBR_FULL_422, but the pixels are not subsampled: read as YBR_FULL");
        *is_422 = false;
        *out = n * 3;
    } else if (is_known && given > expected) {
        image_warn(file->warnings, IMAGE_WARN_PIXEL_DATA, "the pixel data have %zu bytes, but the header says %zu",
                   given, expected);
    }
    if (*is_422 && geometry->columns % 2 != 0)
        return base_fail(error, BASE_EFORMAT, "damaged DICOM: YBR_FULL_422 needs an even number of columns, not %u",
                         geometry->columns);
    return BASE_OK;
}

static base_status locate_native(const dicom_file *file, const dicom_geometry *geometry, uint32_t frame,
                                 dicom_bytes *out, bool *is_422, base_error *error)
{
    size_t frame_bytes;
    base_status status = frame_size(file, geometry, &frame_bytes, is_422, error);
    if (status != BASE_OK)
        return status;
    return native_frame(file->values[DICOM_PIXELS], frame, frame_bytes, out) ? BASE_OK
                                                                             : too_short(geometry, frame, error);
}

static base_status read_native(const dicom_file *file, const dicom_geometry *geometry, uint32_t frame,
                               dicom_raster *raster, base_error *error)
{
    dicom_bytes bytes, pixels = file->values[DICOM_PIXELS];
    bool is_422;
    base_status status = locate_native(file, geometry, frame, &bytes, &is_422, error);
    if (status != BASE_OK)
        return status;
    size_t frame_bytes = bytes.size;
    uint8_t *swapped = NULL;
    if (file->is_big_endian && file->has_words && geometry->bits_allocated == 8) {
        swapped = malloc(frame_bytes);
        if (swapped == NULL)
            return base_fail(error, BASE_ENOMEM, "no memory for a frame of the DICOM");
        status = swap_words(pixels, frame * frame_bytes, frame_bytes, swapped, error);
        bytes.at = swapped;
    }
    if (status == BASE_OK && is_422)
        unpack_422(bytes.at, frame_bytes / 4, raster->out);
    else if (status == BASE_OK)
        unpack(file, geometry, bytes, raster);
    free(swapped);
    raster->bits = geometry->bits_stored;
    return status;
}

/* --- fragments --- */

static uint32_t little_u32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* The next item of a range that dicom_read.c has checked; false at its end. */
static bool next_item(dicom_bytes *range, dicom_bytes *out)
{
    if (range->size < 8)
        return false;
    uint32_t length = little_u32(range->at + 4);
    *out = (dicom_bytes){range->at + 8, length};
    range->at += 8 + (size_t)length;
    range->size -= 8 + (size_t)length;
    return true;
}

static uint32_t count_items(dicom_bytes range)
{
    dicom_bytes item;
    uint32_t n = 0;
    while (next_item(&range, &item))
        n++;
    return n;
}

static bool join_fragments(dicom_bytes range, base_buf *out)
{
    dicom_bytes item;
    while (next_item(&range, &item))
        base_buf_put(out, item.at, item.size);
    return !out->failed;
}

/* At `at` an item starts, or the last one ends. */
static bool is_item_start(dicom_bytes range, size_t at)
{
    const uint8_t *first = range.at;
    dicom_bytes item;
    do {
        if ((size_t)(range.at - first) == at)
            return true;
    } while (next_item(&range, &item));
    return false;
}

/* Where frame `frame` begins and ends in `fragments`. */
static bool locate_frame(dicom_bytes table, dicom_bytes fragments, const dicom_geometry *geometry, uint32_t frame,
                         size_t *begin, size_t *end)
{
    *begin = 0;
    *end = fragments.size;
    if (geometry->frames == 1)
        return true;
    if (count_items(fragments) == geometry->frames) {
        dicom_bytes rest = fragments, item;
        for (uint32_t i = 0; i <= frame; i++) {
            *begin = fragments.size - rest.size;
            (void)next_item(&rest, &item);
        }
        *end = fragments.size - rest.size;
        return true;
    }
    if (table.size / 4 != geometry->frames)
        return false;
    *begin = little_u32(table.at + (size_t)frame * 4);
    if (frame + 1 < geometry->frames)
        *end = little_u32(table.at + (size_t)(frame + 1) * 4);
    return *begin < *end && *end <= fragments.size && is_item_start(fragments, *begin) &&
           is_item_start(fragments, *end);
}

/* The frame's fragments, with their heads. */
static base_status locate_fragments(const dicom_file *file, const dicom_geometry *geometry, uint32_t frame,
                                    dicom_bytes *out, base_error *error)
{
    dicom_bytes fragments = file->values[DICOM_PIXELS], table;
    if (!next_item(&fragments, &table) || fragments.size == 0)
        return base_fail(error, BASE_EFORMAT, "damaged DICOM: its pixel data have no fragments");
    size_t begin, end;
    if (!locate_frame(table, fragments, geometry, frame, &begin, &end))
        return base_fail(error, BASE_EFORMAT,
                         "damaged DICOM: nothing tells which of %u fragments belong to which of %u frames",
                         count_items(fragments), geometry->frames);
    *out = (dicom_bytes){fragments.at + begin, end - begin};
    return BASE_OK;
}

base_status dicom_frame_locate(const dicom_file *file, const dicom_geometry *geometry, uint32_t frame, dicom_bytes *out,
                               base_error *error)
{
    bool is_422;
    if (file->coding != DICOM_NATIVE)
        return locate_fragments(file, geometry, frame, out, error);
    base_status status = locate_native(file, geometry, frame, out, &is_422, error);
    size_t begin = status == BASE_OK ? (size_t)(out->at - file->values[DICOM_PIXELS].at) : 0;
    if (file->is_big_endian && file->has_words && begin % 2 != 0)
        status = base_fail(error, BASE_EUNSUPPORTED, "the frame begins in the middle of a big-endian word");
    else if (file->is_big_endian && file->has_words && begin + out->size < file->values[DICOM_PIXELS].size)
        out->size += out->size % 2;
    return status;
}

/* RLE packs whole cells, as native pixels do: the stored bits may lie higher. */
static base_status decode_rle(const dicom_geometry *geometry, dicom_bytes stream, dicom_raster *raster,
                              base_error *error)
{
    base_status status = dicom_decode_rle(stream, geometry->bits_allocated / 8, raster, error);
    uint32_t shift = geometry->high_bit + 1 - geometry->bits_stored;
    size_t n = shift == 0 || status != BASE_OK ? 0 : (size_t)raster->rows * raster->columns * raster->samples;
    for (size_t i = 0; i < n; i++)
        raster->out[i] = (uint16_t)(raster->out[i] >> shift);
    return status;
}

static base_status decode_stream(const dicom_file *file, const dicom_geometry *geometry, dicom_bytes stream,
                                 dicom_raster *raster, base_error *error)
{
    switch (file->coding) {
    case DICOM_RLE:
        return decode_rle(geometry, stream, raster, error);
    case DICOM_JPEG:
        return dicom_decode_jpeg(stream, raster, error);
    case DICOM_JPEGLS:
        return dicom_decode_jpegls(stream, raster, error);
    case DICOM_JPEG2000:
        return dicom_decode_jpeg2000(stream, raster, error);
    case DICOM_NATIVE:
        break;
    }
    return base_fail(error, BASE_EINTERNAL, "no codec for this transfer syntax");
}

base_status dicom_frame_read(const dicom_file *file, const dicom_geometry *geometry, uint32_t frame,
                             dicom_raster *raster, base_error *error)
{
    if (file->coding == DICOM_NATIVE)
        return read_native(file, geometry, frame, raster, error);
    dicom_bytes fragments;
    base_status status = locate_fragments(file, geometry, frame, &fragments, error);
    if (status != BASE_OK)
        return status;
    base_buf stream = {0};
    if (!join_fragments(fragments, &stream))
        status = base_fail(error, BASE_ENOMEM, "no memory for a frame of the DICOM");
    else if (stream.size == 0)
        status = too_short(geometry, frame, error);
    else
        status = decode_stream(file, geometry, (dicom_bytes){stream.data, stream.size}, raster, error);
    base_buf_release(&stream);
    return status;
}
