/* dicom_jpeg.c - JPEG streams of DICOM: checked against the header, then given to the library for their sample size.
 *
 * GDCM's libjpeg, which unlike others has the lossless process, is built three times: for samples of 8, 12 and 16
 * bits, the last for lossless streams only.  The stream's frame header is read here first: no library sees a stream
 * whose sizes are not the file's. */
#include "coordinator/image/dicom_int.h"

typedef struct frame_header {
    uint8_t process; /* the marker's second byte: C0 baseline, C1 extended, C2 progressive, C3 lossless */
    uint32_t bits, rows, columns, samples;
} frame_header;

static bool is_frame_marker(uint8_t marker)
{
    return marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
}

static uint32_t big_u16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

/* Find the first frame header among the markers; false when the stream ends before it. */
static bool find_frame(dicom_bytes s, frame_header *out)
{
    if (s.size < 4 || s.at[0] != 0xFF || s.at[1] != 0xD8)
        return false;
    for (size_t at = 2; at + 10 <= s.size;) {
        if (s.at[at] != 0xFF)
            return false;
        uint8_t marker = s.at[at + 1];
        if (marker == 0xFF) {
            at++;
            continue;
        }
        if (is_frame_marker(marker)) {
            *out = (frame_header){marker, s.at[at + 4], big_u16(s.at + at + 5), big_u16(s.at + at + 7), s.at[at + 9]};
            return true;
        }
        at += 2 + (size_t)big_u16(s.at + at + 2);
    }
    return false;
}

base_status dicom_decode_jpeg(dicom_bytes stream, dicom_raster *raster, base_error *error)
{
    frame_header frame;
    if (!find_frame(stream, &frame))
        return base_fail(error, BASE_EFORMAT, "damaged DICOM: a frame is not a JPEG stream");
    if (frame.process != 0xC0 && frame.process != 0xC1 && frame.process != 0xC3)
        return base_fail(error, BASE_EUNSUPPORTED,
                         "a frame of the DICOM is a JPEG of process %u, which is not read here; "
                         "baseline, extended and lossless are",
                         frame.process - 0xC0u);
    if (frame.rows != raster->rows || frame.columns != raster->columns || frame.samples != raster->samples)
        return base_fail(
            error, BASE_EFORMAT,
            "damaged DICOM: its JPEG stream has %u x %u pixels of %u samples, its header says %u x %u of %u",
            frame.columns, frame.rows, frame.samples, raster->columns, raster->rows, raster->samples);
    raster->bits = frame.bits;
    if (frame.bits >= 2 && frame.bits <= 8)
        return dicom_decode_jpeg8(stream, raster, error);
    if (frame.bits >= 9 && frame.bits <= 12)
        return dicom_decode_jpeg12(stream, raster, error);
    if (frame.bits >= 13 && frame.bits <= 16 && frame.process == 0xC3)
        return dicom_decode_jpeg16(stream, raster, error);
    return base_fail(error, BASE_EFORMAT, "damaged DICOM: its JPEG stream has samples of %u bits", frame.bits);
}
