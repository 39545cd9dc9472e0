/* image_int.h - what the decoders share. */
#ifndef PALMGROVE_IMAGE_INT_H
#define PALMGROVE_IMAGE_INT_H

#include <stdbool.h>

#include "coordinator/image/image.h"

/* Allocate width x height x channels bytes, after checking the pixel limit.  `format` ("JPEG") names the file in
 * errors. Errors: BASE_EFORMAT an empty side, BASE_ETOOBIG, BASE_ENOMEM; `out` untouched. */
base_status image_alloc(const char *format, uint32_t width, uint32_t height, uint32_t channels, uint64_t max_pixels,
                        image *out, base_error *error);

/* Each fills `out`, which is empty before, and leaves in it what must be released, on errors too. */
base_status image_decode_jpeg(const uint8_t *bytes, size_t size, uint64_t max_pixels, image *out, uint32_t *orientation,
                              base_error *error);
base_status image_decode_png(const uint8_t *bytes, size_t size, uint64_t max_pixels, image *out, uint32_t *orientation,
                             base_error *error);
base_status image_decode_tiff(const uint8_t *bytes, size_t size, uint64_t max_pixels, image *out, uint32_t *orientation,
                              base_error *error);
base_status image_decode_pnm(const uint8_t *bytes, size_t size, uint64_t max_pixels, image *out, base_error *error);
base_status image_decode_dicom(const uint8_t *bytes, size_t size, const image_options *options, image *out,
                               base_error *error);

/* True if the bytes begin as a DICOM file does: "DICM" after a preamble, or, without one, a typical first element. */
bool image_is_dicom(const uint8_t *bytes, size_t size);

/* The orientation (1 to 8) in an EXIF block, of a JPEG's APP1 marker or a PNG's eXIf; 1 when there is none or the block
 * is damaged: the orientation is a hint, not worth refusing an image for. */
uint32_t image_exif_orientation(const uint8_t *bytes, size_t size);

/* Rotate and mirror the image as EXIF orientation `orientation` says.  Errors: BASE_ENOMEM, `img` unchanged.
 */
base_status image_orient(image *img, uint32_t orientation, base_error *error);

#endif
