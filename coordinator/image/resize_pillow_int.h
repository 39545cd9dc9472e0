/* resize_pillow_int.h - Pillow's resampling of an image on a padded canvas. */
#ifndef PALMGROVE_RESIZE_PILLOW_INT_H
#define PALMGROVE_RESIZE_PILLOW_INT_H

#include "coordinator/image/preprocess.h"

/* An image on a canvas of one colour, and the part of the resized canvas that is wanted. */
typedef struct resample {
    const image *img;
    uint32_t canvas_width, canvas_height, left, top; /* the image's place on it */
    uint8_t value[3];
    image_filter filter;                 /* not the float one */
    uint32_t width, height;              /* of the whole canvas when resized */
    uint32_t first_x, first_y, n_x, n_y; /* the part */
} resample;

/* Write the part as rows of n_x RGB pixels, `stride` bytes apart.  Errors: BASE_ENOMEM. */
base_status image_resample(const resample *job, uint8_t *out, size_t stride, base_error *error);

#endif
