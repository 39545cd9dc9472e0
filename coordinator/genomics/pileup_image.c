/* pileup_image.c - six channels as one RGB image: three above, three below, and a border.
 *
 *      0            221 224
 *    0 +--------------+--+
 *      | channels 1-3 |  |     PILEUP_PAD_RIGHT_BELOW
 *  100 +--------------+  |
 *      | channels 4-6 |  |
 *  200 +--------------+  |
 *      |     padding     |
 *  224 +-----------------+     */
#include <stdlib.h>
#include <string.h>

#include "coordinator/genomics/pileup.h"

enum { HALF_CHANNELS = PILEUP_CHANNELS / 2 };

/* How many of `room` pixels of padding come before the image. */
static size_t padding_before(pileup_padding padding, size_t room)
{
    return padding == PILEUP_PAD_RIGHT_BELOW ? 0 : padding == PILEUP_PAD_CENTRE ? room / 2 : room;
}

base_status pileup_to_image(const uint8_t *pileup, const pileup_layout *layout, image *out, base_error *error)
{
    const size_t side = PILEUP_IMAGE_SIDE;
    uint8_t *pixels = malloc(side * side * HALF_CHANNELS);
    if (pixels == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for an image of %zu x %zu pixels", side, side);
    memset(pixels, layout->pad_value, side * side * HALF_CHANNELS);
    size_t left = padding_before(layout->padding, side - PILEUP_WIDTH),
           above = padding_before(layout->padding, side - 2 * PILEUP_HEIGHT);
    for (size_t half = 0; half < 2; half++) {
        size_t from = layout->first_channels_below ? (1 - half) * HALF_CHANNELS : half * HALF_CHANNELS;
        for (size_t y = 0; y < PILEUP_HEIGHT; y++)
            for (size_t x = 0; x < PILEUP_WIDTH; x++)
                memcpy(pixels + ((above + half * PILEUP_HEIGHT + y) * side + left + x) * HALF_CHANNELS,
                       pileup + (y * PILEUP_WIDTH + x) * PILEUP_CHANNELS + from, HALF_CHANNELS);
    }
    *out =
        (image){.width = PILEUP_IMAGE_SIDE, .height = PILEUP_IMAGE_SIDE, .channels = HALF_CHANNELS, .pixels = pixels};
    return BASE_OK;
}

base_status pileup_to_png(const uint8_t *pileup, const pileup_layout *layout, base_buf *out, base_error *error)
{
    image img = {0};
    base_status status = pileup_to_image(pileup, layout, &img, error);
    if (status == BASE_OK)
        status = image_encode_png(img.pixels, img.width, img.height, img.channels, 8, out, error);
    image_release(&img);
    return status;
}
