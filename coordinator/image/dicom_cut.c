/* dicom_cut.c - one frame of a DICOM file as a file of its own.
 *
 *     whole:  preamble, meta | header | groups of each frame | header | PixelData: frame 0, 1, 2 ...
 *     cut:    preamble, meta | header | groups of frame k    | header | PixelData: frame k
 *
 * Everything but NumberOfFrames is copied as it is; offset tables and what follows the pixel data are left out.  Two
 * private elements say of how many frames this is which, so that the warning about several frames stays. */
#include "coordinator/image/dicom_cut.h"

#include <stdio.h>
#include <string.h>

#include "coordinator/image/dicom_int.h"

#define UNDEFINED 0xFFFFFFFFu

static void put_number(const dicom_file *file, uint32_t value, size_t n, base_buf *out)
{
    for (size_t i = 0; i < n; i++)
        base_buf_put_u8(out, (uint8_t)(value >> 8 * (file->is_big_endian ? n - 1 - i : i)));
}

/* Some compressed files have no VRs, against their transfer syntax: the pixel data show it. */
static bool writes_vr(const dicom_file *file)
{
    return file->pixels_head.size == 12;
}

/* An element's head; vr NULL: an item or a delimiter, which have none. */
static void put_head(const dicom_file *file, uint32_t tag, const char *vr, uint32_t length, base_buf *out)
{
    put_number(file, tag >> 16, 2, out);
    put_number(file, tag & 0xFFFF, 2, out);
    if (writes_vr(file) && vr != NULL) {
        base_buf_put(out, vr, 2);
        put_number(file, 0, 2, out);
    }
    put_number(file, length, 4, out);
}

static void put_range(const uint8_t *begin, const uint8_t *end, base_buf *out)
{
    base_buf_put(out, begin, (size_t)(end - begin));
}

/* The bytes of the file up to the pixel data, with the groups of one frame only. */
static void put_header(const dicom_file *file, const uint8_t *bytes, base_buf *out)
{
    const uint8_t *end = file->pixels_at;
    size_t begin = out->size;
    if (file->frame_item.at == NULL) {
        put_range(bytes, end, out);
    } else {
        put_range(bytes, file->per_frame.at, out);
        put_head(file, DICOM_PER_FRAME_GROUPS, "SQ", UNDEFINED, out);
        base_buf_put(out, file->frame_item.at, file->frame_item.size);
        put_head(file, DICOM_SEQUENCE_END, NULL, 0, out);
        put_range(file->per_frame.at + file->per_frame.size, end, out);
    }
    dicom_bytes frames = file->values[DICOM_FRAMES]; /* before the groups: elements are in ascending order */
    if (!out->failed && frames.size > 0 && (file->per_frame.at == NULL || frames.at < file->per_frame.at)) {
        uint8_t *text = out->data + begin + (frames.at - bytes);
        memset(text, ' ', frames.size);
        text[0] = '1';
    }
}

static void put_short(const dicom_file *file, uint32_t tag, const char *vr, const char *text, base_buf *out)
{
    size_t n = strlen(text);
    put_number(file, tag >> 16, 2, out);
    put_number(file, tag & 0xFFFF, 2, out);
    if (writes_vr(file))
        base_buf_put(out, vr, 2);
    put_number(file, (uint32_t)(n + n % 2), writes_vr(file) ? 2 : 4, out);
    base_buf_put(out, text, n);
    if (n % 2 != 0)
        base_buf_put_u8(out, ' ');
}

static void put_origin(const dicom_file *file, uint32_t n_frames, uint32_t frame, base_buf *out)
{
    char text[32];
    snprintf(text, sizeof text, "%u\\%u", n_frames, frame);
    put_short(file, 0x7FDF0010, "LO", DICOM_CREATOR, out);
    put_short(file, 0x7FDF1001, "IS", text, out);
}

static void put_pixels(const dicom_file *file, dicom_bytes frame, base_buf *out)
{
    if (file->has_fragments) {
        put_head(file, DICOM_PIXEL_DATA, "OB", UNDEFINED, out);
        put_head(file, DICOM_ITEM, NULL, 0, out); /* no offsets */
        base_buf_put(out, frame.at, frame.size);
        put_head(file, DICOM_SEQUENCE_END, NULL, 0, out);
        return;
    }
    put_head(file, DICOM_PIXEL_DATA, file->has_words ? "OW" : "OB", (uint32_t)(frame.size + frame.size % 2), out);
    base_buf_put(out, frame.at, frame.size);
    if (frame.size % 2 != 0)
        base_buf_put_u8(out, 0);
}

base_status dicom_cut_frame(const void *bytes, size_t size, uint32_t frame, uint32_t *n_frames, base_buf *out,
                            base_error *error)
{
    if (!image_is_dicom(bytes, size))
        return base_fail(error, BASE_EUNSUPPORTED, "not a DICOM file, so it has no frames to cut");
    dicom_file file = {0};
    dicom_geometry geometry = {0};
    dicom_bytes pixels = {0};
    size_t before = out->size;
    base_status status = dicom_file_read(&file, bytes, size, frame, 0, error);
    if (status == BASE_ETOOBIG || (status == BASE_OK && file.is_deflated))
        status = base_fail(error, BASE_EUNSUPPORTED, "frames of a deflated DICOM file cannot be cut");
    if (status == BASE_OK && file.is_explicit && !file.has_fragments && file.pixels_at != NULL && !writes_vr(&file))
        status =
            base_fail(error, BASE_EUNSUPPORTED, "the pixel data have another form than the rest of the DICOM file");
    if (status == BASE_OK)
        status = dicom_geometry_read(&file, frame, UINT64_MAX, &geometry, error);
    if (status == BASE_OK)
        status = dicom_frame_locate(&file, &geometry, frame, &pixels, error);
    if (status == BASE_OK) {
        put_header(&file, bytes, out);
        if (geometry.frames > 1)
            put_origin(&file, geometry.frames, frame, out);
        put_pixels(&file, pixels, out);
        if (out->failed)
            status = base_fail(error, BASE_ENOMEM, "no memory for a frame of the DICOM");
        else
            *n_frames = geometry.frames;
    }
    if (status != BASE_OK)
        out->size = before;
    dicom_file_release(&file);
    return status;
}
