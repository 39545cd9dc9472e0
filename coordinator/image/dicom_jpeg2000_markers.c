/* dicom_jpeg2000_markers.c - a walk over the marker segments of a JPEG 2000 codestream, before the library sees it.
 *
 *     SOC | segments: u16 marker, u16 length, body | tile parts | EOC
 *     tile part: SOT | segments | SOD | packets, up to SOT's length
 *
 * COD and COC, in the main header or a tile part's, say how finely a component is cut: levels of resolution into
 * precincts, these into code blocks.  ISO 15444-1 annex A. */
#include "coordinator/image/dicom_int.h"

enum { MARK_COD = 0xFF52, MARK_COC = 0xFF53, MARK_SOT = 0xFF90, MARK_SOD = 0xFF93, MARK_EOC = 0xFFD9 };

/* Least samples of a code block, as log2; encoders use 10 to 12. */
enum { MIN_BLOCK_LOG2 = 8, MAX_LEVELS = 32 };

static uint32_t u16_at(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

/* s: the fields that COD and COC share: levels, block width and height, style, transform and, with `has_precincts`, a
 * byte for each level. */
static bool is_partition_bounded(dicom_bytes s, bool has_precincts, const dicom_raster *raster)
{
    if (s.size < 5 || s.at[0] > MAX_LEVELS || (s.at[1] & 15) + 2 + (s.at[2] & 15) + 2 < MIN_BLOCK_LOG2)
        return false;
    uint32_t levels = s.at[0];
    if (!has_precincts)
        return true;
    if (s.size < 6 + (size_t)levels)
        return false;
    uint64_t n = 0;
    for (uint32_t r = 0; r <= levels; r++) { /* from the smallest resolution on */
        uint64_t width = ((uint64_t)raster->columns >> (levels - r)) + 1,
                 height = ((uint64_t)raster->rows >> (levels - r)) + 1;
        n += ((width >> (s.at[5 + r] & 15)) + 2) * ((height >> (s.at[5 + r] >> 4)) + 2);
    }
    return n <= 4096 + (uint64_t)raster->columns * raster->rows / 64;
}

/* A COD's or COC's body. */
static bool is_style_bounded(uint32_t marker, dicom_bytes s, const dicom_raster *raster)
{
    size_t skipped =
        marker == MARK_COD ? 5 : 2; /* style, order, layers, colours; or component (fewer than 257), style */
    if (s.size < skipped)
        return false;
    uint8_t style = s.at[marker == MARK_COD ? 0 : 1];
    return is_partition_bounded((dicom_bytes){s.at + skipped, s.size - skipped}, (style & 1) != 0, raster);
}

bool dicom_jpeg2000_is_bounded(dicom_bytes stream, const dicom_raster *raster)
{
    size_t part_end = 0; /* of the tile part whose header is read; 0: the main header */
    for (size_t at = 2;;) {
        size_t left = stream.size - at;
        if (left < 2 || u16_at(stream.at + at) == MARK_EOC)
            return part_end != 0 && at == part_end;
        uint32_t marker = u16_at(stream.at + at);
        if (marker == MARK_SOD && part_end != 0) {
            if (part_end < at + 2 || part_end > stream.size)
                return false;
            at = part_end;
            continue;
        }
        uint32_t length = left < 4 ? 0 : u16_at(stream.at + at + 2);
        if (marker < 0xFF01 || length < 2 || length > left - 2)
            return false;
        dicom_bytes body = {stream.at + at + 4, length - 2};
        if ((marker == MARK_COD || marker == MARK_COC) && !is_style_bounded(marker, body, raster))
            return false;
        if (marker == MARK_SOT) {
            if (body.size != 8)
                return false;
            size_t n = (size_t)u16_at(body.at + 2) << 16 | u16_at(body.at + 4);
            part_end = n == 0 ? stream.size : at + n;
        }
        at += 2 + (size_t)length;
    }
}

/* COD's body: style, progression order, u16 layers, colour transform. */
bool dicom_jpeg2000_has_colour_transform(dicom_bytes stream)
{
    for (size_t at = 2; at + 4 <= stream.size && u16_at(stream.at + at) != MARK_SOT;) {
        if (u16_at(stream.at + at) == MARK_COD && at + 9 <= stream.size)
            return stream.at[at + 8] != 0;
        at += 2 + (size_t)u16_at(stream.at + at + 2);
    }
    return false;
}
