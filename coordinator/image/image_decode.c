#include <string.h>

#include "coordinator/image/image_parts.h"

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
