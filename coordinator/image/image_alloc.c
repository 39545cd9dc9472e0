#include <stdlib.h>

#include "coordinator/image/image_int.h"
#include "proto/base/size.h"

void image_release(image *img)
{
    free(img->pixels);
    *img = (image){0};
}

base_status image_alloc(const char *format, uint32_t width, uint32_t height, uint32_t channels, uint64_t max_pixels,
                        image *out, base_error *error)
{
    if (width == 0 || height == 0)
        return base_fail(error, BASE_EFORMAT, "damaged %s: it has no pixels", format);
    if ((uint64_t)width * height > max_pixels)
        return base_fail(error, BASE_ETOOBIG,
                         "the %s has %u x %u pixels; at most %llu are accepted: send a smaller image", format, width,
                         height, (unsigned long long)max_pixels);
    size_t bytes;
    uint8_t *pixels = NULL;
    if (base_size_mul(width, height, &bytes) && base_size_mul(bytes, channels, &bytes))
        pixels = malloc(bytes);
    if (pixels == NULL)
        return base_fail(error, BASE_ENOMEM, "no memory for a %s of %u x %u pixels", format, width, height);
    *out = (image){.width = width, .height = height, .channels = channels, .pixels = pixels};
    return BASE_OK;
}
