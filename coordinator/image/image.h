/* image.h - bytes from outside to pixels: JPEG, PNG, TIFF, PGM/PPM and DICOM, and the square a vision tower reads.
 *
 * Bytes are hostile: the format is found by its magic, the pixel count is checked in the header before memory is
 * allocated, and a file that is cut short or damaged is an error, never a partly grey image.  Pure and reentrant: any
 * thread. */
#ifndef PALMGROVE_IMAGE_H
#define PALMGROVE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "coordinator/image/image_warn.h"
#include "proto/base/buf.h"
#include "proto/base/status.h"

/* [height][width][channels] u8, rows without padding.  channels: 1 grey, 3 RGB. */
typedef struct image {
    uint32_t width, height, channels;
    uint8_t *pixels; /* owned */
} image;

/* Free the pixels; the image is empty afterwards.  An empty one is fine. */
void image_release(image *img);

/* What a DICOM file's header should say: words separated by blanks, "CR DX"; NULL: anything.  A header that says
 * nothing fits.  Terms of PS3.3 C.7.3.1.1.1 (modalities), PS3.16 annex L (body parts), C.8.4.5.1.1 and C.8.7.1.1.1
 * (views). */
typedef struct image_expected {
    const char *modalities, *body_parts, *views;
} image_expected;

typedef struct image_options {
    uint64_t max_pixels;            /* width x height, of one frame */
    uint32_t frame;                 /* of a DICOM file, from 0; other formats have only 0: the first page of a TIFF */
    const image_expected *expected; /* NULL: anything; borrowed */
    image_warnings *warnings;       /* filled on success; NULL: not wanted */
} image_options;

/* Decode a JPEG (baseline or progressive; grey or YCbCr/RGB, 8 bits), a PNG (every kind), a TIFF (grey, RGB, palette; 8
 * or 16 bits; first page), a PGM or PPM (P2, P3, P5, P6) or one frame of a DICOM file (docs/PROTOCOL.md lists its
 * kinds). The orientation of an EXIF block or a TIFF is applied, so the image is upright.
 * 16-bit samples become round(v * 255 / 65535) (a 12-bit drawing is stored scaled to the full 16-bit range), or of 255
 * / maxval in a PGM; transparency is laid over black; palettes become RGB; grey stays one channel.  Gamma and colour
 * profiles are ignored: radiographs are read as they are stored.  Only DICOM says how it is to be seen, and is shown
 * so: modality and VOI tables or windows are applied, MONOCHROME1 is inverted, pixels become square. Errors, `out`
 * untouched: BASE_EUNSUPPORTED none of these, or a kind that is not read; BASE_EINVAL no such frame; BASE_ETOOBIG more
 * than `max_pixels`; BASE_EFORMAT truncated or damaged; BASE_ENOMEM.  No error quotes the file. */
base_status image_decode_frame(const void *bytes, size_t size, const image_options *options, image *out,
                               base_error *error);

/* The first frame. */
base_status image_decode(const void *bytes, size_t size, uint64_t max_pixels, image *out, base_error *error);

/* Fit `img` into a square of `size` pixels a side: aspect kept, the longer side becomes `size`, the other
 * max(1, round(size * short / long)), halves to even; bilinear with antialiasing, as PyTorch's
 * interpolate(mode='bilinear', antialias=True, align_corners=False) on floats, rounded half to even; centred on black
 * (an odd pixel of padding goes to the right or below); grey stacked to three channels.  out: [size][size][3] u8.
 * Errors: BASE_ENOMEM. */
base_status image_fit_square(const image *img, uint32_t size, uint8_t *out, base_error *error);

/* Resize to width x height with the same filter; channels stay.  Errors: BASE_EINVAL an empty side; BASE_ENOMEM. */
base_status image_resize(const image *img, uint32_t width, uint32_t height, image *out, base_error *error);

/* Append a PNG of [height][width][channels] samples, 8 (u8) or 16 bits (uint16_t, native order) deep; channels 1 or 3.
 * Errors: BASE_EINVAL other shapes; BASE_ENOMEM. */
base_status image_encode_png(const void *samples, uint32_t width, uint32_t height, uint32_t channels, uint32_t bits,
                             base_buf *out, base_error *error);

#endif
