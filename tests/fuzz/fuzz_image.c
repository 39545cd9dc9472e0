/* fuzz_image.c - any bytes as an image: an error, or pixels that can be fitted into a square. */
#include <stdlib.h>

#include "coordinator/image/image.h"

enum { SIZE = 28, MAX_PIXELS = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static uint8_t square[SIZE * SIZE * 3];
    image img = {0};
    base_error error = {0};
    if (image_decode(bytes, size, MAX_PIXELS, &img, &error) != BASE_OK)
        return 0;
    if (img.width == 0 || img.height == 0 || (uint64_t)img.width * img.height > MAX_PIXELS ||
        (img.channels != 1 && img.channels != 3) || image_fit_square(&img, SIZE, square, &error) != BASE_OK)
        abort();
    image_release(&img);
    return 0;
}
