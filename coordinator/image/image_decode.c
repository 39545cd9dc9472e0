#include <stdlib.h>
#include <string.h>

#include "coordinator/image/image_parts.h"
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
                         "the %s has %u x %u pixels; at most %llu are accepted: send a smaller picture", format, width,
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

static bool begins_with(const void *bytes, size_t size, const char *magic, size_t n)
{
    return size >= n && memcmp(bytes, magic, n) == 0;
}

base_status image_decode(const void *bytes, size_t size, uint64_t max_pixels, image *out, base_error *error)
{
    image found = {0};
    uint32_t orientation = 1;
    base_status status;
    if (begins_with(bytes, size, "\xff\xd8\xff", 3))
        status = image_decode_jpeg(bytes, size, max_pixels, &found, &orientation, error);
    else if (begins_with(bytes, size, "\x89PNG\r\n\x1a\n", 8))
        status = image_decode_png(bytes, size, max_pixels, &found, error);
    else
        status =
            base_fail(error, BASE_EUNSUPPORTED, "not an image that is read here (%zu bytes); send a JPEG or PNG", size);
    if (status == BASE_OK)
        status = image_orient(&found, orientation, error);
    if (status != BASE_OK) {
        image_release(&found);
        return status;
    }
    *out = found;
    return BASE_OK;
}
