/* preprocess.h - an image of any shape to the square that a vision tower reads, as each model family was trained to
 * see it.
 *
 * Pillow's filters are computed in its own arithmetic (resize_pillow_bicubic.c), so the pixels are those of the
 * processors that call it. */
#ifndef PALMGROVE_PREPROCESS_H
#define PALMGROVE_PREPROCESS_H

#include "coordinator/image/image.h"

typedef enum image_fit_kind {
    IMAGE_FIT_PAD,     /* the longer side becomes the square's, the other max(1, round(size * short / long)), halves to
                          even; padding follows */
    IMAGE_FIT_SQUARE,  /* padding to a square of the longer side, then resizing */
    IMAGE_FIT_STRETCH, /* resizing both sides, the aspect is lost */
    IMAGE_FIT_CROP, /* the shorter side becomes the square's, the other floor(size * long / short); the middle is kept
                     */
} image_fit_kind;

typedef enum image_filter {
    IMAGE_FILTER_BILINEAR_FLOAT, /* as image_resize; with IMAGE_FIT_PAD and IMAGE_FIT_STRETCH only */
    IMAGE_FILTER_BILINEAR,       /* as Pillow's Image.resize, to the bit */
    IMAGE_FILTER_BICUBIC,
} image_filter;

/* Where padding goes; in the middle an odd pixel goes to the right or below. */
typedef enum image_pad_side { IMAGE_PAD_CENTRE, IMAGE_PAD_AFTER, IMAGE_PAD_BEFORE } image_pad_side;

/* All zero: image_fit_square. */
typedef struct image_fit {
    image_fit_kind kind;
    image_filter filter;
    image_pad_side pad_side;
    uint8_t pad_value[3];
} image_fit;

/* The longest side that is taken: what a JPEG can have.  Buffers grow with a side, not only with the number of pixels.
 */
#define IMAGE_FIT_SIDE_MAX 65535u

/* out: [size][size][3] u8; grey is stacked.  Errors: BASE_EINVAL no pixels, or a filter that does not go with the kind;
 * BASE_ETOOBIG a side beyond IMAGE_FIT_SIDE_MAX; BASE_ENOMEM. */
base_status image_preprocess(const image *img, const image_fit *fit, uint32_t size, uint8_t *out, base_error *error);

/* From the bytes of a file to the tower's pixels: image_decode_frame, then image_preprocess.  *out: [side][side][3] u8,
 * the caller frees it.  Errors: those of both, *out untouched. */
base_status image_load_square(const void *bytes, size_t n_bytes, const image_options *options, const image_fit *fit,
                              uint32_t side, uint8_t **out, base_error *error);

#endif
