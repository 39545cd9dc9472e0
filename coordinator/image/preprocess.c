/* preprocess.c - fit an image into the tower's square: which part of the square it fills, which part of it is shown.
 *
 *      pad            square                stretch        crop
 *     +-------+      +-------+ (padding    +-------+      ..+-------+..
 *     |  ...  |      |  ...  |  at the     |       |      : |       | :   the middle of the longer side
 *     | image |      | image |  source's   | image |      : | image | :
 *     |  ...  |      |  ...  |  size)      |       |      : |       | :
 *     +-------+      +-------+             +-------+      ..+-------+.. */
#include "coordinator/image/preprocess.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/image/resize_pillow_int.h"

/* max(1, round(size * side / longest)), halves to even. */
static uint32_t fitted(uint32_t size, uint32_t side, uint32_t longest)
{
    uint64_t product = (uint64_t)size * side;
    uint64_t whole = product / longest, twice = 2 * (product % longest);
    if (twice > longest || (twice == longest && whole % 2 == 1))
        whole++;
    return whole > 0 ? (uint32_t)whole : 1;
}

/* How many of `room` pixels of padding come before the image. */
static uint32_t before(image_pad_side side, uint32_t room)
{
    return side == IMAGE_PAD_CENTRE ? room / 2 : side == IMAGE_PAD_BEFORE ? room : 0;
}

static uint32_t longer(const image *img)
{
    return img->width > img->height ? img->width : img->height;
}

static void fill_square(uint8_t *out, uint32_t size, const uint8_t value[3])
{
    for (size_t i = 0; i < (size_t)size * size; i++)
        memcpy(out + i * 3, value, 3);
}

/* The image fills width x height pixels of the square, from (left, top) on. */
typedef struct place {
    uint32_t left, top, width, height;
} place;

static uint8_t *corner(uint8_t *out, uint32_t size, const place *at)
{
    return out + ((size_t)at->top * size + at->left) * 3;
}

static base_status resize_float(const image *img, const place *at, uint32_t size, uint8_t *out, base_error *error)
{
    image small;
    base_status status = image_resize(img, at->width, at->height, &small, error);
    if (status != BASE_OK)
        return status;
    const uint8_t *from = small.pixels;
    for (uint32_t y = 0; y < small.height; y++) {
        uint8_t *to = corner(out, size, at) + (size_t)y * size * 3;
        for (uint32_t x = 0; x < small.width; x++, from += small.channels)
            for (uint32_t c = 0; c < 3; c++)
                *to++ = from[small.channels == 1 ? 0 : c];
    }
    image_release(&small);
    return BASE_OK;
}

/* The whole image into a part of the square. */
static base_status resize_into(const image *img, const image_fit *fit, const place *at, uint32_t size, uint8_t *out,
                               base_error *error)
{
    if (fit->filter == IMAGE_FILTER_BILINEAR_FLOAT)
        return resize_float(img, at, size, out, error);
    const resample job = {.img = img,
                          .canvas_width = img->width,
                          .canvas_height = img->height,
                          .filter = fit->filter,
                          .width = at->width,
                          .height = at->height,
                          .n_x = at->width,
                          .n_y = at->height};
    return image_resample(&job, corner(out, size, at), (size_t)size * 3, error);
}

static base_status fit_pad(const image *img, const image_fit *fit, uint32_t size, uint8_t *out, base_error *error)
{
    uint32_t longest = longer(img);
    place at = {.width = fitted(size, img->width, longest), .height = fitted(size, img->height, longest)};
    at.left = before(fit->pad_side, size - at.width);
    at.top = before(fit->pad_side, size - at.height);
    fill_square(out, size, fit->pad_value);
    return resize_into(img, fit, &at, size, out, error);
}

static base_status fit_square(const image *img, const image_fit *fit, uint32_t size, uint8_t *out, base_error *error)
{
    uint32_t longest = longer(img);
    resample job = {.img = img,
                    .canvas_width = longest,
                    .canvas_height = longest,
                    .left = before(fit->pad_side, longest - img->width),
                    .top = before(fit->pad_side, longest - img->height),
                    .filter = fit->filter,
                    .width = size,
                    .height = size,
                    .n_x = size,
                    .n_y = size};
    memcpy(job.value, fit->pad_value, sizeof job.value);
    return image_resample(&job, out, (size_t)size * 3, error);
}

static base_status fit_crop(const image *img, const image_fit *fit, uint32_t size, uint8_t *out, base_error *error)
{
    uint32_t shortest = img->width < img->height ? img->width : img->height;
    resample job = {.img = img,
                    .canvas_width = img->width,
                    .canvas_height = img->height,
                    .filter = fit->filter,
                    .n_x = size,
                    .n_y = size};
    job.width = (uint32_t)((uint64_t)size * img->width / shortest);
    job.height = (uint32_t)((uint64_t)size * img->height / shortest);
    job.first_x = (job.width - size) / 2;
    job.first_y = (job.height - size) / 2;
    return image_resample(&job, out, (size_t)size * 3, error);
}

base_status image_preprocess(const image *img, const image_fit *fit, uint32_t size, uint8_t *out, base_error *error)
{
    bool is_float = fit->filter == IMAGE_FILTER_BILINEAR_FLOAT;
    if (img->width == 0 || img->height == 0 || size == 0)
        return base_fail(error, BASE_EINVAL, "the image has no pixels");
    if (is_float && (fit->kind == IMAGE_FIT_SQUARE || fit->kind == IMAGE_FIT_CROP))
        return base_fail(error, BASE_EINVAL,
                         "images are padded before resizing, or cropped, with bilinear or bicubic only");
    if (longer(img) > IMAGE_FIT_SIDE_MAX)
        return base_fail(error, BASE_ETOOBIG, "an image of %u x %u pixels; a side may have %u", img->width, img->height,
                         IMAGE_FIT_SIDE_MAX);
    switch (fit->kind) {
    case IMAGE_FIT_PAD:
        return fit_pad(img, fit, size, out, error);
    case IMAGE_FIT_SQUARE:
        return fit_square(img, fit, size, out, error);
    case IMAGE_FIT_STRETCH:
        return resize_into(img, fit, &(place){.width = size, .height = size}, size, out, error);
    case IMAGE_FIT_CROP:
        return fit_crop(img, fit, size, out, error);
    }
    return BASE_EINTERNAL;
}

base_status image_fit_square(const image *img, uint32_t size, uint8_t *out, base_error *error)
{
    return image_preprocess(img, &(image_fit){.kind = IMAGE_FIT_PAD}, size, out, error);
}

base_status image_load_square(const void *bytes, size_t n_bytes, const image_options *options, const image_fit *fit,
                              uint32_t side, uint8_t **out, base_error *error)
{
    image decoded = {0};
    base_status status = image_decode_frame(bytes, n_bytes, options, &decoded, error);
    if (status != BASE_OK)
        return status;
    uint8_t *square = calloc((size_t)side * side, 3);
    status = square != NULL ? image_preprocess(&decoded, fit, side, square, error)
                            : base_fail(error, BASE_ENOMEM, "no memory for %u x %u pixels", side, side);
    image_release(&decoded);
    if (status == BASE_OK)
        *out = square;
    else
        free(square);
    return status;
}
