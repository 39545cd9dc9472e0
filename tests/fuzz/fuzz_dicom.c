/* fuzz_dicom.c - any bytes as a DICOM file: an error, or pixels within the limit; the first frame and the second, which
 * have the same pixels when they are cut out.
 * Elements of its header as text: an error, or UTF-8 without controls. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/image/dicom_cut.h"
#include "coordinator/image/dicom_text.h"
#include "coordinator/image/image.h"
#include "proto/base/utf8.h"

enum { MAX_PIXELS = 1 << 14 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check_text(const uint8_t *bytes, size_t size, uint32_t tag)
{
    base_buf text = {0};
    base_error error = {0};
    if (dicom_text_read(bytes, size, tag, &text, &error) == BASE_OK) {
        if (text.failed || text.size == 0 || !base_utf8_is_valid(text.data, text.size))
            abort();
        for (size_t i = 0; i < text.size; i++)
            if ((text.data[i] < 0x20 && text.data[i] != '\n' && text.data[i] != '\t') || text.data[i] == 0x7F)
                abort();
    } else if (text.size != 0) {
        abort();
    }
    base_buf_release(&text);
}

static void check_cut(const uint8_t *bytes, size_t size, uint32_t frame, const image *whole)
{
    uint32_t n_frames = 0;
    base_buf file = {0};
    image img = {0};
    base_error error = {0};
    if (dicom_cut_frame(bytes, size, frame, &n_frames, &file, &error) == BASE_OK) {
        const image_options options = {.max_pixels = MAX_PIXELS};
        if (image_decode_frame(file.data, file.size, &options, &img, &error) != BASE_OK || img.width != whole->width ||
            img.height != whole->height || img.channels != whole->channels ||
            memcmp(img.pixels, whole->pixels, (size_t)img.width * img.height * img.channels) != 0)
            abort();
    }
    image_release(&img);
    base_buf_release(&file);
}

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
        check_cut(bytes, size, frame, &img);
        image_release(&img);
    }
    static const uint32_t tags[] = {0x00080060, 0x00101010, 0x001021B0, 0x00280004, 0x00280010, 0x00283010};
    for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++)
        check_text(bytes, size, tags[i]);
    return 0;
}
