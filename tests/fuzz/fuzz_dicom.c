/* fuzz_dicom.c - any bytes as a DICOM file: an error, or pixels within the limit; the first frame and the second. */
#include <stdlib.h>

#include "coordinator/image/image.h"

enum { MAX_PIXELS = 1 << 14 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    for (uint32_t frame = 0; frame < 2; frame++) {
        image img = {0};
        base_error error = {0};
        const image_options options = {.max_pixels = MAX_PIXELS, .frame = frame};
        if (image_decode_frame(bytes, size, &options, &img, &error) != BASE_OK)
            continue;
        if (img.width == 0 || img.height == 0 || (uint64_t)img.width * img.height > MAX_PIXELS ||
            (img.channels != 1 && img.channels != 3))
            abort();
        image_release(&img);
    }
    return 0;
}
